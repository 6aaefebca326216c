//! A large organisation's devices, people and grants, in a store.

use crate::Result;
use rangegate::access::grant::{Approval, GrantRecord, GrantState};
use rangegate::evidence::{DeviceStatus, Identity, IdentityStatus, Moment};
use rangegate::store::document::handles_of;
use rangegate::store::{DeviceRecord, Digest, Expect, IssuedCertificate, Kind, Store, StoreSettings, Write};
use std::sync::Arc;
use std::time::Instant;

/// How many of each.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    pub devices: usize,
    pub people: usize,
    pub grants: usize,
    /// When everything was made.
    pub at: Moment,
}

/// Somebody with one device and one grant, who is there beside all others.
#[derive(Clone, Debug)]
pub struct Member {
    pub user: String,
    /// Of the device's certificate.
    pub sha256: [u8; 32],
}

impl Fleet {
    /// Fills an empty store; the seconds it took.
    pub async fn fill(&self, settings: &StoreSettings, members: &[Member]) -> Result<(Store, f64)> {
        let begin = Instant::now();
        let store = Store::open(settings).await?;
        let mut writes = Vec::new();
        for n in 0..self.devices.max(self.people).max(self.grants) {
            if n < self.devices {
                put_device(&mut writes, &self.device(n))?;
            }
            if n < self.people {
                put_identity(&mut writes, &identity(n))?;
            }
            if n < self.grants {
                put_grant(&mut writes, &self.grant(format!("g_{n:026}"), &user(n % self.people)))?;
            }
            if writes.len() > 100_000 {
                store.commit(std::mem::take(&mut writes), self.at).await?;
            }
        }
        for (n, member) in members.iter().enumerate() {
            let mut device = self.device(self.devices + n);
            device.owner = Some(member.user.as_str().into());
            device.class = "corporate".into();
            device.certificates = Digest::from_bytes(&member.sha256).into_iter().collect();
            (device.keys, device.sans, device.history) = Default::default();
            put_device(&mut writes, &device)?;
            let known = identity(self.people + n);
            put_identity(&mut writes, &Identity { user: member.user.as_str().into(), email: None, ..known })?;
            put_grant(&mut writes, &self.grant(format!("m_{n:026}"), &member.user))?;
        }
        store.commit(writes, self.at).await?;
        Ok((store, begin.elapsed().as_secs_f64()))
    }

    pub fn device(&self, n: usize) -> DeviceRecord {
        let id: Arc<str> = format!("d_{}", &Digest::of(format!("d{n}").as_bytes()).hex()[..26]).into();
        let key = Digest::of(format!("k{n}").as_bytes());
        let issued = |month: i64| IssuedCertificate {
            sha256: Digest::of(format!("c{n}-{month}").as_bytes()),
            spki: key,
            serial: format!("{month}{n:x}").into(),
            issued: self.at.plus_millis(month * 86_400_000),
            not_after: self.at.plus_millis((month + 7) * 86_400_000),
            revoked: None,
        };
        DeviceRecord {
            sans: vec![format!("uri:urn:rangegate:device:{id}").into()],
            id,
            owner: Some(user(n % self.people).into()),
            class: ["corporate", "contractor", "kiosk"][n % 3].into(),
            status: DeviceStatus::Active,
            asset_tag: Some(format!("INV-{n:07}").into()),
            enrolled: Some(self.at),
            keys: vec![key],
            certificates: Vec::new(),
            history: vec![issued(0), issued(7)],
        }
    }

    fn grant(&self, id: String, user: &str) -> GrantRecord {
        const HOURS: i64 = 8 * 3_600_000;
        let lead = "lead@corp.example";
        GrantRecord {
            id: id.into(),
            role: "oncall".into(),
            user: user.into(),
            person: user.into(),
            groups: Vec::new(),
            device: None,
            key: None,
            reason: "INC-1".into(),
            asked: self.at,
            duration: HOURS.cast_unsigned(),
            state: GrantState::Active { since: self.at, until: self.at.plus_millis(HOURS) },
            approvals: vec![Approval { user: lead.into(), person: lead.into(), at: self.at, note: None }],
            break_glass: false,
            review: None,
        }
    }
}

/// What grants that hold while a benchmark runs begin at.
pub fn now() -> Result<Moment> {
    #[expect(clippy::disallowed_methods, reason = "the bench is its own clock")]
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?;
    Ok(Moment(since.as_millis().try_into()?))
}

pub fn user(n: usize) -> String {
    format!("firstname.lastname{n}@corp.example")
}

fn identity(n: usize) -> Identity {
    Identity {
        user: user(n).into(),
        person: format!("p{n}").into(),
        aliases: vec![format!("flastname{n}").into()],
        name: Some(format!("Firstname Lastname {n}").into()),
        email: Some(user(n).into()),
        groups: Some(vec!["staff".into(), "payroll".into(), format!("team-{}", n % 500).into()]),
        employment: None,
        vendor: None,
        manager: Some(user(n / 10).into()),
        home: None,
        proofing: None,
        status: IdentityStatus::Active,
    }
}

fn put_device(writes: &mut Vec<Write>, record: &DeviceRecord) -> Result<()> {
    let claims = record.handles().into_iter();
    writes.extend(claims.map(|handle| Write::Claim { handle, kind: Kind::Device, id: Arc::clone(&record.id) }));
    writes.push(put(Kind::Device, &record.id, serde_json::to_string(record)?));
    Ok(())
}

fn put_identity(writes: &mut Vec<Write>, record: &Identity) -> Result<()> {
    let claims = handles_of(record).into_iter();
    writes.extend(claims.map(|handle| Write::Claim { handle, kind: Kind::Identity, id: Arc::clone(&record.user) }));
    writes.push(put(Kind::Identity, &record.user, serde_json::to_string(record)?));
    Ok(())
}

fn put_grant(writes: &mut Vec<Write>, record: &GrantRecord) -> Result<()> {
    writes.push(put(Kind::Grant, &record.id, serde_json::to_string(record)?));
    Ok(())
}

fn put(kind: Kind, id: &Arc<str>, body: String) -> Write {
    Write::Put { kind, id: Arc::clone(id), expect: Expect::New, body }
}
