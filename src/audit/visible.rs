//! Text in which every character can be seen, so that no line of the log breaks a line or a terminal.
//!
//! Besides the C0 controls, which JSON escapes anyway, DEL, C1, line separators, direction marks and what has no
//! width are written as `\u` escapes.

use crate::policy::source::unseen::unseen;
use std::borrow::Cow;
use std::io::{self, Write};

/// Appends the text as it stands between the quotes of a JSON string.
pub fn escape(buffer: &mut Vec<u8>, text: &str) {
    // What nearly every text is.
    if stands_for_itself(text.as_bytes()) {
        return buffer.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        match c {
            '"' => buffer.extend_from_slice(b"\\\""),
            '\\' => buffer.extend_from_slice(b"\\\\"),
            '\n' => buffer.extend_from_slice(b"\\n"),
            '\r' => buffer.extend_from_slice(b"\\r"),
            '\t' => buffer.extend_from_slice(b"\\t"),
            '\u{8}' => buffer.extend_from_slice(b"\\b"),
            '\u{c}' => buffer.extend_from_slice(b"\\f"),
            c if c < ' ' || unseen(c) => hide(buffer, c).expect("memory takes all"),
            c => buffer.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Looks at eight bytes at once, the last eight perhaps for a second time.
fn stands_for_itself(text: &[u8]) -> bool {
    let plain = |piece: &[u8; 8]| piece.iter().fold(true, |plain, byte| plain & is_plain(*byte));
    match text.last_chunk() {
        Some(last) => text.as_chunks().0.iter().all(plain) && plain(last),
        None => text.iter().all(|byte| is_plain(*byte)),
    }
}

/// Stands for itself in JSON and on a terminal.
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte < 0x7f && byte != b'"' && byte != b'\\'
}

/// Bytes that the character takes in the log.
pub(super) const fn width(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        c if c < ' ' || unseen(c) => 6 * c.len_utf16(),
        c => c.len_utf8(),
    }
}

fn hide<W: ?Sized + Write>(writer: &mut W, c: char) -> io::Result<()> {
    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))
}

/// The same for what serde writes.
pub struct Visible;

impl serde_json::ser::Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, hidden) in fragment.match_indices(unseen) {
            writer.write_all(fragment.get(plain..at).unwrap_or_default().as_bytes())?;
            hidden.chars().try_for_each(|c| hide(writer, c))?;
            plain = at + hidden.len();
        }
        writer.write_all(fragment.get(plain..).unwrap_or_default().as_bytes())
    }
}

/// The text with every character that could not be seen, or that a terminal would obey, as an escape.
pub fn printable(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() || unseen(c);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}
