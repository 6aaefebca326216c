//! The value a criterion saw, kept as it is and put into words only when somebody reads it.

use crate::evidence::Moment;
use crate::latency::{Kilometres, Rtt};
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Shown as the policy language writes it: `38.4 ms`, `US`, `AS64500`, `ann@corp.example`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Seen {
    /// There was nothing to see.
    #[default]
    Nothing,
    Text(Arc<str>),
    Word(&'static str),
    Rtt(Rtt),
    Kilometres(Kilometres),
    /// How long ago, in milliseconds.
    Age(u64),
    Moment(Moment),
    Address(IpAddr),
    Asn(u32),
}

impl Seen {
    pub const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Word(word) => f.write_str(word),
            Self::Rtt(rtt) => rtt.fmt(f),
            Self::Kilometres(distance) => distance.fmt(f),
            Self::Age(millis) => age(*millis, f),
            Self::Moment(moment) => match jiff::Timestamp::from_millisecond(moment.millis()) {
                Ok(timestamp) => timestamp.fmt(f),
                Err(_) => write!(f, "{} ms", moment.millis()),
            },
            Self::Address(address) => address.fmt(f),
            Self::Asn(number) => write!(f, "AS{number}"),
        }
    }
}

/// The two largest units: `3h 20m`, `45s`.
fn age(millis: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let seconds = millis / 1000;
    match seconds {
        0..60 => write!(f, "{seconds}s"),
        60..3_600 => write!(f, "{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => write!(f, "{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => write!(f, "{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_the_language_writes_them() {
        let cases = [
            (Seen::Rtt(Rtt::from_micros(38_400)), "38.4 ms"),
            (Seen::Asn(64_500), "AS64500"),
            (Seen::Age(12_000_000), "3h 20m"),
            (Seen::Age(45_999), "45s"),
            (Seen::Moment(Moment(0)), "1970-01-01T00:00:00Z"),
            (Seen::Moment(Moment(i64::MAX)), "9223372036854775807 ms"),
            (Seen::Nothing, ""),
        ];
        for (seen, text) in cases {
            assert_eq!(seen.to_string(), text);
        }
    }
}
