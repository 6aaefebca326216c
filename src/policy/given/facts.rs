//! Facts an author states to be known.

use super::HOUR_MS;
use crate::evidence::timing::{Nearness, TcpTiming, TlsSource, TlsTiming};
use crate::evidence::{Asn, Binding, Certificate, Device, DeviceStatus, Evidence, Fact, Moment, Subject, Timing};
use crate::latency::{Coordinates, Rtt};
use crate::policy::countries;
use crate::policy::criteria::device::{self, STATUSES};
use crate::policy::diagnostic::Diagnostic;
use crate::policy::source::{Table, Value};
use std::sync::Arc;

/// How device and login belong together. `true` and `false` stand for the first and the third.
const BINDINGS: [(&str, Binding); 5] = [
    ("token-and-device", Binding::TokenAndDevice),
    ("device-only", Binding::DeviceOnly),
    ("another-owner", Binding::AnotherOwner),
    ("no-owner", Binding::NoOwner),
    ("another-certificate", Binding::AnotherCertificate),
];

/// Login, certificate, device and what binds them.
pub(super) fn identity(table: &mut Table<'_>, evidence: &mut Evidence) {
    needs(table, &["issuer", "groups", "with", "login-age"], "user");
    needs(table, &["device-class", "device-status", "device-owner", "owner-status", "san"], "device");
    needs(table, &["bound"], "user");
    needs(table, &["bound"], "device");
    let (user, issuer) = (table.optional("user", Value::name), table.or("issuer", "", Value::name));
    let (groups, with) = (table.list("groups", Value::name), table.list("with", Value::name));
    let age = table.optional("login-age", Value::duration);
    let device = table.optional("device", Value::name);
    let class = table.or("device-class", "", Value::name);
    let status = table.or("device-status", DeviceStatus::Active, |status| status.one_of(&STATUSES));
    let owner = table.optional("device-owner", Value::name);
    if let Some(status) =
        table.optional("owner-status", |status| status.one_of(&super::super::criteria::identity::STATUSES))
    {
        evidence.owner = Fact::Known(status);
    }
    let sans = table.list("san", device::san);
    let certificate = table.optional("certificate", Value::name).or(device);
    let bound = table.optional("bound", |bound| match bound.is_boolean() {
        true => bound.boolean().map(|bound| if bound { Binding::TokenAndDevice } else { Binding::AnotherOwner }),
        false => bound.one_of_or(&BINDINGS, &["true", "false"]),
    });

    let binding = bound.or_else(|| match (user?, device?, owner) {
        (user, _, Some(owner)) if owner == user => Some(Binding::DeviceOnly),
        (_, _, Some(_)) => Some(Binding::AnotherOwner),
        (_, _, None) => Some(Binding::NoOwner),
    });
    let owner =
        owner.or_else(|| user.filter(|_| matches!(binding, Some(Binding::TokenAndDevice | Binding::DeviceOnly))));
    if let Some(name) = certificate {
        let text: Arc<str> = name.into();
        evidence.certificate = Fact::Known(Arc::new(Certificate {
            sha256: Arc::clone(&text),
            spki_sha256: Arc::clone(&text),
            serial: "1".into(),
            subject: text,
            issuer: "".into(),
            sans,
            not_before: evidence.at,
            not_after: evidence.at.plus_millis(HOUR_MS),
            class: None,
        }));
    }
    if let Some(id) = device {
        let owner = owner.map(Arc::from);
        evidence.device = Fact::Known(Arc::new(Device { id: id.into(), owner, class: class.into(), status }));
    }
    if let Some(user) = user {
        let millis = age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        evidence.subject = Fact::Known(Arc::new(Subject {
            issuer: issuer.into(),
            id: user.into(),
            user: user.into(),
            groups: groups.into_iter().map(Arc::from).collect(),
            assurance: with.into_iter().map(Arc::from).collect(),
            acr: None,
            amr: Vec::new(),
            authenticated: millis.map(|millis| evidence.at.plus_millis(millis.saturating_neg())),
            expires: evidence.at.plus_millis(HOUR_MS),
            bound_to: match binding {
                Some(Binding::TokenAndDevice) => certificate.map(Arc::from),
                Some(Binding::AnotherCertificate) => Some("another certificate".into()),
                _ => None,
            },
        }));
    }
    evidence.binding = binding.map_or(Fact::Absent, Fact::Known);
}

