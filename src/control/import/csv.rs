//! Comma-separated values (RFC 4180) as they arrive, piece by piece, with the place of every field.
//!
//! Quotes double inside quotes, lines end in LF or CRLF, a byte order mark at the start is passed over. What is wrong
//! spoils its record and not those after it.

/// One field, and the column at which it begins: characters from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub text: String,
    pub column: u32,
}

/// One record, the line it begins at (from 1), and what is wrong with its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub line: u64,
    pub fields: Result<Vec<Field>, Broken>,
}

/// Where a record stops being one, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    pub line: u64,
    pub column: u32,
    pub why: &'static str,
}

/// A reader in the middle of a text.
#[derive(Debug)]
pub struct Csv {
    line: u64,
    column: u32,
    /// Where the record began.
    began: u64,
    fields: Vec<Field>,
    field: Vec<u8>,
    /// Where the field began.
    place: (u64, u32),
    state: State,
    broken: Option<Broken>,
    /// Bytes of the record so far.
    size: usize,
    anything: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Quoted,
    /// A quote within quotes: the end, or half of a doubled one.
    Quote,
    /// After a CR outside quotes.
    Return,
}

/// A longer record is no person's.
const LONGEST: usize = 64 * 1024;
const TOO_LONG: &str = "longer than 64 KiB";

impl Default for Csv {
    fn default() -> Self {
        Self {
            line: 1,
            column: 0,
            began: 1,
            fields: Vec::new(),
            field: Vec::new(),
            place: (1, 1),
            state: State::Start,
            broken: None,
            size: 0,
            anything: false,
        }
    }
}

