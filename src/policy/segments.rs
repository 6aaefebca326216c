//! A tree over the segments of paths: asking costs as much as the path is long, however many paths it holds.

use super::lookup::Lookup;

/// A path pattern: literal segments, `*` for any one segment, `**` at the end for any number of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Whether it ends in `**`.
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(Box<str>),
    Any,
}

impl Pattern {
    /// Reads `/runs/*/approve` or `/admin/**`. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.starts_with('/') {
            return Err("a path begins with `/`");
        }
        if text.contains(';') {
            return Err("parameters (`;…`) have no part in matching");
        }
        let mut segments = Vec::new();
        let mut open = false;
        for segment in split(text) {
            if open {
                return Err("`**` stands only at the end of a path");
            }
            match segment {
                "**" => open = true,
                "*" => segments.push(Segment::Any),
                _ if segment.contains('*') => return Err("`*` stands for a whole segment"),
                _ => segments.push(Segment::Literal(canonical(segment)?.into())),
            }
        }
        Ok(Self { segments, open })
    }

    /// Reads a prefix: a path without `*`, which covers everything below it.
    pub fn parse_prefix(text: &str) -> Result<Self, &'static str> {
        if text.contains('*') {
            return Err("a prefix covers everything below it and has no `*`");
        }
        Ok(Self { open: true, ..Self::parse(text)? })
    }

    pub fn matches(&self, path: &str) -> bool {
        let mut asked = split(path);
        for segment in &self.segments {
            match (segment, asked.next()) {
                (Segment::Literal(literal), Some(asked)) if **literal == *asked => {}
                (Segment::Any, Some(_)) => {}
                _ => return false,
            }
        }
        self.open || asked.next().is_none()
    }

    /// Whether every path that `other` covers is covered by `self`. `self` is a prefix.
    pub fn covers(&self, other: &Self) -> bool {
        self.open && other.segments.starts_with(&self.segments)
    }
}

/// Patterns and what they lead to.
#[derive(Clone, Debug)]
pub struct Segments<T> {
    literal: Lookup<Segments<T>>,
    any: Option<Box<Segments<T>>>,
    /// Of the patterns that end here.
    here: Vec<T>,
    /// Of the patterns that end here in `**`.
    below: Vec<T>,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self { literal: Lookup::default(), any: None, here: Vec::new(), below: Vec::new() }
    }
}

impl<T> Segments<T> {
    pub fn insert(&mut self, pattern: &Pattern, value: T) {
        let mut node = self;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(literal) => node.literal.entry(literal),
                Segment::Any => node.any.get_or_insert_default(),
            };
        }
        if pattern.open { &mut node.below } else { &mut node.here }.push(value);
    }

    /// Hands over the value of every pattern that matches `path`.
    pub fn matching<'a>(&'a self, path: &str, found: &mut impl FnMut(&'a T)) {
        self.descend(split(path), found);
    }

    /// The value of the longest prefix of `path`.
    pub fn deepest(&self, path: &str) -> Option<&T> {
        let mut node = self;
        let mut deepest = node.below.first();
        for segment in split(path) {
            let Some(next) = node.literal.get(segment) else { break };
            node = next;
            deepest = node.below.first().or(deepest);
        }
        deepest
    }

    fn descend<'a, 'p>(&'a self, mut path: impl Iterator<Item = &'p str> + Clone, found: &mut impl FnMut(&'a T)) {
        self.below.iter().for_each(&mut *found);
        match path.next() {
            None => self.here.iter().for_each(found),
            Some(segment) => {
                if let Some(next) = self.literal.get(segment) {
                    next.descend(path.clone(), found);
                }
                if let Some(next) = &self.any {
                    next.descend(path, found);
                }
            }
        }
    }
}

/// The segments of an absolute path, as the laxest upstream reads them: a slash at the end is no segment (`/a/` is
/// `/a`) and parameters are none of a segment's name (`/a;v=1` is `/a`), so that no spelling slips past a requirement.
fn split(path: &str) -> impl Iterator<Item = &str> + Clone {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    // an empty rest is no segment, and not one empty segment
    let segments = if path.is_empty() { None } else { Some(path.split('/')) };
    segments.into_iter().flatten().map(|segment| segment.split_once(';').map_or(segment, |(name, _)| name))
}

