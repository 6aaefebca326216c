//! From an invitation to a certificate, and from one certificate to the next.

use super::administrator::{About, Administrator, Held, Step, Who, new_id, put};
use super::devices::{claims, releases};
use super::fault::Fault;
use super::identities::check_user;
use super::issuing::{Issuing, revoke_certificates};
use crate::audit::{Alert, AlertKind};
use crate::authority::guesses::Attempt;
use crate::authority::invitation::{InvitationState, RedeemFault};
use crate::authority::revocation::Why;
use crate::authority::{AdmitFault, Code, DeviceKey, Invitation, Issued, admit, renew, request};
use crate::evidence::{Certificate, Device, DeviceStatus, Identity, IdentityStatus, Moment};
use crate::store::document::space;
use crate::store::{DeviceRecord, Digest, IssuedCertificate, Kind};
use serde::Deserialize;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// Whom to invite.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NewInvitation {
    pub user: Arc<str>,
    #[serde(default = "corporate")]
    pub class: Arc<str>,
    /// The device that enrols again. None: a new one.
    pub device: Option<Arc<str>>,
    /// Seconds; a day when it is not said, a month at most.
    pub expires_in: Option<u64>,
}

/// What a device gets.
#[derive(Clone, Debug)]
pub struct Enrolled {
    pub device: Arc<str>,
    pub issued: Issued,
}

const DAY: u64 = 86_400;

fn corporate() -> Arc<str> {
    "corporate".into()
}

impl Administrator {
    /// Makes an invitation. The code is in the answer and nowhere else.
    pub async fn invite(&self, who: &Who, new: &NewInvitation) -> Result<(Held<Invitation>, Code), Fault> {
        self.issuing()?;
        check_user("user", &new.user)?;
        let expires_in = new.expires_in.unwrap_or(DAY);
        if !(60..=31 * DAY).contains(&expires_in) {
            return Err(Fault::unfit("invitation-expiry", "an invitation counts for a minute to 31 days"));
        }
        let code = Code::generate().map_err(|_| Fault::Away("the system gives no randomness".to_owned()))?;
        let id = id_of_code(&code);
        let invitation = self
            .act(who, About::new("invitation-make", Kind::Invitation, &id), async |now| {
                let mut user = Arc::clone(&new.user);
                if let Some(device) = &new.device {
                    let device = self.device(device).await?.value;
                    let theirs = |owner: &Arc<str>| self.account(owner) == self.account(&new.user);
                    let Some(owner) = device.owner.filter(theirs).filter(|_| device.status != DeviceStatus::Revoked)
                    else {
                        return Err(Fault::unfit("invitation-device", "the device is revoked, or is not this person's"));
                    };
                    // It stays bound to the name of theirs that it is bound to.
                    user = owner;
                }
                let invitation = Invitation {
                    id: Arc::clone(&id),
                    code_sha256: code.digest().hex().into(),
                    user,
                    class: Arc::clone(&new.class),
                    device: new.device.clone(),
                    made: now,
                    by: who.actor.user.clone().unwrap_or_else(|| "gateway".into()),
                    expires: now.plus_millis(i64::try_from(expires_in).unwrap_or(i64::MAX).saturating_mul(1000)),
                    state: InvitationState::Open,
                };
                let after = serde_json::json!({ "user": invitation.user, "class": new.class, "device": new.device, "expires": invitation.expires });
                let writes = vec![put(Kind::Invitation, &id, None, &invitation)];
                let result = Held { value: invitation, version: 1, changed: now };
                Ok(Step { writes, before: None, after: Some(after), reason: None, result })
            })
            .await?;
        Ok((invitation, code))
    }

    pub async fn withdraw_invitation(&self, who: &Who, id: &Arc<str>) -> Result<Held<Invitation>, Fault> {
        self.act(who, About::new("invitation-withdraw", Kind::Invitation, id), async |now| {
            let none = Fault::NotFound("invitation of this id");
            let known = self.read::<Invitation>(Kind::Invitation, id).await?.ok_or(none)?;
            let by = who.actor.user.clone().unwrap_or_else(|| "gateway".into());
            let state = match &known.value.state {
                InvitationState::Withdrawn { .. } => return Ok(Step::nothing(known)),
                InvitationState::Used { device, .. } => {
                    let why = format!("it was used, by the device `{device}`: revoke that");
                    return Err(Fault::unfit("invitation-used", why));
                }
                InvitationState::Open => InvitationState::Withdrawn { at: now, by },
            };
            let invitation = Invitation { state, ..known.value };
            let writes = vec![put(Kind::Invitation, id, Some(known.version), &invitation)];
            let result = Held { value: invitation, version: known.version + 1, changed: now };
            Ok(Step { writes, before: None, after: None, reason: None, result })
        })
        .await
    }

