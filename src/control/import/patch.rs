//! What is to be different about one identity: members that are named are set, `null` takes away, the rest stays
//! (RFC 7396).

use crate::evidence::{Employment, Home, Identity, IdentityStatus, Moment, Proofing};
use crate::latency::Coordinates;
use serde_json::{Map, Value};
use std::sync::Arc;

/// An object of an identity's members.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch(pub Map<String, Value>);

/// A patch in an eighth of the room: of a large file all that change something are kept until the last row is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Box<str>);

impl Packed {
    pub fn unpacked(&self) -> Patch {
        Patch(serde_json::from_str(&self.0).expect("what was an object still is one"))
    }
}

/// A member that can be set, by its path.
pub struct Member {
    pub path: &'static str,
    pub shape: Shape,
}

/// What a member's value looks like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Text,
    /// In CSV separated by semicolons.
    List,
    Country,
    Number {
        least: f64,
        most: f64,
    },
    Moment,
    Words(&'static str),
}

const EMPLOYMENT: &str = "`employee`, `contractor` or `vendor`";
const STATUS: &str = "`active`, `watched` or `suspended`";
const LATITUDE: Shape = Shape::Number { least: -90.0, most: 90.0 };
const LONGITUDE: Shape = Shape::Number { least: -180.0, most: 180.0 };
const RADIUS: Shape = Shape::Number { least: 0.0, most: 20_040.0 };

const fn member(path: &'static str, shape: Shape) -> Member {
    Member { path, shape }
}

/// Every member, as a CSV file names its columns.
pub const MEMBERS: [Member; 19] = [
    member("user", Shape::Text),
    member("person", Shape::Text),
    member("aliases", Shape::List),
    member("name", Shape::Text),
    member("email", Shape::Text),
    member("groups", Shape::List),
    member("employment", Shape::Words(EMPLOYMENT)),
    member("vendor", Shape::Text),
    member("manager", Shape::Text),
    member("status", Shape::Words(STATUS)),
    member("home.country", Shape::Country),
    member("home.region", Shape::Text),
    member("home.latitude", LATITUDE),
    member("home.longitude", LONGITUDE),
    member("home.radius-km", RADIUS),
    member("proofing.method", Shape::Text),
    member("proofing.by", Shape::Text),
    member("proofing.at", Shape::Moment),
    member("proofing.until", Shape::Moment),
];

impl Shape {
    /// Why `text` will not do under `path`.
    pub fn told(self, path: &str, text: &str) -> String {
        match self {
            Self::Text => format!("`{path}` is not text"),
            Self::List => format!("`{path}` is not a list of text"),
            Self::Country => format!("`{text}` is not a country: two capital letters (ISO 3166-1)"),
            Self::Number { least, most } => format!("`{path}` is not a number from {least} to {most}"),
            Self::Moment => format!("`{path}` is no moment: `2026-01-02` or `2026-01-02T10:00:00Z`"),
            Self::Words(words) => format!("`{path}` cannot be `{text}`: {words}"),
        }
    }
}

/// A path, and what is wrong there.
pub type Fault = (String, String);

impl Patch {
    pub fn packed(&self) -> Packed {
        Packed(serde_json::to_string(&self.0).expect("plain values always serialize").into())
    }

    /// Whose identity it is.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub fn user(&self) -> Result<&str, String> {
        match self.0.get("user") {
            None | Some(Value::Null) => Err("`user` is missing".to_owned()),
            Some(value) => name("user", value),
        }
    }

    /// What the identity is like afterwards; `known` is what it was before.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn onto(&self, user: &Arc<str>, known: Option<&Identity>) -> Result<Identity, Vec<Fault>> {
        let mut identity = known.cloned().unwrap_or_else(|| blank(user));
        let mut faults = Vec::new();
        for (key, value) in &self.0 {
            if let Err(fault) = set(&mut identity, user, key, value) {
                faults.extend(fault);
            }
        }
        if faults.is_empty() { Ok(identity) } else { Err(faults) }
    }
}

/// Somebody of whom nothing is known.
pub fn blank(user: &Arc<str>) -> Identity {
    Identity {
        user: Arc::clone(user),
        person: Arc::clone(user),
        aliases: Vec::new(),
        name: None,
        email: None,
        groups: None,
        employment: None,
        vendor: None,
        manager: None,
        home: None,
        proofing: None,
        status: IdentityStatus::default(),
    }
}

