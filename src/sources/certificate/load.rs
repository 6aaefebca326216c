//! Reading authorities and revocation lists from files.

use super::origins::Origins;
use super::{CrlPolicy, TrustSettings, facts};
use crate::evidence::Moment;
use crate::store::Digest;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::revocation_list::CertificateRevocationList;

/// Everything that is wrong with the files of the trust settings. At start the gateway does not start; at reload the
/// last good trust stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFault {
    /// At least one.
    pub files: Vec<FileFault>,
}

/// One file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// Empty when no file is to blame.
    pub path: PathBuf,
    pub problem: String,
    pub help: &'static str,
}

impl std::error::Error for TrustFault {}

impl fmt::Display for TrustFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, file) in self.files.iter().enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            if file.path.as_os_str().is_empty() {
                write!(f, "{separator}{} ({})", file.problem, file.help)?;
            } else {
                write!(f, "{separator}`{}`: {} ({})", file.path.display(), file.problem, file.help)?;
            }
        }
        Ok(())
    }
}

/// What a file holds that is good up to a moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ending {
    pub path: PathBuf,
    pub at: Moment,
}

pub(super) struct Loaded {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) origins: Origins,
    /// The earliest next update of all lists.
    pub(super) next_update: Option<Moment>,
    /// The next update of each issuer's newest list.
    pub(super) lists: Vec<Ending>,
    /// Of all authorities and lists, as they were read.
    pub(super) content: Digest,
}

pub(super) fn load(settings: &TrustSettings) -> Result<Loaded, TrustFault> {
    let mut faults = Vec::new();
    let mut roots = authorities(&settings.authorities, &mut faults);
    let own = Arc::new(roots.clone());
    let mut external = Vec::new();
    for authority in &settings.external {
        let theirs = authorities(&authority.certificates, &mut faults);
        for root in &theirs.roots {
            if roots.roots.contains(root) {
                let path = authority.certificates.first().cloned().unwrap_or_default();
                faults.push(FileFault {
                    path,
                    problem: format!("the external authority `{}` may already vouch for other devices", authority.name),
                    help: "name each authority once: for all classes, or for one",
                });
            }
        }
        roots.extend(theirs.roots.iter().cloned());
        external.push((Arc::clone(&authority.class), Arc::new(theirs)));
    }
    let roots = Arc::new(roots);
    let mut lists: Vec<List> = Vec::new();
    for path in &settings.crls {
        match read_lists(path) {
            Ok(found) => lists.extend(found),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(TrustFault { files: faults });
    }
    // The verifier takes the first list of an issuer: that must be the newest.
    lists.sort_by_key(|list| std::cmp::Reverse(list.this_update));
    let next_update = lists.iter().map(|list| list.next_update).min();
    match build(&roots, settings, lists.iter().map(|list| list.der.clone())) {
        Ok(verifier) => match Origins::new(&own, &external) {
            Ok(origins) => Ok(Loaded {
                verifier,
                origins,
                next_update,
                lists: newest(&lists),
                content: content(&roots, &external, &lists),
            }),
            Err(whole) => {
                Err(TrustFault { files: vec![fault(Path::new(""), whole, "check the external authorities")] })
            }
        },
        Err(whole) => Err(TrustFault { files: culprits(&roots, settings, &lists, &whole) }),
    }
}

/// The lists that count, of all in the order of their age, the newest first.
fn newest(lists: &[List]) -> Vec<Ending> {
    let counts = |(index, list): (usize, &List)| {
        let newer = lists.iter().take(index).any(|newer| newer.issuer == list.issuer);
        (!newer).then(|| Ending { path: list.path.clone(), at: list.next_update })
    };
    lists.iter().enumerate().filter_map(counts).collect()
}

/// Two with the same content, loaded under the same settings, judge alike.
fn content(roots: &RootCertStore, external: &[(Arc<str>, Arc<RootCertStore>)], lists: &[List]) -> Digest {
    let mut all = Vec::new();
    let mut part = |bytes: &[u8]| {
        all.extend_from_slice(&bytes.len().to_be_bytes());
        all.extend_from_slice(bytes);
    };
    for roots in std::iter::once(roots).chain(external.iter().map(|(_, theirs)| &**theirs)) {
        part(b"authorities");
        for root in &roots.roots {
            part(&root.subject);
            part(&root.subject_public_key_info);
            part(root.name_constraints.as_deref().unwrap_or_default());
        }
    }
    lists.iter().for_each(|list| part(&list.der));
    Digest::of(&all)
}

fn authorities(paths: &[PathBuf], faults: &mut Vec<FileFault>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if paths.is_empty() {
        faults.push(FileFault {
            path: PathBuf::new(),
            problem: "no certificate authority is named, so no client certificate could ever be good".to_owned(),
            help: "name a PEM file of the authorities that issue client certificates",
        });
    }
    for path in paths {
        let before = roots.len();
        let problem = match add_authorities(path, &mut roots) {
            Err(problem) => problem,
            Ok(_) if roots.len() == before => "no certificate in this file".to_owned(),
            Ok(0) => "no certificate in this file is an authority's (CA:TRUE): nobody's could ever be good".to_owned(),
            Ok(_) => continue,
        };
        faults.push(fault(path, problem, "expected a PEM file of CA certificates"));
    }
    roots
}

/// How many of the certificates in the file may vouch for others.
fn add_authorities(path: &Path, roots: &mut RootCertStore) -> Result<usize, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read: {error}"))?;
    let mut vouching = 0;
    for (index, certificate) in CertificateDer::pem_slice_iter(&bytes).enumerate() {
        let number = index + 1;
        let certificate = certificate.map_err(|error| format!("certificate {number} is not PEM: {error}"))?;
        vouching += usize::from(may_vouch(&certificate));
        roots.add(certificate).map_err(|error| format!("certificate {number} cannot be an authority: {error}"))?;
    }
    Ok(vouching)
}

