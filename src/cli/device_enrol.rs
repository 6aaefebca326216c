//! `rangegate device enrol` and `renew`: a key made here, a certificate for it from the gateway.

use super::enrolment::{Enrolment, Proof};
use super::secret::Secret;
use super::{Exit, Terminal};
use crate::authority::{Code, pem, pkcs12};
use crate::store::policy_files::in_words;
use crate::store::private_file::{self, Closed, PUBLIC, SECRET};
use clap::Args;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

const CODE: &str = "RANGEGATE_INVITATION";
const PKCS12_PASSPHRASE: &str = "RANGEGATE_PKCS12_PASSPHRASE";

/// Where the gateway is and where key and certificate stand.
#[derive(Debug, Args)]
struct Place {
    /// Where devices enrol: https and a host name
    #[arg(long, value_name = "URL")]
    url: String,
    /// PEM authorities of that server [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The key; made here, and it stays here
    #[arg(long, value_name = "FILE", default_value = "device.key")]
    key: PathBuf,
    /// The certificate and those above it
    #[arg(long, value_name = "FILE", default_value = "device.pem")]
    certificate: PathBuf,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// Make a key, and get a certificate for it with an invitation code
///
/// The code comes from `--code-file`, from $RANGEGATE_INVITATION, or from the terminal; never from the command line,
/// where others could read it.
#[derive(Debug, Args)]
pub struct EnrolArgs {
    #[command(flatten)]
    place: Place,
    /// Holds the invitation code
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,
    /// Also write key and certificate as PKCS#12, for a browser that takes nothing else
    #[arg(long, value_name = "FILE")]
    pkcs12: Option<PathBuf>,
    /// Holds the passphrase of the PKCS#12 file [default: $RANGEGATE_PKCS12_PASSPHRASE, or the terminal]
    #[arg(long, value_name = "FILE", requires = "pkcs12")]
    pkcs12_passphrase_file: Option<PathBuf>,
}

/// Get a new certificate with the present one
#[derive(Debug, Args)]
pub struct RenewArgs {
    #[command(flatten)]
    place: Place,
    /// Make a new key as well
    #[arg(long)]
    new_key: bool,
}

type Failed = (Exit, String);

pub fn enrol(args: &EnrolArgs, terminal: &mut Terminal) -> Exit {
    finish(try_enrol(args, terminal), terminal)
}

pub fn renew(args: &RenewArgs, terminal: &mut Terminal) -> Exit {
    finish(try_renew(args, terminal), terminal)
}

fn finish(done: Result<(), Failed>, terminal: &mut Terminal) -> Exit {
    match done {
        Ok(()) => Exit::Ok,
        Err((exit, why)) => terminal.refuse(exit, &why),
    }
}

fn try_enrol(args: &EnrolArgs, terminal: &mut Terminal) -> Result<(), Failed> {
    let usage = |why: String| (Exit::Usage, why);
    let place = &args.place;
    for path in [&place.key, &place.certificate].into_iter().chain(&args.pkcs12) {
        if fs::symlink_metadata(path).is_ok() {
            return Err(usage(format!("`{}` exists: nothing is overwritten", path.display())));
        }
    }
    let enrolment = Enrolment::new(&place.url, place.ca.as_deref()).map_err(usage)?;
    let secret = Secret { what: "invitation code", file: args.code_file.as_deref(), variable: CODE, new: false };
    let code = secret.get().and_then(|text| Code::read(&text).map_err(|fault| fault.to_string())).map_err(usage)?;
    let passphrase = match args.pkcs12 {
        Some(_) => Some(pkcs12_passphrase(args).map_err(usage)?),
        None => None,
    };
    let key = generate()?;
    let request = request(&key)?;
    // Written first: an answer that comes must not find a full disk.
    private_file::create(&place.key, key.serialize_pem().as_bytes(), SECRET)
        .map_err(|why| unwritable(&place.key, &why))?;
    let done = enrolment
        .ask(Proof::Invitation(&code.to_string()), &request)
        .map_err(|why| (Exit::No, why))
        .and_then(|answer| chain(&answer, &key).map(|chain| (answer, chain)))
        .and_then(|(answer, chain)| {
            private_file::replace(&place.certificate, answer.as_bytes(), PUBLIC)
                .map_err(|why| unwritable(&place.certificate, &why))?;
            Ok(chain)
        });
    let chain = match done {
        Ok(chain) => chain,
        Err(failed) => {
            // A key without a certificate is of no use, and in the way of the next attempt.
            let _ = fs::remove_file(&place.key);
            return Err(failed);
        }
    };
    let mut packed = None;
    if let Some((path, passphrase)) = args.pkcs12.as_ref().zip(passphrase) {
        let bytes = pkcs12::pack(key.serialized_der(), &chain, &common_name(&chain), &passphrase);
        let bytes = bytes.map_err(|fault| (Exit::Usage, fault.to_string()));
        let written =
            bytes.and_then(|bytes| private_file::create(path, &bytes, SECRET).map_err(|why| unwritable(path, &why)));
        if let Err(failed) = written {
            // The device is enrolled all the same, and its key is where it belongs.
            tell(terminal, place, &chain, None);
            return Err(failed);
        }
        packed = Some(path.as_path());
    }
    tell(terminal, place, &chain, packed);
    Ok(())
}

fn try_renew(args: &RenewArgs, terminal: &mut Terminal) -> Result<(), Failed> {
    let usage = |why: String| (Exit::Usage, why);
    let place = &args.place;
    let at = |path: &Path, why: &str| usage(format!("`{}`: {why}", path.display()));
    let text = fs::read(&place.certificate).map_err(|why| at(&place.certificate, &in_words(&why)))?;
    let text = String::from_utf8(text).map_err(|_| at(&place.certificate, "it is no text"))?;
    let current = read_key(&place.key).map_err(|why| at(&place.key, &why))?;
    let (current, shown) = match chain(&text, &current) {
        Ok(shown) => (current, shown),
        Err((_, why)) => {
            let (old, shown) = interrupted(&place.key, &text).ok_or_else(|| at(&place.certificate, &why))?;
            private_file::replace(&place.key, old.serialize_pem().as_bytes(), SECRET)
                .map_err(|why| unwritable(&place.key, &why))?;
            (old, shown)
        }
    };
    let fresh = if args.new_key { Some(generate()?) } else { None };
    let key = fresh.as_ref().unwrap_or(&current);
    let enrolment = Enrolment::new(&place.url, place.ca.as_deref()).map_err(usage)?;
    let answer = enrolment
        .ask(Proof::Certificate(&shown, current.serialized_der()), &request(key)?)
        .map_err(|why| (Exit::No, why))?;
    let chain = chain(&answer, key)?;
    // Key and certificate are two files. Should the machine stop between the two, the old key is still beside them.
    if let Some(fresh) = &fresh {
        let old = beside(&place.key, ".old");
        let kept = private_file::replace(&old, current.serialize_pem().as_bytes(), SECRET)
            .and_then(|()| private_file::replace(&place.key, fresh.serialize_pem().as_bytes(), SECRET));
        kept.map_err(|why| unwritable(&place.key, &why))?;
    }
    private_file::replace(&place.certificate, answer.as_bytes(), PUBLIC)
        .map_err(|why| unwritable(&place.certificate, &why))?;
    let _ = fs::remove_file(beside(&place.key, ".old"));
    tell(terminal, place, &chain, None);
    Ok(())
}

fn read_key(path: &Path) -> Result<KeyPair, String> {
    let text = private_file::read_closed(path, Closed::Owner)?;
    let key = std::str::from_utf8(&text).ok().and_then(|text| KeyPair::from_pem(text).ok());
    key.ok_or_else(|| "it holds no private key in PEM".to_owned())
}

/// The key before, where a renewal was cut off between its two files, and the chain that is still the old one.
fn interrupted(key: &Path, certificates: &str) -> Option<(KeyPair, Vec<CertificateDer<'static>>)> {
    let old = read_key(&beside(key, ".old")).ok()?;
    let shown = chain(certificates, &old).ok()?;
    Some((old, shown))
}

fn generate() -> Result<KeyPair, Failed> {
    KeyPair::generate().map_err(|why| (Exit::CannotRun, format!("no key was made: {why}")))
}

/// A request that says nothing but the key: the gateway takes nothing else.
fn request(key: &KeyPair) -> Result<String, Failed> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key);
    let request = request.map_err(|why| (Exit::CannotRun, format!("no request was made: {why}")))?;
    Ok(pem::encode("CERTIFICATE REQUEST", request.der()))
}

