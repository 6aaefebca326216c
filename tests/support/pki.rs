//! Throw-away authorities, certificates and revocation lists. Nothing here outlives a test.

#![allow(dead_code, reason = "each test crate uses a part")]

use rangegate::evidence::Moment;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

pub const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;

/// What the tests take for now, unless they say otherwise: any moment will do, for nobody looks at the clock.
pub const NOW: Moment = Moment(1_800_000_000_000);

/// A certificate authority and its key.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate, its key and the intermediates above it.
pub struct Leaf {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
    pub serial: u64,
}

/// What a leaf is to say. `Leaf` for a client that is good from a day before `NOW` to a day after it.
#[derive(Clone)]
pub struct Wanted {
    pub name: String,
    pub serial: u64,
    /// Names with their kind: `dns:…`, `uri:…`, `email:…`, `ip:…`.
    pub sans: Vec<String>,
    pub not_before: Moment,
    pub not_after: Moment,
    /// None: no extended key usage at all.
    pub purposes: Option<Vec<ExtendedKeyUsagePurpose>>,
    pub usages: Vec<KeyUsagePurpose>,
    pub is_ca: bool,
}

impl Wanted {
    pub fn client(name: &str, serial: u64) -> Self {
        Self {
            name: name.to_owned(),
            serial,
            sans: Vec::new(),
            not_before: NOW.plus_millis(-DAY),
            not_after: NOW.plus_millis(DAY),
            purposes: Some(vec![ExtendedKeyUsagePurpose::ClientAuth]),
            usages: vec![KeyUsagePurpose::DigitalSignature],
            is_ca: false,
        }
    }

    pub fn server(names: &[&str], serial: u64) -> Self {
        let sans = names.iter().map(|name| match name.parse::<std::net::IpAddr>() {
            Ok(_) => format!("ip:{name}"),
            Err(_) => format!("dns:{name}"),
        });
        Self {
            sans: sans.collect(),
            purposes: Some(vec![ExtendedKeyUsagePurpose::ServerAuth]),
            ..Self::client(names.first().copied().unwrap_or("server"), serial)
        }
    }

    /// Valid around the given moment: for tests whose other side looks at the real clock.
    pub fn around(mut self, now: Moment) -> Self {
        self.not_before = now.plus_millis(-DAY);
        self.not_after = now.plus_millis(DAY);
        self
    }
}

impl Authority {
    /// A root, valid for decades.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(authority(name), key).expect("a root");
        Self { issuer }
    }

    /// An authority below this one.
    pub fn intermediate(&self, name: &str, serial: u64) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = authority(name);
        params.serial_number = Some(serial.into());
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).expect("an intermediate");
        Self { issuer }
    }

    /// An authority of the same name with another key.
    pub fn impostor(name: &str) -> Self {
        Self::new(name)
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn issue(&self, wanted: &Wanted) -> Leaf {
        let key = KeyPair::generate().expect("a key");
        self.issue_for(wanted, key)
    }

    /// For a key that is there already: a renewal.
    pub fn issue_for(&self, wanted: &Wanted, key: KeyPair) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, wanted.name.as_str());
        params.serial_number = Some(wanted.serial.into());
        params.not_before = date(wanted.not_before);
        params.not_after = date(wanted.not_after);
        params.subject_alt_names = wanted.sans.iter().map(|san| subject_alternative_name(san)).collect();
        params.extended_key_usages = wanted.purposes.clone().unwrap_or_default();
        params.key_usages = wanted.usages.clone();
        params.is_ca = if wanted.is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Leaf { chain: vec![certificate.der().clone()], key, serial: wanted.serial }
    }

    /// A client certificate that is good at `NOW`.
    pub fn client(&self, name: &str, serial: u64) -> Leaf {
        self.issue(&Wanted::client(name, serial))
    }

    /// A revocation list in PEM, valid from an hour before `now` for a day.
    pub fn crl(&self, revoked: &[u64], now: Moment) -> String {
        self.crl_between(revoked, now.plus_millis(-HOUR), now.plus_millis(DAY))
    }

    pub fn crl_between(&self, revoked: &[u64], this_update: Moment, next_update: Moment) -> String {
        self.signed_list(revoked, this_update, next_update).pem().expect("PEM")
    }

    pub fn crl_der(&self, revoked: &[u64], now: Moment) -> Vec<u8> {
        self.signed_list(revoked, now.plus_millis(-HOUR), now.plus_millis(DAY)).der().to_vec()
    }

    fn signed_list(
        &self,
        revoked: &[u64],
        this_update: Moment,
        next_update: Moment,
    ) -> rcgen::CertificateRevocationList {
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date(this_update),
            reason_code: None,
            invalidity_date: None,
        });
        CertificateRevocationListParams {
            this_update: date(this_update),
            next_update: date(next_update),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .expect("a revocation list")
    }
}

impl Leaf {
    /// The same leaf, shown together with the intermediate that issued it.
    pub fn below(mut self, intermediate: &Authority) -> Self {
        self.chain.push(intermediate.certificate());
        self
    }

    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Leaf and intermediates.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// Writes a text to a file of that name and returns its path. What by its name is a secret nobody else may read.
pub fn file(directory: &Path, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, contents).expect("a file");
    if [".key", ".secret", "passphrase", "password"].iter().any(|end| name.ends_with(end)) {
        close(&path);
    }
    path
}

/// From now on its owner alone may read it.
pub fn close(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("closed");
}

pub fn date(moment: Moment) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.millis() / 1000).expect("a date")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn subject_alternative_name(san: &str) -> SanType {
    let (kind, name) = san.split_once(':').expect("kind:name");
    match kind {
        "dns" => SanType::DnsName(name.try_into().expect("a name")),
        "uri" => SanType::URI(name.try_into().expect("a URI")),
        "email" => SanType::Rfc822Name(name.try_into().expect("an address")),
        "ip" => SanType::IpAddress(name.parse().expect("an address")),
        other => panic!("no such kind of name: {other}"),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ascii")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
