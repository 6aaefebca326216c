//! Evidence in an author's words, for tests and explanations: what is not stated is absent.

use super::countries;
use super::criteria::device::STATUSES;
use super::criteria::list;
use super::decide::Policy;
use super::diagnostic::{Diagnostic, has_errors};
use super::source::{Source, Table, Value};
use crate::evidence::{
    Asn, Binding, Certificate, Device, DeviceStatus, Emergency, Evidence, Fact, Fault, Grant, Moment, Network, Place,
    Posture, Protocol, Quota, Request, Subject, Timing, Via,
    timing::{Nearness, TcpTiming, TlsSource, TlsTiming},
};
use crate::latency::Rtt;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What an author states. Lists and limits are filled in when the policy and the request are known.
#[derive(Clone, Debug)]
pub struct Given {
    evidence: Evidence,
    /// The lists the address is on; it is on no other. None: nothing is stated.
    lists: Option<Vec<Arc<str>>>,
    quota: Fact<Quota>,
    lists_unavailable: bool,
}

impl Default for Given {
    fn default() -> Self {
        Self { evidence: nothing(), lists: None, quota: Fact::Absent, lists_unavailable: false }
    }
}

impl Given {
    /// Reads `country = "US", rtt = "38ms"` as well as `country=US`, one or several in each text.
    ///
    /// # Errors
    /// The faults, with the source they point into.
    pub fn read(texts: &[String], policy: &Policy) -> Result<Self, (Source, Vec<Diagnostic>)> {
        let stated: Vec<String> = texts.iter().map(|text| quote_bare(text)).collect();
        let source = Source::new("--given", format!("given = {{ {} }}", stated.join(", ")));
        let document = source.parse();
        let mut root = document.root();
        let given = root.optional("given", |given| Self::lower(given, policy.lists()));
        root.finish();
        let faults = document.into_faults();
        match given {
            Some(given) if !has_errors(&faults) => Ok(given),
            _ => Err((source, faults)),
        }
    }

    /// The whole evidence for `request`, as `policy` will read it.
    pub fn evidence(&self, request: Request, policy: &Policy) -> Evidence {
        let mut evidence = self.evidence.clone();
        let mut network = Network::clone(&evidence.network);
        network.lists = policy.lists().iter().map(|list| (Arc::clone(list), self.on(list))).collect();
        evidence.network = Arc::new(network);
        let limits = policy.needs(&request).limits;
        evidence.quotas = limits.iter().map(|limit| (Arc::clone(&limit.name), self.quota.clone())).collect();
        evidence.request = request;
        evidence
    }

    pub(super) fn lower(value: Value<'_>, lists: &[Arc<str>]) -> Option<Self> {
        let mut table = value.table()?;
        let mut given = Self::default();
        let evidence = &mut given.evidence;
        if let Some(at) = table.optional("at", moment) {
            evidence.at = at;
        }
        let words = [("off", Emergency::Off), ("observe", Emergency::Observe), ("deny", Emergency::Deny)];
        evidence.emergency = table.or("emergency", Emergency::Off, |value| value.one_of(&words));
        identity(&mut table, evidence);
        network(&mut table, evidence);
        timing(&mut table, &mut evidence.timing);
        let expires = evidence.at.plus_millis(HOUR_MS);
        if let Some(roles) = table.optional("grants", |value| value.list(Value::name)) {
            let held = roles.into_iter().map(|role| Grant { role: role.into(), expires });
            evidence.grants = Fact::Known(held.collect());
        }
        if let Some(attested) = table.optional("posture-attested", Value::boolean) {
            evidence.posture = Fact::Known(Posture { attested });
        }
        table.at_most_one(&["list", "lists"]);
        let one = table.optional("list", |value| Some(vec![list::known(value, lists)?]));
        let several = table.optional("lists", |value| value.list(|name| list::known(name, lists)));
        given.lists = one.or(several);
        let words = [("within", Quota::Within), ("exceeded", Quota::Exceeded { retry_after_ms: 1000 })];
        if let Some(quota) = table.optional("quota", |value| value.one_of(&words)) {
            given.quota = Fact::Known(quota);
        }
        for lost in table.list("unavailable", |value| value.one_of(&UNAVAILABLE)) {
            given.lose(lost);
        }
        for lost in table.list("invalid", |value| value.one_of(&INVALID)) {
            given.lose(lost);
        }
        table.finish();
        Some(given)
    }

