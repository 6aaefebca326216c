//! What comes from outside, cut to what a line can carry: where something is left out, the line says so.
//!
//! A reader takes no line longer than `LONGEST_LINE`, because no gateway writes one. A character takes up to twelve
//! bytes of the log, so what counts is the room in the log and not the length of the text.

use super::admin::{Admin, AdminActor};
use super::visible::width;
use serde_json::{Map, Value};
use std::sync::Arc;

/// For a text: a target, a reason, a name. Bytes in the log.
const TEXT: usize = 8 << 10;
/// For what was there before, and as much for what is there after. Bytes in the log.
const VALUE: usize = 192 << 10;
/// What takes the place of the rest.
const REST: usize = 64;

impl Admin {
    /// The line with nothing in it that is too long. What is short stays as it is, however long its neighbour.
    #[must_use]
    pub fn shortened(self) -> Self {
        let AdminActor { user, person, device, issuer } = self.actor;
        Self {
            id: self.id.map(text),
            actor: AdminActor { user: name(user), person: name(person), device: name(device), issuer: name(issuer) },
            target: text(self.target),
            reason: self.reason.map(|reason| if fits(&reason) { reason } else { text(reason.into_owned()).into() }),
            before: self.before.map(|before| value(before, VALUE)),
            after: self.after.map(|after| value(after, VALUE)),
            ..self
        }
    }
}

/// Bytes that the value takes in the log, or a few more.
pub fn length(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 24,
        Value::String(text) => 2 + text.chars().map(width).sum::<usize>(),
        Value::Array(items) => 2 + items.iter().map(|item| 1 + length(item)).sum::<usize>(),
        Value::Object(members) => 2 + members.iter().map(|(key, value)| member(key) + length(value)).sum::<usize>(),
    }
}

/// Bytes of a member without its value.
fn member(key: &str) -> usize {
    4 + key.chars().map(width).sum::<usize>()
}

fn fits(text: &str) -> bool {
    text.chars().map(width).sum::<usize>() <= TEXT
}

fn text(text: String) -> String {
    if fits(&text) { text } else { beginning(&text, TEXT) }
}

fn name(name: Option<Arc<str>>) -> Option<Arc<str>> {
    name.map(|name| if fits(&name) { name } else { beginning(&name, TEXT).into() })
}

/// As much of the text as there is room for, and how much there was.
fn beginning(text: &str, room: usize) -> String {
    let mut left = room.saturating_sub(REST);
    let fitting = text.char_indices().find(|(_, c)| match left.checked_sub(width(*c)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    let kept = fitting.map_or(text, |(at, _)| text.get(..at).unwrap_or_default());
    format!("{kept}… (shortened: {} characters in all)", text.chars().count())
}

fn value(value: Value, room: usize) -> Value {
    if length(&value) <= room {
        return value;
    }
    let shorter = match value {
        Value::String(text) => beginning(&text, room).into(),
        Value::Array(items) => first(items, room),
        Value::Object(members) => fairly(members, room),
        plain => plain,
    };
    // Of a thousand things each may have to say that it was shortened.
    if length(&shorter) <= room.max(2 * REST) { shorter } else { "… (shortened: too much to tell)".into() }
}

/// The first of a list, and how many there are.
fn first(items: Vec<Value>, room: usize) -> Value {
    let (all, mut left) = (items.len(), room.saturating_sub(REST));
    let fits = |item: &Value| match left.checked_sub(1 + length(item)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let mut kept: Vec<Value> = items.into_iter().take_while(fits).collect();
    kept.push(format!("… (shortened: {all} in all)").into());
    kept.into()
}

/// Every member, and only the longest of them shortened: nothing is hidden by something long beside it.
fn fairly(members: Map<String, Value>, room: usize) -> Value {
    let mut members: Vec<(usize, String, Value)> =
        members.into_iter().map(|(key, value)| (member(&key) + length(&value), key, value)).collect();
    members.sort_by_key(|(length, _, _)| *length);
    let (mut left, mut others, mut kept) = (room, members.len(), Map::new());
    for (_, key, one) in members {
        let one = value(one, (left / others.max(1)).saturating_sub(member(&key)));
        left = left.saturating_sub(member(&key) + length(&one));
        others -= 1;
        kept.insert(key, one);
    }
    kept.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AdminOutcome;
    use crate::audit::chain::Chain;
    use crate::audit::file::LONGEST_LINE;
    use crate::audit::line;
    use crate::evidence::Moment;
    use proptest::prelude::*;
    use serde_json::json;

    fn admin(long: &str, before: Value, after: Value) -> Admin {
        let name = Some(Arc::from(long));
        Admin {
            at: Moment(0),
            id: Some(long.to_owned()),
            actor: AdminActor { user: name.clone(), person: name.clone(), device: name.clone(), issuer: name },
            action: "identity-set",
            target: long.to_owned(),
            outcome: AdminOutcome::Done,
            reason: Some(long.to_owned().into()),
            before: Some(before),
            after: Some(after),
        }
    }

    fn written(admin: &Admin) -> usize {
        let mut buffer = Vec::new();
        line::admin(&mut buffer, &mut Chain::EMPTY.clone(), admin);
        buffer.len()
    }

    #[test]
    fn no_line_is_too_long_whatever_its_characters() {
        for character in ["\u{7f}", "\0", "\"", "é", "\u{ad}", "\u{e0001}", "😀", "x"] {
            let long = character.repeat(200_000);
            let list: Value = (0..2000).map(|_| character.repeat(256)).collect();
            let many: Map<String, Value> = (0..50_000).map(|n| (format!("{character}{n}"), character.into())).collect();
            for value in [json!(long), json!({ "a": long, "b": list, "c": 1 }), list.clone(), many.clone().into()] {
                let line = admin(&long, value.clone(), value).shortened();
                assert!(written(&line) < LONGEST_LINE as usize / 2, "{character:?}: {}", written(&line));
                assert!(line.target.ends_with("… (shortened: 200000 characters in all)"), "{}", line.target.len());
                assert!(line.after.is_some_and(|after| after.to_string().contains("… (shortened: ")), "it says so");
            }
        }
    }

    #[test]
    fn what_is_long_hides_nothing_beside_it() {
        let after =
            json!({ "aliases": ["x".repeat(300_000)], "groups": ["payroll-leads"], "name": "y".repeat(300_000) });
        let after = admin("", Value::Null, after).shortened().after.expect("something");
        assert_eq!(after["groups"], json!(["payroll-leads"]));
        assert_eq!(after["aliases"], json!(["… (shortened: 1 in all)"]));
        assert!(after["name"].as_str().is_some_and(|name| name.starts_with("yyyy") && name.len() > VALUE / 3));
    }

    proptest! {
        #[test]
        fn what_fits_stays_and_is_as_long_as_it_was_taken_for(text in any::<String>(), number in any::<i64>()) {
            let value = json!({ "a": [text, number, null], "b": { text.clone(): true } });
            let mut buffer = Vec::new();
            crate::audit::pen::Pen(&mut buffer).value(&value);
            prop_assert!(buffer.len() <= length(&value) && length(&value) <= buffer.len() + 64);
            let line = admin(&text, value.clone(), value.clone()).shortened();
            prop_assert_eq!((&line.target, &line.before, &line.after), (&text, &Some(value.clone()), &Some(value)));
        }
    }
}
