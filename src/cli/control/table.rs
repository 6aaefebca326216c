//! Answers as people read them: a line for each thing, or a line for each thing known of one.

use super::super::Terminal;
use super::super::terminal::Style;
use serde_json::Value;

/// A heading, and where its value stands: `seen.last.at`.
pub struct Column(&'static str, &'static str);

pub const fn column(heading: &'static str, at: &'static str) -> Column {
    Column(heading, at)
}

/// A table of `items`, as wide as what is in it.
pub fn print(terminal: &mut Terminal, answer: &Value, columns: &[Column]) {
    let items = answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> =
        items.iter().map(|item| columns.iter().map(|Column(_, at)| text(find(item, at))).collect()).collect();
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.chain(columns.get(index).map(|Column(heading, _)| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let head = line(&mut columns.iter().map(|Column(heading, _)| *heading));
    terminal.line(&terminal.paint(Style::Strong, &head));
    for row in &rows {
        terminal.line(&line(&mut row.iter().map(String::as_str)));
    }
    let count = rows.len();
    terminal.line(&format!("{count} {}", if count == 1 { "line" } else { "lines" }));
}

/// Everything there is to say of one thing, a line each.
pub fn details(terminal: &mut Terminal, answer: &Value) {
    let mut lines = Vec::new();
    walk("", answer, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in lines {
        terminal.line(&format!("{name:width$}  {value}"));
    }
}

fn walk(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (key, value) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, value, lines);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object()) => {
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{path}.{}", index + 1), item, lines);
            }
        }
        value => lines.push((path.to_owned(), text(value))),
    }
}

fn find<'v>(item: &'v Value, at: &str) -> &'v Value {
    at.split('.').fold(item, |value, key| value.get(key).unwrap_or(&Value::Null))
}

fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => return "-".to_owned(),
        Value::Array(items) if items.is_empty() => return "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.chars().filter(|c| !c.is_control()).collect()
}
