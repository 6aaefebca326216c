//! `rangegate authority`: making the built-in device authority, and looking at it.

use super::secret::Secret;
use super::{ConfigArg, Exit, Terminal};
use crate::authority::revocation::read_published;
use crate::authority::{Authority, AuthoritySettings, Curve, PASSPHRASE_VARIABLE, Passphrase, create_key_file, make};
use crate::config::Config;
use crate::evidence::Moment;
use crate::gateway::clock;
use crate::store::policy_files::in_words;
use crate::store::private_file::{self, PUBLIC};
use clap::{Args, Subcommand, ValueEnum};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

const YEAR: u64 = 365 * 86_400;

const EXAMPLES: &str = "\
Examples:
  rangegate authority init --config /etc/rangegate/rangegate.toml
  rangegate authority show --json";

/// Make the built-in device authority, or look at it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AuthorityArgs {
    #[command(subcommand)]
    command: AuthorityCommand,
}

#[derive(Debug, Subcommand)]
enum AuthorityCommand {
    Init(InitArgs),
    Show(ShowArgs),
}

/// Make a key, a root certificate for it and an empty revocation list
///
/// Writes the files that `[authority]` in the configuration names, and overwrites none. The key is encrypted under the
/// passphrase from `--passphrase-file`, from the file that the configuration names, from
/// $RANGEGATE_AUTHORITY_PASSPHRASE, or from the terminal.
#[derive(Debug, Args)]
struct InitArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// What the authority is called in its certificate
    #[arg(long, default_value = "Rangegate devices")]
    name: String,
    /// The key's curve
    #[arg(long, value_enum, default_value_t = CurveArg::P256)]
    curve: CurveArg,
    /// Holds the passphrase, in place of the file that the configuration names
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Years until another authority must take its place
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=30))]
    years: u64,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CurveArg {
    #[value(name = "p256")]
    P256,
    #[value(name = "p384")]
    P384,
}

/// Show the authority's certificate and its revocation list; needs no passphrase
#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// One JSON object instead
    #[arg(long)]
    json: bool,
}

pub fn run(args: &AuthorityArgs, terminal: &mut Terminal) -> Exit {
    let config = match &args.command {
        AuthorityCommand::Init(args) => &args.config.config,
        AuthorityCommand::Show(args) => &args.config.config,
    };
    let settings = match Config::authority(config) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            let why = format!("`{}` has no `[authority]`: see rangegate.example.toml", config.display());
            return terminal.refuse(Exit::Usage, &why);
        }
        Err(report) => {
            terminal.report(&report);
            return Exit::Usage;
        }
    };
    let done = match &args.command {
        AuthorityCommand::Init(args) => init(args, &settings, terminal),
        AuthorityCommand::Show(args) => show(args, &settings, terminal),
    };
    done.unwrap_or_else(|(exit, why)| terminal.refuse(exit, &why))
}

type Failed = (Exit, String);

