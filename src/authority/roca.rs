//! RSA moduli that give themselves away.
//!
//! Arithmetic is on the modulus as big-endian bytes, remainders by small primes only: no big numbers are needed.

/// The primes up to 751: whoever made a modulus with such a factor made no RSA key (NIST SP 800-89 section 5.3.3).
const LARGEST: u32 = 751;

/// The largest prime the ROCA fingerprint looks at (Nemec and others, CCS 2017, table of the paper's appendix).
const ROCA_LARGEST: u32 = 167;

/// A prime of 751 or less divides the modulus.
pub(super) fn has_small_factor(modulus: &[u8]) -> bool {
    primes(LARGEST).any(|prime| remainder(modulus, prime) == 0)
}

/// The modulus has the structure of keys made by the Infineon library of CVE-2017-15361: modulo each small prime it
/// is a power of 65537. By chance that happens to one modulus in some hundred million.
pub(super) fn is_roca(modulus: &[u8]) -> bool {
    primes(ROCA_LARGEST).filter(|prime| *prime > 2).all(|prime| is_power_of_65537(remainder(modulus, prime), prime))
}

fn remainder(modulus: &[u8], prime: u32) -> u32 {
    modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime)
}

fn is_power_of_65537(number: u32, prime: u32) -> bool {
    let generator = 65_537 % prime;
    let powers = std::iter::successors(Some(1), |power| Some(power * generator % prime));
    // The group has fewer than `prime` elements.
    powers.take(prime as usize).any(|power| power == number)
}

fn primes(largest: u32) -> impl Iterator<Item = u32> {
    (2..=largest).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_and_primes_are_right() {
        assert_eq!(primes(30).collect::<Vec<_>>(), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert_eq!(primes(LARGEST).last(), Some(751));
        assert_eq!(remainder(&[0x01, 0x00, 0x01], 751), 65_537 % 751);
        assert!(has_small_factor(&[0x01, 0x00, 0x00]));
        // 757 times 761
        assert!(!has_small_factor(&576_077u32.to_be_bytes()));
    }

    #[test]
    fn powers_of_65537_are_found_and_odd_numbers_are_not() {
        // 65537 and 65537², as such a library's modulus looks to every small prime.
        assert!(is_roca(&65_537u32.to_be_bytes()));
        assert!(is_roca(&(65_537u64 * 65_537).to_be_bytes()));
        assert!(!is_roca(&65_539u32.to_be_bytes()));
        // The modulus of RSA-2048, a challenge number of old: no such structure at 11, say.
        assert!(!is_power_of_65537(2, 11));
    }
}
