//! Many identities at once, from CSV or JSON: every broken row named, and nothing changed when there is one.
//!
//! What a file does not speak of stays as it is: a personnel system that knows no `status` cannot lift a suspension.

pub mod csv;
pub mod json;
pub mod patch;
mod table;

use crate::control::fault::Fault;
use crate::control::oneself::Oneself;
use crate::evidence::Identity;
use csv::Csv;
use json::Json;
use patch::{Packed, Patch};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use table::Header;

/// What the file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    /// An array of objects, or objects one after the other.
    Json,
}

/// A row that cannot be taken, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowFault {
    pub line: u64,
    pub column: u32,
    pub why: String,
}

/// A file on its way in.
pub struct Import {
    reader: Reader,
    rows: Rows,
}

enum Reader {
    Csv(Csv, Option<Header>),
    Json(Json),
}

/// What is left of the rows: what to change, and what is wrong.
#[derive(Default)]
pub struct Rows {
    /// By user, with the line.
    pub patches: Vec<(Arc<str>, Packed)>,
    /// The rows that say nothing new.
    pub same: u64,
    /// Bounded: `fault_count` tells how many there were.
    pub faults: Vec<RowFault>,
    pub fault_count: u64,
    /// Whoever brings the file, and the first row that is not for them to bring: whom it is about, and why.
    oneself: Oneself,
    pub own: Option<(Arc<str>, Fault)>,
    /// Every name so far, accounts and aliases, and the line it stands in.
    names: HashMap<Arc<str>, u64>,
    pub count: u64,
}

/// As many people as no organisation has, and more than the machine should be made to hold.
const MOST: u64 = 5_000_000;
/// Faults that are told one by one.
const FAULTS: usize = 10_000;

impl Import {
    pub fn new(format: Format, oneself: Oneself) -> Self {
        let reader = match format {
            Format::Csv => Reader::Csv(Csv::default(), None),
            Format::Json => Reader::Json(Json::default()),
        };
        Self { reader, rows: Rows { oneself, ..Rows::default() } }
    }

    /// Takes the next bytes. `current` gives what is known of a user; rows that change nothing are only counted.
    pub fn push(&mut self, bytes: &[u8], current: &impl Fn(&str) -> Option<Arc<Identity>>) {
        let rows = &mut self.rows;
        match &mut self.reader {
            Reader::Csv(csv, header) => csv.push(bytes, |record| rows.record(header, record, current)),
            Reader::Json(json) => json.push(bytes, |element| rows.element(element, current)),
        }
    }

    pub fn end(self, current: &impl Fn(&str) -> Option<Arc<Identity>>) -> Rows {
        let mut rows = self.rows;
        match self.reader {
            Reader::Csv(csv, mut header) => {
                csv.end(|record| rows.record(&mut header, record, current));
                if header.is_none() && rows.fault_count == 0 {
                    rows.fault(1, 1, "there is no header: the first line names the columns, `user` among them".into());
                }
            }
            Reader::Json(json) => json.end(|element| rows.element(element, current)),
        }
        rows.patches.sort_by(|(a, _), (b, _)| a.cmp(b));
        rows
    }

    /// Whether reading on is pointless.
    pub fn is_too_long(&self) -> bool {
        self.rows.count > MOST
    }
}

impl Rows {
    fn record(
        &mut self,
        header: &mut Option<Header>,
        record: csv::Record,
        current: &impl Fn(&str) -> Option<Arc<Identity>>,
    ) {
        let fields = match record.fields {
            Ok(fields) => fields,
            Err(broken) => return self.fault(broken.line, broken.column, broken.why.to_owned()),
        };
        match header {
            None => {
                let (read, faults) = Header::read(&fields);
                *header = Some(read);
                for (column, why) in faults {
                    self.fault(record.line, column, why);
                }
            }
            Some(header) => match header.patch(&fields) {
                Ok((patch, places)) => {
                    let place = |path: &str| (record.line, places.get(path).copied().unwrap_or(1));
                    self.patch(patch, place, current);
                }
                Err(faults) => {
                    self.count += 1;
                    for (column, why) in faults {
                        self.fault(record.line, column, why);
                    }
                }
            },
        }
    }

