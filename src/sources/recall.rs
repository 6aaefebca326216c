//! What the organisation remembers of whoever asks: their record, their groups, what they were granted.

use crate::access::{held, held_lately};
use crate::evidence::{Device, DeviceStatus, Fact, Grant, Identity, IdentityStatus, Moment, Subject};
use crate::policy::Role;
use crate::state::memory::Memory;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The time by which grants end: the latest that the clock has shown.
///
/// An end that is written down is final whatever the clock does. Until it is, a clock that steps back must not make
/// it the future again. Whoever writes ends down calls `settle` then, so that a clock that was set forward by
/// mistake and back again does not end what is granted afterwards.
#[derive(Debug)]
pub struct Tide(AtomicI64);

impl Default for Tide {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Tide {
    /// `now`, or the latest moment reached before.
    pub fn reach(&self, now: Moment) -> Moment {
        let reached = self.0.load(Ordering::Acquire);
        // Cores share this: it is written when a millisecond has passed, and else only read.
        if now.millis() > reached {
            Moment(self.0.fetch_max(now.millis(), Ordering::AcqRel).max(now.millis()))
        } else {
            Moment(reached)
        }
    }

    /// Every end up to `written` is written down, and known here: from now on the clock alone counts. Does nothing
    /// when a later moment was reached meanwhile.
    pub fn settle(&self, written: Moment, now: Moment) {
        let _ = self.0.compare_exchange(written.millis(), now.millis(), Ordering::AcqRel, Ordering::Acquire);
    }
}

/// Somebody in the groups of their record, as they were put together last: who asks on a connection is mostly the same.
/// Nothing is believed of it: it is for this very login and this very record.
#[derive(Debug, Default)]
pub struct Regrouped(Mutex<Option<Put>>);

#[derive(Debug)]
struct Put {
    claimed: Arc<Subject>,
    identity: Arc<Identity>,
    subject: Arc<Subject>,
}

impl Regrouped {
    fn get(&self, claimed: Arc<Subject>, identity: &Arc<Identity>) -> Arc<Subject> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(put) = &*last
            && Arc::ptr_eq(&put.claimed, &claimed)
            && Arc::ptr_eq(&put.identity, identity)
        {
            return Arc::clone(&put.subject);
        }
        let subject = Arc::clone(&claimed).with_groups_of(identity);
        *last = Some(Put { claimed, identity: Arc::clone(identity), subject: Arc::clone(&subject) });
        subject
    }
}

#[derive(Debug)]
pub struct Recalled {
    /// In the groups that the record names, where it names any.
    pub subject: Fact<Arc<Subject>>,
    pub identity: Fact<Arc<Identity>>,
    /// As `Evidence::owner`.
    pub owner: Fact<IdentityStatus>,
    /// What is held, and what was until lately.
    pub grants: Fact<Arc<[Grant]>>,
}

/// Asks the memory. `role` knows the roles as they are today; `now` must not step back.
///
/// Where nobody is signed in (the provider of identities may be away) only what was had by breaking the glass counts:
/// for the device's owner, on this very device, whose key opened the connection.
pub fn recall<'p>(
    memory: &Memory,
    subject: Fact<Arc<Subject>>,
    device: &Fact<Arc<Device>>,
    role: impl Fn(&str) -> Option<&'p Role>,
    regrouped: &Regrouped,
    now: Moment,
) -> Recalled {
    let here = device.known().map(Arc::as_ref);
    let Fact::Known(claimed) = subject else {
        let record =
            here.and_then(|device| device.owner.as_deref()).map_or(Fact::Absent, |owner| memory.identity(owner));
        let grants = here.map_or(Fact::Absent, |device| without_login(memory, device, &record, role, now));
        let owner = record.map(|record| record.status);
        return Recalled { subject, identity: Fact::Absent, owner, grants };
    };
    let identity = memory.identity(&claimed.user);
    let grants = match &identity {
        Fact::Known(identity) if identity.status == IdentityStatus::Suspended => Fact::Known(Arc::default()),
        Fact::Invalid(fault) | Fact::Unavailable(fault) => Fact::Unavailable(*fault),
        _ if memory.age(now) == Fact::Absent => Fact::Absent,
        known => {
            let user = known.known().map_or(&claimed.user, |identity| &identity.user);
            let records = memory.grants(user);
            let device = here.map(|device| &*device.id);
            Fact::Known(held_lately(records.iter().map(Arc::as_ref), role, device, now))
        }
    };
    let subject = match &identity {
        Fact::Known(identity) => regrouped.get(claimed, identity),
        _ => claimed,
    };
    Recalled { subject: Fact::Known(subject), identity, owner: Fact::Absent, grants }
}

