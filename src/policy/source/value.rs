//! A value under the cursor: read as one type, or its fault reported in the author's words.

use super::whereabouts::Whereabouts;
use super::{Document, Table, units, unseen};
use crate::latency::Kilometres;
use crate::policy::diagnostic::{Diagnostic, Place};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// One value and the key it stands under. Every reader returns None after reporting why.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    document: &'a Document<'a>,
    key: &'a str,
    raw: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn new(document: &'a Document<'a>, key: &'a str, raw: &'a Spanned<DeValue<'a>>) -> Self {
        Self { document, key, raw }
    }

    pub fn place(&self) -> Place {
        self.document.place(self.raw.span())
    }

    /// The key it stands under; for an item of a list, the list's.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The value and where it was written, for faults found later.
    pub fn placed<T>(self, read: impl FnOnce(Self) -> Option<T>) -> Option<(T, Place)> {
        Some((read(self)?, self.place()))
    }

    pub fn text(self) -> Option<&'a str> {
        match self.raw.get_ref() {
            DeValue::String(text) => Some(text),
            _ => self.expected("text", "text in quotes"),
        }
    }

    /// A name that something else is compared with: text in which all can be seen.
    pub fn name(self) -> Option<&'a str> {
        let text = self.words()?;
        let Some(slip) = unseen::slip(text) else { return Some(text) };
        let fault = Diagnostic::error(self.place(), format!("`{}` holds {slip}", self.key));
        let fault = fault.label("nothing that looks like this is equal to it");
        self.document.report(match unseen::meant(text) {
            Some(meant) => fault.suggest(self.place(), format!("\"{meant}\"")),
            None => fault,
        });
        None
    }

    /// Text that is not empty.
    pub fn words(self) -> Option<&'a str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            return self.fault(format!("`{}` is empty", self.key), "expected some text");
        }
        Some(text)
    }

    /// Text that `parse` can read: `what` it is, `like` what it looks. The parser's error becomes the label under the words.
    pub fn parsed<T>(self, what: &str, like: &str, parse: impl FnOnce(&'a str) -> Result<T, String>) -> Option<T> {
        let DeValue::String(text) = self.raw.get_ref() else {
            return self.expected(what, &format!("{what} in quotes, such as \"{like}\""));
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                let fault = Diagnostic::error(self.place(), format!("`{text}` is not {what}")).label(why);
                self.document.report(fault.naming_unseen(text));
                None
            }
        }
    }

    /// A date or a time as TOML has them, which this language writes as text.
    pub fn unquoted_time(&self) -> Option<String> {
        match self.raw.get_ref() {
            DeValue::Datetime(time) => Some(time.to_string()),
            _ => None,
        }
    }

    pub fn boolean(self) -> Option<bool> {
        match self.raw.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            _ => self.expected("true or false", "`true` or `false`"),
        }
    }

    pub fn integer(self) -> Option<i64> {
        match self.raw.get_ref() {
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(value) => Some(value),
                Err(_) => self.fault(format!("`{digits}` is out of range"), "does not fit into 64 bits"),
            },
            _ => self.expected("a whole number", "a whole number"),
        }
    }

    /// A whole number within bounds, as any integer type that holds them.
    pub fn integer_in<T: TryFrom<i64>>(self, bounds: RangeInclusive<i64>) -> Option<T> {
        let value = self.integer()?;
        match T::try_from(value) {
            Ok(fitting) if bounds.contains(&value) => Some(fitting),
            _ => {
                let label = format!("expected {} to {}", bounds.start(), bounds.end());
                self.fault(format!("`{}` is out of range", self.key), &label)
            }
        }
    }

    /// A whole or decimal number within bounds.
    pub fn number_in(self, bounds: RangeInclusive<f64>) -> Option<f64> {
        self.number_called(&format!("`{}`", self.key), bounds)
    }

    /// The same, for one of several under a key.
    pub fn number_called(self, what: &str, bounds: RangeInclusive<f64>) -> Option<f64> {
        let value = match self.raw.get_ref() {
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(|n| n as f64),
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            _ => return self.expected("a number", "a number"),
        };
        match value.filter(|value| bounds.contains(value)) {
            Some(value) => Some(value),
            None => {
                let label = format!("expected {} to {}", bounds.start(), bounds.end());
                self.fault(format!("{what} is out of range"), &label)
            }
        }
    }

    /// `"30ms"`, `"10m"`, `"180d"`, `"1h 30m"`.
    pub fn duration(self) -> Option<Duration> {
        self.parsed("a duration", "10m", units::duration)
    }

    /// A duration that is not zero.
    pub fn positive_duration(self) -> Option<Duration> {
        let value = self.duration()?;
        if value.is_zero() {
            return self.fault(format!("`{}` is zero", self.key), "expected more than nothing");
        }
        Some(value)
    }

    /// `"150km"`, `"800m"`.
    pub fn distance(self) -> Option<Kilometres> {
        self.parsed("a distance", "150km", units::distance)
    }

    /// `"64KiB"`, `"10MB"`, `"512B"`.
    pub fn bytes(self) -> Option<u64> {
        self.parsed("a size", "64KiB", units::bytes)
    }

    /// `"127.0.0.1:8443"`, `"[::]:443"`.
    pub fn socket_address(self) -> Option<SocketAddr> {
        self.parsed("an address and port", "0.0.0.0:8443", |text| {
            text.parse()
                .map_err(|_| "expected an IP address and a port, such as `0.0.0.0:8443` or `[::]:8443`".to_owned())
        })
    }

    pub fn address(self) -> Option<IpAddr> {
        self.parsed("an IP address", "192.0.2.7", |text| {
            text.parse().map_err(|_| "expected one such as `192.0.2.7` or `2001:db8::7`".to_owned())
        })
    }

    /// `"192.0.2.0/24"`, `"2001:db8::/32"`; a bare address is a network of one.
    pub fn network(self) -> Option<IpNet> {
        let DeValue::String(text) = self.raw.get_ref() else {
            return self.expected("a network", "a network such as \"192.0.2.0/24\"");
        };
        match units::network(text) {
            Ok(network) => Some(network),
            Err(units::NotANetwork::Syntax) => self
                .fault(format!("`{text}` is not a network"), "expected one such as `192.0.2.0/24` or `2001:db8::/32`"),
            Err(units::NotANetwork::HostBits(meant)) => {
                let fault = Diagnostic::error(self.place(), format!("`{text}` has bits outside its prefix"));
                self.document.report(fault.suggest(self.place(), format!("\"{meant}\"")));
                None
            }
        }
    }

    /// One of a closed set of words.
    pub fn one_of<T: Copy>(self, words: &[(&'static str, T)]) -> Option<T> {
        self.one_of_or(words, &[])
    }

    /// The same, where `also` could stand without quotes, which the caller has seen to.
    pub fn one_of_or<T: Copy>(self, words: &[(&'static str, T)], also: &[&str]) -> Option<T> {
        let known = || words.iter().map(|(word, _)| *word);
        let expected = || {
            let also = also.iter().map(|word| (*word).to_owned());
            let all: Vec<String> = also.chain(known().map(|word| format!("\"{word}\""))).collect();
            format!("one of {}", all.join(", "))
        };
        let DeValue::String(text) = self.raw.get_ref() else {
            return self.expected(&expected(), &expected());
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let fault = Diagnostic::error(self.place(), format!("`{}` cannot be `{text}`", self.key));
        let fault = fault.label(format!("expected {}", expected())).naming_unseen(text);
        let fault = match crate::policy::diagnostic::nearest(text, known()) {
            Some(near) => fault.suggest(self.place(), format!("\"{near}\"")),
            None => fault,
        };
        self.document.report(fault);
        None
    }

    /// A list; items at fault are reported, and then the whole is None.
    pub fn list<T>(self, mut read: impl FnMut(Self) -> Option<T>) -> Option<Vec<T>> {
        let DeValue::Array(items) = self.raw.get_ref() else {
            return self.expected("a list", "a list in square brackets");
        };
        let read: Vec<Option<T>> = items.iter().map(|item| read(Self { raw: item, ..self })).collect();
        read.into_iter().collect()
    }

    /// A list with at least one item.
    pub fn nonempty<T>(self, read: impl FnMut(Self) -> Option<T>) -> Option<Vec<T>> {
        let items = self.list(read)?;
        if items.is_empty() {
            return self.fault(format!("`{}` is empty", self.key), "expected at least one");
        }
        Some(items)
    }

    /// One value, or a list of at least one.
    pub fn one_or_more<T>(self, mut read: impl FnMut(Self) -> Option<T>) -> Option<Vec<T>> {
        match self.raw.get_ref() {
            DeValue::Array(_) => self.nonempty(read),
            _ => Some(vec![read(self)?]),
        }
    }

    pub fn table(self) -> Option<Table<'a>> {
        match self.raw.get_ref() {
            DeValue::Table(entries) => Some(Table::new(self.document, self.key, self.raw.span(), entries)),
            _ => self.expected("a table", &format!("a table such as {}", self.whereabouts().table())),
        }
    }

    /// A list of tables.
    pub fn tables(self) -> Option<Vec<Table<'a>>> {
        match self.raw.get_ref() {
            DeValue::Array(_) => self.list(Self::table),
            DeValue::Table(_) => {
                let header = self.whereabouts().list_header();
                let fault = Diagnostic::error(self.place(), format!("`{}` is a list of tables", self.key));
                // `[[resource.route.require]]` makes a `route` by itself: that has neither header nor braces
                let written = self.document.text.get(self.raw.span()).is_some_and(|text| text.starts_with(['[', '{']));
                self.document.report(match written {
                    true => fault.label("this is a single table").help(format!("write `{header}`, once for each")),
                    false => {
                        fault.label(format!("below no `{header}`")).help(format!("write `{header}` above this line"))
                    }
                });
                None
            }
            _ => self.expected("tables", &format!("one `{}` or more", self.whereabouts().list_header())),
        }
    }

    /// A table with exactly one key out of a closed set: `{ device = { … } }`. Gives what the key stands for and its value.
    pub fn variant<T: Copy>(self, kinds: &[(&'static str, T)]) -> Option<(T, Self)> {
        let DeValue::Table(entries) = self.raw.get_ref() else {
            return self.expected("a table with one key", &format!("a table such as `{{ {} = … }}`", first(kinds)));
        };
        let mut chosen = None;
        let mut good = true;
        let keys = Table::new(self.document, self.key, self.raw.span(), entries).keys();
        for key in &keys {
            match kinds.iter().find(|(kind, _)| *kind == key.name) {
                Some((kind, meaning)) => {
                    chosen = entries.get(*kind).map(|raw| (*meaning, Self::new(self.document, kind, raw)))
                }
                None => {
                    good = false;
                    let fault = Diagnostic::error(key.place.clone(), format!("unknown key `{}`", key.name));
                    let fault = fault.label(format!("`{}` takes none of this name", self.key));
                    let fault = fault.naming_unseen(key.name);
                    self.document.report(fault.suggest_from(key.name, kinds.iter().map(|(kind, _)| *kind)));
                }
            }
        }
        match keys.as_slice() {
            [] => {
                self.fault(format!("`{}` is empty", self.key), &format!("expected one key, such as `{}`", first(kinds)))
            }
            [_] => chosen,
            [one, two, ..] => {
                if good {
                    let fault =
                        Diagnostic::error(two.place.clone(), format!("`{}` takes one key, not several", self.key));
                    let fault = fault.label("a second one").related(one.place.clone(), "the first");
                    self.document.report(
                        fault.help("write `all = [ … ]` or `any = [ … ]` to combine conditions, where allowed"),
                    );
                }
                None
            }
        }
    }

    pub fn is_text(&self) -> bool {
        matches!(self.raw.get_ref(), DeValue::String(_))
    }

    pub fn is_table(&self) -> bool {
        matches!(self.raw.get_ref(), DeValue::Table(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.raw.get_ref(), DeValue::Array(_))
    }

    pub fn is_boolean(&self) -> bool {
        matches!(self.raw.get_ref(), DeValue::Boolean(_))
    }

    /// Reports a fault at this value.
    pub fn fault<T>(self, message: impl Into<String>, label: &str) -> Option<T> {
        self.document.report(Diagnostic::error(self.place(), message).label(label));
        None
    }

    /// Reports a fault that needs more than a label.
    pub fn report(&self, fault: Diagnostic) {
        self.document.report(fault);
    }

    fn whereabouts(&self) -> Whereabouts<'a> {
        Whereabouts::of(self.raw, self.document)
    }

    fn expected<T>(self, what: &str, label: &str) -> Option<T> {
        let found = match self.raw.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a decimal number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time without quotes",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(format!("`{}` takes {what}, not {found}", self.key), &format!("expected {label}"))
    }
}

fn first<T>(kinds: &[(&'static str, T)]) -> &'static str {
    kinds.first().map_or("…", |(kind, _)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::diagnostic;
    use crate::policy::source::Source;

    /// Reads the key `x` of a text; gives the value or the faults.
    fn read<T>(text: &str, read: impl FnOnce(Value<'_>) -> Option<T>) -> Result<T, String> {
        let source = Source::new("t", text);
        let document = source.parse();
        let value = document.root().optional("x", read);
        let faults = document.into_faults();
        value.ok_or_else(|| diagnostic::lines(&faults, std::slice::from_ref(&source)))
    }

    #[test]
    fn each_type_says_what_it_expected_and_what_it_found() {
        let duration = read("x = 10", |v| v.duration()).expect_err("a number");
        assert_eq!(
            duration,
            "t:1:5: `x` takes a duration, not a number (expected a duration in quotes, such as \"10m\")\n"
        );
        let text = read("x = ['a']", |v| v.text().map(str::to_owned)).expect_err("a list");
        assert_eq!(text, "t:1:5: `x` takes text, not a list (expected text in quotes)\n");
        let port = read("x = 70000", |v| v.integer_in::<u16>(0..=65535)).expect_err("too large");
        assert_eq!(port, "t:1:5: `x` is out of range (expected 0 to 65535)\n");
        let address = read("x = 'localhost'", |v| v.socket_address()).expect_err("a name");
        assert!(address.starts_with("t:1:5: `localhost` is not an address and port"), "{address}");
        assert!(read("x = nan", |v| v.number_in(0.0..=1.0)).is_err());
    }

    #[test]
    fn every_bad_item_of_a_list_is_reported() {
        let found = read("x = ['1s', 2, 'soon']", |v| v.list(Value::duration)).expect_err("two bad");
        assert_eq!(found.lines().count(), 2, "{found}");
        assert!(read("x = []", |v| v.nonempty(Value::duration)).is_err());
        assert_eq!(read("x = '1s'", |v| v.one_or_more(Value::duration)), Ok(vec![Duration::from_secs(1)]));
    }

    #[test]
    fn a_network_with_host_bits_is_corrected() {
        let found = read("x = '10.1.2.3/8'", |v| v.network()).expect_err("host bits");
        assert!(found.contains("has bits outside its prefix"), "{found}");
        assert_eq!(read("x = '10.1.2.3'", |v| v.network()).map(|n| n.to_string()), Ok("10.1.2.3/32".to_owned()));
    }

    #[test]
    fn a_variant_has_exactly_one_known_key() {
        let kinds = [("device", 1), ("login", 2)];
        let pick = |text: &str| read(text, |v| v.variant(&kinds).map(|(kind, value)| (kind, value.integer())));
        assert_eq!(pick("x = { login = 7 }"), Ok((2, Some(7))));
        assert!(pick("x = {}").expect_err("none").contains("`x` is empty"));
        assert!(pick("x = { device = 1, login = 2 }").expect_err("two").contains("takes one key, not several"));
        assert!(pick("x = { devise = 1 }").expect_err("typo").contains("unknown key `devise`"));
        assert!(pick("x = 'device'").expect_err("text").contains("takes a table with one key, not text"));
    }

    #[test]
    fn words_of_a_closed_set_are_suggested() {
        let words = [("requested", 1), ("required", 2)];
        assert_eq!(read("x = 'required'", |v| v.one_of(&words)), Ok(2));
        let found = read("x = 'require'", |v| v.one_of(&words)).expect_err("typo");
        assert!(found.contains("`x` cannot be `require`"), "{found}");
    }
}