/// Refuses what no canonical path contains (see `gateway/sanitize/path.rs`) and could therefore never match.
fn canonical(segment: &str) -> Result<&str, &'static str> {
    match segment {
        "" => return Err("a path has no empty segments"),
        "." | ".." => return Err("a canonical path has no dot segments"),
        _ => {}
    }
    let bytes = segment.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'?' | b'#' => return Err("a pattern covers the path alone, without query and fragment"),
            b'%' => escaped(bytes.get(at + 1..).unwrap_or_default())?,
            byte if stands_raw(*byte) => {}
            _ => return Err("such characters stand percent-encoded in a canonical path"),
        }
    }
    Ok(segment)
}

/// Judges what follows a `%`.
fn escaped(rest: &[u8]) -> Result<(), &'static str> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let [high, low, rest @ ..] = rest else { return Err("`%` needs two hexadecimal digits") };
    let (Some(high_digit), Some(low_digit)) = (digit(high), digit(low)) else {
        return Err("`%` needs two hexadecimal digits");
    };
    if high.is_ascii_lowercase() || low.is_ascii_lowercase() {
        return Err("a canonical path has upper-case hexadecimal digits");
    }
    let doubled = matches!(rest, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    match high_digit << 4 | low_digit {
        byte if stands_raw(byte) || byte == b'*' => {
            Err("a canonical path has this character plain, not percent-encoded")
        }
        b'%' if !doubled => Ok(()),
        b'/' | b'\\' | b'%' | 0..0x20 | 0x7f => Err("a request with such a path is refused before policy reads it"),
        _ => Ok(()),
    }
}

/// What canonical paths have plain. Not `;`: parameters have no part in matching.
const fn stands_raw(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'$' | b'&'..=b')' | b'+'..=b'.' | b':' | b'=' | b'@' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        let cases = [
            ("/", "/", true),
            ("/", "/a", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/runs/*/approve", "/runs/7/approve", true),
            ("/runs/*/approve", "/runs/7/approve/", true),
            ("/runs/*/approve", "/runs;a=b/7/approve;v=1", true),
            ("/runs/*/approve", "/runs/7/8/approve", false),
            ("/runs/*/approve", "/runs/approve", false),
            ("/admin/**", "/admin", true),
            ("/admin/**", "/administrator", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_no_canonical_path_contains_is_refused() {
        for text in [
            "runs", "/a;v", "/%3A", "/%2A", "/%2541", "/%00", "/a b", "/a//b", "/../a", "/a/**/b", "/a*", "/a?b",
            "/%7Euser", "/%2f", "/%2F", "/%c3", "/é", "/%",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse("/caf%C3%A9/a:b@c/100%25/%3B").is_ok());
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut tree = Segments::default();
        for prefix in ["/", "/api", "/api/v2"] {
            tree.insert(&Pattern::parse_prefix(prefix).unwrap(), prefix);
        }
        for (path, prefix) in
            [("/", "/"), ("/apis", "/"), ("/api/", "/api"), ("/api/v1", "/api"), ("/api/v2/x", "/api/v2")]
        {
            assert_eq!(tree.deepest(path), Some(&prefix), "{path}");
        }
    }

    fn text(alphabet: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(alphabet), 0..5).prop_map(|parts| format!("/{}", parts.join("/")))
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_each_pattern_alone_finds(
            patterns in prop::collection::vec((text(&["a", "b", "*"]), any::<bool>()), 0..12),
            path in text(&["a", "b", "c"]),
        ) {
            let patterns: Vec<Pattern> = patterns
                .into_iter()
                .map(|(text, open)| Pattern { open, ..Pattern::parse(&text).unwrap() })
                .collect();
            let mut tree = Segments::default();
            for (index, pattern) in patterns.iter().enumerate() {
                tree.insert(pattern, index);
            }
            let mut found = Vec::new();
            tree.matching(&path, &mut |index| found.push(*index));
            found.sort_unstable();
            let expected: Vec<usize> = (0..patterns.len()).filter(|index| patterns[*index].matches(&path)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
