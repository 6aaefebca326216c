//! How often one address, and everybody together, may try invitation codes that turn out wrong.
//!
//! Codes cannot be guessed; this keeps whoever tries from filling logs and from being heard too often. Each attempt
//! is charged before the code is looked at, so that attempts side by side do not slip through, and given back when
//! the code was good. Where what is shared is used up, whoever has room of their own is heard all the same, for a good
//! code only: one stranger with many addresses must not keep everybody from enrolling.

use crate::evidence::Moment;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One address: ten at once, then one a minute.
const ADDRESS: Rate = Rate { interval: 60_000, burst: 10 };

/// Everybody: six hundred at once, then ten a second.
const EVERYBODY: Rate = Rate { interval: 100, burst: 600 };

/// Addresses counted at the same time; some 50 bytes each.
const ADDRESSES: usize = 65_536;

/// The counters. An address that finds the table full shares one counter with all others that do.
#[derive(Debug)]
pub struct Guesses {
    table: Mutex<Table>,
    addresses: usize,
}

/// Moments up to which the room is used up (generic cell rate algorithm), milliseconds.
#[derive(Debug, Default)]
struct Table {
    everybody: i64,
    crowd: i64,
    by_address: HashMap<IpAddr, i64>,
}

struct Rate {
    /// Milliseconds in which one attempt grows back.
    interval: i64,
    burst: i64,
}

impl Default for Guesses {
    fn default() -> Self {
        Self::new(ADDRESSES)
    }
}

impl Guesses {
    pub fn new(addresses: usize) -> Self {
        Self { table: Mutex::default(), addresses }
    }

    /// Charges one attempt.
    ///
    /// # Errors
    /// The address has no room: how long until it has. Nothing was charged.
    pub fn attempt(&self, address: IpAddr, now: Moment) -> Result<Attempt, Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (everybody, crowd) = (EVERYBODY.charged(table.everybody, now), ADDRESS.charged(table.crowd, now));
        let own = match table.own(network(address), self.addresses, now) {
            Some(own) => {
                *own = ADDRESS.charged(*own, now)?;
                None
            }
            None => Some(crowd),
        };
        match (everybody, own.transpose()) {
            (Ok(everybody), Ok(crowd)) => {
                table.everybody = everybody;
                table.crowd = crowd.unwrap_or(table.crowd);
                Ok(Attempt::Charged)
            }
            (Err(wait), _) | (_, Err(wait)) => Ok(Attempt::Beyond(wait)),
        }
    }

    /// Gives one attempt back: the code was good.
    pub fn succeeded(&self, address: IpAddr, attempt: Attempt, now: Moment) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = attempt == Attempt::Charged;
        if shared {
            table.everybody -= EVERYBODY.interval;
        }
        match table.own(network(address), self.addresses, now) {
            Some(own) => *own -= ADDRESS.interval,
            None if shared => table.crowd -= ADDRESS.interval,
            None => {}
        }
    }
}

/// What an attempt is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is heard, whatever the code.
    Charged,
    /// What is shared is used up, until then: only a good code is heard, and nothing is said or written of others.
    Beyond(Duration),
}

impl Table {
    /// None: the table is full.
    fn own(&mut self, address: IpAddr, most: usize, now: Moment) -> Option<&mut i64> {
        if self.by_address.len() >= most && !self.by_address.contains_key(&address) {
            // Whoever has all room again need not be remembered.
            self.by_address.retain(|_, until| *until > now.millis());
            if self.by_address.len() >= most {
                return None;
            }
        }
        Some(self.by_address.entry(address).or_insert(0))
    }
}

impl Rate {
    /// The counter after one more attempt.
    fn charged(&self, until: i64, now: Moment) -> Result<i64, Duration> {
        let room = self.interval * self.burst;
        // Beyond all room: the clock was set back. That is nobody's guess, so counting begins anew.
        let until = if until > now.millis().saturating_add(room) { 0 } else { until }.max(now.millis());
        let next = until.saturating_add(self.interval);
        let over = next.saturating_sub(now.millis()).saturating_sub(room);
        if over > 0 { Err(Duration::from_millis(over.unsigned_abs())) } else { Ok(next) }
    }
}