    fn on(&self, list: &Arc<str>) -> Fact<bool> {
        match &self.lists {
            _ if self.lists_unavailable => Fact::Unavailable(Fault::ListUnavailable),
            Some(on) => Fact::Known(on.contains(list)),
            None => Fact::Absent,
        }
    }

    fn lose(&mut self, lost: Lost) {
        let evidence = &mut self.evidence;
        let timing = &mut evidence.timing;
        let network = Arc::make_mut(&mut evidence.network);
        match lost {
            Lost::Login => evidence.subject = Fact::Unavailable(Fault::KeysUnavailable),
            Lost::LoginForged => evidence.subject = Fact::Invalid(Fault::TokenForged),
            Lost::LoginExpired => evidence.subject = Fact::Invalid(Fault::TokenExpired),
            Lost::Certificate => evidence.certificate = Fact::Unavailable(Fault::CrlMissing),
            Lost::CertificateRevoked => evidence.certificate = Fact::Invalid(Fault::CertificateRevoked),
            Lost::CertificateExpired => evidence.certificate = Fact::Invalid(Fault::CertificateExpired),
            Lost::Device => evidence.device = Fact::Unavailable(Fault::RegistryUnavailable),
            Lost::Binding => evidence.binding = Fact::Unavailable(Fault::RegistryUnavailable),
            Lost::Address => network.address = Fact::Unavailable(Fault::AddressUnknown),
            Lost::Country => network.place.country = Fact::Unavailable(Fault::DatabaseMissing),
            Lost::Region => network.place.region = Fact::Unavailable(Fault::DatabaseMissing),
            Lost::Asn => network.asn = Fact::Unavailable(Fault::DatabaseMissing),
            Lost::Lists => self.lists_unavailable = true,
            Lost::Rtt => timing.tcp = Fact::Unavailable(Fault::BehindForwarder),
            Lost::TlsRtt => timing.tls = Fact::Unavailable(Fault::Insufficient),
            Lost::RelayGap => timing.relay_gap = Fact::Unavailable(Fault::Insufficient),
            Lost::Excess => timing.excess = Fact::Unavailable(Fault::Insufficient),
            Lost::Distance => timing.distance = Fact::Unavailable(Fault::GatewayUnplaced),
            Lost::Nearness => timing.nearness = Fact::Unavailable(Fault::Insufficient),
            Lost::Grants => evidence.grants = Fact::Unavailable(Fault::RegistryUnavailable),
            Lost::Posture => evidence.posture = Fact::Unavailable(Fault::RegistryUnavailable),
            Lost::Quota => self.quota = Fact::Unavailable(Fault::QuotaTableFull),
        }
    }
}

/// Reads `POST https://payroll.corp.example/runs/7/approve`; port and query have no part in policy.
///
/// # Errors
/// Says what a request looks like.
pub fn request(text: &str) -> Result<Request, String> {
    let usage = || "expected a method and an https address, such as `GET https://payroll.corp.example/runs`".to_owned();
    let (method, address) = text.trim().split_once(' ').ok_or_else(usage)?;
    let method = super::criteria::method::parse(method)?;
    let rest = address.trim().strip_prefix("https://").ok_or_else(usage)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    if matches!(super::hosts::HostPattern::parse(host)?, super::hosts::HostPattern::Below(_)) {
        return Err(usage());
    }
    let path = path.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/");
    if path.contains('*') {
        return Err("a request has one path; `*` stands only in patterns".to_owned());
    }
    super::segments::Pattern::parse(path)?;
    Ok(Request {
        id: "given".to_owned(),
        protocol: Protocol::Http11,
        method: Cow::Owned(method.into()),
        host: host.to_owned(),
        path: path.to_owned(),
        upgrade: None,
        malformed: None,
    })
}

const HOUR_MS: i64 = 3_600_000;

/// What can be stated to be lost, and how.
#[derive(Clone, Copy)]
enum Lost {
    Login,
    LoginForged,
    LoginExpired,
    Certificate,
    CertificateRevoked,
    CertificateExpired,
    Device,
    Binding,
    Address,
    Country,
    Region,
    Asn,
    Lists,
    Rtt,
    TlsRtt,
    RelayGap,
    Excess,
    Distance,
    Nearness,
    Grants,
    Posture,
    Quota,
}

