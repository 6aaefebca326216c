//! Backups while it is written, and the way back into either database.

use crate::{NOW, Place, body, everything, identity, on_both, put};
use rangegate::evidence::{IdentityStatus, Moment};
use rangegate::state::devices::{DeviceIndex, Devices};
use rangegate::state::memory::Memory;
use rangegate::store::document::{handles_of, space};
use rangegate::store::{BackupFault, Expect, Kind, Revision, Sighting, Since, Store, Write};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

on_both! {
    a_backup_restores_into_either_database,
    a_backup_is_of_one_moment,
    nothing_is_overwritten_unasked,
    a_broken_backup_touches_nothing,
}

async fn fill(store: &Store) {
    for user in ["ann", "bob"] {
        let record = identity(user, &[&format!("{user}@corp")], IdentityStatus::Active);
        let mut writes = vec![put(Kind::Identity, user, Expect::New, &body(&record))];
        writes.extend(handles_of(&record).into_iter().map(|handle| Write::Claim {
            handle,
            kind: Kind::Identity,
            id: user.into(),
        }));
        store.commit(writes, NOW).await.expect("made");
    }
    let changed = identity("ann", &["ann@corp"], IdentityStatus::Watched);
    store.commit(vec![put(Kind::Identity, "ann", Expect::Version(1), &body(&changed))], NOW).await.expect("changed");
    let seen = |at| Sighting { at: Moment(at), address: None, place: None, network: None, round_trip: Some(7) };
    store.sight(vec![("laptop".into(), seen(1))]).await.expect("noted");
    store.sight(vec![("laptop".into(), seen(2))]).await.expect("noted");
}

async fn a_backup_restores_into_either_database(place: Place) {
    let store = place.open().await;
    fill(&store).await;
    let file = place.directory.path().join("backup");
    let counts = store.backup(&file).await.expect("backed up");
    assert_eq!((counts.documents, counts.handles, counts.sightings), (2, 4, 1));
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600, "for its owner alone");
    let before = fs::read(&file).expect("read");
    for target in [Place::sqlite(), Place::postgres()] {
        let restored = target.open().await;
        assert_eq!(restored.restore(&file, false).await, Ok(counts));
        assert_eq!(restored.handled(), 7, "whoever waits sees all of it pass");
        assert_eq!(everything(&restored).await, everything(&store).await, "versions and times among it");
        assert_eq!(&*restored.holder(space::USER, "bob@corp").await.expect("asked").expect("held").id, "bob");
        assert_eq!(restored.sightings(vec!["laptop".into()]).await, store.sightings(vec!["laptop".into()]).await);
        assert_eq!(restored.check(NOW).await.expect("asked").faults, [""; 0]);
        assert_eq!(restored.handled(), 14);
        assert_eq!(restored.since(Revision(2)).await, Ok(Since::Everything), "there is no past to follow");
        let write = put(Kind::Identity, "ann", Expect::Version(2), "{}");
        restored.commit(vec![write], NOW).await.expect("it goes on from there");
    }
    assert_eq!(fs::read(&file).expect("read"), before, "the backup is as it was");
    let left: Vec<_> =
        fs::read_dir(place.directory.path()).expect("read").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("restoring")), "{left:?}");
}

/// Every transaction moves one from a to b: in no moment is the sum another.
async fn a_backup_is_of_one_moment(place: Place) {
    let store = place.open().await;
    let number = |id: &str, expect, n: i64| put(Kind::Grant, id, expect, &n.to_string());
    store.commit(vec![number("a", Expect::New, 1000), number("b", Expect::New, 0)], NOW).await.expect("made");
    let writing = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..=150_u64 {
                let at = Expect::Version(n);
                let moved = i64::try_from(n).expect("small");
                store.commit(vec![number("a", at, 1000 - moved), number("b", at, moved)], NOW).await.expect("moved");
            }
        })
    };
    for n in 0..4 {
        let file = place.directory.path().join(format!("backup{n}"));
        store.backup(&file).await.expect("backed up");
        let target = Place::sqlite();
        target.open().await.restore(&file, false).await.expect("restored");
        let all = everything(&target.open().await).await;
        let sum: i64 = all.values().map(|document| document.body.parse::<i64>().expect("a number")).sum();
        assert_eq!(sum, 1000);
    }
    writing.await.expect("it ends");
}

async fn nothing_is_overwritten_unasked(place: Place) {
    let store = place.open().await;
    fill(&store).await;
    let file = place.directory.path().join("backup");
    store.backup(&file).await.expect("backed up");
    assert_eq!(store.backup(&file).await, Err(BackupFault::Exists(file.clone())));
    let away = place.directory.path().join("none/backup");
    assert!(matches!(store.backup(&away).await, Err(BackupFault::Unwritable { .. })));

    // A gateway that follows the store learns of what was restored under it.
    let memory = Memory::new(Arc::new(Devices::new(DeviceIndex::default())));
    memory.load(&store, NOW).await.expect("it loads");
    let later = put(Kind::Identity, "carol", Expect::New, &body(&identity("carol", &[], IdentityStatus::Active)));
    store.commit(vec![later], NOW).await.expect("made");
    memory.catch_up(&store, NOW).await.expect("asked");
    assert_eq!(place.open().await.restore(&file, false).await, Err(BackupFault::NotEmpty(3)));
    assert_eq!(everything(&store).await.len(), 3, "and nothing was touched");
    place.open().await.restore(&file, true).await.expect("told to");
    assert_eq!(memory.catch_up(&store, NOW).await, Ok(Since::Everything));
    assert!(memory.identity("carol").known().is_none() && memory.identity("bob").known().is_some());
}

async fn a_broken_backup_touches_nothing(place: Place) {
    let store = place.open().await;
    fill(&store).await;
    let file = place.directory.path().join("backup");
    store.backup(&file).await.expect("backed up");
    let whole = fs::read(&file).expect("read");
    let broken = place.directory.path().join("broken");
    let before = everything(&store).await;
    let halves = [&whole[..whole.len() / 2], b"", b"nonsense", b"SQLite format 3\0 and no more"];
    for bytes in halves {
        fs::write(&broken, bytes).expect("written");
        let fault = place.open().await.restore(&broken, true).await;
        assert!(matches!(fault, Err(BackupFault::Unusable { .. } | BackupFault::Store(_))), "{fault:?}");
        assert!(fault.expect_err("broken").to_string().contains("broken"), "it names the file");
        assert_eq!(everything(&store).await, before);
    }
    let missing = place.open().await.restore(&place.directory.path().join("none"), true).await;
    assert!(missing.expect_err("missing").to_string().ends_with("there is no such file or directory"));
}
