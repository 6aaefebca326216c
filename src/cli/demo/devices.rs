//! What the demo's gate remembers with: an authority for devices, made at the start, and people as HR has them.

use super::files::Scratch;
use super::scene::PEOPLE;
use crate::authority::{Authority, AuthoritySettings, Curve, Passphrase, create_key_file, make};
use crate::cli::control::{Client, Sending};
use crate::evidence::Moment;
use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// Throw-away, as the key is; a real one never stands beside it.
const PASSPHRASE: &str = "the demo's own passphrase";
const DAY: Duration = Duration::from_secs(86_400);

/// Makes an authority with its first, empty revocation list. Takes half a second: the key is sealed under a passphrase
/// that is to be hard to guess.
///
/// # Errors
/// The temporary directory cannot be written.
pub fn authority(scratch: &Scratch, now: Moment) -> Result<AuthoritySettings, Box<dyn Error>> {
    let made = make("Devices of Example Corp", Curve::P256, 30 * DAY, now)?;
    let settings = AuthoritySettings {
        certificate: scratch.write("authority.pem", &made.certificate_pem)?,
        key: scratch.at("authority.key"),
        passphrase: Some(scratch.write("authority.passphrase", format!("{PASSPHRASE}\n"))?),
        revocation_list: scratch.at("authority.crl"),
        lifetime: 7 * DAY,
        list_lifetime: 7 * DAY,
    };
    create_key_file(&settings.key, &made.key, &Passphrase::new(PASSPHRASE)?)?;
    let authority = Authority::assemble(made.certificate_pem.as_bytes(), made.key, settings.lifetime)?;
    authority.publish(&settings.revocation_list, &[], settings.list_lifetime, now)?;
    Ok(settings)
}

/// Imports everybody, over the gateway's socket as `rangegate identity import` does.
///
/// # Errors
/// The gateway refuses them.
pub async fn import(scratch: &Scratch, socket: PathBuf) -> Result<(), Box<dyn Error>> {
    let people = File::open(scratch.write("people.csv", PEOPLE)?)?;
    // The commands' client brings a runtime of its own.
    let imported = tokio::task::spawn_blocking(move || {
        let client = Client::socket(socket);
        client.upload("/v1/identities", "text/csv", Sending::new(people, |_| {})).and_then(|reply| reply.good())
    });
    imported.await?.map_err(|(_, why)| why)?;
    Ok(())
}