const UNAVAILABLE: [(&str, Lost); 18] = [
    ("login", Lost::Login),
    ("certificate", Lost::Certificate),
    ("device", Lost::Device),
    ("bound", Lost::Binding),
    ("address", Lost::Address),
    ("country", Lost::Country),
    ("region", Lost::Region),
    ("asn", Lost::Asn),
    ("lists", Lost::Lists),
    ("rtt", Lost::Rtt),
    ("tls-rtt", Lost::TlsRtt),
    ("relay-gap", Lost::RelayGap),
    ("rtt-excess", Lost::Excess),
    ("distance", Lost::Distance),
    ("too-near", Lost::Nearness),
    ("grants", Lost::Grants),
    ("posture", Lost::Posture),
    ("quota", Lost::Quota),
];

const INVALID: [(&str, Lost); 4] = [
    ("login-forged", Lost::LoginForged),
    ("login-expired", Lost::LoginExpired),
    ("certificate-revoked", Lost::CertificateRevoked),
    ("certificate-expired", Lost::CertificateExpired),
];

/// How device and login belong together. `true` and `false` stand for the first and the third.
const BINDINGS: [(&str, Binding); 5] = [
    ("token-and-device", Binding::TokenAndDevice),
    ("device-only", Binding::DeviceOnly),
    ("another-owner", Binding::AnotherOwner),
    ("no-owner", Binding::NoOwner),
    ("another-certificate", Binding::AnotherCertificate),
];

