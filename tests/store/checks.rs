//! `rangegate store check`: what it takes for whole, and every kind of fault it names.

use crate::{NOW, Place, body, claim, identity, on_both, put};
use rangegate::access::{GrantRecord, GrantState};
use rangegate::evidence::{DeviceStatus, IdentityStatus};
use rangegate::store::document::{handles_of, space, submission_of};
use rangegate::store::revocation::Why;
use rangegate::store::{
    Call, Delivery, DeviceRecord, Digest, Expect, Handle, Invitation, InvitationState, IssuedCertificate, Kind,
    Revoked, Sighting, Store, Write,
};
use std::collections::BTreeMap;

on_both! {
    what_is_whole_is_taken_for_whole,
    every_kind_of_fault_is_named,
    what_no_version_of_ours_wrote_is_named_and_stops_nothing,
    a_log_of_changes_that_does_not_fit_is_named,
    a_counter_that_is_gone_is_named,
    more_faults_than_are_told_are_counted,
}

fn device(id: &str, key: &[u8], revoked: bool) -> DeviceRecord {
    let (key, certificate) = (Digest::of(key), Digest::of(id.as_bytes()));
    DeviceRecord {
        id: id.into(),
        owner: Some("ann".into()),
        class: "corporate".into(),
        status: DeviceStatus::Active,
        asset_tag: None,
        enrolled: None,
        keys: vec![key],
        certificates: Vec::new(),
        sans: vec![format!("dns:{id}.corp").into()],
        history: vec![IssuedCertificate {
            sha256: certificate,
            spki: key,
            serial: format!("5e{}", id.len()).into(),
            issued: NOW,
            not_after: NOW.plus_millis(1),
            revoked: revoked.then_some(NOW),
        }],
    }
}

fn grant(id: &str, key: Option<&str>) -> GrantRecord {
    GrantRecord {
        id: id.into(),
        role: "approver".into(),
        user: "ann".into(),
        person: "ann".into(),
        groups: Vec::new(),
        device: None,
        key: key.map(Into::into),
        reason: "why".into(),
        asked: NOW,
        duration: 1,
        state: GrantState::Withdrawn { at: NOW },
        approvals: Vec::new(),
        break_glass: false,
        review: None,
    }
}

fn invitation(id: &str) -> Invitation {
    Invitation {
        id: id.into(),
        code_sha256: "00".into(),
        user: "ann".into(),
        class: "corporate".into(),
        device: None,
        made: NOW,
        by: "bob".into(),
        expires: NOW,
        state: InvitationState::Open,
    }
}

fn revoked(serial: &str) -> Revoked {
    Revoked { serial: serial.into(), at: NOW, expires: NOW, why: Why::KeyCompromise }
}

fn new(kind: Kind, id: &str, record: &impl serde::Serialize) -> Write {
    put(kind, id, Expect::New, &body(record))
}

fn hold(kind: Kind, id: &str, handles: Vec<Handle>) -> impl Iterator<Item = Write> {
    handles.into_iter().map(move |handle| Write::Claim { handle, kind, id: id.into() })
}

/// One of each kind, each as it should be.
async fn fill(store: &Store) {
    // Named twice is held once.
    let ann = identity("ann", &["ann@corp", "ann@corp"], IdentityStatus::Active);
    let (mut laptop, grant) = (device("laptop", b"k", true), grant("g_1", Some("k-1")));
    // Revoked, and ended by itself since: no list has to name it.
    let ended = IssuedCertificate {
        sha256: Digest::of(b"ended"),
        serial: "1".into(),
        not_after: NOW,
        ..laptop.history[0].clone()
    };
    laptop.history.insert(0, ended);
    let delivery =
        Delivery { hook: "chat".into(), event: "e".into(), at: NOW, attempts: 0, next: NOW, body: "{}".into() };
    let mut writes = vec![
        new(Kind::Identity, "ann", &ann),
        new(Kind::Device, "laptop", &laptop),
        new(Kind::Grant, "g_1", &grant),
        new(Kind::Invitation, "i_1", &invitation("i_1")),
        new(Kind::Delivery, "w_1", &delivery),
        new(Kind::Call, "c_1", &Call { hook: "chat".into(), at: NOW, answer: None }),
        new(Kind::Revocation, "5e6", &revoked("5e6")),
    ];
    writes.extend(hold(Kind::Identity, "ann", handles_of(&ann)));
    writes.extend(hold(Kind::Device, "laptop", laptop.handles()));
    writes.extend(hold(Kind::Grant, "g_1", submission_of(&grant).into_iter().collect()));
    store.commit(writes, NOW).await.expect("made");
    let sighting = Sighting { at: NOW, address: None, place: None, network: None, round_trip: None };
    store.sight(vec![("laptop".into(), sighting)]).await.expect("noted");
}