pub(super) fn network(table: &mut Table<'_>, evidence: &mut Evidence) {
    let network = Arc::make_mut(&mut evidence.network);
    if let Some(address) = table.optional("address", Value::address) {
        network.address = Fact::Known(address.to_canonical());
        network.peer = address.to_canonical();
    }
    let text = |text: Option<&str>| text.map_or(Fact::Absent, |text| Fact::Known(Arc::from(text)));
    network.place.country = text(table.optional("country", |country| countries::lower(country).and(country.text())));
    network.place.region = text(table.optional("region", Value::name));
    network.place.city = text(table.optional("city", Value::name));
    network.place.coordinates = table.optional("coordinates", coordinates).map_or(Fact::Absent, Fact::Known);
    if let Some(number) = table.optional("asn", |asn| asn.integer_in(1..=i64::from(u32::MAX))) {
        network.asn = Fact::Known(Asn { number, organisation: "".into() });
    }
}

pub(super) fn timing(table: &mut Table<'_>, timing: &mut Timing) {
    let tcp = table.optional("rtt", rtt);
    let tls = table.optional("tls-rtt", rtt);
    let gap = table.optional("relay-gap", rtt).or_else(|| Some(tls?.saturating_sub(tcp?)));
    let known = |rtt: Option<Rtt>| rtt.map_or(Fact::Absent, Fact::Known);
    timing.tcp =
        known(tcp).map(|rtt| TcpTiming { first: rtt, minimum: rtt, smoothed: rtt, variation: Rtt::from_micros(0) });
    timing.tls = known(tls).map(|minimum| TlsTiming { minimum, samples: 1, source: TlsSource::Http2Settings });
    timing.relay_gap = known(gap);
    timing.excess = known(table.optional("rtt-excess", rtt));
    timing.distance = table.optional("distance", Value::distance).map_or(Fact::Absent, Fact::Known);
    if let Some(too_near) = table.optional("too-near", Value::boolean) {
        let measured = tcp.or(tls).unwrap_or(Rtt::from_micros(0));
        timing.nearness = Fact::Known(Nearness { too_near, floor: measured, measured });
    }
}

/// `[33.4, -112.0]`: latitude and longitude in degrees.
pub(super) fn coordinates(value: Value<'_>) -> Option<Coordinates> {
    let mut kinds = [("the latitude", 90.0), ("the longitude", 180.0)].into_iter();
    let numbers = value.list(|number| {
        let (what, most) = kinds.next().unwrap_or(("a number", f64::MAX));
        number.number_called(what, -most..=most)
    })?;
    let place = match numbers.as_slice() {
        [latitude, longitude] => Coordinates::new(*latitude, *longitude),
        _ => None,
    };
    place.or_else(|| {
        let message = format!("`{}` is no place on Earth", value.key());
        value.fault(message, "expected latitude and longitude in degrees, such as `[33.4, -112.0]`")
    })
}

fn rtt(value: Value<'_>) -> Option<Rtt> {
    match u32::try_from(value.duration()?.as_micros()) {
        Ok(micros) => Some(Rtt::from_micros(micros)),
        Err(_) => value.fault(format!("`{}` is out of range", value.key()), "expected at most one hour"),
    }
}

pub(super) fn moment(value: Value<'_>) -> Option<Moment> {
    if let Some(time) = value.unquoted_time() {
        let fault = Diagnostic::error(value.place(), format!("`{}` takes its point in time in quotes", value.key()));
        let whole = time.parse::<jiff::Timestamp>().is_ok();
        value.report(match whole {
            true => fault.label("the quotes are missing").suggest(value.place(), format!("\"{time}\"")),
            false => fault.label("expected date, time and offset in quotes, such as \"2026-03-04T10:00:00Z\""),
        });
        return None;
    }
    value.parsed("a point in time", "2026-03-04T10:00:00Z", |text| {
        let usage = "expected date, time and offset, such as `2026-03-04T10:00:00Z` or `2026-03-04T10:00:00-07:00`";
        text.parse::<jiff::Timestamp>().map(|at| Moment(at.as_millisecond())).map_err(|_| usage.to_owned())
    })
}

/// Reports keys that say something of what is not stated.
fn needs(table: &Table<'_>, keys: &[&str], stated: &str) {
    for key in keys.iter().filter(|key| table.has(key) && !table.has(stated)) {
        let fault = Diagnostic::error(table.key_place(key), format!("`{key}` is given without `{stated}`"));
        table.report(
            fault
                .label(format!("this says something of a `{stated}`"))
                .help(format!("state `{stated} = \"…\"` as well")),
        );
    }
}
