//! The columns of a CSV file of identities: which member of an identity each one is.

use super::csv::Field;
use super::patch::{MEMBERS, Member, Patch, Shape};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What each column means; none for one that means nothing.
pub struct Header(Vec<Option<&'static Member>>);

/// Which column (from 1) a member of the row stands in.
pub type Places = BTreeMap<&'static str, u32>;

/// A column and what is wrong there.
pub type Faults = Vec<(u32, String)>;

impl Header {
    pub fn read(fields: &[Field]) -> (Self, Faults) {
        let mut faults = Faults::new();
        let mut columns: Vec<Option<&'static Member>> = Vec::new();
        for Field { text, column } in fields {
            let member = MEMBERS.iter().find(|member| member.path == text.trim());
            match member {
                None => faults.push((*column, format!("there is no column `{}`", text.trim()))),
                Some(member) if columns.iter().flatten().any(|known| known.path == member.path) => {
                    faults.push((*column, format!("the column `{}` stands there twice", member.path)));
                }
                Some(_) => {}
            }
            columns.push(member);
        }
        if !columns.iter().flatten().any(|member| member.path == "user") {
            faults.push((1, "there is no column `user`".to_owned()));
        }
        (Self(columns), faults)
    }

    /// The row as a patch: an empty field takes away what was there.
    pub fn patch(&self, fields: &[Field]) -> Result<(Patch, Places), Faults> {
        if fields.len() != self.0.len() {
            return Err(vec![(1, format!("{} fields, and the header has {}", fields.len(), self.0.len()))]);
        }
        let (mut patch, mut places, mut faults) = (Map::new(), Places::new(), Faults::new());
        for (member, Field { text, column }) in self.0.iter().zip(fields) {
            let Some(member) = member else { continue };
            places.insert(member.path, *column);
            match value(member, text.trim()) {
                Ok(value) => insert(&mut patch, member.path, value),
                Err(why) => faults.push((*column, why)),
            }
        }
        if faults.is_empty() { Ok((Patch(patch), places)) } else { Err(faults) }
    }
}

fn value(member: &Member, text: &str) -> Result<Value, String> {
    match member.shape {
        // A list without items is a list: who is in no group is not the same as who has no entry.
        Shape::List if text.is_empty() => Ok(Value::Array(Vec::new())),
        _ if text.is_empty() => Ok(Value::Null),
        Shape::List => Ok(text.split(';').map(|item| Value::from(item.trim())).collect()),
        Shape::Number { .. } => {
            let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            number.map(Value::Number).ok_or_else(|| member.shape.told(member.path, text))
        }
        _ => Ok(text.into()),
    }
}

/// Puts a value under a path such as `home.country`. Coordinates are one member of two numbers.
fn insert(patch: &mut Map<String, Value>, path: &str, value: Value) {
    let path = match path {
        "home.latitude" => "home.coordinates.latitude",
        "home.longitude" => "home.coordinates.longitude",
        path => path,
    };
    match path.split_once('.') {
        None => drop(patch.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = patch.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
