//! The client's certificate as evidence: verified once per connection, judged again at every trust change.
//!
//! Possession and judgement are two things. The TLS handshake always proves that the client holds the key of
//! the certificate it shows. Whether that certificate is any good is judged by [`Trust`], in one of two places:
//!
//! - *requested* ([`Demand::Requested`]): right after the handshake, by [`Presented::judge`]. A bad certificate is a
//!   fact, so the person gets a page and the audit log a record. Certificates that cannot even be parsed fail the
//!   handshake: there is no key to prove possession of.
//! - *required* ([`Demand::Required`]): inside the handshake, by the same code. The client sees the alert
//!   `certificate_unknown`, whatever the reason. The reason travels in the handshake's error, where
//!   [`Refusal::of`] finds it together with the fingerprint, so that the refusal can be recorded.
//!
//! TLS libraries do not verify again when a session is resumed. [`Presented`] is judged after every handshake,
//! resumed or not, and again when the trust changed (another `generation`), when a revocation list ran out and
//! when the certificate did.

mod belongs;
mod facts;
mod load;
mod names;
mod origins;
mod possession;
mod presented;

pub use belongs::{DEVICE_URN, belongs, named_device};
pub use load::{Ending, FileFault, TrustFault};
pub use possession::Refusal;
pub use presented::{Fingerprint, Presented};

use super::recent::Recent;
use crate::evidence::{Certificate, Fact, Fault, Moment};
use crate::store::Digest;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What to make of a revocation list that is missing or past its next update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlPolicy {
    /// The certificate's status is unknown: fail closed.
    #[default]
    Deny,
    /// Accept without revocation status, in so many words.
    Ignore,
}

/// Who may vouch for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustSettings {
    /// PEM bundles of client certificate authorities.
    pub authorities: Vec<PathBuf>,
    /// Authorities of others, each of which may vouch for one class of device.
    pub external: Vec<ExternalAuthority>,
    /// PEM or DER revocation lists, also those of external authorities.
    pub crls: Vec<PathBuf>,
    pub crl_missing: CrlPolicy,
    pub crl_expired: CrlPolicy,
}

/// Somebody else's authority. A device whose certificate it issued can only be of this class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAuthority {
    /// What faults call it by.
    pub name: String,
    /// PEM bundles.
    pub certificates: Vec<PathBuf>,
    pub class: Arc<str>,
}

/// What the handshake demands of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The key of whatever certificate it shows, if it shows one.
    Requested,
    /// A certificate that is good now, and its key.
    Required,
}

/// Judged chains remembered per trust. A chain is remembered only when it was found good.
const REMEMBERED: usize = 4096;

/// The authorities and revocation lists of one listener as they were read at one time. Immutable: a reload makes
/// another, and if that fails the last good one stays.
pub struct Trust {
    generation: u64,
    settings: TrustSettings,
    content: Digest,
    webpki: Arc<dyn ClientCertVerifier>,
    origins: origins::Origins,
    /// No list at all, and that is not to be ignored: then the verifier would check nothing.
    unlisted: bool,
    /// The earliest next update of all lists, if their expiry counts.
    next_update: Option<Moment>,
    lists: Vec<Ending>,
    judged: Mutex<Recent<Verdict>>,
}

impl Trust {
    /// Reads authorities and lists. Any file that cannot be read or parsed is a fault; all are reported.
    /// Takes as long as the lists are large (some 60 ms for 100,000 entries).
    pub fn load(settings: &TrustSettings) -> Result<Self, TrustFault> {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let loaded = load::load(settings)?;
        Ok(Self {
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            settings: settings.clone(),
            content: loaded.content,
            webpki: loaded.verifier,
            origins: loaded.origins,
            unlisted: settings.crls.is_empty() && settings.crl_missing == CrlPolicy::Deny,
            next_update: loaded.next_update.filter(|_| settings.crl_expired == CrlPolicy::Deny),
            lists: loaded.lists,
            judged: Mutex::new(Recent::new(REMEMBERED)),
        })
    }

    /// Reads them again. The same trust when nothing in them changed, with all that it has verified.
    pub fn reload(self: &Arc<Self>, settings: &TrustSettings) -> Result<Arc<Self>, TrustFault> {
        let read = Self::load(settings)?;
        let same = read.content == self.content && read.settings == self.settings;
        Ok(if same { Arc::clone(self) } else { Arc::new(read) })
    }

    /// Differs between any two trusts of this process.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When a revocation list runs out and good verdicts end: load newer lists before. None: never.
    pub fn revalidate_at(&self) -> Option<Moment> {
        self.next_update
    }

    /// When the newest list of each issuer runs out, whether or not that counts.
    pub fn lists(&self) -> &[Ending] {
        &self.lists
    }

    /// Whether a list that has run out is as good as none.
    pub fn denies_without_list(&self) -> bool {
        self.settings.crl_expired == CrlPolicy::Deny
    }

    /// For the TLS configuration of a listener.
    pub fn verifier(self: &Arc<Self>, demand: Demand) -> Arc<dyn ClientCertVerifier> {
        Arc::new(possession::Possession::new(Arc::clone(self), demand))
    }

