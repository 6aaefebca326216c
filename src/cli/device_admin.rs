//! `rangegate device list|show|…` and `rangegate invitation`: whose devices they are, and whether they still count.

use super::control::{Reach, column, details, path, query};
use super::{Exit, Terminal};
use crate::policy::source::units;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

/// What administrators do to devices.
#[derive(Debug, Subcommand)]
pub enum Administer {
    /// Every device of the store, then those of the registry file
    List {
        /// Whose, by whichever of their names
        #[arg(long)]
        owner: Option<String>,
        #[arg(long)]
        class: Option<String>,
        /// `active`, `watched`, `suspended` or `revoked`
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// One device: owner, certificates, when and where it was seen
    Show {
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Invite a person to enrol a device; shows the one-time code
    Invite(InviteArgs),
    /// Register a device whose key or certificate was made elsewhere
    Register {
        #[arg(long)]
        class: String,
        /// Whose it is, as policies name users
        #[arg(long)]
        owner: Option<String>,
        /// Made, when it is not said
        #[arg(long)]
        id: Option<String>,
        #[arg(long, value_name = "TAG")]
        asset_tag: Option<String>,
        /// SHA-256 of a public key (SubjectPublicKeyInfo), hex
        #[arg(long = "public-key", value_name = "HEX")]
        keys: Vec<String>,
        /// SHA-256 of a certificate, hex
        #[arg(long = "certificate", value_name = "HEX")]
        certificates: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Change class, asset tag, or the owner of a device that has none
    Set {
        id: String,
        #[arg(long)]
        class: Option<String>,
        #[arg(long, value_name = "TAG")]
        asset_tag: Option<String>,
        #[arg(long)]
        owner: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Refuse it until it is resumed; what it has open ends at once
    Suspend(Stand),
    /// Leave it what is not sensitive, and do not tell
    Watch(Stand),
    /// Let it count again
    Resume(Stand),
    /// Refuse it for good, and put its certificates on the revocation list
    Revoke(Stand),
    /// Give it to another person, who enrols it anew
    Transfer {
        id: String,
        #[arg(long, value_name = "USER")]
        to: String,
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Args)]
pub struct Stand {
    id: String,
    /// For the audit log
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub struct InviteArgs {
    /// Whose device it will be
    user: String,
    #[arg(long, default_value = "corporate")]
    class: String,
    /// How long the code counts, such as `8h`; at most 31 days
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    expires_in: String,
    /// The device that enrols again
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Look after invitations to enrol a device
#[derive(Debug, Args)]
pub struct InvitationArgs {
    #[command(subcommand)]
    command: InvitationCommand,
}

#[derive(Debug, Subcommand)]
enum InvitationCommand {
    /// Every invitation; the codes are known to nobody but whom they were given
    List {
        #[arg(long)]
        user: Option<String>,
        /// `open`, `used`, `withdrawn` or `over`
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Invite a person; shows the one-time code
    Make(InviteArgs),
    /// Take one back that was not used
    Withdraw {
        id: String,
        #[command(flatten)]
        reach: Reach,
    },
}

pub fn administer(command: &Administer, terminal: &mut Terminal) -> Exit {
    match command {
        Administer::List { owner, class, status, reach } => {
            let asked =
                query([("owner", owner.as_deref()), ("class", class.as_deref()), ("status", status.as_deref())]);
            let columns = [
                column("ID", "id"),
                column("OWNER", "owner"),
                column("CLASS", "class"),
                column("STATUS", "status"),
                column("ASSET", "asset-tag"),
                column("LAST SEEN", "seen.last.at"),
                column("FROM", "seen.last.place"),
                column("KEPT IN", "source"),
            ];
            reach.list(terminal, &format!("/v1/devices{asked}"), &columns)
        }
        Administer::Show { id, reach } => {
            reach.run(terminal, (Method::GET, path("/v1/devices/", id, ""), None), details)
        }
        Administer::Invite(args) => invite(args, terminal),
        Administer::Register { class, owner, id, asset_tag, keys, certificates, reach } => {
            let mut object = given([("id", id), ("owner", owner), ("asset-tag", asset_tag)]);
            object.insert("class".to_owned(), class.as_str().into());
            object.insert("keys".to_owned(), json!(keys));
            object.insert("certificates".to_owned(), json!(certificates));
            reach.run(terminal, (Method::POST, "/v1/devices".to_owned(), Some(object.into())), details)
        }
        Administer::Set { id, class, asset_tag, owner, reach } => {
            let object = given([("class", class), ("asset-tag", asset_tag), ("owner", owner)]);
            reach.run(terminal, (Method::PATCH, path("/v1/devices/", id, ""), Some(object.into())), details)
        }
        Administer::Suspend(args) => stand(args, "/suspend", terminal),
        Administer::Watch(args) => stand(args, "/watch", terminal),
        Administer::Resume(args) => stand(args, "/resume", terminal),
        Administer::Revoke(args) => stand(args, "/revoke", terminal),
        Administer::Transfer { id, to, reason, reach } => {
            let mut object = given([("reason", reason)]);
            object.insert("to".to_owned(), to.as_str().into());
            reach.run(terminal, (Method::POST, path("/v1/devices/", id, "/transfer"), Some(object.into())), details)
        }
    }
}

pub fn invitation(args: &InvitationArgs, terminal: &mut Terminal) -> Exit {
    match &args.command {
        InvitationCommand::List { user, state, reach } => {
            let asked = query([("user", user.as_deref()), ("state", state.as_deref())]);
            let columns = [
                column("ID", "id"),
                column("USER", "user"),
                column("CLASS", "class"),
                column("STATE", "state.is"),
                column("COUNTS", "counts"),
                column("EXPIRES", "expires"),
                column("BY", "by"),
            ];
            reach.list(terminal, &format!("/v1/invitations{asked}"), &columns)
        }
        InvitationCommand::Make(args) => invite(args, terminal),
        InvitationCommand::Withdraw { id, reach } => {
            reach.run(terminal, (Method::POST, path("/v1/invitations/", id, "/withdraw"), None), details)
        }
    }
}

fn invite(args: &InviteArgs, terminal: &mut Terminal) -> Exit {
    let expires_in = match units::duration(&args.expires_in) {
        Ok(duration) => duration.as_secs(),
        Err(why) => return terminal.refuse(Exit::Usage, &format!("`{}` is not a duration: {why}", args.expires_in)),
    };
    let mut object = given([("device", &args.device)]);
    object.insert("user".to_owned(), args.user.as_str().into());
    object.insert("class".to_owned(), args.class.as_str().into());
    object.insert("expires-in".to_owned(), expires_in.into());
    let asked = (Method::POST, "/v1/invitations".to_owned(), Some(object.into()));
    args.reach.run(terminal, asked, |terminal, answer| {
        let said = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        terminal.line(&format!("code     {}", said("code")));
        terminal.line(&format!("for      {}, once, until {}", said("user"), said("expires")));
        terminal.line(&format!("id       {}", said("id")));
        terminal.line("This code is shown once. On the device: rangegate device enrol --url https://…");
    })
}

fn stand(args: &Stand, what: &str, terminal: &mut Terminal) -> Exit {
    let object = given([("reason", &args.reason)]);
    args.reach.run(terminal, (Method::POST, path("/v1/devices/", &args.id, what), Some(object.into())), details)
}

fn given<const N: usize>(pairs: [(&str, &Option<String>); N]) -> Map<String, Value> {
    let there = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?.into())));
    there.collect()
}
