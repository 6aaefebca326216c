//! What is written by hand is what serde would write, and reads back as it was.

use super::*;
use crate::audit::chain::Sealed;
use crate::audit::record::{Connection, Tls};
use crate::evidence::timing::{Nearness, TcpTiming, TlsSource, TlsTiming};
use crate::evidence::{
    Asn, Binding, Certificate, Device, DeviceStatus, Emergency, Employment, Evidence, Fact, Fault, Grant, Home,
    Identity, IdentityStatus, Malformed, Moment, Network, Over, Place, Posture, Proofing, Protocol, Quota, Request,
    Subject, Timing, Upgrade, Via,
};
use crate::latency::{Coordinates, Kilometres, Rtt};
use crate::policy::{
    Decided, Decision, Finding, Mode, Origin, Outcome, Reason, Remedy, Resource, Scheme, Scope, Seen, Sensitivity,
    Verdict,
};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Several records of few connections, so that what is kept ready is used again and outlived.
    #[test]
    fn a_record_reads_back_as_it_was(
        connections in prop::collection::vec(connection(), 2),
        known in prop::collection::vec((evidence(), decision()), 1..4),
        records in prop::collection::vec((0..2_usize, any::<prop::sample::Index>(), of(fact(binding())), rest()), 1..12),
    ) {
        let connections: Vec<_> = connections.into_iter().map(Arc::new).collect();
        let (mut buffer, mut chain, mut fragments) = (Vec::new(), Chain::EMPTY, Fragments::default());
        for (connection, at, binding, rest) in records {
            // Clones share what is behind an `Arc`, as the requests of a connection do.
            let (mut evidence, decision) = at.get(&known).clone();
            evidence.binding = binding.unwrap_or(evidence.binding);
            let record = rest.record(Arc::clone(&connections[connection]), evidence, decision);
            buffer.clear();
            let seq = chain.next();
            request(&mut buffer, &mut chain, &mut fragments, &record);
            let line = buffer.strip_suffix(b"\n").expect("ends in a newline");
            let sealed = Sealed::parse(line);
            prop_assert!(sealed.is_some_and(|line| line.intact() && line.seq == seq && line.hash == chain.last));
            let line: Value = serde_json::from_slice(line).expect("JSON");
            prop_assert_eq!(&line["seq"], &json!(seq));
            holds(&line, &record)?;
        }
    }
}

fn holds(line: &Value, record: &Record) -> Result<(), TestCaseError> {
    let micros = |duration: Duration| json!(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    let some = |pointer: &str| line.pointer(pointer).cloned();
    let asked = record.known.request();
    prop_assert_eq!(&line["id"], &json!(asked.id));
    prop_assert_eq!(line["live"] == true, record.live);
    prop_assert_eq!(&line["connection"], &serde_json::to_value(&record.connection)?);
    match &record.known {
        Known::Asked(request) => {
            prop_assert_eq!(&line["request"], &serde_json::to_value(request)?);
            prop_assert!(line["evidence"].is_null() && line["decision"].is_null());
        }
        Known::Decided(decided) => {
            prop_assert_eq!(&line["evidence"], &serde_json::to_value(&decided.evidence)?);
            let back: Evidence = serde_json::from_value(line["evidence"].clone())?;
            prop_assert_eq!(&back, &decided.evidence);
            prop_assert_eq!(&line["decision"], &serde_json::to_value(&decided.decision)?);
        }
    }
    prop_assert_eq!(line["upstream"].is_null(), record.exchange.is_none());
    if let Some(exchange) = &record.exchange {
        prop_assert_eq!(some("/upstream/origin"), exchange.origin.as_ref().map(|it| json!(it.to_string())));
        prop_assert_eq!(some("/upstream/status"), exchange.status.map(Value::from));
        prop_assert_eq!(&line["upstream"]["attempts"], &json!(exchange.attempts));
        prop_assert_eq!(some("/upstream/fault"), exchange.fault.map(Value::from));
        prop_assert_eq!(&line["micros"]["upstream"], &micros(exchange.head));
    }
    prop_assert_eq!(some("/response/status"), record.status.map(Value::from));
    prop_assert_eq!(some("/micros/decision"), record.to_decision.map(micros));
    prop_assert_eq!(&line["micros"]["total"], &micros(record.total));
    prop_assert_eq!(&line["bytes"], &json!({ "in": record.received, "out": record.sent }));
    prop_assert_eq!(&line["end"], &serde_json::to_value(record.end)?);
    Ok(())
}

/// What a record has besides connection, evidence and decision.
#[derive(Clone, Debug)]
struct Rest {
    decided: bool,
    live: bool,
    exchange: Option<Exchange>,
    status: Option<u16>,
    to_decision: Option<Duration>,
    total: Duration,
    bytes: (u64, u64),
    end: End,
}

impl Rest {
    fn record(self, connection: Arc<Connection>, evidence: Evidence, decision: Decision) -> Record {
        Record {
            at: evidence.at,
            connection,
            known: match self.decided {
                true => Known::Decided(Arc::new(Decided { evidence, decision })),
                false => Known::Asked(evidence.request),
            },
            exchange: self.exchange,
            status: self.status,
            to_decision: self.to_decision,
            total: self.total,
            received: self.bytes.0,
            sent: self.bytes.1,
            end: self.end,
            live: self.live,
            alert: None,
            started: Instant::now(),
            slot: true,
            flow: None,
            home: 0,
        }
    }
}

fn rest() -> impl Strategy<Value = Rest> {
    let ends = vec![End::Complete, End::ClientGone, End::UpstreamError, End::Timeout, End::Panic, End::Cut("drain")];
    let exchange = (of(origin()), of(any::<u16>()), any::<Duration>(), any::<u8>(), of(Just("connect-timeout")))
        .prop_map(|(origin, status, head, attempts, fault)| Exchange { origin, status, head, attempts, fault });
    let (status, times) = (of(any::<u16>()), (of(any::<Duration>()), any::<Duration>()));
    (prop::bool::weighted(0.9), any::<bool>(), of(exchange), status, times, any::<(u64, u64)>(), select(ends)).prop_map(
        |(decided, live, exchange, status, (to_decision, total), bytes, end)| Rest {
            decided,
            live,
            exchange,
            status,
            to_decision,
            total,
            bytes,
            end,
        },
    )
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-z0-9./-]{0,20}", any::<String>()].prop_map(Arc::from)
}

