//! How many connections there may be, in all and from one address, counted before the handshake.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug)]
pub struct Admission {
    total: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    limit: AtomicUsize,
    limit_per_address: AtomicUsize,
}

/// A place in the count, given back on drop.
#[derive(Debug)]
pub struct Slot {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Total,
    Address,
}

impl Admission {
    pub fn new(limit: usize, limit_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            total: AtomicUsize::new(0),
            by_address: Mutex::default(),
            limit: limit.into(),
            limit_per_address: limit_per_address.into(),
        })
    }

    /// New limits, for connections to come: those that are open stay open.
    pub fn limit(&self, limit: usize, limit_per_address: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.limit_per_address.store(limit_per_address, Ordering::Relaxed);
    }

    /// IPv6 clients are counted by /64, the least a subscriber is given. Without an address only the total counts.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Slot, Full> {
        if self.total.fetch_add(1, Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed) {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Total);
        }
        let slot = |address| Slot { admission: Arc::clone(self), address };
        let Some(address) = address.map(by_subscriber) else { return Ok(slot(None)) };
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= self.limit_per_address.load(Ordering::Relaxed) {
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Address);
        }
        *count += 1;
        Ok(slot(Some(address)))
    }

    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut by_address = self.admission.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

fn by_subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fall_when_connections_end() {
        let admission = Admission::new(3, 2);
        let here: IpAddr = [127, 0, 0, 1].into();
        let (a, _b) = (admission.admit(Some(here)).unwrap(), admission.admit(Some(here)).unwrap());
        assert_eq!(admission.admit(Some(here)).unwrap_err(), Full::Address);
        let _c = admission.admit(Some([127, 0, 0, 2].into())).unwrap();
        assert_eq!(admission.admit(Some([127, 0, 0, 3].into())).unwrap_err(), Full::Total);
        drop(a);
        assert!(admission.admit(Some(here)).is_ok());
        assert_eq!(admission.total(), 2, "a slot dropped at once is given back");
        admission.limit(2, 2);
        assert_eq!(admission.admit(Some([127, 0, 0, 3].into())).unwrap_err(), Full::Total);
    }

    #[test]
    fn neighbours_in_one_ipv6_subscriber_network_count_together() {
        let admission = Admission::new(9, 1);
        let _one = admission.admit("2001:db8::1".parse().ok()).unwrap();
        assert!(admission.admit("2001:db8::2".parse().ok()).is_err());
        assert!(admission.admit("2001:db8:0:1::2".parse().ok()).is_ok());
    }
}
