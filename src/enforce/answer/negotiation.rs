//! Whether the request would rather have a page or a problem document (RFC 9110 section 12.5.1).

use http::{HeaderMap, header};

/// True when `Accept` names HTML and does not prefer JSON. Programs that say nothing or `*/*` get JSON.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let mut html = Preference::default();
    let mut json = Preference::default();
    for field in headers.get_all(header::ACCEPT) {
        let Ok(field) = field.to_str() else { continue };
        for range in field.split(',') {
            let Some((kind, quality)) = parse(range) else { continue };
            if kind.eq_ignore_ascii_case("text/html") {
                html.learn(Precision::Exact, quality);
            } else if kind.eq_ignore_ascii_case("text/*") {
                html.learn(Precision::Type, quality);
            } else if kind.eq_ignore_ascii_case("application/problem+json")
                || kind.eq_ignore_ascii_case("application/json")
            {
                json.learn(Precision::Exact, quality);
            } else if kind.eq_ignore_ascii_case("application/*") {
                json.learn(Precision::Type, quality);
            } else if kind == "*/*" {
                html.learn(Precision::Any, quality);
                json.learn(Precision::Any, quality);
            }
        }
    }
    html.precision > Precision::Any
        && html.quality > 0
        && (html.quality, html.precision) >= (json.quality, json.precision)
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    #[default]
    Unnamed,
    Any,
    Type,
    Exact,
}

/// The quality given by the most precise range that covers a media type.
#[derive(Default)]
struct Preference {
    precision: Precision,
    quality: u16,
}

impl Preference {
    fn learn(&mut self, precision: Precision, quality: u16) {
        if precision > self.precision {
            *self = Self { precision, quality };
        } else if precision == self.precision {
            self.quality = self.quality.max(quality);
        }
    }
}

/// A media range and its quality in thousandths. None: not a range, or a weight that is not one.
fn parse(range: &str) -> Option<(&str, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().filter(|kind| !kind.is_empty())?;
    for parameter in parts {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim_end().eq_ignore_ascii_case("q")
        {
            return Some((kind, quality(value.trim_start())?));
        }
    }
    Some((kind, 1000))
}

/// `0`, `0.25`, `1`, `1.000` (RFC 9110 section 12.4.2).
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(*b"000").take(3).fold(0, |sum, byte| sum * 10 + u16::from(byte - b'0'));
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}
