//! A TOML source and the cursors that lower it: every fault is collected, each with its place.
//!
//! ```
//! use rangegate::policy::source::{Source, Value};
//!
//! let source = Source::new("a.toml", "name = 'console'\nwithin = 10");
//! let document = source.parse();
//! let mut table = document.root();
//! let name = table.required("name", Value::text);
//! let within = table.optional("within", Value::duration);
//! table.finish();
//! assert_eq!(name, Some("console"));
//! assert_eq!(within, None);
//! assert_eq!(document.into_faults().len(), 1, "a duration is text with a unit");
//! ```

pub mod table;
pub mod units;
pub mod unseen;
pub mod value;
mod whereabouts;

pub use table::{Key, Table};
pub use value::Value;

use super::diagnostic::{Diagnostic, Place};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::DeTable;

/// A named text. Reading files is the caller's business.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the author knows it: the path that was given, or `--given`.
    pub name: Arc<str>,
    pub text: Arc<str>,
}

impl Source {
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Parses as far as it goes. Of several syntax errors on a line only the first is kept, and of
    /// equal ones in a row: the others follow from it.
    pub fn parse(&self) -> Document<'_> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        let faults = Faults { file: Arc::clone(&self.name), list: RefCell::default(), muted: !errors.is_empty() };
        let mut spans: Vec<_> = errors.iter().map(|error| (self.clamp(error.span().unwrap_or(0..0)), error)).collect();
        spans.sort_by_key(|(span, _)| span.start);
        spans.dedup_by_key(|(span, _)| self.position(span.start).0);
        // A bracket that is never closed spoils every line after it in the same way.
        spans.dedup_by(|(_, later), (_, earlier)| later.message() == earlier.message());
        for (span, error) in spans {
            let fault = match self.unseen_near(span.clone()) {
                Some((at, c)) => Diagnostic::error(Place::new(&self.name, at), "this is not TOML")
                    .label(format!("{} stands here", unseen::called(c))),
                None => Diagnostic::error(Place::new(&self.name, span), "this is not TOML").label(error.message()),
            };
            faults.list.borrow_mut().push(fault);
        }
        Document { text: &self.text, table, faults }
    }

    /// A character that nobody sees, in the words around a syntax error that it may have caused.
    fn unseen_near(&self, span: Range<usize>) -> Option<(Range<usize>, char)> {
        let before = self.text.get(..span.start)?.rfind(|c: char| c.is_ascii_whitespace()).map_or(0, |at| at + 1);
        let after = self.text.get(span.end..)?.find(|c: char| c.is_ascii_whitespace());
        let after = after.map_or(self.text.len(), |at| span.end + at);
        let found = self.text.get(before..after)?.char_indices().find(|(_, c)| !c.is_ascii() && unseen::odd(*c));
        found.map(|(at, c)| (before + at..before + at + c.len_utf8(), c))
    }

    /// Line and column of a byte, both from 1; a column is one character.
    pub fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..self.clamp(at..at).start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (before.bytes().filter(|byte| *byte == b'\n').count() + 1, column)
    }

    /// The nearest span that lies within the text and between characters.
    pub fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.ceil_char_boundary(span.end.min(self.text.len()));
        start..end.max(start)
    }
}

/// A parsed source and the faults found in it so far.
#[derive(Debug)]
pub struct Document<'s> {
    text: &'s str,
    table: Spanned<DeTable<'s>>,
    faults: Faults,
}

impl Document<'_> {
    /// The cursor over the top-level keys.
    pub fn root(&self) -> Table<'_> {
        Table::new(self, "", 0..0, self.table.get_ref())
    }

    /// Whether the text is TOML at all.
    pub fn is_toml(&self) -> bool {
        !self.faults.muted
    }

    /// Adds a fault that a lowerer found by itself.
    pub fn report(&self, fault: Diagnostic) {
        self.faults.report(fault);
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place::new(&self.faults.file, span)
    }

    /// Everything that was found, in the order it was found.
    pub fn into_faults(self) -> Vec<Diagnostic> {
        self.faults.list.into_inner()
    }
}

/// Where the cursors of one document put what they find.
#[derive(Debug)]
struct Faults {
    file: Arc<str>,
    list: RefCell<Vec<Diagnostic>>,
    /// The text is not TOML: whatever else seems wrong may follow from that, so nothing more is reported.
    muted: bool,
}

impl Faults {
    /// The most faults kept of one source.
    const MOST: usize = 1000;

    fn report(&self, fault: Diagnostic) {
        let mut list = self.list.borrow_mut();
        if !self.muted && list.len() < Self::MOST {
            list.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::diagnostic;

    #[test]
    fn several_syntax_errors_are_found_at_once_and_silence_the_rest() {
        let source = Source::new("a.toml", "id = \nhosts = [\"a\"\n\n[resource\nmode = = 1\n");
        let document = source.parse();
        document.root().finish();
        let faults = document.into_faults();
        assert!(faults.len() >= 2, "{faults:?}");
        let mut lines: Vec<_> = faults.iter().map(|fault| source.position(fault.place.start).0).collect();
        lines.dedup();
        assert_eq!(lines.len(), faults.len(), "one a line");
        assert!(faults.iter().all(|fault| fault.message == "this is not TOML"), "{faults:?}");
        assert!(diagnostic::render(&faults, &[source], false).contains("a.toml:1:"));
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("a", "é\nab\r\ncd");
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(2), (1, 2));
        assert_eq!(source.position(4), (2, 2));
        assert_eq!(source.position(7), (3, 1));
        assert_eq!(source.position(1000), (3, 3));
    }
}
