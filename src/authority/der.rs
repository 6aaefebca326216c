//! Just enough DER (X.690) to write keys and stores, and to read what strangers send without trusting a length.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const BMP_STRING: u8 = 0x1e;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// `[number]`, constructed.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element of the parts one after the other.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 10);
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let long = bytes.get(zeros..).unwrap_or_default();
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, parts)
}

/// A number that is not negative.
pub(super) fn integer(number: u32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(3);
    let digits = bytes.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    element(INTEGER, &[sign, digits])
}

/// Reads elements one after the other. `None` for whatever is not DER: a length that is too long, not the shortest
/// or without end, a tag of more than one byte.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Tag and length included.
    pub(super) whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = length(rest)?;
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Element { tag, content, whole })
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|element| element.tag == tag).map(|element| element.content)
    }

    /// A reader of the next element, which must have this tag.
    pub(super) fn inside(&mut self, tag: u8) -> Option<Self> {
        self.content(tag).map(Self::new)
    }

    /// The digits of a number that is not negative, without leading zeros.
    pub(super) fn digits(&mut self) -> Option<&'a [u8]> {
        match self.content(INTEGER)? {
            [0] => Some(&[]),
            [0, digits @ ..] if digits.first().is_some_and(|first| *first >= 0x80) => Some(digits),
            digits @ [1..=0x7f, ..] => Some(digits),
            _ => None,
        }
    }

    /// A number that is not negative and fits.
    pub(super) fn number(&mut self) -> Option<u32> {
        let digits = self.digits()?;
        (digits.len() <= 4).then(|| digits.iter().fold(0, |number, digit| number << 8 | u32::from(*digit)))
    }

    /// The bytes of a bit string whose length is whole bytes.
    pub(super) fn bits(&mut self) -> Option<&'a [u8]> {
        self.content(BIT_STRING)?.strip_prefix(&[0])
    }
}

/// At most three bytes of length: nothing read here is larger than 16 MiB.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let many = match first {
        0..=0x7f => return Some((usize::from(first), rest)),
        0x81..=0x83 => usize::from(first & 0x7f),
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(many)?;
    let length = digits.iter().fold(0, |length: usize, digit| length << 8 | usize::from(*digit));
    let shortest = length >= 0x80 && digits.first() != Some(&0);
    shortest.then_some((length, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let written = element(OCTET_STRING, &[&content]);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.content(OCTET_STRING), Some(content.as_slice()), "{length}");
            assert!(reader.is_done());
            for cut in [1, 2, 3].into_iter().filter(|cut| *cut <= length) {
                assert!(Reader::new(&written[..written.len() - cut]).any().is_none());
            }
        }
        for number in [0, 1, 127, 128, 255, 256, 600_000, u32::MAX] {
            assert_eq!(Reader::new(&integer(number)).number(), Some(number), "{number}");
        }
    }

    #[test]
    fn only_the_one_encoding_is_read() {
        for bad in [
            &[][..],
            &[0x04],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x81, 0x01, 7],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x84, 0, 0, 0, 1, 7],
            &[0x04, 0xff],
            &[0x1f, 0x01, 0x00],
        ] {
            assert!(Reader::new(bad).any().is_none(), "{bad:x?}");
        }
        for number in [&[0x02, 0x00][..], &[0x02, 0x02, 0x00, 0x01], &[0x02, 0x01, 0x80]] {
            assert!(Reader::new(number).digits().is_none(), "{number:x?}");
        }
        assert!(Reader::new(&[0x03, 0x02, 0x01, 0x80]).bits().is_none(), "bits to spare");
    }
}