/// The certificates of a PEM text, the first of which must be the key's.
fn chain(text: &str, key: &KeyPair) -> Result<Vec<CertificateDer<'static>>, Failed> {
    let unfit = |why: &str| (Exit::No, why.to_owned());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| unfit("no certificates in PEM"))?;
    let leaf = chain.first().ok_or_else(|| unfit("no certificate"))?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| unfit("the certificate is malformed"))?;
    if parsed.public_key().raw != key.subject_public_key_info().as_slice() {
        return Err(unfit("the certificate is for another key"));
    }
    Ok(chain)
}

/// What there is now; `packed` is the PKCS#12 file.
fn tell(terminal: &mut Terminal, place: &Place, chain: &[CertificateDer<'_>], packed: Option<&Path>) {
    let until = chain.first().and_then(|leaf| {
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        jiff::Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
    });
    let until = until.map(|until| until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    if place.json {
        let mut object = json!({
            "device": common_name(chain), "key": place.key.display().to_string(),
            "certificate": place.certificate.display().to_string(), "not-after": until,
        });
        if let Some(path) = packed {
            object["pkcs12"] = path.display().to_string().into();
        }
        return terminal.line(&object.to_string());
    }
    terminal.line(&format!("device        {}", common_name(chain)));
    terminal.line(&format!("key           {}", place.key.display()));
    terminal.line(&format!("certificate   {}", place.certificate.display()));
    if let Some(until) = until {
        terminal.line(&format!("until         {until}"));
    }
    if let Some(path) = packed {
        terminal.line(&format!("for browsers  {} (delete it once it is imported)", path.display()));
    }
}

/// The device's id, as its certificate has it, without what a terminal might obey.
fn common_name(chain: &[CertificateDer<'_>]) -> String {
    let name = chain.first().and_then(|leaf| {
        let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
        Some(parsed.subject().iter_common_name().next()?.as_str().ok()?.to_owned())
    });
    name.unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

fn pkcs12_passphrase(args: &EnrolArgs) -> Result<String, String> {
    let file = args.pkcs12_passphrase_file.as_deref();
    let secret = Secret { what: "passphrase of the PKCS#12 file", file, variable: PKCS12_PASSPHRASE, new: true };
    let passphrase = secret.get()?;
    pkcs12::check_passphrase(&passphrase).map_err(|fault| fault.to_string())?;
    Ok(passphrase)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn unwritable(path: &Path, why: &io::Error) -> Failed {
    (Exit::CannotRun, format!("`{}` cannot be written: {}", path.display(), in_words(why)))
}
