//! JSON objects as they arrive, piece by piece: in one array, or one after the other (JSON lines), each with its place.

use serde_json::{Map, Value};

/// One element, where it begins (line and column from 1), and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    pub line: u64,
    pub column: u32,
    pub object: Result<Map<String, Value>, Broken>,
}

/// Where an element is at fault, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub line: u64,
    pub column: u32,
    pub why: String,
}

/// A reader in the middle of a text: it finds where each element ends, and leaves the reading to the parser.
#[derive(Debug)]
pub struct Json {
    line: u64,
    column: u32,
    place: (u64, u32),
    element: Vec<u8>,
    depth: u32,
    text: Text,
    outer: Outer,
    too_long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Outside,
    Inside,
    Escaped,
}

/// What stands around the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outer {
    Unknown,
    Array,
    Lines,
    /// The array has ended.
    Over,
}

/// A longer element is no person's.
const LONGEST: usize = 64 * 1024;

impl Default for Json {
    fn default() -> Self {
        Self {
            line: 1,
            column: 0,
            place: (1, 1),
            element: Vec::new(),
            depth: 0,
            text: Text::Outside,
            outer: Outer::Unknown,
            too_long: false,
        }
    }
}

impl Json {
    /// Takes the next bytes, and hands over every element that they complete.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Element)) {
        for byte in bytes {
            self.take(*byte, &mut each);
        }
    }

    pub fn end(mut self, mut each: impl FnMut(Element)) {
        if !self.element.is_empty() || self.depth > 0 {
            let why = if self.outer == Outer::Over { "text behind the end of the list" } else { "it has no end" };
            self.broken(why, &mut each);
        } else if self.outer == Outer::Array {
            self.place = (self.line, self.column);
            self.broken("the list has no end", &mut each);
        }
    }

    fn take(&mut self, byte: u8, each: &mut impl FnMut(Element)) {
        if byte & 0b1100_0000 != 0b1000_0000 {
            self.column += 1;
        }
        let between = self.depth == 0 && self.text == Text::Outside;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' if between => self.finish(each),
            b'[' if between && self.outer == Outer::Unknown && self.element.is_empty() => self.outer = Outer::Array,
            b',' if between && self.outer == Outer::Array => self.finish(each),
            b']' if between && self.outer == Outer::Array => {
                self.finish(each);
                self.outer = Outer::Over;
            }
            _ => self.keep(byte, each),
        }
        if byte == b'\n' {
            (self.line, self.column) = (self.line + 1, 0);
        }
    }

    fn keep(&mut self, byte: u8, each: &mut impl FnMut(Element)) {
        if self.element.is_empty() {
            self.place = (self.line, self.column);
            if self.outer == Outer::Unknown {
                self.outer = Outer::Lines;
            }
        }
        if self.element.len() < LONGEST {
            self.element.push(byte);
        } else {
            self.too_long = true;
        }
        self.text = match (self.text, byte) {
            (Text::Outside, b'"') | (Text::Escaped, _) => Text::Inside,
            (Text::Inside, b'"') => Text::Outside,
            (Text::Inside, b'\\') => Text::Escaped,
            (text, _) => text,
        };
        if self.text == Text::Outside {
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        self.finish(each);
                    }
                }
                _ => {}
            }
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(Element)) {
        if self.element.is_empty() {
            return;
        }
        if std::mem::take(&mut self.too_long) {
            return self.broken("longer than 64 KiB", each);
        }
        if self.outer == Outer::Over {
            return self.broken("text behind the end of the list", each);
        }
        let (line, column) = self.place;
        let object = serde_json::from_slice::<Value>(&self.element)
            .map_err(|error| {
                // The parser counts from the element's first byte.
                let below = u64::try_from(error.line()).unwrap_or(1).saturating_sub(1);
                let along = u32::try_from(error.column()).unwrap_or(1).max(1);
                let text = error.to_string();
                let why = text.split(" at line ").next().unwrap_or_default().to_owned();
                Broken { line: line + below, column: if below == 0 { column + along - 1 } else { along }, why }
            })
            .and_then(|value| match value {
                Value::Object(object) => Ok(object),
                _ => Err(Broken { line, column, why: "not an object".to_owned() }),
            });
        self.element.clear();
        each(Element { line, column, object });
    }

    fn broken(&mut self, why: &str, each: &mut impl FnMut(Element)) {
        self.element.clear();
        let (line, column) = self.place;
        each(Element { line, column, object: Err(Broken { line, column, why: why.to_owned() }) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str, step: usize) -> Vec<Element> {
        let mut elements = Vec::new();
        let mut json = Json::default();
        for piece in text.as_bytes().chunks(step.max(1)) {
            json.push(piece, |element| elements.push(element));
        }
        json.end(|element| elements.push(element));
        elements
    }

    #[test]
    fn an_array_and_lines_are_the_same() {
        let expected = [json!({ "user": "a]}\"," }), json!({ "user": "b", "home": { "country": "US" } })];
        let lines: String = expected.iter().map(|value| format!("{value}\n")).collect();
        for text in [lines, serde_json::to_string_pretty(&expected).unwrap(), format!("{}{}", expected[0], expected[1])]
        {
            let found: Vec<Value> = read(&text, 3).into_iter().map(|e| Value::Object(e.object.unwrap())).collect();
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(read("", 1), []);
        assert_eq!(read(" [ ] ", 1), []);
    }

    #[test]
    fn faults_have_their_places() {
        let places = |text: &str| -> Vec<String> {
            let broken = read(text, 5).into_iter().filter_map(|element| element.object.err());
            broken.map(|Broken { line, column, why }| format!("{line}:{column} {why}")).collect()
        };
        assert_eq!(places("[\n {\"a\":1},\n {\"b\":x}, 7,\n {\"c\":1}]"), ["3:7 expected value", "3:11 not an object"]);
        assert_eq!(places("[{\"a\":1}"), ["1:8 the list has no end"]);
        assert_eq!(places("{\"a\":"), ["1:1 it has no end"]);
        assert_eq!(places("[] x"), ["1:4 text behind the end of the list"]);
        let long = format!("[{{\"a\":\"{}\"}},{{}}]", "x".repeat(LONGEST));
        assert_eq!(places(&long), ["1:2 longer than 64 KiB"]);
        assert_eq!(read(&long, 1000).len(), 2);
    }

    proptest! {
        #[test]
        fn where_the_pieces_end_makes_no_difference(text in "[\\[\\]{}\",:a1\\\\ \n]{0,40}", step in 1_usize..8) {
            prop_assert_eq!(read(&text, step), read(&text, 1000));
        }
    }
}
