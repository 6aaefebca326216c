//! From a device's key to a certificate. Everything in it but the key is the authority's own word.

use super::request::{self, RequestFault};
use super::{DeviceKey, Signing, pem};
use crate::evidence::Moment;
use crate::sources::certificate::DEVICE_URN;
use crate::store::Digest;
use crate::store::digest::hex;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// How far back a certificate begins, for devices whose clock is behind, milliseconds.
const BACKDATED: i64 = 60_000;

/// The longest device id: what a common name may hold (RFC 5280 appendix A, `ub-common-name`).
const LONGEST_ID: usize = 64;

/// An authority that can sign: its key, its name and how long what it signs is good.
pub struct Authority {
    pub(super) issuer: Issuer<'static, Signing>,
    pub(super) certificate: CertificateDer<'static>,
    /// PEM of what stands between a device's certificate and the root; empty when the authority is a root itself.
    pub(super) intermediates: String,
    /// Its subject key identifier, which lists name it by.
    pub(super) key_id: Vec<u8>,
    pub(super) not_before: Moment,
    pub(super) not_after: Moment,
    pub(super) lifetime: Duration,
}

/// A new certificate, and what the registry must remember of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The device's certificate, then the intermediates: what the device gets.
    pub pem: String,
    pub der: CertificateDer<'static>,
    /// SHA-256 of the certificate.
    pub sha256: Digest,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: Digest,
    /// Lower-case hex, no leading zeros: as in `evidence::Certificate`.
    pub serial: Arc<str>,
    /// As in `evidence::Certificate::sans`.
    pub san: Arc<str>,
    pub not_before: Moment,
    /// Its last second.
    pub not_after: Moment,
}

/// Why no certificate was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueFault {
    #[error(transparent)]
    Request(#[from] RequestFault),
    /// The caller's mistake: ids are made by the gateway.
    #[error("`{0}` cannot be a device's id: up to 64 letters, digits, dots, dashes and underscores")]
    DeviceId(String),
    #[error("the authority's own certificate is not valid yet")]
    NotYetValid,
    #[error("the authority's own certificate is about to end or has ended")]
    Ended,
    #[error("the authority cannot sign: {0}")]
    Signing(String),
}

impl IssueFault {
    /// The code as it stands in answers and audit records.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Request(fault) => fault.code(),
            Self::DeviceId(_) => "authority-device-id",
            Self::NotYetValid => "authority-not-yet-valid",
            Self::Ended => "authority-ended",
            Self::Signing(_) => "authority-cannot-sign",
        }
    }
}

impl Authority {
    /// Reads a request (PEM or DER, RFC 2986) and issues a certificate for the key in it.
    ///
    /// # Errors
    /// The request is refused, or the authority cannot issue now.
    pub fn enrol(&self, request: &[u8], device: &str, now: Moment) -> Result<Issued, IssueFault> {
        self.issue(&request::read(request)?, device, now)
    }

    /// Issues a certificate for a key that was judged and proved already: where the registry is asked in between.
    ///
    /// # Errors
    /// The authority cannot issue now.
    pub fn issue(&self, key: &DeviceKey, device: &str, now: Moment) -> Result<Issued, IssueFault> {
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| IssueFault::Signing("no randomness".to_owned()))?;
        self.issue_as(key, device, serial, now)
    }

    pub(super) fn issue_as(
        &self,
        key: &DeviceKey,
        device: &str,
        serial: [u8; 16],
        now: Moment,
    ) -> Result<Issued, IssueFault> {
        if !is_device_id(device) {
            return Err(IssueFault::DeviceId(device.chars().take(LONGEST_ID).flat_map(char::escape_default).collect()));
        }
        let (not_before, not_after) = self.validity(now)?;
        let san = format!("{DEVICE_URN}{device}");
        let signing = |error: rcgen::Error| IssueFault::Signing(error.to_string());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, device);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.subject_alt_names = vec![SanType::URI(san.as_str().try_into().map_err(signing)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        // Written as critical, and brings the subject key identifier.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.not_before = date(not_before);
        params.not_after = date(not_after);
        let certificate = params.signed_by(key, &self.issuer).map_err(signing)?;
        let der = certificate.der().clone();
        Ok(Issued {
            pem: pem::encode("CERTIFICATE", &der) + &self.intermediates,
            sha256: Digest::of(&der),
            der,
            spki_sha256: key.digest(),
            serial: serial_text(&serial),
            san: format!("uri:{san}").into(),
            not_before,
            not_after,
        })
    }

    /// Whole seconds, and never beyond the authority's own.
    fn validity(&self, now: Moment) -> Result<(Moment, Moment), IssueFault> {
        if now < self.not_before {
            return Err(IssueFault::NotYetValid);
        }
        let lifetime = i64::try_from(self.lifetime.as_millis()).unwrap_or(i64::MAX);
        let from = whole_seconds(now.plus_millis(-BACKDATED)).max(self.not_before);
        let until = whole_seconds(now.plus_millis(lifetime)).min(self.not_after);
        if until <= now { Err(IssueFault::Ended) } else { Ok((from, until)) }
    }

    /// The authority's own certificate, PEM: what listeners trust.
    pub fn certificate_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate)
    }

    /// When the authority's own certificate ends: nothing it issued is good after that.
    pub const fn ends(&self) -> Moment {
        self.not_after
    }

    /// How long a certificate is good, unless the authority ends earlier.
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Letters, digits, dots, dashes and underscores: an id is part of a URN (RFC 8141) and of file names.
pub(super) fn is_device_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(plain)
}

