//! JSON written by hand at the end of a buffer: what serde writes, at a fraction of its cost.

use super::visible::{Visible, escape};
use serde::Serialize;
use std::fmt::{self, Display, Write};

/// Writes one value or piece of JSON after the other. Commas, colons and braces are the caller's.
pub struct Pen<'b>(pub &'b mut Vec<u8>);

impl Pen<'_> {
    /// What is JSON already.
    pub fn raw(&mut self, json: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(json.as_ref());
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'"');
        escape(self.0, text);
        self.0.push(b'"');
        self
    }

    /// Part of a text.
    pub fn escaped(&mut self, text: &str) -> &mut Self {
        escape(self.0, text);
        self
    }

    /// The value as it is shown to people.
    pub fn shown(&mut self, value: &impl Display) -> &mut Self {
        self.0.push(b'"');
        write!(Escaped(self.0), "{value}").expect("memory takes all");
        self.0.push(b'"');
        self
    }

    pub fn number(&mut self, value: impl Into<u64>) -> &mut Self {
        let mut value = value.into();
        let mut digits = [0; 20];
        let mut first = digits.len();
        let mut put = |pair: usize, count: usize| {
            first -= count;
            digits[first..first + count].copy_from_slice(&PAIRS[2 * pair + 2 - count..2 * pair + 2]);
        };
        while value >= 100 {
            put((value % 100) as usize, 2);
            value /= 100;
        }
        put(value as usize, if value < 10 { 1 } else { 2 });
        self.raw(&digits[first..])
    }

    pub fn signed(&mut self, value: i64) -> &mut Self {
        if value < 0 {
            self.0.push(b'-');
        }
        self.number(value.unsigned_abs())
    }

    /// Whatever is too rare to have a hand of its own.
    pub fn value(&mut self, value: &impl Serialize) -> &mut Self {
        let mut serializer = serde_json::Serializer::with_formatter(&mut *self.0, Visible);
        value.serialize(&mut serializer).expect("records are plain values, and memory takes all");
        self
    }
}

struct Escaped<'b>(&'b mut Vec<u8>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        escape(self.0, piece);
        Ok(())
    }
}

/// `00` to `99`.
const PAIRS: &[u8; 200] =
    b"0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849\
5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl for<'p, 'b> FnOnce(&'p mut Pen<'b>) -> &'p mut Pen<'b>) -> String {
        let mut buffer = Vec::new();
        let _ = write(&mut Pen(&mut buffer));
        String::from_utf8(buffer).expect("UTF-8")
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_everybody_else(wide in any::<u64>(), short in 0u64..2000, signed in any::<i64>()) {
            for number in [wide, short, 0, 9, 10, 99, 100, u64::MAX] {
                prop_assert_eq!(written(|pen| pen.number(number)), number.to_string());
            }
            for number in [signed, i64::MIN, -1, 0] {
                prop_assert_eq!(written(|pen| pen.signed(number)), number.to_string());
            }
        }

        #[test]
        fn texts_are_those_that_serde_writes(text in any::<String>(), control in "[\\x00-\\x7f\u{80}-\u{ff}\"\\\\]{0,24}") {
            for text in [text, control] {
                let by_serde = written(|pen| pen.value(&text));
                prop_assert_eq!(written(|pen| pen.text(&text)), &by_serde[..]);
                prop_assert_eq!(written(|pen| pen.shown(&text)), &by_serde[..]);
            }
        }
    }
}
