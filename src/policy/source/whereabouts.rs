//! Where in its document a value stands, in the words of a header: `resource.route.require`.

use super::Document;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The keys that lead to a value.
#[derive(Debug)]
pub(super) struct Whereabouts<'a> {
    keys: Vec<&'a str>,
    /// Whether it is one of a list.
    item: bool,
}

impl<'a> Whereabouts<'a> {
    /// Looks through the whole document: this is for diagnostics.
    pub fn of(sought: &'a Spanned<DeValue<'a>>, document: &'a Document<'a>) -> Self {
        let mut keys = Vec::new();
        let item = within_table(document.table.get_ref(), sought, &mut keys).unwrap_or_default();
        Self { keys, item }
    }

    /// `[[resource.require]]`
    pub fn list_header(&self) -> String {
        format!("[[{}]]", self.path())
    }

    /// How a table could be written: `[set.office]`; in braces where nobody writes a header.
    pub fn table(&self) -> String {
        match self.keys.as_slice() {
            _ if self.item => format!("`{}` or `{{ … }}`", self.list_header()),
            [_] | [_, _] => format!("`[{}]` or `{{ … }}`", self.path()),
            [.., key] => format!("`{key} = {{ … }}`"),
            [] => "`{ … }`".to_owned(),
        }
    }

    fn path(&self) -> String {
        let bare = |key: &str| {
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let keys = self.keys.iter().map(|key| if bare(key) { (*key).to_owned() } else { format!("\"{key}\"") });
        keys.collect::<Vec<_>>().join(".")
    }
}

/// Some: it is in there, and whether it is one of a list.
fn within_table<'a>(table: &'a DeTable<'a>, sought: &'a Spanned<DeValue<'a>>, keys: &mut Vec<&'a str>) -> Option<bool> {
    for (key, value) in table {
        keys.push(key.get_ref());
        if let Some(item) = within(value, sought, false, keys) {
            return Some(item);
        }
        keys.pop();
    }
    None
}

fn within<'a>(
    value: &'a Spanned<DeValue<'a>>,
    sought: &'a Spanned<DeValue<'a>>,
    item: bool,
    keys: &mut Vec<&'a str>,
) -> Option<bool> {
    match value.get_ref() {
        _ if std::ptr::eq(value, sought) => Some(item),
        DeValue::Table(entries) => within_table(entries, sought, keys),
        DeValue::Array(items) => items.iter().find_map(|value| within(value, sought, true, keys)),
        _ => None,
    }
}