    /// A device's first certificate. `address` is where the code came from: wrong ones are counted by it.
    pub async fn enrol(
        &self,
        who: &Who,
        code: &str,
        request: &[u8],
        address: Option<IpAddr>,
    ) -> Result<Enrolled, Fault> {
        let issuing = self.issuing()?;
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let attempt = issuing.guesses.attempt(address, (self.clock)()).map_err(Fault::Guesses)?;
        if let Attempt::Beyond(wait) = attempt
            && !self.counts(code).await?
        {
            return Err(Fault::Guesses(wait));
        }
        let fresh = new_id("d")?;
        let mut about = About { action: "device-enrol", target: "invitation".to_owned() };
        let read = Code::read(code).map_err(|fault| Fault::Invitation(fault.code()));
        let code = read.map_err(|fault| self.failed(who, about.clone(), fault))?;
        let id = id_of_code(&code);
        about.target = format!("invitation {id}");
        let key =
            request::read(request).map_err(|fault| self.failed(who, about.clone(), Fault::Issue(fault.into())))?;
        let enrolled = self
            .act(who, about, async |now| {
                let known = self.read::<Invitation>(Kind::Invitation, &id).await?;
                let redeemed = known.as_ref().ok_or(RedeemFault::Unknown).and_then(|known| {
                    let device = known.value.device.as_ref().unwrap_or(&fresh);
                    Ok((known.version, known.value.redeem(&code, device, now)?, Arc::clone(device)))
                });
                let (version, invitation, device) = redeemed.map_err(|fault| Fault::Invitation(fault.code()))?;
                self.in_good_standing(&invitation.user, &device).await?;
                let holder = self.holder_of(&key).await?;
                admit(&device, holder.as_ref()).map_err(|fault| self.alarm(who, Some(&invitation.user), fault, now))?;
                let issued = issuing.authority.issue(&key, &device, now).map_err(Fault::Issue)?;
                self.enrolled(version, invitation, device, issued, now).await
            })
            .await?;
        issuing.guesses.succeeded(address, attempt, (self.clock)());
        // Enrolled again, what it had before is revoked.
        if enrolled.device != fresh
            && let Err(fault) = self.publish_list(true).await
        {
            tracing::warn!(%fault, "the revocation list is not published; the old key is refused all the same");
        }
        Ok(enrolled)
    }

    /// Whether an invitation could be redeemed by this code now. Nothing is written of codes that do not count.
    async fn counts(&self, code: &str) -> Result<bool, Fault> {
        let Ok(code) = Code::read(code) else { return Ok(false) };
        let known = self.read::<Invitation>(Kind::Invitation, &id_of_code(&code)).await?;
        Ok(known.is_some_and(|known| known.value.redeem(&code, "", (self.clock)()).is_ok()))
    }

    /// A device's next certificate, for the same key or a new one.
    pub async fn renew(
        &self,
        who: &Who,
        certificate: &Certificate,
        device: &Device,
        request: &[u8],
    ) -> Result<Enrolled, Fault> {
        let issuing = self.issuing()?;
        let about = About::new("device-renew", Kind::Device, &device.id);
        let key =
            request::read(request).map_err(|fault| self.failed(who, about.clone(), Fault::Issue(fault.into())))?;
        self.act(who, about, async |now| {
            let known = self.device(&device.id).await?;
            let holder = self.holder_of(&key).await?;
            let owner = known.value.owner.as_ref();
            renew(certificate, &known.value.device(), holder.as_ref())
                .map_err(|fault| self.alarm(who, owner, fault, now))?;
            if let Some(owner) = &known.value.owner {
                self.in_good_standing(owner, &device.id).await?;
            }
            room(&known.value, now)?;
            let issued = issuing.authority.issue(&key, &device.id, now).map_err(Fault::Issue)?;
            let mut record = known.value.clone();
            remember(&mut record, &issued, now);
            let mut writes = vec![put(Kind::Device, &device.id, Some(known.version), &record)];
            writes.extend(claims(&device.id, &known.value.handles(), &record.handles()));
            writes.extend(releases(&device.id, &known.value.handles(), &record.handles()));
            let after = Some(told(&issued));
            Ok(Step {
                writes,
                before: None,
                after,
                reason: None,
                result: Enrolled { device: Arc::clone(&device.id), issued },
            })
        })
        .await
    }

