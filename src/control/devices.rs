//! Devices: whose they are, what they are, and whether they still count.

use super::administrator::{About, Administrator, Held, Step, Who, difference, new_id, put};
use super::fault::Fault;
use super::identities::check_user;
use super::issuing::revoke_certificates;
use crate::authority::revocation::Why;
use crate::evidence::{DeviceStatus, Moment};
use crate::store::{DeviceRecord, Digest, Handle, Kind, Recognition, Seen, Write};
use serde::Deserialize;
use std::sync::Arc;

/// A device that an administrator registers: its key or certificate was made elsewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NewDevice {
    /// Made, when it is not said.
    pub id: Option<Arc<str>>,
    pub owner: Option<Arc<str>>,
    pub class: Arc<str>,
    pub asset_tag: Option<Arc<str>>,
    #[serde(default)]
    pub keys: Vec<Digest>,
    #[serde(default)]
    pub certificates: Vec<Digest>,
    #[serde(default)]
    pub sans: Vec<Arc<str>>,
}

/// What can be changed without asking the device. `null` takes away.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DevicePatch {
    pub class: Option<Arc<str>>,
    #[serde(default, deserialize_with = "named")]
    pub asset_tag: Option<Option<Arc<str>>>,
    /// Only of a device that has none: another's device is transferred.
    pub owner: Option<Arc<str>>,
}

/// What is done to a device as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    Suspend,
    Watch,
    Resume,
    /// For good: its key never counts again.
    Revoke,
    /// To another person, who has to enrol it anew.
    Transfer {
        to: Arc<str>,
    },
}

impl Standing {
    const fn action(&self) -> &'static str {
        match self {
            Self::Suspend => "device-suspend",
            Self::Watch => "device-watch",
            Self::Resume => "device-resume",
            Self::Revoke => "device-revoke",
            Self::Transfer { .. } => "device-transfer",
        }
    }
}

const NONE: Fault = Fault::NotFound("device of this id");
const FILED: &str = "it stands in the device registry file (`devices` in the configuration), and is changed there: the gateway reads it again at once";

impl Administrator {
    pub async fn device(&self, id: &str) -> Result<Held<DeviceRecord>, Fault> {
        match self.read(Kind::Device, id).await? {
            Some(held) => Ok(held),
            None if self.filed(id).is_some() => Err(Fault::unfit("device-filed", FILED)),
            None => Err(NONE),
        }
    }

    /// The device of the registry file that has this id.
    pub fn filed(&self, id: &str) -> Option<DeviceRecord> {
        self.memory.devices().filed()?.get(id).map(of_file)
    }

    /// Up to `limit` devices of the registry file after this id that are wanted, in the order of their ids.
    pub fn filed_after(&self, after: &str, limit: usize, wanted: impl Fn(&DeviceRecord) -> bool) -> Vec<DeviceRecord> {
        let filed = self.memory.devices().filed();
        let rest = filed.iter().flat_map(|filed| filed.after(after)).map(of_file);
        rest.filter(wanted).take(limit).collect()
    }

    /// When and where they were first and last seen; those never seen are left out.
    pub async fn seen(&self, devices: Vec<Arc<str>>) -> Result<Vec<Seen>, Fault> {
        Ok(self.store.sightings(devices).await?)
    }

    pub async fn register(&self, who: &Who, new: &NewDevice) -> Result<Held<DeviceRecord>, Fault> {
        let id = match &new.id {
            Some(id) => Arc::clone(id),
            None => new_id("d")?,
        };
        self.act(who, About::new("device-register", Kind::Device, &id), async |now| {
            check_id(&id)?;
            new.owner.as_deref().map_or(Ok(()), |owner| check_user("owner", owner))?;
            if new.keys.is_empty() && new.certificates.is_empty() && new.sans.is_empty() {
                return Err(Fault::unfit(
                    "device",
                    "nothing identifies this device: name a key, a certificate or a name in it",
                ));
            }
            let record = DeviceRecord {
                id: Arc::clone(&id),
                owner: new.owner.clone(),
                class: Arc::clone(&new.class),
                status: DeviceStatus::Active,
                asset_tag: new.asset_tag.clone(),
                enrolled: None,
                keys: new.keys.clone(),
                certificates: new.certificates.clone(),
                sans: new.sans.clone(),
                history: Vec::new(),
            };
            if self.filed(&id).is_some() {
                return Err(Fault::Taken { what: format!("the id `{id}`"), by: "the device registry file".into() });
            }
            if self.read::<DeviceRecord>(Kind::Device, &id).await?.is_some() {
                return Err(Fault::Taken { what: format!("the id `{id}`"), by: Arc::clone(&id) });
            }
            let mut writes = vec![put(Kind::Device, &id, None, &record)];
            writes.extend(claims(&id, &[], &record.handles()));
            let after = serde_json::to_value(&record).ok();
            let result = Held { value: record, version: 1, changed: now };
            Ok(Step { writes, before: None, after, reason: None, result })
        })
        .await
    }