/// Lower-case hex, no leading zeros.
pub(super) fn serial_text(serial: &[u8]) -> Arc<str> {
    match hex(serial).trim_start_matches('0') {
        "" => "0".into(),
        digits => digits.into(),
    }
}

/// A moment that ASN.1 can say; far away ones are cut to the years 1970 and 9999.
pub(super) fn date(moment: Moment) -> OffsetDateTime {
    const LAST: i64 = 253_402_300_799;
    let seconds = moment.millis().div_euclid(1000).clamp(0, LAST);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn whole_seconds(moment: Moment) -> Moment {
    Moment(moment.millis().div_euclid(1000).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Curve, make};
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
    use x509_parser::prelude::{FromDer, X509Certificate};

    const NOW: Moment = Moment(1_800_000_000_500);
    const DAY: Duration = Duration::from_secs(86_400);

    fn authority(lifetime: Duration) -> Authority {
        let made = make("Test devices", Curve::P256, DAY * 30, NOW).expect("made");
        Authority::assemble(made.certificate_pem.as_bytes(), made.key, lifetime).expect("assembled")
    }

    fn request(subject: &[(DnType, String)], key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), value.as_str());
        }
        params.serialize_request(key).expect("a request").der().to_vec()
    }

    fn tbs(issued: &Issued) -> Vec<u8> {
        X509Certificate::from_der(&issued.der).expect("a certificate").1.tbs_certificate.as_ref().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever the subject of a request says, what is signed is the same to the byte.
        #[test]
        fn nothing_but_the_key_comes_from_the_request(names in proptest::collection::vec("[ -~é\u{0}]{0,40}", 1..4)) {
            let authority = authority(DAY * 7);
            let key = KeyPair::generate().expect("a key");
            let kinds = [DnType::CommonName, DnType::OrganizationName, DnType::CountryName];
            let subject: Vec<_> = kinds.into_iter().zip(names).collect();
            let issue = |request: &[u8]| {
                let key = request::read(request).expect("a good request");
                authority.issue_as(&key, "d_1", [7; 16], NOW).expect("issued")
            };
            let (plain, odd) = (issue(&request(&[], &key)), issue(&request(&subject, &key)));
            prop_assert_eq!(tbs(&plain), tbs(&odd));
            prop_assert_eq!(odd.spki_sha256, Digest::of(&key.subject_public_key_info()));
        }

        #[test]
        fn serials_are_canonical(serial: [u8; 16]) {
            let authority = authority(DAY);
            let key = request::read(&request(&[], &KeyPair::generate().expect("a key"))).expect("good");
            let issued = authority.issue_as(&key, "d", serial, NOW).expect("issued");
            let (_, parsed) = X509Certificate::from_der(&issued.der).expect("a certificate");
            let found = hex(parsed.raw_serial());
            prop_assert_eq!(found.trim_start_matches('0'), &*issued.serial);
            prop_assert!(parsed.raw_serial().len() <= 17 && parsed.raw_serial()[0] < 0x80);
        }
    }

    #[test]
    fn validity_is_whole_seconds_backdated_and_within_the_authoritys_own() {
        let authority = authority(DAY * 7);
        let key = request::read(&request(&[], &KeyPair::generate().expect("a key"))).expect("good");
        let second = Moment(1_800_000_000_000);
        let issued = authority.issue(&key, "d", NOW.plus_millis(120_000)).expect("issued");
        assert_eq!(issued.not_before, second.plus_millis(60_000));
        assert_eq!(issued.not_after, second.plus_millis(120_000 + 7 * 86_400_000));
        let first = authority.issue(&key, "d", NOW).expect("issued");
        assert_eq!(first.not_before, authority.not_before, "not before the authority's own");
        let late = authority.ends().plus_millis(-3_600_000);
        assert_eq!(authority.issue(&key, "d", late).expect("issued").not_after, authority.ends());
        assert_eq!(authority.issue(&key, "d", authority.ends()), Err(IssueFault::Ended));
        assert_eq!(authority.issue(&key, "d", NOW.plus_millis(-61_000)), Err(IssueFault::NotYetValid));
        for odd in [Moment(i64::MIN), Moment(i64::MAX), Moment(0), Moment(-1)] {
            assert!(authority.issue(&key, "d", odd).is_err());
        }
        let one = authority.issue(&key, "d", NOW).expect("issued");
        assert_ne!(one.serial, first.serial);
    }

    #[test]
    fn ids_are_plain() {
        let authority = authority(DAY);
        let key = request::read(&request(&[], &KeyPair::generate().expect("a key"))).expect("good");
        for id in ["d", "d_0123456789abcdefghjkmnpqrs", "Ann.Laptop-7", &"x".repeat(64)] {
            assert_eq!(&*authority.issue(&key, id, NOW).expect("issued").san, format!("uri:urn:rangegate:device:{id}"));
        }
        for id in ["", &"x".repeat(65), "a b", "a/b", "a\0", "é", "a:b", "a%41"] {
            assert!(matches!(authority.issue(&key, id, NOW), Err(IssueFault::DeviceId(_))), "{id}");
        }
    }
}
