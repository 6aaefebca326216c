//! A record's two layouts: nested as MaxMind and DB-IP publish it, flat as the @ip-location-db packages do.
//!
//! | | nested | flat |
//! |---|---|---|
//! | country | `country.iso_code` | `country_code` |
//! | region | `subdivisions[0].iso_code`, else `.names.en` | `state1` |
//! | city | `city.names.en` | `city` |
//! | coordinates | `location.latitude`, `.longitude` | `latitude`, `longitude` |
//! | ASN | `autonomous_system_number`, `autonomous_system_organization` | the same |

use crate::evidence::{Asn, Fact, Fault, Place};
use crate::latency::Coordinates;
use maxminddb::{LookupResult, PathElement, path};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::sync::Arc;

pub type Found<'a> = LookupResult<'a, Vec<u8>>;

/// The longest name believed, in bytes; the longest in real databases are organisations of about 100.
const LONGEST_NAME: usize = 256;

/// A nested record's coordinates count only when its accuracy radius is within this, km: beyond it they are the middle
/// of a region or country.
const WIDEST_RADIUS: u32 = 200;

const CORRUPT: Fault = Fault::DatabaseCorrupt;

/// `built` is for the caller to fill.
pub fn place(found: &Found<'_>) -> Place {
    match text(found, &path!["country_code"]) {
        Fact::Absent => nested(found),
        code => flat(found, code),
    }
}

pub fn asn(found: &Found<'_>) -> Fact<Asn> {
    whole(found, &path!["autonomous_system_number"]).and_then(|number| {
        let organisation = match text(found, &path!["autonomous_system_organization"]) {
            Fact::Known(name) => name,
            _ => Arc::default(),
        };
        // AS0 is reserved (RFC 7607): databases write it for "none".
        if number == 0 { Fact::Absent } else { Fact::Known(Asn { number, organisation }) }
    })
}

fn nested(found: &Found<'_>) -> Place {
    let region = match text(found, &path!["subdivisions", 0, "iso_code"]) {
        Fact::Absent => text(found, &path!["subdivisions", 0, "names", "en"]),
        code => code,
    };
    let city = text(found, &path!["city", "names", "en"]);
    let coordinates = match whole(found, &path!["location", "accuracy_radius"]) {
        Fact::Known(radius) if radius > WIDEST_RADIUS => Fact::Absent,
        Fact::Known(_) => coordinates(found, &path!["location", "latitude"], &path!["location", "longitude"]),
        _ => of_a_city(&city, coordinates(found, &path!["location", "latitude"], &path!["location", "longitude"])),
    };
    let country = text(found, &path!["country", "iso_code"]).and_then(country);
    Place { country, region, city, coordinates, built: Fact::Absent }
}

fn flat(found: &Found<'_>, code: Fact<Arc<str>>) -> Place {
    let city = text(found, &path!["city"]);
    let coordinates = of_a_city(&city, coordinates(found, &path!["latitude"], &path!["longitude"]));
    Place {
        country: code.and_then(country),
        region: text(found, &path!["state1"]),
        city,
        coordinates,
        built: Fact::Absent,
    }
}

/// A record that names no city has the middle of a country or region for coordinates. That is no place to measure to:
/// it would prove honest people false.
fn of_a_city(city: &Fact<Arc<str>>, coordinates: Fact<Coordinates>) -> Fact<Coordinates> {
    if *city == Fact::Absent { Fact::Absent } else { coordinates }
}

/// ISO 3166-1 alpha-2 in upper case. `ZZ` is how databases write that they do not know.
fn country(code: Arc<str>) -> Fact<Arc<str>> {
    if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Fact::Unavailable(CORRUPT);
    }
    if code.eq_ignore_ascii_case("ZZ") {
        return Fact::Absent;
    }
    if code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Fact::Known(code);
    }
    Fact::Known(code.to_ascii_uppercase().into())
}

fn coordinates(found: &Found<'_>, latitude: &[PathElement<'_>], longitude: &[PathElement<'_>]) -> Fact<Coordinates> {
    value::<Decimal>(found, latitude).and_then(|Decimal(latitude)| {
        value::<Decimal>(found, longitude).and_then(|Decimal(longitude)| {
            // Null Island is where a database puts what it does not know.
            if latitude == 0.0 && longitude == 0.0 {
                return Fact::Absent;
            }
            Coordinates::new(latitude, longitude).map_or(Fact::Unavailable(CORRUPT), Fact::Known)
        })
    })
}

fn text(found: &Found<'_>, path: &[PathElement<'_>]) -> Fact<Arc<str>> {
    value::<&str>(found, path).and_then(|text| match text {
        "" => Fact::Absent,
        text if text.len() > LONGEST_NAME || text.chars().any(char::is_control) => Fact::Unavailable(CORRUPT),
        text => Fact::Known(text.into()),
    })
}

/// The decoder gives a `u32` only what was stored in 32 bits; an `i64` takes integers of any width.
fn whole(found: &Found<'_>, path: &[PathElement<'_>]) -> Fact<u32> {
    value::<i64>(found, path).and_then(|number| u32::try_from(number).map_or(Fact::Unavailable(CORRUPT), Fact::Known))
}

/// A number stored as double, float or integer. (MaxMind has doubles for coordinates, @ip-location-db floats.)
struct Decimal(f64);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNumber;

        impl Visitor<'_> for AnyNumber {
            type Value = Decimal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E>(self, number: f64) -> Result<Decimal, E> {
                Ok(Decimal(number))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Decimal, E> {
                Ok(Decimal(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Decimal, E> {
                Ok(Decimal(number as f64))
            }
        }

        deserializer.deserialize_any(AnyNumber)
    }
}

/// A value of the wrong type is a corrupt database, one that is not there is `Absent`.
fn value<'a, T: Deserialize<'a>>(found: &Found<'a>, path: &[PathElement<'_>]) -> Fact<T> {
    match found.decode_path::<T>(path) {
        Ok(Some(value)) => Fact::Known(value),
        Ok(None) => Fact::Absent,
        Err(_) => Fact::Unavailable(CORRUPT),
    }
}
