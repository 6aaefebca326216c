//! WebSocket frames by their headers alone (RFC 6455 section 5.2). Payloads pass untouched, whatever extension made them.

use smallvec::SmallVec;

/// One direction's frames.
#[derive(Debug)]
pub struct Frames {
    /// Clients mask, servers do not.
    masked: bool,
    /// Payload of the current data frame that has not come yet.
    left: u64,
    in_message: bool,
    whole: u64,
}

/// What the bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Too few to say.
    Incomplete,
    /// So many bytes of a data frame.
    Data(usize),
    /// A whole control frame of so many bytes.
    Ping(usize),
    Pong(usize, Payload),
    /// With its status code, if it has one.
    Close(usize, Option<u16>),
    /// RFC 6455 forbids it; the connection is to be failed with 1002.
    Violation,
}

/// A control frame's payload, unmasked: at most 125 bytes.
pub type Payload = SmallVec<[u8; 16]>;

impl Frames {
    pub const fn from_client() -> Self {
        Self { masked: true, left: 0, in_message: false, whole: 0 }
    }

    pub const fn from_upstream() -> Self {
        Self { masked: false, left: 0, in_message: false, whole: 0 }
    }

    /// Whether the bytes taken so far end with a frame's end: where a control frame may be put in.
    pub const fn at_boundary(&self) -> bool {
        self.left == 0
    }

    /// Whole data messages taken so far.
    pub const fn messages(&self) -> u64 {
        self.whole
    }

    /// Takes what `bytes` begin with; they must begin where the last took ended.
    pub fn next(&mut self, bytes: &[u8]) -> Next {
        if self.left > 0 {
            return self.data(0, bytes.len());
        }
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else { return Next::Incomplete };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if (second & 0x80 != 0) != self.masked {
            return Next::Violation;
        }
        let mask = if self.masked { 4 } else { 0 };
        let short = second & 0x7f;
        match opcode {
            0 if !self.in_message => return Next::Violation,
            1 | 2 if self.in_message => return Next::Violation,
            0..=2 => {}
            8..=10 if fin && short <= 125 => return control(opcode, usize::from(short), mask, bytes),
            _ => return Next::Violation,
        }
        let (length, extended) = match short {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
                None => return Next::Incomplete,
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 8),
                None => return Next::Incomplete,
            },
            short => (u64::from(short), 0),
        };
        // The shortest form is the only one, and the top bit is reserved.
        if (extended == 2 && length < 126) || (extended == 8 && !(1 << 16..1 << 63).contains(&length)) {
            return Next::Violation;
        }
        let header = 2 + extended + mask;
        if bytes.len() < header {
            return Next::Incomplete;
        }
        self.in_message = !fin;
        self.left = length;
        self.data(header, bytes.len() - header)
    }

    fn data(&mut self, header: usize, available: usize) -> Next {
        let take = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= take as u64;
        self.whole += u64::from(self.left == 0 && !self.in_message);
        Next::Data(header + take)
    }
}

fn control(opcode: u8, length: usize, mask: usize, bytes: &[u8]) -> Next {
    let Some(frame) = bytes.get(..2 + mask + length) else { return Next::Incomplete };
    let (key, payload) = frame[2..].split_at(mask);
    let mut payload = Payload::from_slice(payload);
    if mask > 0 {
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    }
    match opcode {
        9 => Next::Ping(frame.len()),
        10 => Next::Pong(frame.len(), payload),
        _ => match payload.as_slice() {
            [] => Next::Close(frame.len(), None),
            [high, low, ..] => Next::Close(frame.len(), Some(u16::from_be_bytes([*high, *low]))),
            [_] => Next::Violation,
        },
    }
}

/// A server's ping.
pub fn ping(payload: [u8; 8]) -> SmallVec<[u8; 16]> {
    let mut frame = SmallVec::from_slice(&[0x89, 8]);
    frame.extend_from_slice(&payload);
    frame
}