fn set(identity: &mut Identity, user: &Arc<str>, key: &str, value: &Value) -> Result<(), Vec<Fault>> {
    let one = |result: Result<(), String>| result.map_err(|why| vec![(key.to_owned(), why)]);
    match key {
        "user" => Ok(()),
        "person" => one(optional(key, value).map(|person| identity.person = person.unwrap_or(Arc::clone(user)))),
        "name" => one(optional(key, value).map(|name| identity.name = name)),
        "email" => one(optional(key, value).map(|email| identity.email = email)),
        "vendor" => one(optional(key, value).map(|vendor| identity.vendor = vendor)),
        "manager" => one(optional(key, value).map(|manager| identity.manager = manager)),
        "aliases" => one(list(key, value).map(|aliases| identity.aliases = aliases.unwrap_or_default())),
        "groups" => one(list(key, value).map(|groups| identity.groups = groups)),
        "employment" => one(word(key, value, EMPLOYMENT, |word| match word {
            "employee" => Some(Employment::Employee),
            "contractor" => Some(Employment::Contractor),
            "vendor" => Some(Employment::Vendor),
            _ => None,
        })
        .map(|employment| identity.employment = employment)),
        // Nothing said is no word on the status: a suspension is lifted by saying so.
        "status" => one(word(key, value, STATUS, |word| match word {
            "active" => Some(IdentityStatus::Active),
            "watched" => Some(IdentityStatus::Watched),
            "suspended" => Some(IdentityStatus::Suspended),
            _ => None,
        })
        .map(|status| identity.status = status.unwrap_or(identity.status))),
        "home" => home(identity.home.take(), value).map(|home| identity.home = home),
        "proofing" => proofing(identity.proofing.take(), value).map(|proofing| identity.proofing = proofing),
        _ => Err(vec![(key.to_owned(), format!("there is no member `{key}`"))]),
    }
}

fn home(known: Option<Home>, value: &Value) -> Result<Option<Home>, Vec<Fault>> {
    let Some(object) = object("home", value)? else { return Ok(None) };
    let (mut country, mut region, mut coordinates, mut radius_km) = match known {
        Some(home) => (Some(home.country), home.region, home.coordinates, home.radius_km),
        None => (None, None, None, None),
    };
    let mut faults = Vec::new();
    for (key, value) in object {
        let path = format!("home.{key}");
        let done = match key.as_str() {
            "country" => optional(&path, value).and_then(|found| match found {
                Some(text) if !is_country(&text) => Err(Shape::Country.told(&path, &text)),
                found => {
                    country = found;
                    Ok(())
                }
            }),
            "region" => optional(&path, value).map(|found| region = found),
            "radius-km" => number(&path, value, RADIUS).map(|found| radius_km = found),
            "coordinates" => match place(value) {
                Ok(found) => {
                    coordinates = found;
                    Ok(())
                }
                Err(more) => {
                    faults.extend(more);
                    Ok(())
                }
            },
            _ => Err(format!("there is no member `{path}`")),
        };
        faults.extend(done.err().map(|why| (path, why)));
    }
    match country {
        _ if !faults.is_empty() => Err(faults),
        Some(country) => Ok(Some(Home { country, region, coordinates, radius_km })),
        None if region.is_none() && coordinates.is_none() && radius_km.is_none() => Ok(None),
        None => Err(vec![("home.country".to_owned(), "`home.country` is missing".to_owned())]),
    }
}