/// Login, certificate, device and what binds them.
fn identity(table: &mut Table<'_>, evidence: &mut Evidence) {
    needs(table, &["issuer", "groups", "with", "login-age"], "user");
    needs(table, &["device-class", "device-status", "device-owner", "san"], "device");
    needs(table, &["bound"], "user");
    needs(table, &["bound"], "device");
    let (user, issuer) = (table.optional("user", Value::name), table.or("issuer", "", Value::name));
    let (groups, with) = (table.list("groups", Value::name), table.list("with", Value::name));
    let age = table.optional("login-age", Value::duration);
    let device = table.optional("device", Value::name);
    let class = table.or("device-class", "", Value::name);
    let status = table.or("device-status", DeviceStatus::Active, |status| status.one_of(&STATUSES));
    let owner = table.optional("device-owner", Value::name);
    let sans = table.list("san", Value::name);
    let certificate = table.optional("certificate", Value::name).or(device);
    let bound = table.optional("bound", |bound| match bound.is_boolean() {
        true => bound.boolean().map(|bound| if bound { Binding::TokenAndDevice } else { Binding::AnotherOwner }),
        false => bound.one_of(&BINDINGS),
    });

    let binding = bound.or_else(|| match (user?, device?, owner) {
        (user, _, Some(owner)) if owner == user => Some(Binding::DeviceOnly),
        (_, _, Some(_)) => Some(Binding::AnotherOwner),
        (_, _, None) => Some(Binding::NoOwner),
    });
    let owner = owner.or_else(|| user.filter(|_| matches!(binding, Some(Binding::TokenAndDevice | Binding::DeviceOnly))));
    if let Some(name) = certificate {
        let text: Arc<str> = name.into();
        evidence.certificate = Fact::Known(Arc::new(Certificate {
            sha256: Arc::clone(&text),
            spki_sha256: Arc::clone(&text),
            serial: "1".into(),
            subject: text,
            issuer: "".into(),
            sans: sans.into_iter().map(Arc::from).collect(),
            not_before: evidence.at,
            not_after: evidence.at.plus_millis(HOUR_MS),
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

fn network(table: &mut Table<'_>, evidence: &mut Evidence) {
    let network = Arc::make_mut(&mut evidence.network);
    if let Some(address) = table.optional("address", Value::address) {
        network.address = Fact::Known(address.to_canonical());
        network.peer = address.to_canonical();
    }
    let text = |text: Option<&str>| text.map_or(Fact::Absent, |text| Fact::Known(Arc::from(text)));
    network.place.country = text(table.optional("country", |country| countries::lower(country).and(country.text())));
    network.place.region = text(table.optional("region", Value::name));
    network.place.city = text(table.optional("city", Value::name));
    if let Some(number) = table.optional("asn", |asn| asn.integer_in(1..=i64::from(u32::MAX))) {
        network.asn = Fact::Known(Asn { number, organisation: "".into() });
    }
}

fn timing(table: &mut Table<'_>, timing: &mut Timing) {
    let tcp = table.optional("rtt", rtt);
    let tls = table.optional("tls-rtt", rtt);
    let gap = table.optional("relay-gap", rtt).or_else(|| Some(tls?.saturating_sub(tcp?)));
    let known = |rtt: Option<Rtt>| rtt.map_or(Fact::Absent, Fact::Known);
    timing.tcp = known(tcp).map(|rtt| TcpTiming { first: rtt, minimum: rtt, smoothed: rtt, variation: Rtt::from_micros(0) });
    timing.tls = known(tls).map(|minimum| TlsTiming { minimum, samples: 1, source: TlsSource::Http2Settings });
    timing.relay_gap = known(gap);
    timing.excess = known(table.optional("rtt-excess", rtt));
    timing.distance = table.optional("distance", Value::distance).map_or(Fact::Absent, Fact::Known);
    if let Some(too_near) = table.optional("too-near", Value::boolean) {
        let measured = tcp.or(tls).unwrap_or(Rtt::from_micros(0));
        timing.nearness = Fact::Known(Nearness { too_near, floor: measured, measured });
    }
}

fn rtt(value: Value<'_>) -> Option<Rtt> {
    match u32::try_from(value.duration()?.as_micros()) {
        Ok(micros) => Some(Rtt::from_micros(micros)),
        Err(_) => value.fault(format!("`{}` is out of range", value.key()), "expected at most one hour"),
    }
}

fn moment(value: Value<'_>) -> Option<Moment> {
    value.parsed("a point in time", "2026-03-04T10:00:00Z", |text| {
        let usage = "expected date, time and offset, such as `2026-03-04T10:00:00Z` or `2026-03-04T10:00:00-07:00`";
        text.parse::<jiff::Timestamp>().map(|at| Moment(at.as_millisecond())).map_err(|_| usage.to_owned())
    })
}

/// Reports keys that say something of what is not stated.
fn needs(table: &Table<'_>, keys: &[&str], stated: &str) {
    for key in keys.iter().filter(|key| table.has(key) && !table.has(stated)) {
        let fault = Diagnostic::error(table.key_place(key), format!("`{key}` is given without `{stated}`"));
        table.report(fault.label(format!("this says something of a `{stated}`")).help(format!("state `{stated} = \"…\"` as well")));
    }
}

/// `country=US` as a shell user writes it, with the value in quotes; what is TOML already is left alone.
fn quote_bare(text: &str) -> String {
    let Some((key, value)) = text.split_once('=') else { return text.to_owned() };
    let quoted = || format!("{key}= '{}'", value.trim().replace('\'', ""));
    match toml::de::DeTable::parse(&format!("given = {{ {text} }}")) {
        // a date is text in this language
        Ok(_) if value.trim().parse::<toml::value::Datetime>().is_ok() => quoted(),
        Ok(_) => text.to_owned(),
        Err(_) => quoted(),
    }
}

/// The evidence of a request of which nothing is known.
pub fn nothing() -> Evidence {
    Evidence {
        at: Moment(0),
        emergency: Emergency::Off,
        request: Request {
            id: String::new(),
            protocol: Protocol::Http11,
            method: Cow::Borrowed("GET"),
            host: String::new(),
            path: "/".to_owned(),
            upgrade: None,
            malformed: None,
        },
        certificate: Fact::Absent,
        device: Fact::Absent,
        subject: Fact::Absent,
        binding: Fact::Absent,
        network: Arc::new(Network {
            address: Fact::Absent,
            peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            via: Via::Direct,
            place: Place {
                country: Fact::Absent,
                region: Fact::Absent,
                city: Fact::Absent,
                coordinates: Fact::Absent,
                built: Fact::Absent,
            },
            asn: Fact::Absent,
            lists: Vec::new(),
        }),
        timing: Timing {
            tcp: Fact::Absent,
            tls: Fact::Absent,
            device_tcp: Fact::Absent,
            device_tls: Fact::Absent,
            relay_gap: Fact::Absent,
            distance: Fact::Absent,
            excess: Fact::Absent,
            nearness: Fact::Absent,
        },
        quotas: SmallVec::new(),
        grants: Fact::Absent,
        posture: Fact::Absent,
    }
}
