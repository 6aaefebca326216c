//! Request ids: 26 characters of Crockford base 32, 48 bits of time before 80 of chance, so that they sort by time.

use crate::evidence::Moment;
use bytes::BytesMut;
use http::HeaderValue;

/// Makes the ids of one worker. The ids name requests; they keep no secret.
#[derive(Debug)]
pub struct RequestIds {
    state: [u64; 2],
    /// The field values of many requests share one allocation.
    block: BytesMut,
}

/// One id, for the record and for the field that carries it.
#[derive(Clone, Debug)]
pub struct RequestId {
    pub text: String,
    pub value: HeaderValue,
}

const LENGTH: usize = 26;
/// Of one block.
const IDS: usize = 64;

impl RequestIds {
    /// `seed` must be random and differ between workers.
    pub fn new(seed: [u64; 2]) -> Self {
        // All zeros is the one state the generator cannot leave.
        Self { state: if seed[0] | seed[1] == 0 { [1, 2] } else { seed }, block: BytesMut::new() }
    }

    pub fn next(&mut self, now: Moment) -> RequestId {
        let time = u128::from(now.millis().max(0).unsigned_abs()) & 0xffff_ffff_ffff;
        let chance = u128::from(self.step()) << 16 | u128::from(self.step() >> 48);
        let id = time << 80 | chance;
        let letters: [u8; LENGTH] = std::array::from_fn(|at| ALPHABET[(id >> (5 * (LENGTH - 1 - at))) as usize & 31]);
        if self.block.capacity() < LENGTH {
            self.block = BytesMut::with_capacity(IDS * LENGTH);
        }
        self.block.extend_from_slice(&letters);
        RequestId {
            text: str::from_utf8(&letters).expect("letters and digits").to_owned(),
            value: HeaderValue::from_maybe_shared(self.block.split().freeze()).expect("letters and digits"),
        }
    }

    /// xoroshiro128++ (Blackman and Vigna, 2019).
    const fn step(&mut self) -> u64 {
        let [a, mut b] = self.state;
        let result = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
        b ^= a;
        self.state = [a.rotate_left(49) ^ b ^ (b << 21), b.rotate_left(28)];
        result
    }
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_sorted_by_time_and_differ() {
        let mut ids = RequestIds::new([0, 0]);
        let early = ids.next(Moment(1_700_000_000_000)).text;
        let late = ids.next(Moment(1_700_000_000_001)).text;
        assert_eq!(early.len(), 26);
        assert!(early < late);
        assert!(early.starts_with("01HF7YAT00"), "{early}");
        let many: BTreeSet<String> = (0..1000).map(|_| ids.next(Moment(5)).text).collect();
        assert_eq!(many.len(), 1000);
        assert_eq!(ids.next(Moment(-1)).text.len(), 26);
        let last = ids.next(Moment(i64::MAX));
        assert_eq!((last.text.len(), last.value.as_bytes()), (26, last.text.as_bytes()));
    }
}