/// Holds that these are the faults, whatever their order: of each the beginning.
async fn found(store: &Store, expected: &[String]) {
    let checked = store.check(NOW).await.expect("asked");
    let (mut faults, mut expected) = (checked.faults, expected.to_vec());
    faults.sort();
    expected.sort();
    let same = faults.len() == expected.len()
        && faults.iter().zip(&expected).all(|(fault, expected)| fault.starts_with(expected.as_str()));
    assert!(same, "{faults:#?}\nare not\n{expected:#?}");
    assert_eq!(checked.fault_count, faults.len() as u64);
}

async fn what_is_whole_is_taken_for_whole(place: Place) {
    let store = place.open().await;
    found(&store, &[]).await;
    fill(&store).await;
    let checked = store.check(NOW).await.expect("asked");
    assert_eq!((&*checked.faults, checked.fault_count, checked.revision), (&[][..], 0, 1));
    assert_eq!(checked.kinds, Kind::ALL.into_iter().map(|kind| (kind, 1)).collect::<BTreeMap<_, _>>());
    assert_eq!((checked.counts.documents, checked.counts.handles, checked.counts.sightings), (7, 5, 1));
}

async fn every_kind_of_fault_is_named(place: Place) {
    let store = place.open().await;
    fill(&store).await;
    let mut expected = Vec::new();
    let mut bad = Vec::new();
    for kind in Kind::ALL {
        let word = kind.word();
        bad.push(put(kind, "torn", Expect::New, "{\"id\":"));
        bad.push(put(kind, "other", Expect::New, "{}"));
        bad.push(put(kind, "more", Expect::New, "{\"colour\":\"red\"}"));
        expected.extend(["torn", "other", "more"].map(|id| format!("the {word} `{id}` cannot be read: ")));
    }
    // Those that say whom they are about say somebody else.
    let eve = identity("mallory", &["eve"], IdentityStatus::Active);
    let strays = [
        new(Kind::Identity, "eve", &eve),
        new(
            Kind::Device,
            "phone",
            &DeviceRecord { keys: Vec::new(), sans: Vec::new(), ..device("phones", b"p", false) },
        ),
        new(Kind::Grant, "g_2", &grant("g_3", None)),
        new(Kind::Invitation, "i_2", &invitation("i_3")),
        new(Kind::Revocation, "77", &revoked("78")),
    ];
    bad.extend(strays);
    bad.extend(hold(Kind::Identity, "eve", handles_of(&eve)));
    expected.extend(
        [
            "the identity `eve` says that it is `mallory`",
            "the device `phone` says that it is `phones`",
            "the grant `g_2` says that it is `g_3`",
            "the invitation `i_2` says that it is `i_3`",
            "the revocation `77` says that it is `78`",
        ]
        .map(str::to_owned),
    );
    // Named and not held, one of each space; the tablet's certificate ended, and nobody is told.
    let (tablet, digest) = (device("tablet", b"t", true), Digest::of(b"whole"));
    let tablet = DeviceRecord { certificates: vec![digest], ..tablet };
    bad.push(new(
        Kind::Device,
        "tablet",
        &DeviceRecord {
            history: vec![IssuedCertificate { serial: "99".into(), ..tablet.history[0].clone() }],
            ..tablet.clone()
        },
    ));
    bad.push(new(Kind::Identity, "bob", &identity("bob", &[], IdentityStatus::Active)));
    bad.push(new(Kind::Grant, "g_4", &grant("g_4", Some("k-4"))));
    let submission = submission_of(&grant("g_4", Some("k-4"))).expect("it has a name");
    expected.extend([
        format!("the device `tablet` names key `{}` and does not hold it", Digest::of(b"t").hex()),
        format!("the device `tablet` names certificate `{}` and does not hold it", digest.hex()),
        "the device `tablet` names san `dns:tablet.corp` and does not hold it".to_owned(),
        "the device `tablet` has its certificate `99` as revoked, and no list will name it".to_owned(),
        "the identity `bob` names user `bob` and does not hold it".to_owned(),
        format!("the grant `g_4` names {submission} and does not hold it"),
    ]);
    // Held and not named; held by one and another's; claimed by two.
    let watch = DeviceRecord { sans: Vec::new(), history: Vec::new(), ..device("watch", b"w", false) };
    let twin = DeviceRecord { id: "twin".into(), ..watch.clone() };
    bad.push(claim(space::KEY, "stray", Kind::Device, "gone"));
    bad.push(claim(space::KEY, &Digest::of(b"w").hex(), Kind::Device, "laptop"));
    bad.push(new(Kind::Device, "watch", &watch));
    bad.push(new(Kind::Device, "twin", &twin));
    store.commit(bad, NOW).await.expect("written");
    expected.push("key `stray` is held by the device `gone`, whose record does not name it".to_owned());
    let checked = store.check(NOW).await.expect("asked").faults;
    let watch = Digest::of(b"w").hex();
    // Which of the two comes first is the database's choice.
    let (first, second) = match checked.iter().any(|fault| fault.starts_with("the device `twin` and")) {
        true => ("twin", "watch"),
        false => ("watch", "twin"),
    };
    expected.push(format!("the device `{first}` and the device `{second}` both claim key `{watch}`"));
    expected.push(format!("key `{watch}` is held by the device `laptop` and belongs to the device `{first}`"));
    found(&store, &expected).await;
}