fn init(args: &InitArgs, settings: &AuthoritySettings, terminal: &mut Terminal) -> Result<Exit, Failed> {
    for path in [&settings.key, &settings.certificate, &settings.revocation_list] {
        if fs::symlink_metadata(path).is_ok() {
            return Err((Exit::Usage, format!("`{}` exists: nothing is overwritten", path.display())));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or(Ok(()), fs::create_dir_all).map_err(|why| unwritable(path, &why))?;
    }
    let passphrase = passphrase(args, settings).map_err(|why| (Exit::Usage, why))?;
    let curve = match args.curve {
        CurveArg::P256 => Curve::P256,
        CurveArg::P384 => Curve::P384,
    };
    let now = clock::now();
    let made = make(&args.name, curve, Duration::from_secs(args.years * YEAR), now)
        .map_err(|why| (Exit::Usage, format!("no authority was made: {why}")))?;
    create_key_file(&settings.key, &made.key, &passphrase).map_err(|why| unwritable(&settings.key, &why))?;
    private_file::create(&settings.certificate, made.certificate_pem.as_bytes(), PUBLIC)
        .map_err(|why| unwritable(&settings.certificate, &why))?;
    // Read back: what was written is what will be read.
    let cannot = |why: String| (Exit::CannotRun, why);
    let authority = Authority::load(settings, &passphrase).map_err(|fault| cannot(fault.to_string()))?;
    let published = authority.publish(&settings.revocation_list, &[], settings.list_lifetime, now);
    published.map_err(|why| unwritable(&settings.revocation_list, &why))?;
    if args.json {
        let object = json!({
            "key": settings.key.display().to_string(), "certificate": settings.certificate.display().to_string(),
            "revocation-list": settings.revocation_list.display().to_string(), "not-after": when(authority.ends()),
        });
        terminal.line(&object.to_string());
        return Ok(Exit::Ok);
    }
    terminal.line(&format!("key               {} (encrypted; keep a copy elsewhere)", settings.key.display()));
    terminal.line(&format!("certificate       {}", settings.certificate.display()));
    terminal.line(&format!("revocation list   {}", settings.revocation_list.display()));
    terminal.line(&format!("until             {}", when(authority.ends())));
    terminal.line("Name certificate and list in `[listener.trust]`, so that listeners accept what it issues.");
    Ok(Exit::Ok)
}

fn show(args: &ShowArgs, settings: &AuthoritySettings, terminal: &mut Terminal) -> Result<Exit, Failed> {
    let unfit =
        |why: &str| (Exit::Usage, format!("the authority's certificate `{}`: {why}", settings.certificate.display()));
    let pem = fs::read(&settings.certificate).map_err(|why| unfit(&in_words(&why)))?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| unfit("it holds no certificate"))?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| unfit("it is malformed"))?;
    let moment = |time: x509_parser::time::ASN1Time| Moment(time.timestamp().saturating_mul(1000));
    let (from, until) = (moment(parsed.validity().not_before), moment(parsed.validity().not_after));
    let sha256 = crate::store::Digest::of(&der).hex();
    let subject: String = parsed.subject().to_string().chars().flat_map(char::escape_debug).collect();
    let list = read_published(&settings.revocation_list);
    if args.json {
        let list = list.as_ref().map(
            |list| json!({ "number": list.number, "entries": list.entries, "next-update": when(list.next_update) }),
        );
        let object = json!({
            "subject": subject, "sha256": sha256, "not-before": when(from), "not-after": when(until),
            "certificate-lifetime-seconds": settings.lifetime.as_secs(), "revocation-list": list,
        });
        terminal.line(&object.to_string());
        return Ok(Exit::Ok);
    }
    terminal.line(&format!("subject           {subject}"));
    terminal.line(&format!("sha-256           {sha256}"));
    terminal.line(&format!("valid             {} to {}", when(from), when(until)));
    terminal.line(&match list {
        Some(list) => format!(
            "revocation list   number {}, {} revoked, until {}",
            list.number,
            list.entries,
            when(list.next_update)
        ),
        None => format!("revocation list   none in {}", settings.revocation_list.display()),
    });
    Ok(Exit::Ok)
}

/// From a file the command or the configuration names, the environment or the terminal.
fn passphrase(args: &InitArgs, settings: &AuthoritySettings) -> Result<Passphrase, String> {
    if let (None, Some(path)) = (&args.passphrase_file, &settings.passphrase) {
        return Passphrase::read(path);
    }
    let file = args.passphrase_file.as_deref();
    let what = "passphrase of the authority";
    Passphrase::new(&Secret { what, file, variable: PASSPHRASE_VARIABLE, new: true }.get()?)
}

fn unwritable(path: &Path, why: &io::Error) -> Failed {
    (Exit::CannotRun, format!("`{}` cannot be written: {}", path.display(), in_words(why)))
}

/// Seconds, in UTC.
fn when(moment: Moment) -> String {
    jiff::Timestamp::from_millisecond(moment.millis())
        .map_or_else(|_| "never".to_owned(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
