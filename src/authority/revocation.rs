//! Revocation lists (RFC 5280 section 5), for whoever trusts the authority and does not ask this gateway.
//!
//! The gateway itself does not wait for a list: a revoked device is refused by its status, at once.

use super::issue::date;
use super::{Authority, IssueFault, pem};
use crate::evidence::Moment;
use crate::store::private_file::{self, PUBLIC};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use rustls::pki_types::CertificateRevocationListDer;
use std::io;
use std::path::Path;
use std::time::Duration;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList as Parsed;

pub use crate::store::revocation::{Revoked, Why};

/// A signed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    pub der: CertificateRevocationListDer<'static>,
    pub number: u64,
    pub this_update: Moment,
    pub next_update: Moment,
    /// How many certificates it names.
    pub entries: usize,
}

impl Authority {
    /// Signs a list. Entries that no longer matter are left out, which bounds it by the certificates' lifetime.
    /// Each list must have a higher number than the one before: see [`next_number`].
    ///
    /// # Errors
    /// The authority cannot sign.
    pub fn revocation_list(
        &self,
        revoked: &[Revoked],
        number: u64,
        now: Moment,
        lifetime: Duration,
    ) -> Result<RevocationList, IssueFault> {
        let lifetime = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX).max(1000);
        let next_update = now.plus_millis(lifetime);
        // Section 5: an entry appears on one more list after the certificate's own end.
        let matters = |entry: &&Revoked| entry.expires.plus_millis(lifetime) >= now;
        let mut entries: Vec<_> = revoked.iter().filter(matters).filter_map(entry).collect();
        entries.sort_by(|a, b| a.serial_number.as_ref().cmp(b.serial_number.as_ref()));
        entries.dedup_by(|a, b| a.serial_number == b.serial_number);
        let count = entries.len();
        let list = CertificateRevocationListParams {
            this_update: date(now),
            next_update: date(next_update),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: entries,
            key_identifier_method: KeyIdMethod::PreSpecified(self.key_id.clone()),
        };
        let signed = list.signed_by(&self.issuer).map_err(|error| IssueFault::Signing(error.to_string()))?;
        Ok(RevocationList { der: signed.der().clone(), number, this_update: now, next_update, entries: count })
    }

    /// Signs the next list after the one in the file and puts it in its place.
    ///
    /// # Errors
    /// The authority cannot sign, or the directory cannot be written: the old list stays.
    pub fn publish(
        &self,
        path: &Path,
        revoked: &[Revoked],
        lifetime: Duration,
        now: Moment,
    ) -> io::Result<RevocationList> {
        let number = next_number(read_published(path).map(|last| last.number), now);
        let list = self.revocation_list(revoked, number, now, lifetime).map_err(io::Error::other)?;
        list.publish(path)?;
        Ok(list)
    }
}

impl RevocationList {
    pub fn pem(&self) -> String {
        pem::encode("X509 CRL", &self.der)
    }

    /// Puts the list where listeners and others read it: the old one or the new one, never half of either.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn publish(&self, path: &Path) -> io::Result<()> {
        private_file::replace(path, self.pem().as_bytes(), PUBLIC)
    }

    /// Whether it is time for the next one though nothing was revoked: after a quarter of its life, so that a day of
    /// trouble with a list of a week harms nobody.
    pub const fn is_due(&self, now: Moment) -> bool {
        now.since(self.this_update) >= self.next_update.since(self.this_update) / 4
    }
}

/// The number of a new list: the time, so that gateways that share an authority agree without asking each other, but
/// always above the last one published.
pub fn next_number(last: Option<u64>, now: Moment) -> u64 {
    let time = u64::try_from(now.millis()).unwrap_or(0);
    last.map_or(time, |last| time.max(last.saturating_add(1)))
}

/// What a list in a file says of itself. Not verified: for whoever publishes the next one, and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub number: u64,
    pub next_update: Moment,
    pub entries: usize,
}

/// The list in a file. None: there is none, or none that can be read.
pub fn read_published(path: &Path) -> Option<Published> {
    let der = pem::decode(&std::fs::read(path).ok()?, &["X509 CRL"]).ok()?;
    let (_, parsed) = Parsed::from_der(&der).ok()?;
    Some(Published {
        number: u64::try_from(parsed.crl_number()?).ok()?,
        next_update: Moment(parsed.next_update()?.timestamp().saturating_mul(1000)),
        entries: parsed.iter_revoked_certificates().count(),
    })
}

/// None for a serial number that is none: it is of no certificate.
fn entry(revoked: &Revoked) -> Option<RevokedCertParams> {
    Some(RevokedCertParams {
        serial_number: SerialNumber::from(bytes(&revoked.serial)?),
        revocation_time: date(revoked.at),
        reason_code: match revoked.why {
            Why::Unspecified => None,
            Why::KeyCompromise => Some(RevocationReason::KeyCompromise),
            Why::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
            Why::Superseded => Some(RevocationReason::Superseded),
        },
        invalidity_date: None,
    })
}

/// From 1 to 20 bytes, no leading zeros (section 4.1.2.2).
fn bytes(serial: &str) -> Option<Vec<u8>> {
    let serial = serial.trim_start_matches('0');
    if serial.is_empty() || serial.len() > 40 || !serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let even = if serial.len().is_multiple_of(2) { serial.to_owned() } else { format!("0{serial}") };
    let pairs = even.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}