    pub async fn change_device(
        &self,
        who: &Who,
        id: &Arc<str>,
        patch: &DevicePatch,
        check: impl Fn(Option<u64>) -> Result<(), Fault>,
    ) -> Result<Held<DeviceRecord>, Fault> {
        self.act(who, About::new("device-change", Kind::Device, id), async |now| {
            let known = self.device(id).await?;
            check(Some(known.version))?;
            patch.owner.as_deref().map_or(Ok(()), |owner| check_user("owner", owner))?;
            let mut record = known.value.clone();
            if let Some(class) = &patch.class {
                record.class = Arc::clone(class);
            }
            if let Some(asset_tag) = &patch.asset_tag {
                record.asset_tag.clone_from(asset_tag);
            }
            match (&patch.owner, &record.owner) {
                // From one name of an account to another it stays whose it was.
                (Some(new), Some(old)) if self.account(new) != self.account(old) => {
                    let why =
                        format!("it is `{old}`'s: transfer it, so that the key `{old}` may still have stops counting");
                    return Err(Fault::unfit("device-owned", why));
                }
                (Some(new), _) => record.owner = Some(Arc::clone(new)),
                (None, _) => {}
            }
            Ok(step(&known, record, Vec::new(), None, now))
        })
        .await
    }

    /// What is done to the device as a whole, and why.
    pub async fn stand(
        &self,
        who: &Who,
        id: &Arc<str>,
        standing: &Standing,
        reason: Option<&str>,
        check: impl Fn(Option<u64>) -> Result<(), Fault>,
    ) -> Result<Held<DeviceRecord>, Fault> {
        let about = About::new(standing.action(), Kind::Device, id);
        let held = self
            .act(who, about, async |now| {
                let known = self.device(id).await?;
                check(Some(known.version))?;
                if let Standing::Transfer { to } = standing {
                    check_user("to", to)?;
                }
                let mut record = known.value.clone();
                if record.status == DeviceStatus::Revoked && *standing != Standing::Revoke {
                    return Err(Fault::unfit(
                        "device-revoked",
                        "it is revoked, and that is for good: enrol it as a new device",
                    ));
                }
                let mut writes = Vec::new();
                match standing {
                    Standing::Suspend => record.status = DeviceStatus::Suspended,
                    Standing::Watch => record.status = DeviceStatus::Watched,
                    Standing::Resume => record.status = DeviceStatus::Active,
                    Standing::Revoke if record.status == DeviceStatus::Revoked => {}
                    Standing::Revoke => {
                        record.status = DeviceStatus::Revoked;
                        writes = revoke_certificates(&mut record, Why::KeyCompromise, now);
                    }
                    Standing::Transfer { to } if record.owner.as_ref() == Some(to) => {}
                    Standing::Transfer { to } => {
                        record.owner = Some(Arc::clone(to));
                        writes = revoke_certificates(&mut record, Why::CessationOfOperation, now);
                        // What recognised it is known to whoever had it.
                        (record.keys, record.certificates, record.sans) = (Vec::new(), Vec::new(), Vec::new());
                        writes.extend(releases(id, &known.value.handles(), &[]));
                    }
                }
                Ok(step(&known, record, writes, reason, now))
            })
            .await?;
        if matches!(standing, Standing::Revoke | Standing::Transfer { .. })
            && let Err(fault) = self.publish_list(true).await
        {
            tracing::warn!(%fault, "the revocation list is not published; the device is refused all the same");
        }
        Ok(held)
    }
}

/// A changed record; nothing, when it is as it was.
fn step(
    known: &Held<DeviceRecord>,
    record: DeviceRecord,
    mut writes: Vec<Write>,
    reason: Option<&str>,
    now: Moment,
) -> Step<Held<DeviceRecord>> {
    if record == known.value {
        return Step::nothing(known.clone());
    }
    let (before, after) = difference(&known.value, &record);
    writes.push(put(Kind::Device, &record.id, Some(known.version), &record));
    let result = Held { value: record, version: known.version + 1, changed: now };
    Step { writes, before: Some(before), after: Some(after), reason: reason.map(str::to_owned), result }
}

/// What the file says, as a record.
fn of_file(Recognition { device, keys, certificates, sans }: &Recognition) -> DeviceRecord {
    DeviceRecord {
        id: Arc::clone(&device.id),
        owner: device.owner.clone(),
        class: Arc::clone(&device.class),
        status: device.status,
        asset_tag: None,
        enrolled: None,
        keys: keys.clone(),
        certificates: certificates.clone(),
        sans: sans.clone(),
        history: Vec::new(),
    }
}

/// Claims of the handles that are new.
pub fn claims(id: &Arc<str>, before: &[Handle], after: &[Handle]) -> Vec<Write> {
    let new = after.iter().filter(|handle| !before.contains(handle));
    new.map(|handle| Write::Claim { handle: handle.clone(), kind: Kind::Device, id: Arc::clone(id) }).collect()
}

/// Releases of the handles that are gone.
pub fn releases(id: &Arc<str>, before: &[Handle], after: &[Handle]) -> Vec<Write> {
    let gone = before.iter().filter(|handle| !after.contains(handle));
    gone.map(|handle| Write::Release { handle: handle.clone(), kind: Kind::Device, id: Arc::clone(id) }).collect()
}

/// An id is part of a URN (RFC 8141) and of file names.
fn check_id(id: &str) -> Result<(), Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    match (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        true => Ok(()),
        false => Err(Fault::unfit("device", "an id has up to 64 letters, digits, dots, dashes and underscores")),
    }
}

/// Tells `null` from a member that is not there.
fn named<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Arc<str>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
