//! Reading an authority from its files, and refusing one that would issue what nobody accepts.

use super::key_file::{self, KeyFileFault, Passphrase};
use super::{Authority, Signing, pem};
use crate::evidence::Moment;
use rcgen::{Issuer, KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Where the authority stands and how it issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritySettings {
    /// PEM: the authority's certificate first, then those above it.
    pub certificate: PathBuf,
    /// PKCS#8 under a passphrase.
    pub key: PathBuf,
    /// Holds the passphrase. None: the environment has it.
    pub passphrase: Option<PathBuf>,
    /// Written by the gateway, read by listeners and by whoever else trusts the authority.
    pub revocation_list: PathBuf,
    /// How long a device's certificate is good.
    pub lifetime: Duration,
    /// How long a revocation list is good.
    pub list_lifetime: Duration,
}

/// Why the authority cannot be used. Without one the gateway runs; nobody enrols.
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    #[error("the authority's key `{}`: {fault}", path.display())]
    Key { path: PathBuf, fault: KeyFileFault },
    #[error("the authority's certificate `{}`: {problem}", path.display())]
    Certificate { path: PathBuf, problem: String },
    #[error("{0}")]
    Passphrase(String),
}

/// Holds the passphrase where no file is named.
pub const PASSPHRASE_VARIABLE: &str = "RANGEGATE_AUTHORITY_PASSPHRASE";

impl Authority {
    /// As [`Authority::load`], with the passphrase from the file the settings name, or from the environment: for a
    /// gateway that starts.
    ///
    /// # Errors
    /// As [`Authority::load`], or there is no passphrase.
    pub fn open(settings: &AuthoritySettings) -> Result<Self, LoadFault> {
        let passphrase = match &settings.passphrase {
            Some(path) => Passphrase::read(path),
            None => match std::env::var(PASSPHRASE_VARIABLE) {
                Ok(text) => Passphrase::new(text.lines().next().unwrap_or_default()),
                Err(_) => Err(format!("set `passphrase` in `[authority]`, or ${PASSPHRASE_VARIABLE}")),
            },
        };
        let passphrase =
            passphrase.map_err(|why| LoadFault::Passphrase(format!("the authority's passphrase: {why}")))?;
        Self::load(settings, &passphrase)
    }

    /// Reads key and certificate. Takes a third of a second: the passphrase is hard to guess.
    ///
    /// # Errors
    /// A file cannot be read, is open to others, or the two do not belong together.
    pub fn load(settings: &AuthoritySettings, passphrase: &Passphrase) -> Result<Self, LoadFault> {
        let certificate = |problem: String| LoadFault::Certificate { path: settings.certificate.clone(), problem };
        let text =
            fs::read(&settings.certificate).map_err(|why| certificate(crate::store::policy_files::in_words(&why)))?;
        let key = key_file::read(&settings.key, passphrase)
            .map_err(|fault| LoadFault::Key { path: settings.key.clone(), fault })?;
        Self::assemble(&text, key, settings.lifetime).map_err(certificate)
    }

    /// What `load` would say as far as it can be said without the passphrase.
    ///
    /// # Errors
    /// As `load`.
    pub fn probe(settings: &AuthoritySettings) -> Result<(), LoadFault> {
        let certificate = |problem: String| LoadFault::Certificate { path: settings.certificate.clone(), problem };
        let text =
            fs::read(&settings.certificate).map_err(|why| certificate(crate::store::policy_files::in_words(&why)))?;
        key_file::probe(&settings.key).map_err(|fault| LoadFault::Key { path: settings.key.clone(), fault })?;
        let chain = chain(&text).map_err(certificate)?;
        first(&chain).and_then(|(_, parsed)| may_issue(&parsed)).map_err(certificate)
    }

    /// From the certificate's PEM and its key.
    ///
    /// # Errors
    /// What is wrong with the certificate, in words.
    pub fn assemble(certificates: &[u8], key: KeyPair, lifetime: Duration) -> Result<Self, String> {
        let chain = chain(certificates)?;
        let (certificate, parsed) = first(&chain)?;
        if parsed.public_key().raw != key.subject_public_key_info().as_slice() {
            return Err("it is another key's certificate".to_owned());
        }
        may_issue(&parsed)?;
        let key_id = identifier(&parsed).ok_or("it has no subject key identifier")?;
        let moment = |time: x509_parser::time::ASN1Time| Moment(time.timestamp().saturating_mul(1000));
        let issuer = Issuer::from_ca_cert_der(certificate, Signing::File(key)).map_err(|why| why.to_string())?;
        let authority = Self {
            issuer,
            certificate: certificate.clone(),
            intermediates: intermediates(&chain),
            key_id,
            not_before: moment(parsed.validity().not_before),
            not_after: moment(parsed.validity().not_after),
            lifetime,
        };
        authority.reproduces_its_name(parsed.subject().as_raw())?;
        Ok(authority)
    }

    /// Verifiers compare the issuer's name byte by byte; names with odd parts do not survive being read and written.
    fn reproduces_its_name(&self, name: &[u8]) -> Result<(), String> {
        let list =
            self.revocation_list(&[], 1, self.not_before, Duration::from_secs(1)).map_err(|why| why.to_string())?;
        let (_, parsed) = x509_parser::revocation_list::CertificateRevocationList::from_der(&list.der)
            .map_err(|_| "its name cannot be read back")?;
        if parsed.issuer().as_raw() == name {
            Ok(())
        } else {
            Err("its name cannot be written as it stands".to_owned())
        }
    }
}

fn chain(certificates: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|why| format!("it is not PEM: {why}"))
}

/// The authority's own certificate, read.
fn first<'a>(
    chain: &'a [CertificateDer<'static>],
) -> Result<(&'a CertificateDer<'static>, X509Certificate<'a>), String> {
    let certificate = chain.first().ok_or("it holds no certificate")?;
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| "the first certificate is malformed")?;
    Ok((certificate, parsed))
}

fn may_issue(parsed: &X509Certificate<'_>) -> Result<(), String> {
    let usage = parsed.key_usage().ok().flatten().map(|extension| extension.value);
    if parsed.is_ca() && usage.is_some_and(|usage| usage.key_cert_sign() && usage.crl_sign()) {
        Ok(())
    } else {
        Err("it may not sign certificates and revocation lists (CA:TRUE, keyCertSign, cRLSign)".to_owned())
    }
}

/// All but roots: whoever verifies has its own.
fn intermediates(chain: &[CertificateDer<'_>]) -> String {
    let is_root = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).is_ok_and(|(_, parsed)| parsed.subject().as_raw() == parsed.issuer().as_raw())
    };
    chain.iter().filter(|der| !is_root(der)).map(|der| pem::encode("CERTIFICATE", der)).collect()
}

fn identifier(parsed: &X509Certificate<'_>) -> Option<Vec<u8>> {
    use x509_parser::extensions::ParsedExtension;
    parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}