/// RFC 5280 section 4.2.1.9. The versions before the third have no word for it, and whoever signed for itself vouches for
/// itself: a device may be trusted by its very certificate.
fn may_vouch(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, parsed)| {
        parsed.version() != X509Version::V3 || parsed.is_ca() || parsed.subject() == parsed.issuer()
    })
}

struct List {
    path: PathBuf,
    der: CertificateRevocationListDer<'static>,
    /// The name as it stands in the list.
    issuer: Vec<u8>,
    this_update: Moment,
    next_update: Moment,
}

fn read_lists(path: &Path) -> Result<Vec<List>, FileFault> {
    const HELP: &str = "expected a revocation list (RFC 5280) in PEM or DER";
    let fault = |problem| fault(path, problem, HELP);
    let bytes = std::fs::read(path).map_err(|error| fault(format!("cannot read: {error}")))?;
    let ders = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        CertificateRevocationListDer::pem_slice_iter(&bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| fault(format!("not PEM: {error}")))?
    } else {
        vec![CertificateRevocationListDer::from(bytes)]
    };
    if ders.is_empty() {
        return Err(fault("no revocation list in this file".to_owned()));
    }
    ders.into_iter().map(|der| list(path, der).map_err(|problem| fault(problem.to_owned()))).collect()
}

fn list(path: &Path, der: CertificateRevocationListDer<'static>) -> Result<List, &'static str> {
    let (rest, parsed) = CertificateRevocationList::from_der(&der).map_err(|_| "not a revocation list")?;
    if !rest.is_empty() {
        return Err("bytes follow the revocation list");
    }
    let this_update = facts::moment(parsed.last_update());
    let next_update = facts::moment(parsed.next_update().ok_or("the revocation list names no next update")?);
    let issuer = parsed.issuer().as_raw().to_vec();
    drop(parsed);
    Ok(List { path: path.to_owned(), der, issuer, this_update, next_update })
}

fn build(
    roots: &Arc<RootCertStore>,
    settings: &TrustSettings,
    lists: impl Iterator<Item = CertificateRevocationListDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::new(default_provider())).with_crls(lists);
    if settings.crl_missing == CrlPolicy::Ignore {
        builder = builder.allow_unknown_revocation_status();
    }
    if settings.crl_expired == CrlPolicy::Deny {
        builder = builder.enforce_revocation_expiration();
    }
    builder.build().map_err(|error| error.to_string())
}

/// Which of the lists the verifier will not take.
fn culprits(roots: &Arc<RootCertStore>, settings: &TrustSettings, lists: &[List], whole: &str) -> Vec<FileFault> {
    const HELP: &str = "delta, indirect and partitioned lists without a distribution point are not supported";
    let found: Vec<_> = lists
        .iter()
        .filter_map(|list| {
            let problem = build(roots, settings, std::iter::once(list.der.clone())).err()?;
            Some(fault(&list.path, format!("this revocation list cannot be used: {problem}"), HELP))
        })
        .collect();
    if found.is_empty() { vec![fault(Path::new(""), whole.to_owned(), HELP)] } else { found }
}

fn fault(path: &Path, problem: String, help: &'static str) -> FileFault {
    FileFault { path: path.to_owned(), problem, help }
}