    async fn enrolled(
        &self,
        version: u64,
        invitation: Invitation,
        device: Arc<str>,
        issued: Issued,
        now: Moment,
    ) -> Result<Step<Enrolled>, Fault> {
        let known = match invitation.device {
            Some(_) => Some(self.device(&device).await?),
            None => None,
        };
        let blank = DeviceRecord {
            id: Arc::clone(&device),
            owner: Some(Arc::clone(&invitation.user)),
            class: Arc::clone(&invitation.class),
            status: DeviceStatus::Active,
            asset_tag: None,
            enrolled: Some(now),
            keys: Vec::new(),
            certificates: Vec::new(),
            sans: Vec::new(),
            history: Vec::new(),
        };
        let mut record = known.as_ref().map_or(blank, |known| known.value.clone());
        if record.status == DeviceStatus::Revoked || record.owner.as_ref() != Some(&invitation.user) {
            return Err(Fault::unfit("invitation-device", "the device is revoked, or is not this person's any more"));
        }
        let mut writes = revoke_certificates(&mut record, Why::Superseded, now);
        record.keys.clear();
        record.enrolled = Some(now);
        remember(&mut record, &issued, now);
        let before = known.as_ref().map(|known| known.value.handles()).unwrap_or_default();
        writes.push(put(Kind::Device, &device, known.as_ref().map(|known| known.version), &record));
        writes.extend(claims(&device, &before, &record.handles()));
        writes.extend(releases(&device, &before, &record.handles()));
        writes.push(put(Kind::Invitation, &invitation.id, Some(version), &invitation));
        let mut after = told(&issued);
        after["device"] = (*device).into();
        after["owner"] = (*invitation.user).into();
        Ok(Step { writes, before: None, after: Some(after), reason: None, result: Enrolled { device, issued } })
    }

    /// The device whose key this is, by the store's own word.
    async fn holder_of(&self, key: &DeviceKey) -> Result<Option<Device>, Fault> {
        let document = self.store.holder(space::KEY, &key.digest().hex()).await?;
        let held = document.as_ref().map(super::administrator::held::<DeviceRecord>).transpose()?;
        Ok(held.map(|held| held.value.device()))
    }

    /// By the store's own word, under whatever name of theirs the device is bound to.
    async fn in_good_standing(&self, owner: &str, device: &Arc<str>) -> Result<(), Fault> {
        let document = self.store.holder(space::USER, owner).await?;
        let held = document.as_ref().map(super::administrator::held::<Identity>).transpose()?;
        match held.is_some_and(|held| held.value.status == IdentityStatus::Suspended) {
            true => Err(Fault::Admit(AdmitFault::OwnerSuspended { device: Arc::clone(device) })),
            false => Ok(()),
        }
    }

    fn issuing(&self) -> Result<&Issuing, Fault> {
        self.issuing.as_deref().ok_or(Fault::NoAuthority)
    }

    /// A key at a second device is a copied key: somebody should look.
    fn alarm(&self, who: &Who, user: Option<&Arc<str>>, fault: AdmitFault, now: Moment) -> Fault {
        if !matches!(fault, AdmitFault::Suspended { .. } | AdmitFault::OwnerSuspended { .. }) {
            let device = who.actor.device.clone();
            let about = device.as_ref().or(user).map_or("", |about| &**about).to_owned();
            let alert = Alert {
                at: now,
                kind: AlertKind::DeviceFinding,
                id: who.request.clone(),
                resource: None,
                user: user.map(Arc::clone),
                device,
                address: None,
                reason: format!("{}: {fault}", fault.code()).into(),
            };
            self.audit.finding(&about, fault.code(), alert);
        }
        Fault::Admit(fault)
    }
}

/// The invitation's name in the store comes from the code, so that one look-up finds it and the store cannot tell the code.
fn id_of_code(code: &Code) -> Arc<str> {
    let digest = Digest::of(code.digest().hex().as_bytes()).hex();
    format!("i_{}", digest.get(..32).unwrap_or_default()).into()
}

/// Whether there is room for one more. What has not ended is not forgotten: to be revoked it has to be known.
fn room(record: &DeviceRecord, now: Moment) -> Result<(), Fault> {
    let mut ends: Vec<Moment> =
        record.history.iter().filter(|issued| alive(issued, now)).map(|issued| issued.not_after).collect();
    ends.sort_unstable();
    // When so many have ended that there is room.
    match ends.len().checked_sub(HISTORY).and_then(|over| ends.get(over)) {
        Some(end) => Err(Fault::Renewed(Duration::from_millis(end.since(now)))),
        None => Ok(()),
    }
}

