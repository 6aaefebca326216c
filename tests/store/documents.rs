//! Versions, handles, order.

use crate::{NOW, Place, claim, everything, on_both, put};
use rangegate::evidence::Moment;
use rangegate::store::document::space;
use rangegate::store::{CommitFault, Expect, Handle, Kind, Revision, Sighting, Since, Write};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

on_both! {
    a_document_is_kept_changed_and_removed,
    all_of_it_or_nothing,
    a_handle_has_one_holder,
    two_hundred_increments_are_two_hundred,
    of_many_who_want_a_handle_one_gets_it,
    no_change_is_missed_however_many_write,
    the_log_is_shortened_and_says_so,
    many_documents_at_once,
    sightings_keep_the_first_and_the_latest,
    many_are_asked_for_at_once,
}

async fn a_document_is_kept_changed_and_removed(place: Place) {
    let store = place.open().await;
    let first = store.commit(vec![put(Kind::Grant, "g_1", Expect::New, "{}")], NOW).await.expect("made");
    let second =
        store.commit(vec![put(Kind::Grant, "g_1", Expect::Version(1), "{\"a\":\"\\u0000é\"}")], Moment(7)).await;
    assert_eq!((first, second.expect("changed")), (Revision(1), Revision(2)));
    let document = store.get(Kind::Grant, "g_1").await.expect("asked").expect("there");
    assert_eq!((document.version, document.changed, &*document.body), (2, Moment(7), "{\"a\":\"\\u0000é\"}"));
    assert_eq!(store.get(Kind::Device, "g_1").await, Ok(None), "another kind");
    drop(store);

    let again = place.open().await;
    assert_eq!(everything(&again).await.len(), 1, "it survives the end of its store");
    let delete = |version| vec![Write::Delete { kind: Kind::Grant, id: "g_1".into(), version }];
    assert!(matches!(again.commit(delete(1), NOW).await, Err(CommitFault::Conflict { .. })));
    again.commit(delete(2), NOW).await.expect("removed");
    assert_eq!(again.get(Kind::Grant, "g_1").await, Ok(None));
    let Ok(Since::Changes(changes)) = again.since(Revision(0)).await else { panic!("all of it") };
    assert_eq!(changes.len(), 1, "told once, as it stands now");
    assert_eq!((changes[0].revision, &changes[0].document), (Revision(3), &None));
    again.commit(vec![put(Kind::Grant, "g_1", Expect::New, "{}")], NOW).await.expect("made anew");
}

async fn all_of_it_or_nothing(place: Place) {
    let store = place.open().await;
    store.commit(vec![put(Kind::Identity, "ann", Expect::New, "{}")], NOW).await.expect("made");
    let good = || put(Kind::Identity, "bob", Expect::New, "{}");
    for bad in [
        put(Kind::Identity, "ann", Expect::New, "{}"),
        put(Kind::Identity, "ann", Expect::Version(2), "{}"),
        put(Kind::Identity, "nobody", Expect::Version(1), "{}"),
        Write::Delete { kind: Kind::Identity, id: "nobody".into(), version: 1 },
        good(),
    ] {
        let fault = store.commit(vec![good(), claim(space::USER, "bob", Kind::Identity, "bob"), bad], NOW).await;
        assert!(matches!(fault, Err(CommitFault::Conflict { .. })), "{fault:?}");
    }
    let nul = store.commit(vec![good(), put(Kind::Identity, "a\0b", Expect::New, "{}")], NOW).await;
    assert!(matches!(nul, Err(CommitFault::Away(_))), "{nul:?}");
    assert_eq!(everything(&store).await.len(), 1);
    assert_eq!(store.holder(space::USER, "bob").await, Ok(None));
    assert_eq!(store.since(Revision(1)).await, Ok(Since::Changes(Vec::new())), "nobody was told of anything");
}

async fn a_handle_has_one_holder(place: Place) {
    let store = place.open().await;
    let new = |id: &str| put(Kind::Device, id, Expect::New, "{}");
    let take = |id: &str| claim(space::KEY, "k", Kind::Device, id);
    store.commit(vec![new("a"), take("a"), take("a")], NOW).await.expect("claiming twice is claiming");
    assert_eq!(&*store.holder(space::KEY, "k").await.expect("asked").expect("held").id, "a");
    assert_eq!(store.holder(space::SAN, "k").await, Ok(None), "another space");
    let taken = store.commit(vec![new("b"), take("b")], NOW).await;
    let handle = Handle::new(space::KEY, "k");
    assert_eq!(taken, Err(CommitFault::Taken { handle: handle.clone(), by: "a".into() }));
    // handed over in one step, in whatever order the step is written down
    let release = Write::Release { handle, kind: Kind::Device, id: "a".into() };
    store.commit(vec![new("b"), take("b"), release], NOW).await.expect("handed over");
    assert_eq!(&*store.holder(space::KEY, "k").await.expect("asked").expect("held").id, "b");
    let gone = Write::Delete { kind: Kind::Device, id: "b".into(), version: 1 };
    store.commit(vec![gone, new("c"), take("c")], NOW).await.expect("who goes gives back");
    assert_eq!(&*store.holder(space::KEY, "k").await.expect("asked").expect("held").id, "c");
}

