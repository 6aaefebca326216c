//! The relay gap: the round trip to the TLS endpoint minus the round trip to the TCP peer.
//!
//! A relay that splits TCP answers the gateway's packets itself but cannot answer for the key, which is in the device:
//! the TCP round trip ends at the relay, the TLS round trip at the device. The gap is the stretch between them.
//! Secure web gateways, satellite and mobile accelerators and private relays leave one too: it names a relay, not a motive.

use super::Rtt;

/// The gap between the best round trips of the two heights; zero when TLS was no slower than TCP.
///
/// Both must be minima: the kernel's smoothed estimate contains delayed acknowledgements, and an inflated TCP round
/// trip hides a relay. On one day's path a single round trip lay 1.4 ms (median) to 6.6 ms (99 %) above the least,
/// the worst least-of-ten 1.6 ms above it.
pub fn gap(tls_minimum: Rtt, tcp_minimum: Rtt) -> Rtt {
    tls_minimum.saturating_sub(tcp_minimum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_gap_is_what_lies_behind_the_relay() {
        assert_eq!(gap(Rtt::from_millis(187), Rtt::from_millis(12)), Rtt::from_millis(175));
        assert_eq!(gap(Rtt::from_micros(11_900), Rtt::from_millis(12)), Rtt::from_micros(0));
    }

    proptest! {
        #[test]
        fn the_gap_is_never_more_than_the_tls_round_trip(tls in any::<u32>(), tcp in any::<u32>()) {
            prop_assert!(gap(Rtt::from_micros(tls), Rtt::from_micros(tcp)).as_micros() <= tls);
        }

        #[test]
        fn delay_behind_a_relay_shows_in_full(path in 0..1_000_000_u32, behind in 0..1_000_000_u32) {
            let relayed = gap(Rtt::from_micros(path + behind), Rtt::from_micros(path));
            prop_assert_eq!(relayed, Rtt::from_micros(behind));
        }
    }
}
