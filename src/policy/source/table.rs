//! A table under the cursor: keys are asked for by name, and `finish` reports those nobody asked for.

use super::{Document, Value};
use crate::policy::diagnostic::{Diagnostic, Place, nearest, quoted};
use std::ops::Range;
use toml::de::DeTable;

/// A key as the author wrote it.
#[derive(Clone, Debug)]
pub struct Key<'a> {
    pub name: &'a str,
    pub place: Place,
}

/// A cursor over one table. Ask for every key the table may have, then call `finish`.
#[derive(Debug)]
#[must_use = "`finish` reports the keys nobody asked for"]
pub struct Table<'a> {
    document: &'a Document<'a>,
    /// The key the table stands under; empty for the whole document.
    name: &'a str,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
    asked: Vec<&'a str>,
    missing: Vec<&'a str>,
}

impl<'a> Table<'a> {
    pub(super) fn new(document: &'a Document<'a>, name: &'a str, span: Range<usize>, entries: &'a DeTable<'a>) -> Self {
        Self { document, name, span, entries, asked: Vec::new(), missing: Vec::new() }
    }

    /// The table's header, or its braces.
    pub fn place(&self) -> Place {
        self.document.place(self.span.clone())
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value under `key`; its absence is a fault.
    pub fn required<T>(&mut self, key: &'a str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Option<T> {
        if !self.has(key) {
            self.missing.push(key);
        }
        self.optional(key, read)
    }

    /// The value under `key`. None: absent, or present and at fault.
    pub fn optional<T>(&mut self, key: &'a str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Option<T> {
        self.asked.push(key);
        let raw = self.entries.get(key)?;
        read(Value::new(self.document, key, raw))
    }

    /// The value under `key`, or `default` when it is absent (or at fault: then the whole is not used anyway).
    pub fn or<T>(&mut self, key: &'a str, default: T, read: impl FnOnce(Value<'a>) -> Option<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// The items of the list under `key`; none when it is absent.
    pub fn list<T>(&mut self, key: &'a str, read: impl FnMut(Value<'a>) -> Option<T>) -> Vec<T> {
        self.optional(key, |value| value.list(read)).unwrap_or_default()
    }

    /// The table under `key`, when there is one.
    pub fn table(&mut self, key: &'a str) -> Option<Table<'a>> {
        self.optional(key, Value::table)
    }

    /// The tables under `[[key]]`, in order.
    pub fn tables(&mut self, key: &'a str) -> Vec<Table<'a>> {
        self.optional(key, Value::tables).unwrap_or_default()
    }

    /// Exactly one of `keys` must be there: reports none and several.
    pub fn exactly_one(&mut self, keys: &[&'a str]) {
        if !keys.iter().any(|key| self.has(key)) {
            let fault = Diagnostic::error(self.place(), format!("one of {} is needed", quoted(keys)));
            self.report(fault.label("in this table"));
        }
        self.at_most_one(keys);
    }

    /// At most one of `keys` may be there.
    pub fn at_most_one(&mut self, keys: &[&'a str]) {
        let mut found: Vec<Key<'a>> = self.keys().into_iter().filter(|key| keys.contains(&key.name)).collect();
        if found.len() > 1 {
            let first = found.remove(0);
            for other in found {
                let message = format!("`{}` and `{}` exclude each other", first.name, other.name);
                self.report(Diagnostic::error(other.place, message).related(first.place.clone(), "the other one"));
            }
        }
    }

    /// Where `key` was written; the table's own place when it was not.
    pub fn key_place(&self, key: &str) -> Place {
        self.entries.get_key_value(key).map_or_else(|| self.place(), |(key, _)| self.document.place(key.span()))
    }

    /// All keys in the order they were written.
    pub fn keys(&self) -> Vec<Key<'a>> {
        let mut keys: Vec<Key<'a>> = self
            .entries
            .keys()
            .map(|key| Key { name: key.get_ref(), place: self.document.place(key.span()) })
            .collect();
        keys.sort_by(|a, b| a.place.cmp(&b.place));
        keys
    }

    /// Every entry in the order it was written, for tables whose keys the author chooses.
    pub fn entries(mut self) -> Vec<(Key<'a>, Value<'a>)> {
        let mut entries = Vec::new();
        for key in self.keys() {
            let name = key.name;
            if let Some(value) = self.optional(name, Some) {
                entries.push((key, value));
            }
        }
        self.finish();
        entries
    }

    /// Adds a fault that the lowerer found by itself.
    pub fn report(&self, fault: Diagnostic) {
        self.document.report(fault);
    }

    /// Reports keys that are missing and keys that nobody asked for.
    pub fn finish(mut self) {
        let here = self.described();
        for key in self.keys() {
            if self.asked.contains(&key.name) {
                continue;
            }
            // A key that is mistyped is not also missing.
            if let Some(meant) = nearest(key.name, self.missing.iter().copied()) {
                self.missing.retain(|missing| *missing != meant);
            }
            let asked = self.asked.iter().copied();
            let fault = Diagnostic::error(key.place, format!("unknown key `{}`", key.name));
            let fault = fault.label(format!("not a key of {here}")).naming_unseen(key.name);
            self.document.report(fault.suggest_from(key.name, asked));
        }
        for key in &self.missing {
            let fault = Diagnostic::error(self.place(), format!("`{key}` is missing"));
            self.document.report(fault.label(format!("{here} needs `{key}`")));
        }
    }

    fn described(&self) -> String {
        if self.name.is_empty() { "this file".to_owned() } else { format!("`{}`", self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::diagnostic;
    use crate::policy::source::Source;

    fn faults(text: &str, lower: impl FnOnce(Table<'_>)) -> String {
        let source = Source::new("t", text);
        let document = source.parse();
        lower(document.root());
        diagnostic::lines(&document.into_faults(), std::slice::from_ref(&source))
    }

    #[test]
    fn unknown_and_missing_keys_are_reported_together() {
        let found = faults("[server]\nprot = 1\nextra = 2\n", |mut root| {
            let mut server = root.table("server").expect("there");
            server.required("port", Value::integer);
            server.required("name", Value::text);
            server.finish();
            root.finish();
        });
        assert_eq!(
            found,
            "t:1:1: `name` is missing (`server` needs `name`)\n\
             t:2:1: unknown key `prot` (not a key of `server`)\n\
             t:3:1: unknown key `extra` (not a key of `server`)\n"
        );
    }

    #[test]
    fn arrays_of_tables_keep_their_order() {
        let found = faults("[[a]]\nx = 1\n[[a]]\nx = 'two'\n[[a]]\ny = 3\n", |mut root| {
            let all = root.tables("a");
            assert_eq!(all.len(), 3);
            for mut one in all {
                one.required("x", Value::integer);
                one.finish();
            }
            root.finish();
        });
        assert_eq!(
            found,
            "t:4:5: `x` takes a whole number, not text (expected a whole number)\n\
             t:6:1: unknown key `y` (not a key of `a`)\n"
        );
    }

    #[test]
    fn choices_and_free_keys() {
        let found = faults("a = 1\nb = 2\n[free]\nz = 1\ny = 2\n", |mut root| {
            root.exactly_one(&["a", "b"]);
            root.exactly_one(&["c", "d"]);
            root.optional("a", Value::integer);
            root.optional("b", Value::integer);
            let free = root.table("free").expect("there").entries();
            assert_eq!(free.iter().map(|(key, _)| key.name).collect::<Vec<_>>(), ["z", "y"]);
            root.finish();
        });
        assert_eq!(found, "t:1:1: one of `c`, `d` is needed (in this table)\nt:2:1: `a` and `b` exclude each other\n");
    }
}