fn texts() -> impl Strategy<Value = Vec<Arc<str>>> {
    prop::collection::vec(text(), 0..3)
}

fn moment() -> impl Strategy<Value = Moment> {
    any::<i64>().prop_map(Moment)
}

fn rtt() -> impl Strategy<Value = Rtt> {
    any::<u32>().prop_map(Rtt::from_micros)
}

/// Numbers that every reader reads back to the last bit.
fn real(most: i32) -> impl Strategy<Value = f64> {
    (-most * 8..most * 8).prop_map(|eighths| f64::from(eighths) / 8.0)
}

fn fault() -> impl Strategy<Value = Fault> {
    select(Fault::ALL)
}

fn fact<T: Clone + std::fmt::Debug + 'static>(
    known: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Fact<T>> {
    prop_oneof![
        4 => known.prop_map(Fact::Known),
        1 => Just(Fact::Absent),
        1 => fault().prop_map(Fact::Invalid),
        1 => fault().prop_map(Fact::Unavailable),
    ]
}

fn connection() -> impl Strategy<Value = Connection> {
    let tls = (text(), text(), of(text()));
    (text(), any::<SocketAddr>(), of(tls), text()).prop_map(|(listener, peer, tls, protocol)| Connection {
        listener,
        // A scope or flow label is not written.
        peer: SocketAddr::new(peer.ip(), peer.port()),
        tls: tls.map(|(version, cipher, sni)| Tls {
            version: version.to_string().into(),
            cipher: cipher.to_string().into(),
            sni,
        }),
        protocol: protocol.to_string().into(),
    })
}

fn origin() -> impl Strategy<Value = Origin> {
    let schemes = select(vec![Scheme::Http, Scheme::Https, Scheme::H2c, Scheme::Builtin]);
    (schemes, text(), any::<u16>()).prop_map(|(scheme, host, port)| Origin { scheme, host, port })
}

fn binding() -> impl Strategy<Value = Binding> {
    let bindings = [Binding::TokenAndDevice, Binding::DeviceOnly, Binding::AnotherOwner, Binding::NoOwner];
    select(bindings.to_vec())
}

fn request_asked() -> impl Strategy<Value = Request> {
    let protocols = select(vec![Protocol::Http10, Protocol::Http11, Protocol::Http2]);
    let (upgrade, malformed) = (of(Just(Upgrade::Websocket)), of(select(Malformed::ALL)));
    ((text(), text(), text(), text()), protocols, upgrade, malformed).prop_map(
        |((id, method, host, path), protocol, upgrade, malformed)| Request {
            id: id.to_string(),
            protocol,
            method: method.to_string().into(),
            host: host.to_string(),
            path: path.to_string(),
            upgrade,
            malformed,
        },
    )
}

