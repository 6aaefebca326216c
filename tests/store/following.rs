//! What the gateway remembers, and how it learns of changes: its own, another gateway's, those it was not told of.

use crate::postgres::Cluster;
use crate::{NOW, Place, body, identity, on_both, put};
use rangegate::access::grant::{GrantRecord, GrantState};
use rangegate::evidence::{Certificate, DeviceStatus, Fact, Fault, IdentityStatus, Moment};
use rangegate::state::devices::{DeviceIndex, Devices};
use rangegate::state::memory::{Memory, follow};
use rangegate::store::{CommitFault, DeviceRecord, Digest, Expect, Kind, Sighting, Store, StoreFault, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

on_both! {
    people_are_known_by_every_name,
    devices_are_found_by_every_handle,
    grants_are_held_by_account,
    what_cannot_be_read_is_unknown_and_not_absent,
    a_follower_learns_of_everything,
    sightings_are_written_down,
}

async fn remembered(store: &Store) -> Memory {
    let memory = Memory::new(Arc::new(Devices::new(DeviceIndex::default())));
    memory.load(store, NOW).await.expect("it loads");
    memory
}

fn device(id: &str, key: &str, status: DeviceStatus) -> DeviceRecord {
    DeviceRecord {
        id: id.into(),
        owner: Some("ann".into()),
        class: "corporate".into(),
        status,
        asset_tag: Some(format!("tag-{id}").into()),
        enrolled: Some(NOW),
        keys: vec![Digest::of(key.as_bytes())],
        certificates: Vec::new(),
        sans: vec![format!("uri:urn:rangegate:device:{id}").into()],
        history: Vec::new(),
    }
}

fn certificate(key: &str, whole: &str, sans: &[&str]) -> Certificate {
    Certificate {
        sha256: Digest::of(whole.as_bytes()).hex().into(),
        spki_sha256: Digest::of(key.as_bytes()).hex().into(),
        serial: "1".into(),
        subject: "".into(),
        issuer: "".into(),
        sans: sans.iter().map(|&san| san.into()).collect(),
        not_before: Moment(0),
        not_after: Moment(0),
        class: None,
    }
}

fn grant(id: &str, user: &str) -> GrantRecord {
    GrantRecord {
        id: id.into(),
        role: "oncall".into(),
        user: user.into(),
        person: user.into(),
        groups: Vec::new(),
        device: None,
        key: None,
        reason: "INC-7".into(),
        asked: NOW,
        duration: 60_000,
        state: GrantState::Active { since: NOW, until: NOW.plus_millis(60_000) },
        approvals: Vec::new(),
        break_glass: false,
        review: None,
    }
}

async fn people_are_known_by_every_name(place: Place) {
    let store = place.open().await;
    let memory = Memory::new(Arc::new(Devices::new(DeviceIndex::default())));
    assert_eq!(memory.identity("ann"), Fact::Unavailable(Fault::RegistryUnavailable), "nothing was read yet");
    assert_eq!(memory.age(NOW), Fact::Unavailable(Fault::RegistryUnavailable));
    let ann = identity("ann", &["ann@corp", "a.smith"], IdentityStatus::Active);
    store.commit(vec![put(Kind::Identity, "ann", Expect::New, &body(&ann))], NOW).await.expect("made");
    memory.load(&store, NOW).await.expect("it loads");
    assert_eq!(memory.identity("a.smith"), Fact::Known(Arc::new(ann)));
    assert_eq!(memory.identity("bob"), Fact::Absent);

    // a name moves from one account to the other, in one step
    let ann = identity("ann", &["a.smith"], IdentityStatus::Suspended);
    let bob = identity("aaron", &["ann@corp"], IdentityStatus::Active);
    let writes = vec![
        put(Kind::Identity, "ann", Expect::Version(1), &body(&ann)),
        put(Kind::Identity, "aaron", Expect::New, &body(&bob)),
    ];
    store.commit(writes, NOW).await.expect("changed");
    memory.catch_up(&store, NOW).await.expect("asked");
    assert_eq!(memory.identity("ann@corp"), Fact::Known(Arc::new(bob)));
    assert_eq!(memory.identity("a.smith"), Fact::Known(Arc::new(ann)));
    store.commit(vec![Write::Delete { kind: Kind::Identity, id: "ann".into(), version: 2 }], NOW).await.expect("gone");
    memory.catch_up(&store, NOW).await.expect("asked");
    assert_eq!((memory.identity("ann"), memory.identity("a.smith")), (Fact::Absent, Fact::Absent));
    let mut listed = Vec::new();
    memory.people().for_each_identity(|identity| listed.push(identity.user.to_string()));
    assert_eq!(listed, ["aaron"], "each once, whatever names it has");
}

async fn devices_are_found_by_every_handle(place: Place) {
    let store = place.open().await;
    let mut laptop = device("laptop", "k1", DeviceStatus::Active);
    laptop.certificates = vec![Digest::of(b"c1")];
    laptop.sans.push("dns:laptop.corp".into());
    store.commit(vec![put(Kind::Device, "laptop", Expect::New, &body(&laptop))], NOW).await.expect("made");
    let memory = remembered(&store).await;
    let found = |key: &str, whole: &str, sans: &[&str]| {
        memory.devices().find(&certificate(key, whole, sans)).map(|device| (device.id.to_string(), device.status))
    };
    let known = |status| Fact::Known(("laptop".to_owned(), status));
    for (key, whole, sans) in [
        ("k1", "x", &[][..]),
        ("x", "c1", &[]),
        ("x", "x", &["dns:laptop.corp"]),
        ("x", "x", &["uri:urn:rangegate:device:laptop"]),
        ("k1", "c1", &["dns:laptop.corp", "uri:urn:rangegate:device:laptop"]),
    ] {
        assert_eq!(found(key, whole, sans), known(DeviceStatus::Active), "{key} {whole} {sans:?}");
    }
    // a key is no certificate, and somebody else's name is nobody's
    assert_eq!(found("c1", "k1", &["dns:x", "uri:urn:rangegate:device:phone"]), Fact::Absent);

    // re-keyed, renamed, suspended: by the old handles it is no longer found
    let mut after = device("laptop", "k2", DeviceStatus::Suspended);
    after.sans = vec!["dns:new.corp".into()];
    let phone = device("phone", "k1", DeviceStatus::Active);
    let writes = vec![
        put(Kind::Device, "laptop", Expect::Version(1), &body(&after)),
        put(Kind::Device, "phone", Expect::New, &body(&phone)),
    ];
    store.commit(writes, NOW).await.expect("changed");
    memory.catch_up(&store, NOW).await.expect("asked");
    assert_eq!(found("k2", "c1", &["dns:laptop.corp"]), known(DeviceStatus::Suspended));
    assert_eq!(found("x", "x", &["uri:urn:rangegate:device:laptop"]), Fact::Absent);
    assert_eq!(found("k1", "c1", &[]), Fact::Known(("phone".to_owned(), DeviceStatus::Active)));
    assert_eq!(found("k1", "c1", &["dns:new.corp"]), Fact::Invalid(Fault::DeviceAmbiguous));
    let entry = memory.devices().registered().get("phone").expect("there");
    assert_eq!(entry.asset_tag.as_deref(), Some("tag-phone"));

    store.commit(vec![Write::Delete { kind: Kind::Device, id: "phone".into(), version: 1 }], NOW).await.expect("gone");
    memory.catch_up(&store, NOW).await.expect("asked");
    assert_eq!((found("k1", "x", &[]), memory.devices().len()), (Fact::Absent, 1));
    // and all the same when everything is read anew
    let fresh = remembered(&store).await;
    assert_eq!(
        fresh.devices().find(&certificate("k2", "x", &[])).map(|device| device.status),
        Fact::Known(DeviceStatus::Suspended)
    );
    assert_eq!(fresh.devices().find(&certificate("k1", "x", &[])), Fact::Absent);
}

async fn grants_are_held_by_account(place: Place) {
    let store = place.open().await;
    let new = |record: &GrantRecord| put(Kind::Grant, &record.id, Expect::New, &body(record));
    store.commit(vec![new(&grant("g1", "ann")), new(&grant("g2", "bob"))], NOW).await.expect("made");
    let memory = remembered(&store).await;
    store.commit(vec![new(&grant("g3", "ann"))], NOW).await.expect("made");
    let mut ended = grant("g1", "ann");
    ended.state = GrantState::Withdrawn { at: NOW };
    store.commit(vec![put(Kind::Grant, "g1", Expect::Version(1), &body(&ended))], NOW).await.expect("changed");
    memory.catch_up(&store, NOW).await.expect("asked");
    let mut held: Vec<_> =
        memory.grants("ann").iter().map(|grant| (grant.id.to_string(), grant.state.clone())).collect();
    held.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(held, [("g3".to_owned(), grant("g3", "ann").state)], "what was withdrawn is only in listings");
    assert_eq!(memory.grant("g1").map(|grant| grant.state.clone()), Some(ended.state));
    assert_eq!(memory.grants("carol").len(), 0);
    store.commit(vec![Write::Delete { kind: Kind::Grant, id: "g3".into(), version: 1 }], NOW).await.expect("gone");
    memory.catch_up(&store, NOW).await.expect("asked");
    assert_eq!((memory.grants("ann").len(), memory.grant("g3"), memory.grants("bob").len()), (0, None, 1));
}

/// Somebody else's hands, or a version to come.
async fn what_cannot_be_read_is_unknown_and_not_absent(place: Place) {
    let store = place.open().await;
    let ann = identity("ann", &["a.smith"], IdentityStatus::Suspended);
    let laptop = device("laptop", "k1", DeviceStatus::Suspended);
    let writes = vec![
        put(Kind::Identity, "ann", Expect::New, &body(&ann)),
        put(Kind::Device, "laptop", Expect::New, &body(&laptop)),
        put(Kind::Grant, "g1", Expect::New, &body(&grant("g1", "ann"))),
    ];
    store.commit(writes, NOW).await.expect("made");
    let memory = remembered(&store).await;
    let garbled = vec![
        put(Kind::Identity, "ann", Expect::Version(1), "{\"user\":\"ann\"}"),
        put(Kind::Device, "laptop", Expect::Version(1), &body(&device("other", "k1", DeviceStatus::Active))),
        put(Kind::Grant, "g1", Expect::Version(1), "[]"),
        put(Kind::Identity, "bob", Expect::New, &body(&identity("bob", &[], IdentityStatus::Active))),
    ];
    store.commit(garbled, NOW).await.expect("written");
    let unknown = Fact::Unavailable(Fault::RegistryUnavailable);
    let hold = |memory: &Memory| {
        assert_eq!((memory.identity("ann"), memory.identity("a.smith")), (unknown.clone(), unknown.clone()));
        let found = memory.devices().find(&certificate("k1", "x", &[]));
        assert_eq!(found, Fact::Unavailable(Fault::RegistryUnavailable));
        assert_eq!(memory.grants("ann").len(), 0, "what cannot be read grants nothing");
        assert!(memory.identity("bob").known().is_some(), "the others are known");
    };
    memory.catch_up(&store, NOW).await.expect("asked");
    hold(&memory);
    memory.load(&store, NOW).await.expect("a gateway that knew them goes on");
    hold(&memory);
    let fresh = Memory::new(Arc::new(Devices::new(DeviceIndex::default())));
    let refused = fresh.load(&store, NOW).await;
    assert!(matches!(refused, Err(StoreFault::Unreadable { .. })), "a gateway that starts does not: {refused:?}");
}

async fn a_follower_learns_of_everything(place: Place) {
    let (here, there) = (place.open().await, place.open().await);
    let memory = Arc::new(remembered(&here).await);
    let (learned, mut learning) = tokio::sync::mpsc::unbounded_channel();
    memory.on_change(move |_| {
        let _ = learned.send(Instant::now());
    });
    tokio::spawn(follow(here.clone(), Arc::clone(&memory), || NOW));
    for n in 0..20 {
        let user = format!("user{n}");
        let write = put(Kind::Identity, &user, Expect::New, &body(&identity(&user, &[], IdentityStatus::Active)));
        let store = if n % 2 == 0 { &here } else { &there };
        let committed = Instant::now();
        store.commit(vec![write], NOW).await.expect("made");
        let known = learning.recv().await.expect("told");
        assert!(memory.identity(&user).known().is_some());
        assert!(known - committed < Duration::from_secs(2), "{:?}", known - committed);
    }
    // beyond what is listed, everything is read anew
    let many: Vec<_> = (0..21_000).map(|n| put(Kind::Delivery, &n.to_string(), Expect::New, "{}")).collect();
    there.commit(many, NOW).await.expect("made");
    while memory.revision().0 < 21 {
        learning.recv().await.expect("told");
    }
    assert!(memory.identity("user19").known().is_some());
}

async fn sightings_are_written_down(place: Place) {
    let store = place.open().await;
    let memory = Arc::new(remembered(&store).await);
    let seen =
        Sighting { at: NOW, address: None, place: Some("Phoenix, AZ, US".into()), network: None, round_trip: None };
    memory.sightings().note(&"laptop".into(), seen.clone());
    tokio::spawn(follow(store.clone(), Arc::clone(&memory), || NOW));
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let known = store.sightings(vec!["laptop".into()]).await.expect("asked");
        if let Some(known) = known.first() {
            assert_eq!(known.last, seen);
            return;
        }
        assert!(Instant::now() < end, "it was never written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until something holds, for a while.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing is asked by the clock: what is learned is learned from notifications, or from having lost them.
#[tokio::test]
async fn a_notification_lost_on_purpose_is_made_up_for() {
    let cluster = crate::postgres::shared();
    let database = cluster.database();
    let mut settings = cluster.settings(&database);
    settings.poll = Duration::from_secs(3600);
    let (here, there) = (Store::open(&settings).await.expect("open"), Store::open(&settings).await.expect("open"));
    let memory = Arc::new(remembered(&here).await);
    tokio::spawn(follow(here.clone(), Arc::clone(&memory), || NOW));
    let new = |user: &str| put(Kind::Identity, user, Expect::New, &body(&identity(user, &[], IdentityStatus::Active)));
    let listeners = "application_name = 'rangegate' AND query LIKE 'LISTEN%'";
    let listening = format!("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = '{database}' AND {listeners}");
    until("both listen", async || cluster.sql("postgres", &listening).stdout == b"2\n").await;

    there.commit(vec![new("told")], NOW).await.expect("made");
    until("it was told", async || memory.identity("told").known().is_some()).await;
    for round in 0..5 {
        // The listeners' connections are cut and the change is made in one step of the server's: nobody was listening.
        let cut = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND {listeners}"
        );
        assert!(cluster.sql("postgres", &cut).status.success());
        let user = format!("lost{round}");
        there.commit(vec![new(&user)], NOW).await.expect("made");
        until("it was made up for", async || memory.identity(&user).known().is_some()).await;
        until("they listen again", async || cluster.sql("postgres", &listening).stdout == b"2\n").await;
    }
}

#[tokio::test]
async fn the_database_is_stopped_and_comes_back() {
    let mut cluster = Cluster::start(&["fsync=off"]);
    let mut settings = cluster.settings(&cluster.database());
    settings.poll = Duration::from_millis(20);
    settings.timeout = Duration::from_secs(2);
    let store = Store::open(&settings).await.expect("open");
    let new = |user: &str| put(Kind::Identity, user, Expect::New, &body(&identity(user, &[], IdentityStatus::Active)));
    store.commit(vec![new("ann")], NOW).await.expect("made");
    let memory = Arc::new(remembered(&store).await);
    let clock = Arc::new(std::sync::atomic::AtomicI64::new(NOW.0));
    let now = {
        let clock = Arc::clone(&clock);
        move || Moment(clock.load(std::sync::atomic::Ordering::Relaxed))
    };
    tokio::spawn(follow(store.clone(), Arc::clone(&memory), now.clone()));

    cluster.stop();
    let write = store.commit(vec![new("bob")], NOW).await;
    assert!(matches!(write, Err(CommitFault::Away(_))), "{write:?}");
    assert!(store.get(Kind::Identity, "ann").await.is_err());
    clock.fetch_add(60_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(memory.age(now()), Fact::Known(60_000), "how old it is, is known");
    assert!(memory.identity("ann").known().is_some(), "and so is what was known");

    cluster.run();
    until("it is current again", async || memory.age(now()) == Fact::Known(0)).await;
    let other = Store::open(&settings).await.expect("open");
    other.commit(vec![new("carol")], NOW).await.expect("it takes changes again");
    until("changes arrive again", async || memory.identity("carol").known().is_some()).await;
}

/// A clock that was stepped back does not make what is known younger.
#[tokio::test]
async fn age_is_never_flattered() {
    let place = Place::sqlite();
    let memory = remembered(&place.open().await).await;
    assert_eq!(memory.age(NOW.plus_millis(5)), Fact::Known(5));
    assert_eq!(memory.age(NOW.plus_millis(-3_600_000)), Fact::Known(3_600_000));
    let none = Memory::none(Arc::new(Devices::new(DeviceIndex::default())));
    assert_eq!((none.age(NOW), none.identity("ann")), (Fact::Absent, Fact::Absent));
}