/// A close frame; a client's has a mask. The reason is cut to what fits, between characters.
pub fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let reason = &reason[..reason.floor_char_boundary(123)];
    let mut frame = vec![0x88, (2 + reason.len()) as u8 | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend(mask.iter().flatten());
    let payload = code.to_be_bytes().into_iter().chain(reason.bytes());
    let key = mask.unwrap_or_default();
    frame.extend(payload.zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A data or control frame with the mask key `1234` or none.
    fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut frame = vec![first];
        match payload.len() {
            n @ ..126 => frame.push(bit | n as u8),
            n @ ..0x1_0000 => {
                frame.push(bit | 126);
                frame.extend((n as u16).to_be_bytes());
            }
            n => {
                frame.push(bit | 127);
                frame.extend((n as u64).to_be_bytes());
            }
        }
        let key: [u8; 4] = if masked { *b"1234" } else { [0; 4] };
        frame.extend(masked.then_some(key).iter().flatten());
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
        frame
    }

    #[test]
    fn frames_of_every_length_and_kind() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let bytes = frame(0x82, &vec![7; length], false);
            let mut frames = Frames::from_upstream();
            assert_eq!(frames.next(&bytes), Next::Data(bytes.len()));
            assert!(frames.at_boundary());
            assert_eq!(frames.messages(), 1);
        }
        let mut frames = Frames::from_client();
        assert_eq!(frames.next(&frame(0x01, b"hel", true)), Next::Data(9));
        assert_eq!(frames.next(&frame(0x89, b"x", true)), Next::Ping(7));
        assert_eq!(frames.next(&frame(0x8a, b"nonce", true)), Next::Pong(11, Payload::from_slice(b"nonce")));
        assert_eq!(frames.messages(), 0);
        assert_eq!(frames.next(&frame(0x80, b"lo", true)), Next::Data(8));
        assert_eq!(frames.messages(), 1);
        // Reserved bits belong to extensions.
        assert_eq!(frames.next(&frame(0xc1, b"deflated", true)), Next::Data(14));
        assert_eq!(frames.next(&close(1008, "no", Some(*b"abcd"))), Next::Close(10, Some(1008)));
        assert_eq!(Frames::from_upstream().next(&close(1008, &"é".repeat(100), None)), Next::Close(126, Some(1008)));
        assert_eq!(Frames::from_upstream().next(&[0x88, 0]), Next::Close(2, None));
        assert_eq!(Frames::from_upstream().next(&ping(*b"12345678")), Next::Ping(10));
    }

    #[test]
    fn what_the_protocol_forbids() {
        for (bytes, masked) in [
            (frame(0x81, b"x", false), true),
            (frame(0x81, b"x", true), false),
            (frame(0x80, b"x", false), false),
            (frame(0x83, b"x", false), false),
            (frame(0x8b, b"x", false), false),
            (frame(0x09, b"x", false), false),
            (frame(0x89, &[0; 126], false), false),
            (frame(0x88, b"x", false), false),
            (vec![0x82, 126, 0, 125], false),
            (vec![0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255], false),
            (vec![0x82, 127, 128, 0, 0, 0, 0, 0, 0, 0], false),
        ] {
            let mut frames = if masked { Frames::from_client() } else { Frames::from_upstream() };
            assert_eq!(frames.next(&bytes), Next::Violation, "{bytes:?}");
        }
        let mut frames = Frames::from_upstream();
        frames.next(&frame(0x01, b"x", false));
        assert_eq!(frames.next(&frame(0x01, b"x", false)), Next::Violation);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(lengths in proptest::collection::vec(0_usize..300, 1..6), step in 1_usize..40, masked: bool) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|n| frame(if *n < 20 { 0x8a } else { 0x82 }, &vec![1; *n], masked)).collect();
            let mut frames = if masked { Frames::from_client() } else { Frames::from_upstream() };
            let (mut from, mut to) = (0, 0);
            while from < bytes.len() {
                match frames.next(&bytes[from..to]) {
                    Next::Incomplete => to = (to + step).min(bytes.len()),
                    Next::Data(0) => to = (to + step).min(bytes.len()),
                    Next::Data(n) | Next::Pong(n, _) => from += n,
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert!(frames.at_boundary());
            prop_assert_eq!(frames.messages(), lengths.iter().filter(|n| **n >= 20).count() as u64);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), masked: bool) {
            let mut frames = if masked { Frames::from_client() } else { Frames::from_upstream() };
            let mut rest = bytes.as_slice();
            while let Next::Data(n @ 1..) | Next::Ping(n) | Next::Pong(n, _) | Next::Close(n, _) = frames.next(rest) {
                rest = &rest[n..];
            }
        }
    }
}
