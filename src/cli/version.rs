//! `rangegate version`: what this build is made of.

use super::{Exit, Terminal};
use clap::Args;
use serde_json::json;

/// The version of the policy language; grows when a policy that compiled would no longer.
pub const POLICY_SCHEMA: u32 = 1;

/// Print the version, features, TLS provider and policy schema
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// One JSON object instead
    #[arg(long)]
    json: bool,
}

pub fn run(args: &VersionArgs, terminal: &mut Terminal) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    let features: Vec<&str> = [("mimalloc", cfg!(feature = "mimalloc"))]
        .into_iter()
        .filter_map(|(name, enabled)| enabled.then_some(name))
        .collect();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let groups: Vec<String> = provider.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
    let platform = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    if args.json {
        let object = json!({
            "version": version,
            "features": features,
            "platform": platform,
            "tls": { "provider": "aws-lc", "versions": ["1.3", "1.2"], "key-exchange": groups },
            "policy-schema": POLICY_SCHEMA,
        });
        terminal.line(&object.to_string());
    } else {
        let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
        terminal.line(&format!("rangegate {version} ({platform})"));
        terminal.line(&format!("features       {features}"));
        terminal.line("tls            1.3 and 1.2 by rustls, cryptography by aws-lc");
        terminal.line(&format!("key exchange   {}", groups.join(", ")));
        terminal.line(&format!("policy schema  {POLICY_SCHEMA}"));
    }
    Exit::Ok
}
