//! Characters that nobody sees: two names that look alike must not be two.

use std::borrow::Cow;

/// Has no width, or is obeyed by what shows it instead of being shown.
#[inline]
pub const fn unseen(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}'             // DEL and C1
        | '\u{ad}' | '\u{34f}'          // soft hyphen, grapheme joiner
        | '\u{61c}' | '\u{180e}'        // direction mark, vowel separator
        | '\u{200b}'..='\u{200f}'       // no width, direction marks
        | '\u{2028}'..='\u{202e}'       // line and paragraph separators, direction overrides
        | '\u{2060}'..='\u{206f}'       // joiners, direction isolates
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}') // tags
}

/// Whether nobody writes it into a name on purpose: it is unseen, or a space that is not the plain one.
pub fn odd(c: char) -> bool {
    c.is_control() || unseen(c) || (c.is_whitespace() && c != ' ')
}

/// What is in a name and cannot be meant, in words: `a zero-width space (U+200B)`, `a blank at the end`.
pub fn slip(text: &str) -> Option<Cow<'static, str>> {
    match text.chars().find(|c| odd(*c)) {
        Some(c) => Some(called(c).into()),
        None if text.starts_with(' ') => Some("a blank at the beginning".into()),
        None if text.ends_with(' ') => Some("a blank at the end".into()),
        None => None,
    }
}

/// The text as it was probably meant; None: it cannot be said.
pub fn meant(text: &str) -> Option<String> {
    let plain: String = text
        .chars()
        .filter(|c| !odd(*c) || c.is_whitespace())
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .collect();
    let plain = plain.trim();
    (!plain.is_empty() && !plain.contains(['"', '\\'])).then(|| plain.to_owned())
}

pub fn called(c: char) -> String {
    let name = match c {
        '\t' => "a tab",
        '\n' | '\r' | '\u{2028}' | '\u{2029}' => "a line break",
        '\u{a0}' => "a no-break space",
        '\u{ad}' => "a soft hyphen",
        '\u{200b}' => "a zero-width space",
        '\u{200c}' => "a zero-width non-joiner",
        '\u{200d}' => "a zero-width joiner",
        '\u{202f}' => "a narrow no-break space",
        '\u{2060}' => "a word joiner",
        '\u{feff}' => "a byte order mark",
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => "a direction mark",
        c if c.is_whitespace() => "a space that is not the plain one",
        c if c.is_control() => "a control character",
        _ => "a character without width",
    };
    format!("{name} (U+{:04X})", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_named() {
        for (text, named) in [
            ("ann\u{200b}", "a zero-width space (U+200B)"),
            ("an\u{a0}n", "a no-break space (U+00A0)"),
            ("\u{feff}ann", "a byte order mark (U+FEFF)"),
            ("a\u{202e}nn", "a direction mark (U+202E)"),
            ("ann\u{2009}lee", "a space that is not the plain one (U+2009)"),
            ("ann\t", "a tab (U+0009)"),
            ("ann\u{1b}", "a control character (U+001B)"),
            ("ann\u{e0041}", "a character without width (U+E0041)"),
            (" ann", "a blank at the beginning"),
            ("ann ", "a blank at the end"),
        ] {
            assert_eq!(slip(text).as_deref(), Some(named), "{text:?}");
        }
        for text in ["ann", "Ann Lee", "группа", "müller", "部門", "a-b_c@corp.example"] {
            assert_eq!(slip(text), None, "{text}");
        }
        assert_eq!(meant(" a\u{a0}b\u{200b}\u{feff} ").as_deref(), Some("a b"));
        assert_eq!(meant("\u{200b}"), None);
    }
}
