//! PEM (RFC 7468) with one section a text: strict where strangers send it, and for labels of our own.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

/// Why a text is not the one PEM section that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    #[error("not PEM: expected `-----BEGIN …-----` first")]
    NotPem,
    /// The label is shown with everything but letters, digits and spaces replaced.
    #[error("a `{0}` where another was expected")]
    Label(String),
    #[error("the section does not end, or its text is not base64")]
    Broken,
    #[error("something follows the end of the section")]
    Trailing,
}

/// One section, lines of 64 characters.
pub fn encode(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII.
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}

/// The bytes of the one section of the text. White space may stand around it and nothing else.
///
/// # Errors
/// The text is anything else than one section with one of the labels.
pub fn decode(text: &[u8], labels: &[&str]) -> Result<Vec<u8>, PemFault> {
    let text = text.trim_ascii();
    let text = std::str::from_utf8(text).map_err(|_| PemFault::NotPem)?;
    let rest = text.strip_prefix("-----BEGIN ").ok_or(PemFault::NotPem)?;
    let (label, rest) = rest.split_once("-----").ok_or(PemFault::NotPem)?;
    if !labels.contains(&label) {
        return Err(PemFault::Label(shown(label)));
    }
    let (body, after) = rest.split_once(&format!("-----END {label}-----")).ok_or(PemFault::Broken)?;
    if !after.is_empty() {
        return Err(PemFault::Trailing);
    }
    let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(body).map_err(|_| PemFault::Broken)
}

/// A label from outside, fit for a log line.
fn shown(label: &str) -> String {
    label.chars().take(40).map(|c| if c.is_ascii_alphanumeric() || c == ' ' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_section_and_nothing_else() {
        let pem = encode("X", &[9; 100]);
        assert_eq!(pem.lines().map(str::len).max(), Some(64));
        assert_eq!(decode(pem.as_bytes(), &["Y", "X"]), Ok(vec![9; 100]));
        assert_eq!(decode(format!("\r\n {pem}\t\n").replace('\n', "\r\n").as_bytes(), &["X"]), Ok(vec![9; 100]));
        assert_eq!(decode(b"", &["X"]), Err(PemFault::NotPem));
        assert_eq!(decode(format!("x{pem}").as_bytes(), &["X"]), Err(PemFault::NotPem));
        assert_eq!(decode(pem.as_bytes(), &["Y"]), Err(PemFault::Label("X".into())));
        assert_eq!(decode(b"-----BEGIN \x1b[1m-----", &["Y"]), Err(PemFault::Label("??1m".into())));
        assert_eq!(decode(format!("{pem}{pem}").as_bytes(), &["X"]), Err(PemFault::Trailing));
        assert_eq!(decode(&pem.as_bytes()[..pem.len() - 2], &["X"]), Err(PemFault::Broken));
        assert_eq!(decode(pem.replacen("CQkJ", "CQ-J", 1).as_bytes(), &["X"]), Err(PemFault::Broken));
    }
}
