//! What is kept of a request that may have to be sent once more.
//!
//! Nearly none has to. So its head is written out, into one allocation and without touching a counter of what it shares
//! with others, and becomes a `Passage` again only when it is needed.

use super::forward::Passage;
use super::interim::Speaker;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

#[derive(Debug)]
pub struct Replay {
    method: Method,
    target: PathAndQuery,
    /// Name and value of every field, in order, behind the lengths of both.
    fields: Vec<u8>,
    interim: Option<Speaker>,
}

/// Room for most heads, a token and an assertion included; others grow. Counting first costs more than it spares.
const ROOM: usize = 1536;

impl Replay {
    /// None: the head is longer than any that is let in.
    pub fn of(passage: &Passage) -> Option<Self> {
        let mut fields = Vec::with_capacity(ROOM);
        for (name, value) in &passage.headers {
            let lengths = Lengths::of(name, value)?;
            fields.extend_from_slice(&lengths.0.to_ne_bytes());
            fields.extend_from_slice(name.as_str().as_bytes());
            fields.extend_from_slice(value.as_bytes());
        }
        let target = passage.target.path_and_query()?.clone();
        Some(Self { method: passage.method.clone(), target, fields, interim: passage.interim.clone() })
    }

    /// The request as it was.
    pub fn passage(&self) -> Option<Passage> {
        let mut headers = HeaderMap::new();
        let mut rest = &*self.fields;
        while let Some((lengths, behind)) = rest.split_first_chunk() {
            let (name, value, sensitive) = Lengths(u64::from_ne_bytes(*lengths)).apart()?;
            let (name, behind) = behind.split_at_checked(name)?;
            let (value, behind) = behind.split_at_checked(value)?;
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(sensitive);
            headers.try_append(HeaderName::from_bytes(name).ok()?, value).ok()?;
            rest = behind;
        }
        let target = self.target.clone().into();
        Some(Passage { method: self.method.clone(), target, headers, interim: self.interim.clone() })
    }
}

/// Of a field's name, in the upper half, and of its value, with a bit that says whether the value is sensitive.
struct Lengths(u64);

impl Lengths {
    fn of(name: &HeaderName, value: &HeaderValue) -> Option<Self> {
        let name = u64::from(u32::try_from(name.as_str().len()).ok()?);
        let value = u64::from(i32::try_from(value.len()).ok()?.unsigned_abs()) << 1 | u64::from(value.is_sensitive());
        Some(Self(name << 32 | value))
    }

    fn apart(self) -> Option<(usize, usize, bool)> {
        let value = self.0 & u64::from(u32::MAX);
        Some((usize::try_from(self.0 >> 32).ok()?, usize::try_from(value >> 1).ok()?, value & 1 == 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::interim::Interim;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>, bool)>> {
        // Few names, so that some come more than once.
        let name = prop_oneof!["[a-c]", Just("cookie".to_owned()), Just("accept".to_owned()), "x-[a-z0-9_!~]{1,40}"];
        let value = prop::collection::vec(prop_oneof![0x20u8..0x7f, 0x80u8..=0xff, Just(b'\t')], 0..40);
        prop::collection::vec((name, value, any::<bool>()), 0..40)
    }

    proptest! {
        #[test]
        fn what_is_sent_again_is_what_was_sent(
            method in "[A-Z]{1,20}",
            target in "/[!-;=@-~]{0,60}(\\?[!-;=?-~]{0,60})?",
            fields in fields(),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value, sensitive) in &fields {
                let mut value = HeaderValue::from_bytes(value).expect("a field value");
                value.set_sensitive(*sensitive);
                headers.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
            }
            // As `dress` does: what is taken out moves others.
            headers.remove("accept");
            let Ok(target) = PathAndQuery::try_from(target) else { return Ok(()) };
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let interim = Arc::new(Interim::default());
            let turn = interim.begin();
            let sent = Passage { method, target: target.into(), headers, interim: Some(turn.speaker()) };
            let again = Replay::of(&sent).and_then(|replay| replay.passage()).expect("it is no longer than any");
            prop_assert_eq!((&again.method, &again.target), (&sent.method, &sent.target));
            let lines = |passage: &Passage| -> Vec<_> {
                let line = |(name, value): (&HeaderName, &HeaderValue)| {
                    (name.clone(), value.as_bytes().to_vec(), value.is_sensitive())
                };
                passage.headers.iter().map(line).collect()
            };
            prop_assert_eq!(lines(&again), lines(&sent));
            // What it hears before the answer goes to the same client.
            let said = || interim.after_flush(&std::task::Context::from_waker(std::task::Waker::noop()));
            let _ = said();
            again.interim.expect("a speaker").say(http::StatusCode::EARLY_HINTS, &HeaderMap::new());
            prop_assert!(said().is_some());
        }
    }
}
