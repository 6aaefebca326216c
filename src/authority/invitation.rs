//! One-time codes by which a device may enrol: made for one person and one class of device, and soon over.
//!
//! A code is 135 random bits, so nobody guesses one; that is also why a plain SHA-256 is enough to keep it by. It is
//! shown once and then known only to whom it was given.

use crate::evidence::Moment;
use crate::store::Digest;
pub use crate::store::invitation::{Invitation, InvitationState};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::fmt;

/// Digits and capitals without I, L, O and U (Crockford's base 32): five bits each.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters that carry the code; one more checks them.
const DATA: usize = 27;

/// Shown in groups of so many characters.
const GROUP: usize = 4;

/// Random bytes that a code is made of: 136 bits, one of which is left over.
pub const RANDOM: usize = 17;

/// A code as somebody typed it, or as it was just made. Shown once, never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; DATA + 1]);

/// Why a text cannot be any code: told before anything is looked up, for it gives nothing away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeFault {
    #[error("an invitation code has 28 letters and digits")]
    Length,
    #[error("a character in it stands in no invitation code")]
    Character,
    #[error("the code was mistyped: its last character does not fit the others")]
    Check,
}

impl CodeFault {
    /// The code as it stands in answers and audit records.
    pub const fn code(self) -> &'static str {
        "invitation-mistyped"
    }
}

impl Code {
    /// A new code.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut random = [0; RANDOM];
        aws_lc_rs::rand::fill(&mut random)?;
        Ok(Self::of(&random))
    }

    /// The code that these bytes make. Pure.
    pub fn of(random: &[u8; RANDOM]) -> Self {
        let mut symbols = [0; DATA + 1];
        let (mut bits, mut held) = (0_u32, 0_u32);
        let mut bytes = random.iter();
        let (data, check_symbol) = symbols.split_at_mut(DATA);
        for symbol in data.iter_mut() {
            if held < 5 {
                bits = bits << 8 | u32::from(bytes.next().copied().unwrap_or(0));
                held += 8;
            }
            held -= 5;
            *symbol = (bits >> held & 31) as u8;
        }
        check_symbol.fill(check(data));
        Self(symbols)
    }

    /// Reads what somebody typed: case, dashes and spaces do not matter, O is 0, I and L are 1.
    ///
    /// # Errors
    /// It is no code at all.
    pub fn read(text: &str) -> Result<Self, CodeFault> {
        let mut symbols = [0; DATA + 1];
        let mut free = symbols.iter_mut();
        for byte in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ' | b'\t' | b'\r' | b'\n')) {
            let upper = match byte.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let value = ALPHABET.iter().position(|known| *known == upper).ok_or(CodeFault::Character)?;
            *free.next().ok_or(CodeFault::Length)? = value as u8;
        }
        if free.next().is_some() {
            return Err(CodeFault::Length);
        }
        let (data, check_symbol) = symbols.split_at(DATA);
        if check_symbol == [check(data)] { Ok(Self(symbols)) } else { Err(CodeFault::Check) }
    }

    /// What the code is kept by.
    pub fn digest(&self) -> Digest {
        Digest::of_parts([b"rangegate invitation 1\0".as_slice(), &self.0])
    }
}

/// Groups of four: `7H2K-…`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.0.iter().enumerate() {
            if at > 0 && at % GROUP == 0 {
                f.write_str("-")?;
            }
            let symbol = ALPHABET.get(usize::from(*value)).copied().unwrap_or(b'?');
            write!(f, "{}", char::from(symbol))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(…)")
    }
}

/// ISO/IEC 7064, hybrid system, here modulo 33 and 32: any one wrong character is found.
fn check(data: &[u8]) -> u8 {
    let product = data.iter().fold(32_u8, |product, value| {
        let sum = match (product + value) % 32 {
            0 => 32,
            sum => sum,
        };
        sum * 2 % 33
    });
    (33 - product) % 32
}

/// Why an invitation does not count. To whoever sent the code all four are the same answer, so that a code that was
/// good once tells nothing; the audit record has the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedeemFault {
    #[error("no invitation has this code")]
    Unknown,
    #[error("the invitation is over")]
    Expired,
    #[error("the invitation was used")]
    Used,
    #[error("the invitation was withdrawn")]
    Withdrawn,
}

impl RedeemFault {
    /// The code as it stands in audit records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "invitation-unknown",
            Self::Expired => "invitation-expired",
            Self::Used => "invitation-used",
            Self::Withdrawn => "invitation-withdrawn",
        }
    }

    /// What whoever sent the code is told, whichever it was.
    pub const TOLD: &'static str = "this invitation does not count: it may be mistyped, used or over";
}