fn certificate() -> impl Strategy<Value = Arc<Certificate>> {
    ((text(), text(), text(), text(), text()), texts(), moment(), moment(), of(text())).prop_map(
        |((sha256, spki_sha256, serial, subject, issuer), sans, not_before, not_after, class)| {
            Arc::new(Certificate { sha256, spki_sha256, serial, subject, issuer, sans, not_before, not_after, class })
        },
    )
}

fn device() -> impl Strategy<Value = Arc<Device>> {
    let statuses =
        [DeviceStatus::Active, DeviceStatus::Watched, DeviceStatus::Suspended, DeviceStatus::Revoked].to_vec();
    (text(), of(text()), text(), select(statuses))
        .prop_map(|(id, owner, class, status)| Arc::new(Device { id, owner, class, status }))
}

fn subject() -> impl Strategy<Value = Arc<Subject>> {
    let lists = (texts(), texts(), texts());
    ((text(), text(), text()), lists, of(text()), of(moment()), moment(), of(text())).prop_map(
        |((issuer, id, user), (groups, assurance, amr), acr, authenticated, expires, bound_to)| {
            Arc::new(Subject { issuer, id, user, groups, assurance, acr, amr, authenticated, expires, bound_to })
        },
    )
}

fn network() -> impl Strategy<Value = Arc<Network>> {
    let coordinates = (real(90), real(180)).prop_map(|(latitude, longitude)| Coordinates { latitude, longitude });
    let place = (fact(text()), fact(text()), fact(text()), fact(coordinates), fact(moment()));
    let place = place.prop_map(|(country, region, city, coordinates, built)| Place {
        country,
        region,
        city,
        coordinates,
        built,
    });
    let asn = (any::<u32>(), text()).prop_map(|(number, organisation)| Asn { number, organisation });
    let via = select(vec![Via::Direct, Via::ProxyProtocol, Via::Forwarder]);
    (fact(any::<IpAddr>()), any::<IpAddr>(), via, place, fact(asn), named(any::<bool>()))
        .prop_map(|(address, peer, via, place, asn, lists)| Arc::new(Network { address, peer, via, place, asn, lists }))
}

/// Facts by name, each name once.
fn named<T: Clone + std::fmt::Debug + 'static>(
    known: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<(Arc<str>, Fact<T>)>> {
    prop::collection::btree_map(text(), fact(known), 0..3).prop_map(|facts| facts.into_iter().collect())
}

fn timing() -> impl Strategy<Value = Timing> {
    let tcp = [rtt(), rtt(), rtt(), rtt()].prop_map(|[first, minimum, smoothed, variation]| TcpTiming {
        first,
        minimum,
        smoothed,
        variation,
    });
    let sources = select(vec![TlsSource::Http2Settings, TlsSource::Http2Ping, TlsSource::WebsocketPing]);
    let tls =
        (rtt(), any::<u32>(), sources).prop_map(|(minimum, samples, source)| TlsTiming { minimum, samples, source });
    let nearness =
        (any::<bool>(), rtt(), rtt()).prop_map(|(too_near, floor, measured)| Nearness { too_near, floor, measured });
    let distance = real(20_000).prop_map(Kilometres);
    (fact(tcp), fact(tls), [fact(rtt()), fact(rtt()), fact(rtt()), fact(rtt())], fact(distance), fact(nearness))
        .prop_map(|(tcp, tls, [device_tcp, device_tls, relay_gap, excess], distance, nearness)| Timing {
            tcp,
            tls,
            device_tcp,
            device_tls,
            relay_gap,
            distance,
            excess,
            nearness,
        })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let emergency = select(vec![Emergency::Off, Emergency::Observe, Emergency::Deny]);
    let quota =
        prop_oneof![Just(Quota::Within), any::<u64>().prop_map(|retry_after_ms| Quota::Exceeded { retry_after_ms })];
    let over = select(vec![None, Some(Over::Expired), Some(Over::Ended)]);
    let grant = (text(), moment(), over).prop_map(|(role, expires, over)| Grant { role, expires, over });
    let grants = prop::collection::vec(grant, 0..3).prop_map(Arc::<[Grant]>::from);
    let posture = any::<bool>().prop_map(|attested| Posture { attested });
    // Boxed: unoptimised, the whole would be too large for a test's stack.
    let who = (fact(certificate()), fact(device()), fact(subject()), fact(binding())).boxed();
    let owner = select(vec![IdentityStatus::Active, IdentityStatus::Watched, IdentityStatus::Suspended]);
    let memory = (fact(identity()), fact(any::<u64>()), fact(owner)).boxed();
    let rest = (named(quota), fact(grants), fact(posture), memory).boxed();
    (moment(), emergency, request_asked().boxed(), who, network().boxed(), timing().boxed(), rest).prop_map(
        |(at, emergency, request, (certificate, device, subject, binding), network, timing, rest)| Evidence {
            at,
            emergency,
            request: Arc::new(request),
            certificate,
            device,
            subject,
            binding,
            network,
            timing,
            quotas: rest.0.into(),
            grants: rest.1,
            posture: rest.2,
            identity: rest.3.0,
            memory_age: rest.3.1,
            owner: rest.3.2,
        },
    )
}