    fn element(&mut self, element: json::Element, current: &impl Fn(&str) -> Option<Arc<Identity>>) {
        match element.object {
            Ok(object) => self.patch(Patch(object), |_| (element.line, element.column), current),
            Err(broken) => {
                self.count += 1;
                self.fault(broken.line, broken.column, broken.why);
            }
        }
    }

    fn patch(
        &mut self,
        patch: Patch,
        place: impl Fn(&str) -> (u64, u32),
        current: &impl Fn(&str) -> Option<Arc<Identity>>,
    ) {
        self.count += 1;
        let fault = |this: &mut Self, (path, why): (String, String)| {
            let (line, column) = place(&path);
            this.fault(line, column, why);
        };
        let user: Arc<str> = match patch.user() {
            Ok(user) => user.into(),
            Err(why) => return fault(self, ("user".to_owned(), why)),
        };
        let known = current(&user);
        let merged = match patch.onto(&user, known.as_deref()) {
            Ok(merged) => merged,
            Err(faults) => return faults.into_iter().for_each(|one| fault(self, one)),
        };
        let (line, _) = place("user");
        for name in std::iter::once(&user).chain(&merged.aliases) {
            if let Some(first) = self.names.insert(Arc::clone(name), line) {
                let what = if *name == user { "user" } else { "aliases" };
                fault(self, (what.to_owned(), format!("`{name}` stands in line {first} already")));
            }
        }
        if known.as_ref().is_some_and(|known| **known == merged) {
            self.same += 1;
            return;
        }
        if self.own.is_none()
            && let Err(fault) = self.oneself.check(known.as_deref(), &merged)
        {
            self.own = Some((Arc::clone(&user), fault.in_line(line)));
        }
        self.patches.push((user, patch.packed()));
    }

