//! Facts an author states to be lost: `unavailable = ["country"]`, `invalid = ["login-forged"]`.

use super::Given;
use crate::evidence::{Fact, Fault};
use std::sync::Arc;

/// What can be stated to be lost, and how.
#[derive(Clone, Copy)]
pub(super) enum Lost {
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
    Identity,
    Owner,
    MemoryAge,
    Coordinates,
    Posture,
    Quota,
}

pub(super) const UNAVAILABLE: [(&str, Lost); 22] = [
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
    ("identity", Lost::Identity),
    ("owner-status", Lost::Owner),
    ("memory-age", Lost::MemoryAge),
    ("coordinates", Lost::Coordinates),
    ("posture", Lost::Posture),
    ("quota", Lost::Quota),
];

pub(super) const INVALID: [(&str, Lost); 4] = [
    ("login-forged", Lost::LoginForged),
    ("login-expired", Lost::LoginExpired),
    ("certificate-revoked", Lost::CertificateRevoked),
    ("certificate-expired", Lost::CertificateExpired),
];

impl Given {
    pub(super) fn lose(&mut self, lost: Lost) {
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
            Lost::Identity => evidence.identity = Fact::Unavailable(Fault::RegistryUnavailable),
            Lost::Owner => evidence.owner = Fact::Unavailable(Fault::RegistryUnavailable),
            Lost::MemoryAge => evidence.memory_age = Fact::Unavailable(Fault::RegistryUnavailable),
            Lost::Coordinates => network.place.coordinates = Fact::Unavailable(Fault::DatabaseMissing),
            Lost::Posture => evidence.posture = Fact::Unavailable(Fault::RegistryUnavailable),
            Lost::Quota => self.quota = Fact::Unavailable(Fault::QuotaTableFull),
        }
    }
}