/// Keeps what was issued, and forgets what has ended where there is no room for it. A key counts as long as a
/// certificate for it does; one that was registered by itself counts all the same.
fn remember(record: &mut DeviceRecord, issued: &Issued, now: Moment) {
    record.history.push(IssuedCertificate {
        sha256: issued.sha256,
        spki: issued.spki_sha256,
        serial: Arc::clone(&issued.serial),
        issued: now,
        not_after: issued.not_after,
        revoked: None,
    });
    let certified: HashSet<Digest> = record.history.iter().map(|issued| issued.spki).collect();
    let counting: HashSet<Digest> =
        record.history.iter().filter(|issued| alive(issued, now)).map(|issued| issued.spki).collect();
    record.keys.retain(|key| !certified.contains(key) || counting.contains(key));
    if !record.keys.contains(&issued.spki_sha256) {
        record.keys.push(issued.spki_sha256);
    }
    let mut over = record.history.len().saturating_sub(HISTORY);
    record.history.retain(|issued| {
        let cut = over > 0 && !alive(issued, now);
        over -= usize::from(cut);
        !cut
    });
}

fn alive(issued: &IssuedCertificate, now: Moment) -> bool {
    issued.revoked.is_none() && issued.not_after > now
}

/// Certificates a device's record keeps: renewed weekly, a year of them.
const HISTORY: usize = 64;

fn told(issued: &Issued) -> serde_json::Value {
    serde_json::json!({ "serial": issued.serial, "key": issued.spki_sha256.hex(), "not-after": issued.not_after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::DeviceStatus;

    const DAY_MS: i64 = 86_400_000;

    fn device() -> DeviceRecord {
        DeviceRecord {
            id: "d_1".into(),
            owner: None,
            class: "corporate".into(),
            status: DeviceStatus::Active,
            asset_tag: None,
            enrolled: None,
            // Registered by hand: no certificate of this authority was ever made for it.
            keys: vec![Digest::of(b"by hand")],
            certificates: Vec::new(),
            sans: Vec::new(),
            history: Vec::new(),
        }
    }

    fn issued(number: i64, not_after: i64) -> Issued {
        Issued {
            der: Vec::new().into(),
            pem: String::new(),
            serial: format!("{number:x}").into(),
            sha256: Digest::of(format!("certificate {number}").as_bytes()),
            spki_sha256: Digest::of(format!("key {number}").as_bytes()),
            san: "uri:urn:rangegate:device:d_1".into(),
            not_before: Moment(0),
            not_after: Moment(not_after),
        }
    }

    #[test]
    fn what_has_not_ended_is_never_forgotten() {
        let mut record = device();
        for number in 0..64 {
            assert_eq!(room(&record, Moment(number)), Ok(()), "{number}");
            remember(&mut record, &issued(number, DAY_MS + number), Moment(number));
        }
        // One moment before the first ends, and then.
        let full = room(&record, Moment(DAY_MS - 1));
        assert_eq!(full, Err(Fault::Renewed(Duration::from_millis(1))));
        assert_eq!(room(&record, Moment(DAY_MS)), Ok(()));
        remember(&mut record, &issued(64, 2 * DAY_MS), Moment(DAY_MS));
        let serials: Vec<&str> = record.history.iter().map(|issued| &*issued.serial).collect();
        assert_eq!((serials.len(), serials[0], serials[63]), (64, "1", "40"), "the one that had ended is gone");
        // All that are alive are revoked, and nothing else.
        assert_eq!(revoke_certificates(&mut record, Why::KeyCompromise, Moment(DAY_MS)).len(), 64);
        assert_eq!(room(&record, Moment(DAY_MS)), Ok(()), "what is revoked is over");
    }

    #[test]
    fn a_key_goes_with_its_last_certificate() {
        let mut record = device();
        remember(&mut record, &issued(0, DAY_MS), Moment(0));
        for number in 1..200 {
            let now = number * DAY_MS;
            remember(&mut record, &issued(number, now + DAY_MS), Moment(now));
            let keys = [Digest::of(b"by hand"), Digest::of(format!("key {number}").as_bytes())];
            assert_eq!(record.keys, keys, "{number}");
        }
        assert_eq!(record.history.len(), 64);
        // The same key again and again is one key.
        let again = Issued { spki_sha256: record.keys[1], ..issued(200, 202 * DAY_MS) };
        remember(&mut record, &again, Moment(200 * DAY_MS));
        assert_eq!(record.keys.len(), 2);
    }
}