/// One customer of an IPv6 provider has 2^64 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_800_000_000_000);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_ten_and_then_one_a_minute() {
        let guesses = Guesses::default();
        let mallory = address("192.0.2.66");
        for attempt in 0..10 {
            assert_eq!(guesses.attempt(mallory, NOW), Ok(Attempt::Charged), "{attempt}");
        }
        assert_eq!(guesses.attempt(mallory, NOW), Err(Duration::from_secs(60)));
        assert_eq!(guesses.attempt(mallory, NOW.plus_millis(59_999)), Err(Duration::from_millis(1)));
        assert_eq!(guesses.attempt(mallory, NOW.plus_millis(60_000)), Ok(Attempt::Charged));
        assert!(guesses.attempt(mallory, NOW.plus_millis(60_000)).is_err());
        assert_eq!(
            guesses.attempt(address("192.0.2.67"), NOW.plus_millis(60_000)),
            Ok(Attempt::Charged),
            "others are not harmed"
        );
        assert!(guesses.attempt(address("::ffff:192.0.2.66"), NOW.plus_millis(60_000)).is_err(), "the same address");
    }

    #[test]
    fn good_codes_cost_nothing() {
        let guesses = Guesses::default();
        let office = address("192.0.2.1");
        for _ in 0..5_000 {
            assert_eq!(guesses.attempt(office, NOW), Ok(Attempt::Charged));
            guesses.succeeded(office, Attempt::Charged, NOW);
        }
    }

    #[test]
    fn many_addresses_share_what_everybody_has_and_the_table_is_bounded() {
        let guesses = Guesses::new(100);
        let from = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]);
        let heard = (0..5_000).filter(|n| guesses.attempt(from(*n), NOW) == Ok(Attempt::Charged)).count();
        assert_eq!(heard, 110, "100 of their own, ten of the crowd");
        assert_eq!(guesses.table.lock().expect("free").by_address.len(), 100);
        let guesses = Guesses::default();
        let heard = (0..5_000).filter(|n| guesses.attempt(from(*n), NOW) == Ok(Attempt::Charged)).count();
        assert_eq!(heard, 600);
        let one = |host: u16| IpAddr::from([0x2001, 0xdb8, 7, 7, 0, 0, 0, host]);
        let guesses = Guesses::default();
        assert_eq!((0..100).filter(|n| guesses.attempt(one(*n), NOW).is_ok()).count(), 10, "one network");
    }

    #[test]
    fn one_strangers_network_keeps_nobody_else_from_being_heard() {
        // With a table that has room, and with one that the stranger fills.
        for (addresses, stranger) in [(ADDRESSES, 1_000), (100, 1_000)] {
            let guesses = Guesses::new(addresses);
            for n in 0..stranger {
                let _ = guesses.attempt(IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]), NOW);
            }
            let office = address("192.0.2.1");
            for _ in 0..100 {
                let attempt = guesses.attempt(office, NOW).expect("heard");
                assert!(matches!(attempt, Attempt::Beyond(wait) if !wait.is_zero()), "{attempt:?}");
                guesses.succeeded(office, attempt, NOW);
            }
        }
        let guesses = Guesses::default();
        for n in 0..1_000 {
            let _ = guesses.attempt(IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]), NOW);
        }
        let mallory = address("192.0.2.66");
        let heard = (0..100).filter(|_| guesses.attempt(mallory, NOW).is_ok()).count();
        assert_eq!(heard, 10, "wrong codes are the address's own");
        assert!(
            matches!(guesses.attempt(address("192.0.2.1"), NOW), Ok(Attempt::Beyond(_))),
            "and nobody gave it back"
        );
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let guesses = Guesses::default();
        let office = address("192.0.2.1");
        for _ in 0..10 {
            assert_eq!(guesses.attempt(office, NOW), Ok(Attempt::Charged));
        }
        let earlier = NOW.plus_millis(-86_400_000);
        assert_eq!(guesses.attempt(office, earlier), Ok(Attempt::Charged));
    }
}