async fn two_hundred_increments_are_two_hundred(place: Place) {
    let stores = [place.open().await, place.open().await];
    stores[0].commit(vec![put(Kind::Grant, "n", Expect::New, "0")], NOW).await.expect("made");
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move {
                loop {
                    let now = store.get(Kind::Grant, "n").await.expect("asked").expect("there");
                    let next = now.body.parse::<u64>().expect("a number") + 1;
                    let write = put(Kind::Grant, "n", Expect::Version(now.version), &next.to_string());
                    match store.commit(vec![write], NOW).await {
                        Ok(_) => return,
                        Err(CommitFault::Conflict { .. }) => {}
                        Err(fault) => panic!("{fault}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("it ends");
    }
    let end = stores[1].get(Kind::Grant, "n").await.expect("asked").expect("there");
    assert_eq!((&*end.body, end.version), ("200", 201));
}

async fn of_many_who_want_a_handle_one_gets_it(place: Place) {
    let stores = [place.open().await, place.open().await];
    for round in 0..10 {
        let value = format!("k{round}");
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let (store, value, id) = (stores[n % 2].clone(), value.clone(), format!("d{round}-{n}"));
                tokio::spawn(async move {
                    let writes =
                        vec![put(Kind::Device, &id, Expect::New, "{}"), claim(space::KEY, &value, Kind::Device, &id)];
                    store.commit(writes, NOW).await
                })
            })
            .collect();
        let (mut winners, mut losers) = (0, 0);
        for task in tasks {
            match task.await.expect("it ends") {
                Ok(_) => winners += 1,
                Err(CommitFault::Taken { .. }) => losers += 1,
                Err(fault) => panic!("{fault}"),
            }
        }
        assert_eq!((winners, losers), (1, 7));
        assert!(stores[0].holder(space::KEY, &value).await.expect("asked").is_some(), "and it is there");
    }
    assert_eq!(everything(&stores[0]).await.len(), 10);
}

/// Writers put, change and delete; a follower that only ever asks `since` ends with the same documents, and never
/// sees a revision twice or out of order.
async fn no_change_is_missed_however_many_write(place: Place) {
    let follower = place.open().await;
    let mut writers = Vec::new();
    for seed in 0..6_u64 {
        let store = place.open().await;
        writers.push(tokio::spawn(async move {
            let mut random = seed + 1;
            for _ in 0..60 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let id = format!("x{}", (random >> 33) % 12);
                let known = store.get(Kind::Grant, &id).await.expect("asked");
                let write = match known {
                    None => put(Kind::Grant, &id, Expect::New, "1"),
                    Some(known) if (random >> 45) % 4 == 0 => {
                        Write::Delete { kind: Kind::Grant, id: known.id, version: known.version }
                    }
                    Some(known) => put(Kind::Grant, &id, Expect::Version(known.version), &random.to_string()),
                };
                match store.commit(vec![write], NOW).await {
                    Ok(_) | Err(CommitFault::Conflict { .. }) => {}
                    Err(fault) => panic!("{fault}"),
                }
            }
        }));
    }
    let mut known = BTreeMap::new();
    let mut at = Revision(0);
    let mut asked = 0;
    loop {
        let over = writers.iter().all(tokio::task::JoinHandle::is_finished);
        asked += 1;
        let Ok(Since::Changes(changes)) = follower.since(at).await else { panic!("the history reaches back") };
        for change in changes {
            assert!(change.revision >= at, "{:?} after {at:?}", change.revision);
            at = change.revision;
            match change.document {
                Some(document) => drop(known.insert((change.kind, change.id), document)),
                None => drop(known.remove(&(change.kind, change.id))),
            }
        }
        if over {
            break;
        }
    }
    for writer in writers {
        writer.await.expect("it ends");
    }
    assert!(asked > 3, "the follower asked while they wrote");
    assert_eq!(known, everything(&follower).await);
}