impl Csv {
    /// Takes the next bytes, and hands over every record that they complete. Empty lines are none.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Record)) {
        for byte in bytes {
            self.take(*byte, &mut each);
        }
    }

    /// The last record need not end its line.
    pub fn end(mut self, mut each: impl FnMut(Record)) {
        if self.state == State::Quoted {
            self.fault("a quote is opened and not closed", self.place);
        }
        if self.anything {
            self.finish(&mut each);
        }
    }

    fn take(&mut self, byte: u8, each: &mut impl FnMut(Record)) {
        // Continuation bytes of UTF-8 are no characters of their own.
        if byte & 0b1100_0000 != 0b1000_0000 {
            self.column += 1;
        }
        let here = (self.line, self.column);
        match (self.state, byte) {
            (State::Return, b'\n') | (State::Start | State::Plain | State::Quote, b'\n') => self.end_line(each),
            (State::Return, _) => self.fault("a line ends in CR alone", here),
            (State::Start | State::Plain | State::Quote, b'\r') => self.state = State::Return,
            (State::Start | State::Plain | State::Quote, b',') => {
                self.anything = true;
                self.end_field();
            }
            (State::Start, b'"') => {
                self.begin(here);
                self.state = State::Quoted;
            }
            (State::Start, _) => {
                self.begin(here);
                self.state = State::Plain;
                self.keep(byte);
            }
            (State::Plain, b'"') => self.fault("a quote in the middle of a field that does not begin with one", here),
            (State::Plain, _) => self.keep(byte),
            (State::Quoted, b'"') => self.state = State::Quote,
            (State::Quoted, _) => {
                self.keep(byte);
                if byte == b'\n' {
                    (self.line, self.column) = (self.line + 1, 0);
                }
            }
            (State::Quote, b'"') => {
                self.state = State::Quoted;
                self.keep(byte);
            }
            (State::Quote, _) => self.fault("text behind the closing quote", here),
        }
    }

    fn begin(&mut self, place: (u64, u32)) {
        self.anything = true;
        self.place = place;
    }

    fn keep(&mut self, byte: u8) {
        self.size += 1;
        if self.size > LONGEST {
            self.fault(TOO_LONG, (self.began, 1));
        } else {
            self.field.push(byte);
            let mark = self.state == State::Plain && self.began == 1 && self.fields.is_empty();
            if mark && self.field == "\u{feff}".as_bytes() {
                self.field.clear();
                (self.state, self.column, self.anything) = (State::Start, 0, false);
            }
        }
    }

    /// The first fault of a record is told. What follows is read on as if there were none, to find its end.
    fn fault(&mut self, why: &'static str, (line, column): (u64, u32)) {
        self.broken.get_or_insert(Broken { line, column, why });
        self.state = if self.state == State::Quoted { State::Quoted } else { State::Plain };
    }

    fn end_field(&mut self) {
        let bytes = std::mem::take(&mut self.field);
        let empty = self.state == State::Start;
        let column = if empty { self.column } else { self.place.1 };
        match String::from_utf8(bytes) {
            Ok(text) => self.fields.push(Field { text, column }),
            Err(_) => self.fault("this field is not UTF-8", self.place),
        }
        self.state = State::Start;
    }

    fn end_line(&mut self, each: &mut impl FnMut(Record)) {
        if self.anything {
            self.finish(each);
        }
        (self.line, self.column, self.state) = (self.line + 1, 0, State::Start);
        self.began = self.line;
    }

    fn finish(&mut self, each: &mut impl FnMut(Record)) {
        self.end_field();
        let fields = std::mem::take(&mut self.fields);
        let fields = self.broken.take().map_or(Ok(fields), Err);
        each(Record { line: self.began, fields });
        (self.size, self.anything) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: impl AsRef<[u8]>, step: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut csv = Csv::default();
        for piece in text.as_ref().chunks(step.max(1)) {
            csv.push(piece, |record| records.push(record));
        }
        csv.end(|record| records.push(record));
        records
    }

    fn texts(text: &str) -> Vec<Vec<String>> {
        let fields = |record: Record| record.fields.expect("good").into_iter().map(|field| field.text).collect();
        read(text, 1).into_iter().map(fields).collect()
    }

    #[test]
    fn quotes_line_ends_and_empty_fields() {
        assert_eq!(
            texts("\u{feff}user,name\r\nann,\"Ann \"\"A.\"\" Lee,\nPhD\"\n\n,\nbob,"),
            [vec!["user", "name"], vec!["ann", "Ann \"A.\" Lee,\nPhD"], vec!["", ""], vec!["bob", ""]]
        );
        assert_eq!(texts("\u{feff}\"a\",b"), [["a", "b"]]);
        assert_eq!(texts("\u{feff}"), Vec::<Vec<String>>::new());
        assert_eq!(texts(""), Vec::<Vec<String>>::new());
        assert_eq!(texts("\r\n\n"), Vec::<Vec<String>>::new());
    }

    #[test]
    fn every_field_knows_its_place() {
        let records = read("a,bé,\"c\nd\",e\nf", 3);
        let columns = |record: &Record| {
            record.fields.as_ref().ok().map(|fields| fields.iter().map(|field| field.column).collect::<Vec<_>>())
        };
        assert_eq!(records.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(columns(&records[0]), Some(vec![1, 3, 6, 4]));
    }

    #[test]
    fn a_broken_record_spoils_no_other() {
        let good = |text: &str| Ok(vec![Field { text: text.into(), column: 1 }]);
        let bad = |line, column, why| Err(Broken { line, column, why });
        let records = read(b"a\nb\"c\nd\n\"e\"f\n\xff\ng\n\"h\n", 4);
        let expected = [
            good("a"),
            bad(2, 2, "a quote in the middle of a field that does not begin with one"),
            good("d"),
            bad(4, 4, "text behind the closing quote"),
            bad(5, 1, "this field is not UTF-8"),
            good("g"),
            bad(7, 1, "a quote is opened and not closed"),
        ];
        assert_eq!(records.into_iter().map(|record| record.fields).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_record_has_an_end() {
        let long = format!("{}\nb\n", "x".repeat(LONGEST + 1));
        let records = read(long, 1000);
        assert_eq!(records[0].fields, Err(Broken { line: 1, column: 1, why: TOO_LONG }));
        assert!(records[1].fields.is_ok());
    }

    proptest! {
        #[test]
        fn where_the_pieces_end_makes_no_difference(bytes in "[a,\"\r\né]{0,40}", step in 1_usize..8) {
            prop_assert_eq!(read(&bytes, step), read(&bytes, 1000));
        }

        #[test]
        fn what_is_quoted_reads_back(rows in proptest::collection::vec(proptest::collection::vec("[ -~\n]{1,8}", 1..4), 0..6)) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let text: String =
                rows.iter().map(|row| row.iter().map(quoted).collect::<Vec<_>>().join(",") + "\r\n").collect();
            prop_assert_eq!(texts(&text), rows);
        }
    }
}