impl Invitation {
    /// Whether this is its code; takes the same time wherever the two differ.
    pub fn is_opened_by(&self, code: &Code) -> bool {
        verify_slices_are_equal(self.code_sha256.as_bytes(), code.digest().hex().as_bytes()).is_ok()
    }

    /// The invitation as it stands once `device` has used it. Whoever commits it expects the version that was read:
    /// of two that use one code at once, one is refused.
    ///
    /// # Errors
    /// It does not count, for this code or any more.
    pub fn redeem(&self, code: &Code, device: &str, now: Moment) -> Result<Self, RedeemFault> {
        if !self.is_opened_by(code) {
            return Err(RedeemFault::Unknown);
        }
        match self.state {
            InvitationState::Used { .. } => Err(RedeemFault::Used),
            InvitationState::Withdrawn { .. } => Err(RedeemFault::Withdrawn),
            InvitationState::Open if now >= self.expires => Err(RedeemFault::Expired),
            InvitationState::Open => {
                Ok(Self { state: InvitationState::Used { at: now, device: device.into() }, ..self.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Moment = Moment(1_800_000_000_000);

    #[test]
    fn a_code_is_easy_to_type() {
        let code = Code::of(&[0xff; RANDOM]);
        assert_eq!(code.to_string(), format!("{}ZZZ{}", "ZZZZ-".repeat(6), &code.to_string()[33..]));
        let odd = Code::of(&[0x01; RANDOM]).to_string();
        for typed in [odd.to_lowercase(), odd.replace('-', ""), odd.replace('-', " ") + "\n", odd.replace('0', "o")] {
            assert_eq!(Code::read(&typed).map(|code| code.to_string()), Ok(odd.clone()), "{typed}");
        }
        assert_eq!(Code::read(&odd[1..]), Err(CodeFault::Length));
        assert_eq!(Code::read(&format!("{odd}0")), Err(CodeFault::Length));
        assert_eq!(Code::read(&odd.replacen('0', "U", 1)), Err(CodeFault::Character));
        assert_eq!(Code::read(&odd.replacen('0', "é", 1)), Err(CodeFault::Character));
        assert_eq!(Code::read(""), Err(CodeFault::Length));
        assert_eq!(format!("{code:?}"), "Code(…)");
    }

    proptest! {
        #[test]
        fn every_code_reads_back_and_no_single_slip_is_missed(random: [u8; RANDOM], at in 0..=DATA, by in 1_u8..32) {
            let code = Code::of(&random);
            prop_assert_eq!(Code::read(&code.to_string()), Ok(code.clone()));
            let mut slipped = code;
            slipped.0[at] = (slipped.0[at] + by) % 32;
            prop_assert_eq!(Code::read(&slipped.to_string()), Err(CodeFault::Check));
        }

        #[test]
        fn all_but_the_last_of_136_bits_count(random: [u8; RANDOM], bit in 0_usize..135) {
            let mut other = random;
            other[bit / 8] ^= 0x80 >> (bit % 8);
            prop_assert_ne!(Code::of(&random).digest(), Code::of(&other).digest());
        }
    }

    #[test]
    fn an_invitation_counts_once_and_in_time_and_for_its_code() {
        let code = Code::of(&[3; RANDOM]);
        let open = Invitation {
            id: "i_1".into(),
            code_sha256: code.digest().hex().into(),
            user: "ann@corp.example".into(),
            class: "corporate".into(),
            device: None,
            made: NOW,
            by: "root".into(),
            expires: NOW.plus_millis(1000),
            state: InvitationState::Open,
        };
        let used = open.redeem(&code, "d_1", NOW.plus_millis(999)).expect("in time");
        assert_eq!(used.state, InvitationState::Used { at: NOW.plus_millis(999), device: "d_1".into() });
        assert_eq!(used.redeem(&code, "d_2", NOW), Err(RedeemFault::Used));
        assert_eq!(open.redeem(&code, "d_1", NOW.plus_millis(1000)), Err(RedeemFault::Expired));
        assert_eq!(open.redeem(&Code::of(&[4; RANDOM]), "d_1", NOW), Err(RedeemFault::Unknown));
        let withdrawn = Invitation { state: InvitationState::Withdrawn { at: NOW, by: "root".into() }, ..open.clone() };
        assert_eq!(withdrawn.redeem(&code, "d_1", NOW), Err(RedeemFault::Withdrawn));
        assert_eq!(
            used.redeem(&Code::of(&[4; RANDOM]), "d_1", NOW),
            Err(RedeemFault::Unknown),
            "no word about others'"
        );
        let json = serde_json::to_string(&used).expect("JSON");
        assert!(!json.contains(&code.to_string()) && json.contains("\"is\":\"used\""), "{json}");
        assert_eq!(serde_json::from_str::<Invitation>(&json).expect("read back"), used);
    }
}
