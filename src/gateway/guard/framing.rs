//! Where HTTP/1 messages begin and end, read strictly (RFC 9112). No input or output: bytes in, boundaries out.
//!
//! It works in *units*: a head, a piece of body, a chunk's size line, the end of a chunk, a trailer section. A unit
//! passes when it is whole and good. One that is not yet whole is shown again, from its beginning, with more bytes;
//! nothing of it is looked at twice.

use super::grammar::{TOKEN, decimal, find_control, request_line};
use crate::enforce::headers::forbidden_in_trailers;
use crate::evidence::Malformed;

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Framing {
    header_bytes: usize,
    header_count: usize,
    unit: Unit,
    /// Within the current unit: up to where it was searched, and where its current line begins.
    searched: usize,
    line: usize,
    fields: usize,
    /// Chunk extension bytes of the current body.
    extensions: usize,
    head: Head,
    heads: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Head,
    /// So many bytes of a body with `Content-Length`.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Behind a WebSocket handshake: whose bytes these are is not decided yet.
    Undecided,
}

/// What matters in a head for finding its body's end, and for telling of it.
#[derive(Debug, Default)]
struct Head {
    /// End of the request line, once that was read and found good.
    request_line: Option<usize>,
    http_10: bool,
    blank_lines: u8,
    host: Option<(usize, usize)>,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
}

/// The first thing in the stream that is not strict HTTP/1. Nothing behind it can be trusted.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    /// So many of the bytes shown are good and may pass.
    pub passed: usize,
    pub malformed: Malformed,
    /// In a head: its number on the connection, from 1, and a harmless head in its place. None: in a body.
    pub head: Option<(u32, Vec<u8>)>,
}

/// A chunk's size line may have this many bytes, and a body this many in extensions: nobody uses them, and servers
/// disagree about what may stand in them.
const SIZE_LINE: usize = 256;
const EXTENSIONS: usize = 4096;

impl Framing {
    /// Bounds on the bytes and fields of a head or a trailer section.
    pub const fn new(header_bytes: usize, header_count: usize) -> Self {
        Self {
            header_bytes,
            header_count,
            unit: Unit::Head,
            searched: 0,
            line: 0,
            fields: 0,
            extensions: 0,
            head: Head {
                request_line: None,
                http_10: false,
                blank_lines: 0,
                host: None,
                length: None,
                chunked: false,
                websocket: false,
            },
            heads: 0,
        }
    }

