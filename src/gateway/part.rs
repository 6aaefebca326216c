//! What a configuration makes of files once and keeps: made anew by itself when one of them changes.
//!
//! Each part for itself: a faulty secret of a webhook does not keep a renewed certificate for upstreams from use.

use super::settings::Settings;
use super::shared::{Current, Shared, StartFault, services, webhooks};
use crate::control::webhook::WebhookSettings;
use crate::enforce::upstream::UpstreamSettings;
use crate::sources::gather::Sources;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Their authorities, and the certificates shown to them.
    Upstreams,
    /// Their authorities and secrets.
    Webhooks,
    /// The authorities of key sets' servers.
    Issuers,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Upstreams, Self::Webhooks, Self::Issuers];

    /// As the log, the audit log and the metrics call its reloads.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Upstreams => "upstreams",
            Self::Webhooks => "webhooks",
            Self::Issuers => "issuers",
        }
    }

    /// Every file that it is made of. None: there is nothing to read again.
    pub fn files(self, settings: &Settings) -> Vec<PathBuf> {
        match self {
            Self::Upstreams => {
                let exceptions = settings.upstream_exceptions.iter().map(|(_, settings)| settings);
                let all = std::iter::once(&settings.upstream).chain(exceptions);
                let mut files: Vec<_> = all.flat_map(of_upstreams).cloned().collect();
                // An exception has what it does not name from the default.
                files.sort();
                files.dedup();
                files
            }
            Self::Webhooks => settings.webhooks.iter().flat_map(of_webhook).cloned().collect(),
            Self::Issuers => settings.issuers.iter().filter_map(|issuer| issuer.jwks_ca.clone()).collect(),
        }
    }

    /// Makes it anew, from the files as they are now, and puts it in force.
    ///
    /// # Errors
    /// As at start. Nothing has changed then.
    pub fn renew(self, current: &Current) -> Result<(), StartFault> {
        let renewed = Arc::new(current.load().with(self)?);
        current.store(Arc::clone(&renewed));
        // So that every core takes it up, and the keeper of key sets.
        renewed.changed(false);
        Ok(())
    }
}

fn of_upstreams(settings: &UpstreamSettings) -> impl Iterator<Item = &PathBuf> {
    let pair = settings.client_certificate.iter().flat_map(|(chain, key)| [chain, key]);
    settings.ca.iter().chain(pair)
}

fn of_webhook(settings: &WebhookSettings) -> impl Iterator<Item = &PathBuf> {
    settings.authority.iter().chain([&settings.secret])
}

impl Shared {
    /// The same configuration with this part made anew.
    fn with(&self, part: Part) -> Result<Self, StartFault> {
        let settings = &self.settings;
        let same = self.clone();
        Ok(match part {
            Part::Upstreams => {
                let upstreams = self.upstreams.succeed(&settings.upstream, &settings.upstream_exceptions)?;
                Self { upstreams: Arc::new(upstreams), ..same }
            }
            Part::Webhooks => {
                let (policies, webhooks) = (&self.policies, Arc::new(webhooks(&settings.webhooks)?));
                let before = self.administrator.as_ref();
                let administrator = before.map(|before| Arc::new(before.under(Arc::clone(policies), webhooks)));
                Self { services: services(&self.signer, administrator.as_ref()), administrator, ..same }
            }
            Part::Issuers => {
                let tokens = self.tokens(settings)?;
                Self { sources: Sources { tokens, ..self.sources.clone() }, ..same }
            }
        })
    }
}