impl Recalled {
    /// The subject of an exchange that began when `before` was on record. Where the record named groups and no
    /// longer does, those of the token would count; they are not known any more, and none are left.
    pub fn subject_after(&self, before: &Fact<Arc<Identity>>) -> Fact<Arc<Subject>> {
        let named = |identity: &Fact<Arc<Identity>>| identity.known().is_some_and(|identity| identity.groups.is_some());
        let subject = self.subject.clone();
        if !named(before) || named(&self.identity) {
            return subject;
        }
        subject.map(|mut subject| {
            Arc::make_mut(&mut subject).groups.clear();
            subject
        })
    }
}

fn without_login<'p>(
    memory: &Memory,
    device: &Device,
    record: &Fact<Arc<Identity>>,
    role: impl Fn(&str) -> Option<&'p Role>,
    now: Moment,
) -> Fact<Arc<[Grant]>> {
    let usable = matches!(device.status, DeviceStatus::Active | DeviceStatus::Watched);
    let Some(owner) = device.owner.as_ref().filter(|_| usable) else { return Fact::Absent };
    // Whoever is watched may keep what is not sensitive, and breaks no glass.
    let user = match record {
        Fact::Known(identity) if identity.status == IdentityStatus::Active => Arc::clone(&identity.user),
        Fact::Absent => Arc::clone(owner),
        _ => return Fact::Absent,
    };
    let records = memory.grants(&user);
    let broken = records.iter().map(Arc::as_ref).filter(|record| record.break_glass);
    // Only what counts: where nobody is signed in, that nothing does stays unknown.
    let held = held(broken, role, Some(&device.id), now);
    if held.is_empty() { Fact::Absent } else { Fact::Known(held) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Approval, GrantRecord, GrantState};
    use crate::evidence::{Fault, Over};
    use crate::policy::source::Source;
    use crate::policy::{Context, Policy, given};
    use crate::state::devices::Devices;
    use crate::store::{Database, Expect, Kind, Store, StoreSettings, Write};

    const TEXT: &str = "
        [[resource]]
        id = 'r'
        hosts = ['r.example']
        upstream = 'http://127.0.0.1:1'
        require = [{ id = 'q', that = { any = [{ grant = 'role' }, { grant = 'glass' }] } }]
        [[role]]
        id = 'role'
        opens = 'r'
        longest = '1h'
        approvers = { group = 'leads' }
        [[role]]
        id = 'glass'
        opens = 'r'
        longest = '1h'
        break-glass = { group = 'oncall', reviewers = { group = 'leads' } }
    ";

    const NOW: Moment = Moment(1_800_000_000_000);

    /// A memory of these people and grants, by way of a store.
    fn memory(people: &[Identity], grants: &[GrantRecord]) -> Memory {
        let here = tempfile::tempdir().expect("a directory");
        let settings = StoreSettings::of(Database::Sqlite(here.path().join("gate.db")));
        let put =
            |kind, id: &Arc<str>, body: String| Write::Put { kind, id: Arc::clone(id), expect: Expect::New, body };
        let json = |value: Result<String, serde_json::Error>| value.expect("serializes");
        let mut writes: Vec<Write> = Vec::new();
        writes.extend(people.iter().map(|one| put(Kind::Identity, &one.user, json(serde_json::to_string(one)))));
        writes.extend(grants.iter().map(|one| put(Kind::Grant, &one.id, json(serde_json::to_string(one)))));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let store = Store::open(&settings).await.expect("opens");
            store.commit(writes, NOW).await.expect("commits");
            let memory = Memory::new(Arc::new(Devices::default()));
            memory.load(&store, NOW).await.expect("loads");
            memory
        })
    }

    fn granted(user: &str, role: &str, device: Option<&str>) -> GrantRecord {
        let approval = Approval { user: "lee".into(), person: "lee".into(), at: NOW, note: None };
        GrantRecord {
            id: format!("g_{user}_{role}").into(),
            role: role.into(),
            user: user.into(),
            person: user.into(),
            groups: Vec::new(),
            device: device.map(Arc::from),
            key: None,
            reason: "why".into(),
            asked: NOW,
            duration: 60_000,
            state: GrantState::Active { since: NOW, until: NOW.plus_millis(60_000) },
            approvals: if device.is_none() { vec![approval] } else { Vec::new() },
            break_glass: device.is_some(),
            review: None,
        }
    }

    fn login(user: &str) -> Fact<Arc<Subject>> {
        let given = given::Given::read(&[format!("user = '{user}', groups = ['token']")], &policy()).expect("reads");
        given.evidence(given::request("GET https://r.example/").expect("a request"), &policy()).subject
    }

    fn laptop(id: &str, owner: &str, status: DeviceStatus) -> Fact<Arc<Device>> {
        Fact::Known(Arc::new(Device { id: id.into(), owner: Some(owner.into()), class: "c".into(), status }))
    }

    fn policy() -> Policy {
        Policy::compile(&[Source::new("t", TEXT)], &Context::default()).expect("compiles")
    }

    fn roles(recalled: &Recalled) -> Option<Vec<String>> {
        let held = recalled.grants.known()?.iter().filter(|grant| grant.over.is_none());
        let mut roles: Vec<String> = held.map(|grant| grant.role.to_string()).collect();
        roles.sort();
        Some(roles)
    }

    #[test]
    fn who_is_signed_in_holds_what_was_granted_to_the_account() {
        let ann =
            Identity { aliases: vec!["ann@old".into()], groups: Some(vec!["record".into()]), ..given::person("ann") };
        let eve = Identity { status: IdentityStatus::Suspended, ..given::person("eve") };
        let grants = [granted("ann", "role", None), granted("ann", "glass", Some("d")), granted("eve", "role", None)];
        let (memory, policy) = (memory(&[ann, eve], &grants), policy());
        let ask = |user: &str, device: &Fact<Arc<Device>>, now| {
            recall(&memory, login(user), device, |role| policy.role(role), &Regrouped::default(), now)
        };
        let own = laptop("d", "ann", DeviceStatus::Active);
        let other = laptop("e", "ann", DeviceStatus::Active);

        let recalled = ask("ann", &own, NOW);
        assert_eq!(
            roles(&recalled),
            Some(vec!["glass".to_owned(), "role".to_owned()]),
            "on the device it was broken from"
        );
        assert_eq!(recalled.subject.known().expect("known").groups, ["record".into()]);
        assert_eq!(roles(&ask("ann", &other, NOW)), Some(vec!["role".to_owned()]));
        assert_eq!(
            roles(&ask("ann@old", &Fact::Absent, NOW)),
            Some(vec!["role".to_owned()]),
            "by another of its names"
        );
        assert_eq!(roles(&ask("eve", &own, NOW)), Some(Vec::new()), "whoever is suspended holds nothing");
        assert_eq!(roles(&ask("bob", &own, NOW)), Some(Vec::new()));
        assert_eq!(ask("bob", &own, NOW).subject, login("bob"), "without a record the token's groups count");
        let ended = ask("ann", &own, NOW.plus_millis(60_000));
        assert_eq!(roles(&ended), Some(Vec::new()));
        let over = |grant: &Grant| (grant.over, grant.expires) == (Some(Over::Expired), NOW.plus_millis(60_000));
        assert!(ended.grants.known().is_some_and(|grants| grants.len() == 2 && grants.iter().all(over)), "{ended:?}");
    }

    #[test]
    fn while_nobody_can_sign_in_broken_glass_counts_on_its_device() {
        let watched = Identity { status: IdentityStatus::Watched, ..given::person("wim") };
        let grants =
            [granted("ann", "role", None), granted("ann", "glass", Some("d")), granted("wim", "glass", Some("w"))];
        let (memory, policy) = (memory(&[watched], &grants), policy());
        let ask = |device: Fact<Arc<Device>>| {
            roles(&recall(&memory, Fact::Absent, &device, |role| policy.role(role), &Regrouped::default(), NOW))
        };
        assert_eq!(ask(laptop("d", "ann", DeviceStatus::Active)), Some(vec!["glass".to_owned()]));
        assert_eq!(ask(laptop("e", "ann", DeviceStatus::Active)), None, "another device of hers");
        assert_eq!(ask(laptop("d", "bob", DeviceStatus::Active)), None, "the device is somebody else's by now");
        assert_eq!(ask(laptop("d", "ann", DeviceStatus::Suspended)), None);
        assert_eq!(ask(laptop("w", "wim", DeviceStatus::Active)), None, "nothing else would refuse the watched here");
        assert_eq!(ask(Fact::Absent), None);
        let (device, later) = (laptop("d", "ann", DeviceStatus::Active), NOW.plus_millis(60_000));
        let ended = recall(&memory, Fact::Absent, &device, |role| policy.role(role), &Regrouped::default(), later);
        assert_eq!(ended.grants, Fact::Absent, "that nothing is held stays unknown");
    }

    #[test]
    fn whose_device_it_is_is_asked_where_nobody_is_signed_in() {
        use IdentityStatus::{Suspended, Watched};
        let ann = Identity { aliases: vec!["ann@old".into()], status: Suspended, ..given::person("ann") };
        let (memory, policy) = (memory(&[ann, Identity { status: Watched, ..given::person("wim") }], &[]), policy());
        let ask = |subject: Fact<Arc<Subject>>, device: &Fact<Arc<Device>>| {
            let recalled = recall(&memory, subject, device, |role| policy.role(role), &Regrouped::default(), NOW);
            (recalled.owner, recalled.identity.known().map(|identity| identity.user.to_string()))
        };
        let of = |owner: &str| laptop("d", owner, DeviceStatus::Active);
        assert_eq!(ask(Fact::Absent, &of("ann")), (Fact::Known(Suspended), None), "it is not ann who asks");
        assert_eq!(ask(Fact::Absent, &of("ann@old")), (Fact::Known(Suspended), None));
        assert_eq!(ask(Fact::Invalid(Fault::TokenExpired), &of("wim")), (Fact::Known(Watched), None));
        assert_eq!(ask(Fact::Absent, &of("bob")), (Fact::Absent, None), "no record has it");
        assert_eq!(ask(Fact::Absent, &Fact::Absent), (Fact::Absent, None));
        assert_eq!(ask(login("ann"), &of("ann")), (Fact::Absent, Some("ann".to_owned())), "who asks is known");
    }

    #[test]
    fn without_a_store_nobody_answers_for_grants() {
        let (memory, policy) = (Memory::none(Arc::new(Devices::default())), policy());
        let recalled =
            recall(&memory, login("ann"), &Fact::Absent, |role| policy.role(role), &Regrouped::default(), NOW);
        assert_eq!((recalled.identity, recalled.grants), (Fact::Absent, Fact::Absent));
        assert_eq!(recalled.subject, login("ann"));
    }

    #[test]
    fn groups_that_the_record_no_longer_names_are_gone() {
        let recalled = |groups: Option<Vec<Arc<str>>>| Recalled {
            subject: login("ann"),
            identity: Fact::Known(Arc::new(Identity { groups, ..given::person("ann") })),
            owner: Fact::Absent,
            grants: Fact::Absent,
        };
        let named = recalled(Some(vec!["record".into()])).identity;
        let groups = |now: Recalled, before: &Fact<Arc<Identity>>| {
            now.subject_after(before).known().expect("known").groups.len()
        };
        assert_eq!(groups(recalled(None), &named), 0);
        assert_eq!(groups(recalled(None), &Fact::Absent), 1, "the token's, as when it began");
        assert_eq!(groups(recalled(Some(vec!["record".into()])), &named), 1);
    }

    #[test]
    fn the_tide_does_not_go_back_until_it_is_settled() {
        let tide = Tide::default();
        assert_eq!(tide.reach(Moment(5)), Moment(5));
        assert_eq!(tide.reach(Moment(3)), Moment(5));
        tide.settle(Moment(4), Moment(3));
        assert_eq!(tide.reach(Moment(3)), Moment(5), "later ends are not written yet");
        tide.settle(Moment(5), Moment(3));
        assert_eq!(tide.reach(Moment(3)), Moment(3));
        assert_eq!(tide.reach(Moment(9)), Moment(9));
    }
}