    /// Looks at bytes that begin where the last unit that passed ended. Returns how many of them may pass.
    ///
    /// # Errors
    /// The first violation. The connection's bytes must not be shown again after it.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut passed = 0;
        loop {
            let rest = &bytes[passed..];
            let unit = match self.unit {
                Unit::Head => self.head(rest),
                Unit::Body(left) => Ok(self.skip(left, rest, Unit::Body, Unit::Head)),
                Unit::Chunk(left) => Ok(self.skip(left, rest, Unit::Chunk, Unit::ChunkEnd)),
                Unit::ChunkSize => self.chunk_size(rest),
                Unit::ChunkEnd => self.chunk_end(rest),
                Unit::Trailers => self.trailers(rest),
                Unit::Undecided => return Ok(passed),
            };
            match unit {
                Ok(Some(length)) => {
                    passed += length;
                    self.searched = 0;
                    self.line = 0;
                }
                Ok(None) => {
                    // Only pieces of bodies pass in part.
                    if matches!(self.unit, Unit::Body(_) | Unit::Chunk(_)) {
                        passed = bytes.len();
                    }
                    return Ok(passed);
                }
                Err(malformed) => {
                    let in_head = self.unit == Unit::Head;
                    let head = in_head.then(|| (self.heads.saturating_add(1), self.substitute(rest)));
                    return Err(Violation { passed, malformed, head });
                }
            }
        }
    }

    /// Whether the next byte belongs to a head.
    pub fn in_head(&self) -> bool {
        self.unit == Unit::Head
    }

    /// Whether the last head asked for a WebSocket and nobody has said yet what follows.
    pub fn undecided(&self) -> bool {
        self.unit == Unit::Undecided
    }

    /// How many whole heads have passed.
    pub const fn heads(&self) -> u32 {
        self.heads
    }

    /// The handshake was refused: what follows is the next request.
    pub fn resume(&mut self) {
        if self.unit == Unit::Undecided {
            self.unit = Unit::Head;
        }
    }

    fn skip(&mut self, left: u64, rest: &[u8], again: fn(u64) -> Unit, then: Unit) -> Option<usize> {
        match usize::try_from(left) {
            Ok(left) if left <= rest.len() => {
                self.unit = then;
                Some(left)
            }
            _ => {
                self.unit = again(left - rest.len() as u64);
                None
            }
        }
    }

    fn head(&mut self, rest: &[u8]) -> Result<Option<usize>, Malformed> {
        loop {
            let Some((from, to)) = self.next_line(rest, self.header_bytes, Malformed::HeadersTooLarge)? else {
                return Ok(None);
            };
            let line = &rest[from..to];
            if self.head.request_line.is_none() {
                if line.is_empty() {
                    // Old clients send one behind a body (RFC 9112 section 2.2).
                    self.head.blank_lines += 1;
                    if self.head.blank_lines > 1 {
                        return Err(Malformed::Syntax);
                    }
                    continue;
                }
                self.head.http_10 = request_line(line)?;
                self.head.request_line = Some(to);
            } else if line.is_empty() {
                self.unit = self.body()?;
                self.head = Head::default();
                self.fields = 0;
                self.extensions = 0;
                self.heads = self.heads.saturating_add(1);
                return Ok(Some(to + 2));
            } else {
                self.head_field(line, from, to)?;
            }
        }
    }

    fn head_field(&mut self, line: &[u8], from: usize, to: usize) -> Result<(), Malformed> {
        let (name, value) = self.field(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.head.host = Some((from, to)),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.head.websocket |= value.eq_ignore_ascii_case(b"websocket");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(value).ok_or(Malformed::AmbiguousFraming)?;
                if self.head.length.replace(length).is_some() {
                    return Err(Malformed::AmbiguousFraming);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.head.chunked || self.head.http_10 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::AmbiguousFraming);
                }
                self.head.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What follows a whole head.
    fn body(&self) -> Result<Unit, Malformed> {
        match (self.head.length, self.head.chunked) {
            (Some(_), true) => Err(Malformed::AmbiguousFraming),
            (None, true) => Ok(Unit::ChunkSize),
            (Some(length), false) if length > 0 => Ok(Unit::Body(length)),
            _ if self.head.websocket && !self.head.http_10 => Ok(Unit::Undecided),
            _ => Ok(Unit::Head),
        }
    }

    fn chunk_size(&mut self, rest: &[u8]) -> Result<Option<usize>, Malformed> {
        let Some((from, to)) = self.next_line(rest, SIZE_LINE, Malformed::AmbiguousFraming)? else { return Ok(None) };
        let line = &rest[from..to];
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let (size, extension) = line.split_at(digits);
        self.extensions += extension.len();
        let plain = extension.first().is_none_or(|b| *b == b';') && extension.iter().all(|b| (0x20..0x7f).contains(b));
        if !(1..=15).contains(&digits) || !plain || self.extensions > EXTENSIONS {
            return Err(Malformed::AmbiguousFraming);
        }
        let size = size.iter().fold(0_u64, |size, b| size << 4 | u64::from(char::from(*b).to_digit(16).unwrap_or(0)));
        self.unit = if size == 0 { Unit::Trailers } else { Unit::Chunk(size) };
        Ok(Some(to + 2))
    }

    fn chunk_end(&mut self, rest: &[u8]) -> Result<Option<usize>, Malformed> {
        match rest {
            [] | [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => {
                self.unit = Unit::ChunkSize;
                Ok(Some(2))
            }
            _ => Err(Malformed::AmbiguousFraming),
        }
    }

    fn trailers(&mut self, rest: &[u8]) -> Result<Option<usize>, Malformed> {
        loop {
            let Some((from, to)) = self.next_line(rest, self.header_bytes, Malformed::HeadersTooLarge)? else {
                return Ok(None);
            };
            if from == to {
                self.unit = Unit::Head;
                self.fields = 0;
                return Ok(Some(to + 2));
            }
            let (name, _) = self.field(&rest[from..to])?;
            let name = name.to_ascii_lowercase();
            if std::str::from_utf8(&name).is_ok_and(forbidden_in_trailers) {
                return Err(Malformed::HeaderInvalid);
            }
        }
    }

    /// The next line of the unit, without its CRLF; None when it has not come yet.
    fn next_line(
        &mut self,
        rest: &[u8],
        limit: usize,
        too_long: Malformed,
    ) -> Result<Option<(usize, usize)>, Malformed> {
        let found = find_control(rest, self.searched);
        self.searched = found.unwrap_or(rest.len());
        if self.searched > limit {
            return Err(too_long);
        }
        let Some(end) = found else { return Ok(None) };
        match &rest[end..] {
            [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => {
                let from = self.line;
                self.line = end + 2;
                self.searched = end + 2;
                Ok(Some((from, end)))
            }
            _ => Err(Malformed::ControlByte),
        }
    }

    /// Splits a field line into name and trimmed value, and counts it.
    fn field<'a>(&mut self, line: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Malformed> {
        self.fields += 1;
        if self.fields > self.header_count {
            return Err(Malformed::HeadersTooLarge);
        }
        let end = line.iter().position(|b| !TOKEN[usize::from(*b)]).ok_or(Malformed::Syntax)?;
        match line.split_at(end) {
            // A blank before the colon, or at the line's beginning: the field of old continued over lines.
            (_, [b' ' | b'\t', ..]) => Err(Malformed::HeaderInvalid),
            (name @ [_, ..], [b':', value @ ..]) => Ok((name, value.trim_ascii())),
            _ => Err(Malformed::Syntax),
        }
    }

    /// A head that says as much of the broken one as was found good, has no body and ends the connection.
    fn substitute(&self, rest: &[u8]) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        let begin = usize::from(self.head.blank_lines) * 2;
        match self.head.request_line.and_then(|end| rest.get(begin..end)) {
            Some(line) => head.extend_from_slice(line),
            None => head.extend_from_slice(b"GET / HTTP/1.1"),
        }
        head.extend_from_slice(b"\r\n");
        if let Some(host) = self.head.host.and_then(|(from, to)| rest.get(from..to)) {
            head.extend_from_slice(host);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"connection: close\r\n\r\n");
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All bytes at once: how many passed, or why not.
    fn whole(bytes: &[u8]) -> Result<usize, Malformed> {
        Framing::new(16 * 1024, 100).advance(bytes).map_err(|violation| violation.malformed)
    }

    /// The same in pieces of `size`, as a connection shows them.
    fn pieces(bytes: &[u8], size: usize) -> Result<usize, Malformed> {
        let mut framing = Framing::new(16 * 1024, 100);
        let (mut passed, mut shown) = (0, 0);
        while shown < bytes.len() {
            shown = (shown + size).min(bytes.len());
            passed += framing.advance(&bytes[passed..shown]).map_err(|violation| violation.malformed)?;
        }
        Ok(passed)
    }

    #[test]
    fn good_streams_pass_whole() {
        for stream in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a?b=c HTTP/1.0\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhe\nlo\r\n00a;x=y\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding:\tchunked \r\n\r\n0\r\ngrpc-status: 0\r\nX: \u{e9}\r\n\r\nPUT / HTTP/1.1\r\n\r\n",
            "GET https://a/b HTTP/1.1\r\nHost: a\r\nx:\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\n\r\nCONNECT a:443 HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nupgrade: h2c\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(whole(stream.as_bytes()), Ok(stream.len()), "{stream:?}");
            for size in [1, 2, 3, 7, 16] {
                assert_eq!(pieces(stream.as_bytes(), size), Ok(stream.len()), "{size} {stream:?}");
            }
        }
    }

    #[test]
    fn each_violation_has_its_name() {
        use Malformed::{
            AmbiguousFraming, ControlByte, HeaderInvalid, HeadersTooLarge, Method, PathEncoding, Syntax, TargetForm,
        };
        let in_chunks = |rest: &str| format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
        let fields = |rest: &str| format!("POST / HTTP/1.1\r\n{rest}\r\n\r\n");
        for (stream, why) in [
            (fields("Content-Length: 1\r\nTransfer-Encoding: chunked"), AmbiguousFraming),
            (fields("Transfer-Encoding: chunked\r\nContent-Length: 1"), AmbiguousFraming),
            (fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), AmbiguousFraming),
            (fields("Transfer-Encoding: gzip, chunked"), AmbiguousFraming),
            (fields("Transfer-Encoding: chunked, identity"), AmbiguousFraming),
            (fields("Transfer-Encoding: xchunked"), AmbiguousFraming),
            (fields("Transfer-Encoding:"), AmbiguousFraming),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), AmbiguousFraming),
            (fields("Content-Length: 1\r\nContent-Length: 1"), AmbiguousFraming),
            (fields("Content-Length: 1, 1"), AmbiguousFraming),
            (fields("Content-Length: +1"), AmbiguousFraming),
            (fields("Content-Length: -1"), AmbiguousFraming),
            (fields("Content-Length: 0x1"), AmbiguousFraming),
            (fields("Content-Length: 1 1"), AmbiguousFraming),
            (fields("Content-Length: 010"), AmbiguousFraming),
            (fields("Content-Length:"), AmbiguousFraming),
            (fields("Content-Length: 99999999999999999999"), AmbiguousFraming),
            (fields("Content-Length : 1"), HeaderInvalid),
            (fields("Transfer-Encoding\t: chunked"), HeaderInvalid),
            (fields("X: a\r\n folded"), HeaderInvalid),
            (fields(" X: a"), HeaderInvalid),
            (fields("X"), Syntax),
            (fields(": a"), Syntax),
            (fields("X@: a"), Syntax),
            (fields("X\u{e9}: a"), Syntax),
            (fields("X: a\rb"), ControlByte),
            (fields("X: a\nb: c"), ControlByte),
            (fields("X: a\0b"), ControlByte),
            (fields("X: a\u{7f}"), ControlByte),
            (fields("X\0: a"), ControlByte),
            ("GET / HTTP/1.1\nHost: a\n\n".into(), ControlByte),
            ("GET /\0 HTTP/1.1\r\n\r\n".into(), ControlByte),
            ("GET /\t HTTP/1.1\r\n\r\n".into(), ControlByte),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n".into(), Syntax),
            ("GET  / HTTP/1.1\r\n\r\n".into(), Syntax),
            ("GET / HTTP/1.1 \r\n\r\n".into(), Syntax),
            (" GET / HTTP/1.1\r\n\r\n".into(), Syntax),
            ("GET /\r\n\r\n".into(), Syntax),
            ("GET / HTTP/2.0\r\n\r\n".into(), Syntax),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Syntax),
            ("GET / http/1.1\r\n\r\n".into(), Syntax),
            ("G(T / HTTP/1.1\r\n\r\n".into(), Syntax),
            (format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(33)), Method),
            ("GET /a#b HTTP/1.1\r\n\r\n".into(), PathEncoding),
            ("GET /a\\b HTTP/1.1\r\n\r\n".into(), PathEncoding),
            ("GET /\u{e9} HTTP/1.1\r\n\r\n".into(), PathEncoding),
            ("GET a/b HTTP/1.1\r\n\r\n".into(), TargetForm),
            ("GET http:// HTTP/1.1\r\n\r\n".into(), TargetForm),
            (fields(&format!("X: {}", "a".repeat(17_000))), HeadersTooLarge),
            (fields(&vec!["a: b"; 101].join("\r\n")), HeadersTooLarge),
            (in_chunks("+5\r\nhello\r\n0\r\n\r\n"), AmbiguousFraming),
            (in_chunks("-5\r\n"), AmbiguousFraming),
            (in_chunks("0x5\r\n"), AmbiguousFraming),
            (in_chunks(" 5\r\n"), AmbiguousFraming),
            (in_chunks("5 \r\n"), AmbiguousFraming),
            (in_chunks("\r\n"), AmbiguousFraming),
            (in_chunks(";a\r\n"), AmbiguousFraming),
            (in_chunks("5 ;a\r\n"), AmbiguousFraming),
            (in_chunks("10000000000000005\r\n"), AmbiguousFraming),
            (in_chunks("5\r\nhelloX\r\n"), AmbiguousFraming),
            (in_chunks("5\r\nhello0\r\n\r\n"), AmbiguousFraming),
            (in_chunks("5\r\nhello\n0\r\n\r\n"), AmbiguousFraming),
            (in_chunks("5\nhello\r\n"), ControlByte),
            (in_chunks("5;a\rb\r\n"), ControlByte),
            (in_chunks(&format!("5;{}\r\n", "a".repeat(300))), AmbiguousFraming),
            (in_chunks(&format!("1;{}\r\na\r\n", "a".repeat(250)).repeat(20)), AmbiguousFraming),
            (in_chunks("0\r\nContent-Length: 5\r\n\r\n"), HeaderInvalid),
            (in_chunks("0\r\nTransfer-Encoding: x\r\n\r\n"), HeaderInvalid),
            (in_chunks("0\r\nHost: x\r\n\r\n"), HeaderInvalid),
            (in_chunks("0\r\nAuthorization: x\r\n\r\n"), HeaderInvalid),
            (in_chunks("0\r\nX: a\nb: c\r\n\r\n"), ControlByte),
            (in_chunks("0\r\nGET / HTTP/1.1\r\n\r\n"), HeaderInvalid),
        ] {
            assert_eq!(whole(stream.as_bytes()), Err(why), "{stream:?}");
            for size in [1, 3, 16] {
                assert_eq!(pieces(stream.as_bytes(), size), Err(why), "{size} {stream:?}");
            }
        }
    }

    #[test]
    fn a_broken_head_is_replaced_by_a_harmless_one() {
        let mut framing = Framing::new(16 * 1024, 100);
        let good = "GET /1 HTTP/1.1\r\n\r\n";
        let stream = format!("{good}POST /2 HTTP/1.1\r\nHost: a.example\r\nX: a\0b\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
        let violation = framing.advance(stream.as_bytes()).unwrap_err();
        assert_eq!(violation.passed, good.len());
        let (number, head) = violation.head.unwrap();
        assert_eq!(number, 2);
        assert_eq!(head, b"POST /2 HTTP/1.1\r\nHost: a.example\r\nconnection: close\r\n\r\n");
        assert_eq!(whole(&head), Ok(head.len()));

        let nothing = Framing::new(16 * 1024, 100).advance(b"\x16\x03\x01").unwrap_err();
        assert_eq!(nothing.head.unwrap().1, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
        let body = Framing::new(1024, 9).advance(b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\naXX");
        assert_eq!(body, Err(Violation { passed: 50, malformed: Malformed::AmbiguousFraming, head: None }));
    }

    #[test]
    fn behind_a_websocket_handshake_nothing_is_read_until_decided() {
        let mut framing = Framing::new(16 * 1024, 100);
        let head = b"GET / HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n";
        let stream = [&head[..], b"\x81\x80\r\n\0"].concat();
        assert_eq!(framing.advance(&stream), Ok(head.len()));
        assert!(framing.undecided());
        assert_eq!(framing.advance(&stream[head.len()..]), Ok(0));
        framing.resume();
        assert_eq!(framing.advance(head), Ok(head.len()));
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "GET / HTTP/1.1\r\n",
            "POST /a HTTP/1.1\r\n",
            "PUT / HTTP/1.0\r\n",
            "Host: a\r\n",
            "Content-Length: 3\r\n",
            "Content-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Upgrade: websocket\r\n",
            "\r\n",
            "\r\n\r\n",
            "abc",
            "3\r\nabc\r\n",
            "0\r\n\r\n",
            "0\r\nx: y\r\n\r\n",
            "x: y\r\n",
            "\n",
            "\r",
            "\0",
            " ",
            ":",
            "1;a=b\r\nx\r\n",
        ]);
        proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_does_not_matter(stream in stream(), size in 1_usize..9) {
            prop_assert_eq!(pieces(&stream, size), whole(&stream));
        }

        #[test]
        fn no_bytes_panic(stream in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = whole(&stream);
        }

        /// What hyper is shown in place of a broken head would itself pass.
        #[test]
        fn a_substitute_is_always_strict(stream in stream()) {
            if let Err(Violation { head: Some((_, head)), .. }) = Framing::new(16 * 1024, 100).advance(&stream) {
                prop_assert_eq!(whole(&head), Ok(head.len()));
            }
        }
    }
}