fn place(value: &Value) -> Result<Option<Coordinates>, Vec<Fault>> {
    let Some(object) = object("home.coordinates", value)? else { return Ok(None) };
    let mut faults = Vec::new();
    let mut read = |key: &str, shape| {
        let path = format!("home.{key}");
        number(&path, object.get(key).unwrap_or(&Value::Null), shape).unwrap_or_else(|why| {
            faults.push((path, why));
            None
        })
    };
    let (latitude, longitude) = (read("latitude", LATITUDE), read("longitude", LONGITUDE));
    let missing = |what: &str| vec![(format!("home.{what}"), format!("`home.{what}` is missing"))];
    match (latitude, longitude) {
        _ if !faults.is_empty() => Err(faults),
        (Some(latitude), Some(longitude)) => Ok(Some(Coordinates { latitude, longitude })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(missing("latitude")),
        (Some(_), None) => Err(missing("longitude")),
    }
}

fn proofing(known: Option<Proofing>, value: &Value) -> Result<Option<Proofing>, Vec<Fault>> {
    let Some(object) = object("proofing", value)? else { return Ok(None) };
    let (mut method, mut by, mut at, mut until) = match known {
        Some(proofing) => (Some(proofing.method), Some(proofing.by), Some(proofing.at), proofing.until),
        None => (None, None, None, None),
    };
    let mut faults = Vec::new();
    for (key, value) in object {
        let path = format!("proofing.{key}");
        let done = match key.as_str() {
            "method" => optional(&path, value).map(|found| method = found),
            "by" => optional(&path, value).map(|found| by = found),
            "at" => moment(&path, value).map(|found| at = found),
            "until" => moment(&path, value).map(|found| until = found),
            _ => Err(format!("there is no member `{path}`")),
        };
        faults.extend(done.err().map(|why| (path, why)));
    }
    let missing = |what: &str| Err(vec![(format!("proofing.{what}"), format!("`proofing.{what}` is missing"))]);
    match (method, by, at) {
        _ if !faults.is_empty() => Err(faults),
        (Some(method), Some(by), Some(at)) => Ok(Some(Proofing { method, by, at, until })),
        (None, None, None) if until.is_none() => Ok(None),
        (None, _, _) => missing("method"),
        (_, None, _) => missing("by"),
        (_, _, None) => missing("at"),
    }
}

fn object<'v>(path: &str, value: &'v Value) -> Result<Option<&'v Map<String, Value>>, Vec<Fault>> {
    match value {
        Value::Null => Ok(None),
        Value::Object(object) => Ok(Some(object)),
        _ => Err(vec![(path.to_owned(), format!("`{path}` is not an object"))]),
    }
}

/// Names are compared byte by byte and shown to people: nothing in them may be invisible.
fn name<'v>(path: &str, value: &'v Value) -> Result<&'v str, String> {
    let text = value.as_str().ok_or_else(|| Shape::Text.told(path, ""))?;
    fit(path, text).map(|()| text)
}

/// Whether this can be somebody's name; `path` is where it stands.
///
/// # Errors
/// Why not.
pub fn fit(path: &str, text: &str) -> Result<(), String> {
    match text {
        "" => Err(format!("`{path}` is empty")),
        _ if text.chars().count() > 256 => Err(format!("`{path}` is longer than 256 characters")),
        _ if text.trim() != text => Err(format!("`{path}` begins or ends with a space")),
        _ if text.chars().any(char::is_control) => Err(format!("`{path}` holds a control character")),
        _ => Ok(()),
    }
}

fn optional(path: &str, value: &Value) -> Result<Option<Arc<str>>, String> {
    match value {
        Value::Null => Ok(None),
        value => name(path, value).map(|text| Some(text.into())),
    }
}

fn list(path: &str, value: &Value) -> Result<Option<Vec<Arc<str>>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Array(items) if items.len() > 1000 => Err(format!("`{path}` has more than 1,000 items")),
        Value::Array(items) => {
            items.iter().map(|item| name(path, item).map(Arc::from)).collect::<Result<_, _>>().map(Some)
        }
        _ => Err(Shape::List.told(path, "")),
    }
}

fn word<T>(
    path: &str,
    value: &Value,
    words: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    match optional(path, value)? {
        None => Ok(None),
        Some(text) => read(&text).map(Some).ok_or_else(|| Shape::Words(words).told(path, &text)),
    }
}

fn number(path: &str, value: &Value, shape: Shape) -> Result<Option<f64>, String> {
    let Shape::Number { least, most } = shape else { return Err(shape.told(path, "")) };
    match value {
        Value::Null => Ok(None),
        value => match value.as_f64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(shape.told(path, "")),
        },
    }
}

fn moment(path: &str, value: &Value) -> Result<Option<Moment>, String> {
    match optional(path, value)? {
        None => Ok(None),
        Some(text) => read_moment(&text).map(Some).ok_or_else(|| Shape::Moment.told(path, &text)),
    }
}

/// `2026-01-02`, at its beginning in UTC, or RFC 3339.
pub fn read_moment(text: &str) -> Option<Moment> {
    let day = || {
        let day: jiff::civil::Date = text.parse().ok()?;
        Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let timestamp = if text.len() == 10 { day()? } else { text.parse::<jiff::Timestamp>().ok()? };
    Some(Moment(timestamp.as_millisecond()))
}

fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}