fn identity() -> impl Strategy<Value = Arc<Identity>> {
    let status = select(vec![IdentityStatus::Active, IdentityStatus::Watched, IdentityStatus::Suspended]);
    let employment = of(select(vec![Employment::Employee, Employment::Contractor, Employment::Vendor]));
    let home = (text(), of(text()), of(real(90)), of(real(1_000))).prop_map(|(country, region, at, radius_km)| Home {
        country,
        region,
        coordinates: at.map(|at| Coordinates { latitude: at, longitude: -at }),
        radius_km,
    });
    let proofing =
        (text(), text(), moment(), of(moment())).prop_map(|(method, by, at, until)| Proofing { method, by, at, until });
    let names = (text(), text(), texts(), of(text()), of(text()));
    let standing = (of(texts()), employment, of(text()), of(text()), status);
    (names, standing, of(home), of(proofing)).prop_map(
        |((user, person, aliases, name, email), (groups, employment, vendor, manager, status), home, proofing)| {
            Arc::new(Identity {
                user,
                person,
                aliases,
                name,
                email,
                groups,
                employment,
                vendor,
                manager,
                home,
                proofing,
                status,
            })
        },
    )
}

fn reason() -> impl Strategy<Value = Reason> {
    select(Reason::all().collect::<Vec<_>>())
}

fn finding() -> impl Strategy<Value = Finding> {
    let seen = prop_oneof![
        Just(Seen::Nothing),
        text().prop_map(Seen::Text),
        Just(Seen::Word("a \"word\"")),
        rtt().prop_map(Seen::Rtt),
        any::<f64>().prop_map(|km| Seen::Kilometres(Kilometres(km))),
        any::<u64>().prop_map(Seen::Age),
        moment().prop_map(Seen::Moment),
        any::<IpAddr>().prop_map(Seen::Address),
        any::<u32>().prop_map(Seen::Asn),
    ];
    let remedy = prop_oneof![
        Just(Remedy::None),
        (of(text()), of(any::<u64>())).prop_map(|(with, within_seconds)| Remedy::Login { with, within_seconds }),
        text().prop_map(|role| Remedy::Grant { role }),
        any::<u64>().prop_map(|after_ms| Remedy::Retry { after_ms }),
    ];
    let scope = select(vec![Scope::BuiltIn, Scope::Baseline, Scope::Resource, Scope::Route]);
    let verdict = select(vec![Verdict::Met, Verdict::Unmet, Verdict::Unknown]);
    (scope, text(), verdict, reason(), select(&Outcome::ALL[..]), seen, remedy).prop_map(
        |(scope, requirement, verdict, reason, demand, seen, remedy)| Finding {
            scope,
            requirement,
            verdict,
            reason,
            demand,
            seen,
            remedy,
        },
    )
}

fn decision() -> impl Strategy<Value = Decision> {
    let resource = text().prop_map(|id| {
        let upstreams = Arc::new([]);
        let sensitivity = Sensitivity::High;
        Arc::new(Resource { id, mode: Mode::Enforce, sensitivity, owner: None, upstreams, decoy: None })
    });
    let outcomes = (select(&Outcome::ALL[..]), select(&Outcome::ALL[..]));
    (text(), of(resource), outcomes, reason(), prop::collection::vec(finding(), 0..6)).prop_map(
        |(policy, resource, (outcome, would), reason, findings)| Decision {
            policy,
            resource,
            outcome,
            would,
            reason,
            findings,
        },
    )
}
