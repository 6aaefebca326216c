//! Moments as people read them in answers: RFC 3339, in UTC, with milliseconds.

use crate::evidence::Moment;
use serde::Serializer;

pub fn text(moment: Moment) -> String {
    match jiff::Timestamp::from_millisecond(moment.millis()) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        Err(_) => format!("{} ms", moment.millis()),
    }
}

pub fn serialize<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*moment))
}