    /// What to make of a chain, leaf first, whose key the client has proved to hold. Empty: `Absent`.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: Moment) -> Fact<Arc<Certificate>> {
        self.verdict(chain, now).fact
    }

    fn verdict(&self, chain: &[CertificateDer<'_>], now: Moment) -> Verdict {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Verdict { fact: Fact::Absent, holds: Window::ALWAYS };
        };
        let name = chain_digest(chain);
        if let Some(verdict) = self.remembered(&name).filter(|verdict| verdict.holds.contains(now)) {
            return verdict;
        }
        let Some(mut read) = facts::read(leaf) else {
            return Verdict::refused(Fact::Invalid(Fault::CertificateMalformed), now);
        };
        if let Err(error) = self.webpki.verify_client_cert(leaf, intermediates, unix(now)) {
            return Verdict::refused(refusal(&error, &read), now);
        }
        if !read.may_sign {
            return Verdict::refused(Fact::Invalid(Fault::CertificateWrongPurpose), now);
        }
        if self.unlisted {
            return Verdict::refused(Fact::Unavailable(Fault::CrlMissing), now);
        }
        match self.origins.class(leaf, intermediates, unix(now)) {
            Some(class) => read.certificate.class = class,
            None => return Verdict::refused(Fact::Invalid(Fault::CertificateUnknownIssuer), now),
        }
        let Some(holds) = self.window(&read, intermediates) else {
            return Verdict { fact: Fact::Known(Arc::new(read.certificate)), holds: Window::brief(now) };
        };
        let verdict = Verdict { fact: Fact::Known(Arc::new(read.certificate)), holds };
        self.judged.lock().unwrap_or_else(PoisonError::into_inner).insert(name, verdict.clone());
        verdict
    }

    fn remembered(&self, name: &Digest) -> Option<Verdict> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner).get(name)
    }

    /// While everything that the verification relied on stays valid: each certificate shown, each list.
    fn window(&self, leaf: &facts::Read, intermediates: &[CertificateDer<'_>]) -> Option<Window> {
        let mut window = Window::of(&leaf.certificate);
        for intermediate in intermediates {
            let other = Window::of(&facts::read(intermediate)?.certificate);
            window.from = window.from.max(other.from);
            window.until = window.until.min(other.until);
        }
        window.until = self.next_update.map_or(window.until, |next| window.until.min(next));
        Some(window)
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// What was found, and while when that needs no second look.
#[derive(Clone)]
struct Verdict {
    fact: Fact<Arc<Certificate>>,
    holds: Window,
}

impl Verdict {
    fn refused(fact: Fact<Arc<Certificate>>, now: Moment) -> Self {
        Self { fact, holds: Window::brief(now) }
    }
}

/// From the first moment up to, and not including, the second.
#[derive(Clone, Copy)]
struct Window {
    from: Moment,
    until: Moment,
}

impl Window {
    const ALWAYS: Self = Self { from: Moment(i64::MIN), until: Moment(i64::MAX) };

    /// Long enough not to verify at every request, short enough for a clock that is set right.
    fn brief(now: Moment) -> Self {
        Self { from: now, until: now.plus_millis(1000) }
    }

    /// The validity of a certificate, which includes its last second (RFC 5280 section 4.1.2.5).
    fn of(certificate: &Certificate) -> Self {
        Self { from: certificate.not_before, until: certificate.not_after.plus_millis(1000) }
    }

    fn contains(self, now: Moment) -> bool {
        self.from <= now && now < self.until
    }
}

/// Lengths go in as well, so that no two chains share a name.
fn chain_digest(chain: &[CertificateDer<'_>]) -> Digest {
    let lengths: Vec<[u8; 8]> = chain.iter().map(|certificate| (certificate.len() as u64).to_le_bytes()).collect();
    Digest::of_parts(lengths.iter().zip(chain).flat_map(|(length, der)| [length.as_slice(), der.as_ref()]))
}

fn unix(now: Moment) -> UnixTime {
    let millis = u64::try_from(now.millis()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(millis / 1000))
}

/// The verifier's error in our words. What it cannot decide is `Unavailable`, all else `Invalid`.
fn refusal<T>(error: &Error, read: &facts::Read) -> Fact<T> {
    use CertificateError as C;
    Fact::Invalid(match error {
        Error::InvalidCertificate(error) => match error {
            C::Expired | C::ExpiredContext { .. } => Fault::CertificateExpired,
            C::NotValidYet | C::NotValidYetContext { .. } => Fault::CertificateNotYetValid,
            C::Revoked => Fault::CertificateRevoked,
            C::UnknownIssuer => Fault::CertificateUnknownIssuer,
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Fault::CertificateWrongPurpose,
            C::UnknownRevocationStatus => return Fact::Unavailable(Fault::CrlMissing),
            C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => {
                return Fact::Unavailable(Fault::CrlExpired);
            }
            _ if read.authority => Fault::CertificateWrongPurpose,
            _ => Fault::CertificateMalformed,
        },
        // A list that its issuer did not sign, or may not sign, covers nobody.
        Error::InvalidCertRevocationList(_) => return Fact::Unavailable(Fault::CrlMissing),
        _ => Fault::CertificateMalformed,
    })
}
