//! A table of fixed size for what belongs to shared values, found by their address.
//!
//! Two values may fall on one slot; then each takes it from the other. A slot keeps its value's `Arc`, so that no other
//! value can come to stand at that address.

use std::sync::Arc;

/// Two to the power of this many slots.
const BITS: u32 = 11;

/// Empty, a slot is one word.
type Slot<T, V> = Option<Box<(Arc<T>, V)>>;

pub struct Slots<T, V>(Box<[Slot<T, V>]>);

impl<T, V> Default for Slots<T, V> {
    fn default() -> Self {
        Self((0..1 << BITS).map(|_| None).collect())
    }
}

impl<T, V> Slots<T, V> {
    /// What belongs to `value`, made when it is not there.
    pub fn of(&mut self, value: &Arc<T>, make: impl FnOnce() -> V) -> &mut V {
        // Fibonacci hashing: addresses differ in their middle bits, the product in its highest.
        let address = Arc::as_ptr(value).addr() as u64;
        let at = address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BITS);
        let slot = self.0.get_mut(at as usize).expect("so many bits name so many slots");
        if slot.as_ref().is_some_and(|kept| !Arc::ptr_eq(&kept.0, value)) {
            *slot = None;
        }
        &mut slot.get_or_insert_with(|| Box::new((Arc::clone(value), make()))).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_meets_its_own_however_many_come_and_go() {
        let mut slots = Slots::default();
        let kept = Arc::new(0);
        for number in 1..3 << BITS {
            // Dropped at once: its address would be free for the next, did the slot not hold it.
            let passing = Arc::new(number);
            assert_eq!(*slots.of(&passing, || number), number);
            assert_eq!(*slots.of(&kept, || 0), 0);
        }
    }
}