    fn fault(&mut self, line: u64, column: u32, why: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS {
            self.faults.push(RowFault { line, column, why });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::IdentityStatus;

    fn read(format: Format, text: &str, known: &[Identity]) -> Rows {
        let current = |user: &str| known.iter().find(|identity| *identity.user == *user).cloned().map(Arc::new);
        let mut import = Import::new(format, Oneself::default());
        for piece in text.as_bytes().chunks(7) {
            import.push(piece, &current);
        }
        import.end(&current)
    }

    fn faults(format: Format, text: &str) -> Vec<String> {
        let told = |fault: RowFault| format!("{}:{} {}", fault.line, fault.column, fault.why);
        read(format, text, &[]).faults.into_iter().map(told).collect()
    }

    fn identities(rows: &Rows, known: &[Identity]) -> Vec<Identity> {
        let current = |user: &str| known.iter().find(|identity| *identity.user == *user);
        rows.patches.iter().map(|(user, patch)| patch.unpacked().onto(user, current(user)).unwrap()).collect()
    }

    const CSV: &str = "user,person,groups,aliases,employment,manager,home.country,home.region,home.latitude,home.longitude,home.radius-km,proofing.method,proofing.by,proofing.at\n\
        ann@corp.example,p-1,staff; payroll,ann.lee@corp.example,employee,eve@corp.example,US,AZ,33.45,-112.07,60,in-person,eve@corp.example,2026-01-02\n\
        bob@corp.example,,,,,,,,,,,,,\n";

    #[test]
    fn csv_and_json_say_the_same() {
        let json = r#"[
            {"user":"ann@corp.example","person":"p-1","groups":["staff","payroll"],"aliases":["ann.lee@corp.example"],
             "employment":"employee","manager":"eve@corp.example",
             "home":{"country":"US","region":"AZ","coordinates":{"latitude":33.45,"longitude":-112.07},"radius-km":60.0},
             "proofing":{"method":"in-person","by":"eve@corp.example","at":"2026-01-02T00:00:00Z"}},
            {"user":"bob@corp.example","groups":[]}
        ]"#;
        let (csv, json) = (read(Format::Csv, CSV, &[]), read(Format::Json, json, &[]));
        assert_eq!((csv.faults.as_slice(), json.faults.as_slice()), (&[][..], &[][..]));
        let csv = identities(&csv, &[]);
        assert_eq!(csv, identities(&json, &[]));
        let [ann, bob] = csv.as_slice() else { panic!("two") };
        assert_eq!((&*ann.person, ann.groups.as_ref().unwrap().len()), ("p-1", 2));
        assert_eq!((&*bob.person, bob.groups.as_deref()), ("bob@corp.example", Some(&[][..])));
    }

    #[test]
    fn importing_again_changes_nothing() {
        let known = identities(&read(Format::Csv, CSV, &[]), &[]);
        let again = read(Format::Csv, CSV, &known);
        assert_eq!((again.patches.len(), again.same), (0, 2));
    }

    #[test]
    fn what_a_file_does_not_speak_of_stays() {
        let mut known = identities(&read(Format::Csv, CSV, &[]), &[]);
        known[0].status = IdentityStatus::Suspended;
        let text = "user,name,manager\nann@corp.example,Ann Lee,\n";
        let changed = identities(&read(Format::Csv, text, &known), &known);
        assert_eq!(changed[0].status, IdentityStatus::Suspended);
        assert_eq!((changed[0].name.as_deref(), changed[0].manager.as_deref()), (Some("Ann Lee"), None));
        assert_eq!(changed[0].home, known[0].home);
    }

    #[test]
    fn every_broken_row_is_named_with_its_place() {
        let text = "user,employment,home.country,home.latitude,home.longitude,proofing.at,status\n\
            ann,emploee,US,,,,\n\
            bob,employee,usa,,,,\n\
            ,employee,,,,,\n\
            carl,employee,US,91,0,,\n\
            dora,employee\n\
            ann,employee,,,,,\n\
            erik,,,,,yesterday,gone\n\
            fay\"x,,,,,,\n";
        assert_eq!(
            faults(Format::Csv, text),
            [
                "2:5 `employment` cannot be `emploee`: `employee`, `contractor` or `vendor`",
                "3:14 `usa` is not a country: two capital letters (ISO 3166-1)",
                "4:1 `user` is missing",
                "5:18 `home.latitude` is not a number from -90 to 90",
                "6:1 2 fields, and the header has 7",
                "8:10 `proofing.at` is no moment: `2026-01-02` or `2026-01-02T10:00:00Z`",
                "8:20 `status` cannot be `gone`: `active`, `watched` or `suspended`",
                "9:4 a quote in the middle of a field that does not begin with one",
            ]
        );
        assert_eq!(
            faults(Format::Csv, "user,nick,user\nann,a,ann\n"),
            ["1:6 there is no column `nick`", "1:11 the column `user` stands there twice"]
        );
        assert_eq!(
            faults(Format::Csv, ""),
            ["1:1 there is no header: the first line names the columns, `user` among them"]
        );
        assert_eq!(faults(Format::Csv, "name\nAnn\n"), ["1:1 there is no column `user`", "2:1 `user` is missing"]);
        assert_eq!(
            faults(
                Format::Json,
                "{\"user\":\"ann\"}\n{\"user\":\"bob\",\"aliases\":[\"ann\"],\"nick\":1}\n{\"user\":7}\n{"
            ),
            ["2:1 there is no member `nick`", "3:1 `user` is not text", "4:1 it has no end"]
        );
        assert_eq!(
            faults(Format::Json, "{\"user\":\"ann\"}{\"user\":\"bob\",\"aliases\":[\"ann\"]}"),
            ["1:15 `ann` stands in line 1 already"]
        );
    }
}