async fn what_no_version_of_ours_wrote_is_named_and_stops_nothing(place: Place) {
    let store = place.open().await;
    fill(&store).await;
    for sql in [
        "INSERT INTO document (kind, id, version, changed, body) VALUES ('rumour', 'r', 1, 1, '{}')",
        "INSERT INTO handle (space, value, kind, id) VALUES ('nick', 'annie', 'identity', 'ann')",
        "INSERT INTO handle (space, value, kind, id) VALUES ('user', 'rumour', 'rumour', 'r')",
        "UPDATE document SET version = -1 WHERE kind = 'invitation'",
        "INSERT INTO sighting (device, first_body, last_at, last_body) VALUES ('phone', '{}', 1, 'nonsense')",
    ] {
        place.sql(sql).await;
    }
    let expected = [
        "the database is damaged: it holds documents of the unknown kind `rumour`",
        "the database is damaged: it holds documents of the unknown kind `rumour`",
        "the identity `ann` holds `annie` in the unknown space `nick`",
        "the invitation `i_1` has no version",
        "the device `phone` cannot be read: its sighting is damaged",
    ];
    found(&store, &expected.map(str::to_owned)).await;
    // A gateway and a backup take no such thing.
    assert!(store.load(|_| {}).await.is_err());
    assert!(store.backup(&place.directory.path().join("backup")).await.is_err() || place.is_a_file());
}

async fn a_log_of_changes_that_does_not_fit_is_named(place: Place) {
    let store = place.open().await;
    fill(&store).await;
    place.sql("INSERT INTO change (revision, kind, id) VALUES (7, 'identity', 'ann')").await;
    place.sql("INSERT INTO change (revision, kind, id) VALUES (0, 'identity', 'ann')").await;
    let strays = "the log of changes has 2 entries that are not of revisions after 0 and up to 1";
    found(&store, &[strays.to_owned()]).await;
    place.sql("DELETE FROM change").await;
    place.sql("UPDATE counter SET reaches_back_to = 9").await;
    found(&store, &["the log of changes begins after revision 9, and 1 is the last".to_owned()]).await;
}

async fn a_counter_that_is_gone_is_named(place: Place) {
    let store = place.open().await;
    fill(&store).await;
    place.sql("DELETE FROM counter").await;
    found(&store, &["the counter of revisions is missing: nothing can be written".to_owned()]).await;
}

async fn more_faults_than_are_told_are_counted(place: Place) {
    let store = place.open().await;
    let bad = (0..1_234).map(|n| put(Kind::Device, &n.to_string(), Expect::New, "{}")).collect();
    store.commit(bad, NOW).await.expect("written");
    let checked = store.check(NOW).await.expect("asked");
    assert_eq!((checked.faults.len(), checked.fault_count), (1000, 1_234));
}

/// An index that is taken out of the schema leaves its pages behind.
#[tokio::test]
async fn pages_of_a_file_that_belong_to_nothing_are_named() {
    let place = Place::sqlite();
    let store = place.open().await;
    fill(&store).await;
    store.close().await;
    let order = "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'handle_of'; \
                 PRAGMA writable_schema = OFF";
    place.sql(order).await;
    let faults = place.open().await.check(NOW).await.expect("asked").faults;
    assert!(!faults.is_empty() && faults.iter().all(|fault| fault.starts_with("the file: ")), "{faults:#?}");
}