async fn the_log_is_shortened_and_says_so(mut place: Place) {
    place.settings.history = 10;
    let store = place.open().await;
    for n in 0..30 {
        let write = put(Kind::Grant, &n.to_string(), Expect::New, "{}");
        store.commit(vec![write], NOW).await.expect("made");
    }
    assert!(matches!(store.since(Revision(0)).await, Ok(Since::Changes(changes)) if changes.len() == 30));
    store.prune().await.expect("shortened");
    assert_eq!(store.since(Revision(19)).await, Ok(Since::Everything));
    assert!(matches!(store.since(Revision(20)).await, Ok(Since::Changes(changes)) if changes.len() == 10));
    // what another history counted is not believed
    assert_eq!(store.since(Revision(31)).await, Ok(Since::Everything));
    assert_eq!(store.since(Revision(30)).await, Ok(Since::Changes(Vec::new())));
}

async fn many_documents_at_once(place: Place) {
    let store = place.open().await;
    let writes: Vec<_> = (0..3_000)
        .flat_map(|n| {
            let id = format!("d{n}");
            [put(Kind::Device, &id, Expect::New, "{}"), claim(space::KEY, &id, Kind::Device, &id)]
        })
        .collect();
    let mut broken = writes.clone();
    broken.push(put(Kind::Device, "d1700", Expect::New, "{}"));
    let fault = store.commit(broken, NOW).await;
    assert_eq!(fault, Err(CommitFault::Conflict { kind: Kind::Device, id: "d1700".into() }));
    store.commit(writes, NOW).await.expect("made");
    let mut ids = HashSet::new();
    let mut after = String::new();
    loop {
        let page = store.list(Kind::Device, &after, 700).await.expect("asked");
        let Some(last) = page.last() else { break };
        after = last.id.to_string();
        ids.extend(page.into_iter().map(|document| document.id));
    }
    assert_eq!(ids.len(), 3_000, "page by page, each once");
    let mut twice = vec![put(Kind::Device, "new", Expect::New, "{}"), claim(space::KEY, "free", Kind::Device, "new")];
    twice.push(claim(space::KEY, "d7", Kind::Device, "new"));
    let taken = store.commit(twice, NOW).await;
    assert_eq!(taken, Err(CommitFault::Taken { handle: Handle::new(space::KEY, "d7"), by: "d7".into() }));
}

async fn sightings_keep_the_first_and_the_latest(place: Place) {
    let store = place.open().await;
    let at = |millis, network: &str| Sighting {
        at: Moment(millis),
        address: Some([198, 51, 100, 7].into()),
        place: None,
        network: Some(network.into()),
        round_trip: Some(12_000),
    };
    let laptop: Arc<str> = "laptop".into();
    for (millis, network) in [(20, "first"), (40, "latest"), (30, "late")] {
        store.sight(vec![(Arc::clone(&laptop), at(millis, network))]).await.expect("noted");
    }
    let seen = store.sightings(vec!["phone".into(), Arc::clone(&laptop)]).await.expect("asked");
    assert_eq!(seen.len(), 1);
    assert_eq!((&seen[0].first, &seen[0].last), (&at(20, "first"), &at(40, "latest")));
    assert_eq!(store.since(Revision(0)).await, Ok(Since::Changes(Vec::new())), "no decision rests on it");
    store.commit(vec![put(Kind::Device, "laptop", Expect::New, "{}")], NOW).await.expect("made");
    store.commit(vec![Write::Delete { kind: Kind::Device, id: laptop, version: 1 }], NOW).await.expect("removed");
    assert_eq!(store.sightings(vec!["laptop".into()]).await, Ok(Vec::new()));
}

async fn many_are_asked_for_at_once(place: Place) {
    let store = place.open().await;
    let writes = (0..300).step_by(2).map(|n| put(Kind::Grant, &format!("Ä {n}"), Expect::New, &n.to_string()));
    store.commit(writes.chain([put(Kind::Device, "Ä 1", Expect::New, "1")]).collect(), NOW).await.expect("made");
    let all = (0..300).map(|n| format!("Ä {n}").into()).collect();
    let found = store.get_all(Kind::Grant, all).await.expect("asked");
    let mut bodies: Vec<u32> = found.iter().map(|document| document.body.parse().expect("a number")).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (0..300).step_by(2).collect::<Vec<_>>());
    assert_eq!(store.get_all(Kind::Grant, Vec::new()).await, Ok(Vec::new()));
    // Of a commit that names one twice, or one that is there, nothing stays, and the one is named.
    for (ids, which) in [(["x", "y", "x"], "x"), (["x", "Ä 2", "y"], "Ä 2")] {
        let writes = ids.map(|id| put(Kind::Grant, id, Expect::New, "7")).to_vec();
        let fault = store.commit(writes, NOW).await.expect_err("a conflict");
        assert_eq!(fault, CommitFault::Conflict { kind: Kind::Grant, id: which.into() });
        assert_eq!(store.get(Kind::Grant, "y").await, Ok(None));
    }
}
