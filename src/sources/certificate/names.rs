//! Distinguished names as text (RFC 4514), for people to read. Nothing is ever identified by them.

use crate::store::digest::hex;
use std::fmt::Write;
use x509_parser::asn1_rs::ToDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The short names of RFC 4514 section 3.
const SHORT: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The most specific part first, parts joined by `,`, several attributes of one part by `+`.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter().collect();
    let parts = parts.into_iter().rev().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"));
    parts.collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(dotted, _)| *dotted == kind);
    match (short, attribute.as_str()) {
        (Some((_, short)), Ok(value)) => format!("{short}={}", escaped(value)),
        // Section 2.4: what has no short name, or is no text, is shown as its encoding.
        _ => format!("{kind}=#{}", hex(&attribute.attr_value().to_der_vec().unwrap_or_default())),
    }
}

/// Section 2.4, and control characters besides, as `\` and two hex digits a byte.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        let edge = (at == 0 && matches!(c, ' ' | '#')) || (at == last && c == ' ');
        if edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
            text.push(c);
        } else if c.is_control() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(text, "\\{byte:02x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_rfc_4514_says() {
        for (value, text) in [
            ("James \"Jim\" Smith, III", r#"James \"Jim\" Smith\, III"#),
            ("Before\rAfter", r"Before\0dAfter"),
            ("#1 fan ", r"\#1 fan\ "),
            (" ", r"\ "),
            ("a+b;c<d>e\\f", r"a\+b\;c\<d\>e\\f"),
            ("Lučić", "Lučić"),
            ("", ""),
        ] {
            assert_eq!(escaped(value), text);
        }
    }
}
