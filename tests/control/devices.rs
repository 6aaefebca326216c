//! Devices as administrators see them: those of the store and of the registry file, by whichever name of their owner.

use crate::commands::by_socket;
use crate::enrolment;
use crate::gateway::PKI;
use crate::pki::Leaf;
use crate::upstream::Upstream;
use crate::world::{Sent, World, never_ending};
use http_body_util::BodyExt;
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_str()).collect()
}

#[tokio::test]
async fn those_of_the_registry_file_are_shown_and_changed_in_the_file_alone() {
    let world = World::peopled().await;
    for id in ["kiosk-1", "kiosk-2"] {
        let kiosk = json!({ "id": id, "class": "kiosk", "sans": [format!("dns:{id}.corp")] });
        assert_eq!(world.owner("POST", "/v1/devices", Sent::Json(kiosk)).await.0, 201);
    }
    let all = ["kiosk-1", "kiosk-2", "ann-laptop", "bob-laptop", "eve-laptop"];
    let (_, devices) = world.owner("GET", "/v1/devices", Sent::Nothing).await;
    assert_eq!((ids(&devices), devices.get("next")), (all.to_vec(), None));
    assert_eq!((&devices["items"][0]["source"], &devices["items"][0]["version"]), (&json!("store"), &json!(1)));
    let eve = &devices["items"][4];
    assert_eq!(
        (&eve["source"], &eve["status"], eve.get("version")),
        (&json!("file"), &json!("watched"), None),
        "{eve}"
    );
    for limit in 1..=6 {
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let (status, page) = world.owner("GET", &format!("/v1/devices?limit={limit}{next}"), Sent::Nothing).await;
            assert_eq!(status, 200, "{page}");
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            let Some(cursor) = page["next"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        assert_eq!(seen, all, "{limit} at a time");
    }
    let (_, watched) = world.owner("GET", "/v1/devices?status=watched", Sent::Nothing).await;
    assert_eq!(ids(&watched), ["eve-laptop"]);
    let (_, none) = world.owner("GET", "/v1/devices?class=kiosk&status=watched", Sent::Nothing).await;
    assert_eq!(ids(&none), [""; 0]);
    let (status, one, etag) = world.owner_with("GET", "/v1/devices/ann-laptop", Sent::Nothing, &[]).await;
    assert_eq!((status, &one["source"], &*etag), (200, &json!("file"), ""), "{one}");

    let told = "it stands in the device registry file";
    for (method, path, sent) in [
        ("PATCH", "", json!({ "class": "kiosk" })),
        ("POST", "/suspend", json!({})),
        ("POST", "/revoke", json!({})),
        ("POST", "/transfer", json!({ "to": "bob@corp.example" })),
    ] {
        let (status, problem) = world.owner(method, &format!("/v1/devices/ann-laptop{path}"), Sent::Json(sent)).await;
        assert_eq!((status, &problem["reason"]), (422, &json!("device-filed")), "{path}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with(told)), "{problem}");
    }
    let again = json!({ "user": "ann@corp.example", "device": "ann-laptop" });
    assert_eq!(world.owner("POST", "/v1/invitations", Sent::Json(again)).await.1["reason"], "device-filed");
    let second = json!({ "id": "ann-laptop", "class": "kiosk", "sans": ["dns:second.corp"] });
    let (status, problem) = world.owner("POST", "/v1/devices", Sent::Json(second)).await;
    assert_eq!((status, problem.to_string().contains("the device registry file")), (409, true), "{problem}");
    let refused = world.admin_lines("device-suspend", 1).await;
    assert_eq!((&refused[0]["outcome"], &refused[0]["reason"]), (&json!("refused"), &json!("device-filed")));

    let (exit, out, _) = by_socket(&world, &["device", "list"]).await;
    assert!(exit == 0 && out.contains("KEPT IN") && out.ends_with("5 lines\n"), "{out}");
    let (exit, _, err) = by_socket(&world, &["device", "suspend", "ann-laptop"]).await;
    assert_eq!((exit, err.contains(told)), (1, true), "{err}");
}

/// `ann.lee@corp.example` is an alias of Ann's.
#[tokio::test]
async fn a_device_of_an_alias_is_its_persons() {
    let world = World::peopled().await;
    let certificates = [crate::gateway::fingerprint(&PKI.stranger)];
    let phone =
        json!({ "id": "phone", "class": "corporate", "owner": "ann.lee@corp.example", "certificates": certificates });
    let (status, shown) = world.owner("POST", "/v1/devices", Sent::Json(phone)).await;
    let hers = (&json!("ann@corp.example"), &json!("ann.lee@corp.example"));
    assert_eq!((status, (&shown["owner"], &shown["owner-alias"])), (201, hers), "{shown}");
    for name in ["ann@corp.example", "ann.lee@corp.example"] {
        let (_, devices) = world.owner("GET", &format!("/v1/devices?owner={name}"), Sent::Nothing).await;
        assert_eq!(ids(&devices), ["phone", "ann-laptop"], "{devices}");
        assert_eq!(devices["items"][1].get("owner-alias"), None);
    }

    // What is open from it is hers, too.
    let token = world.gate.bound_token("ann.lee@corp.example", &PKI.stranger);
    let mut client = world.gate.dial().sni("payroll.corp.example").certificate(&PKI.stranger).h1().await;
    let request = http::Request::get("/slow").header("authorization", format!("Bearer {token}"));
    let mut answer = client.send(request.body(crate::upstream::full("")).expect("a request")).await.expect("an answer");
    assert!(answer.body_mut().frame().await.expect("a piece").is_ok());
    for name in ["ann@corp.example", "ann.lee@corp.example"] {
        let (_, live) = world.owner("GET", &format!("/v1/live?user={name}"), Sent::Nothing).await;
        let open = &live["items"][0];
        assert_eq!(((&open["user"], &open["alias"]), &open["device"]), (hers, &json!("phone")), "{live}");
    }
    let (_, sessions) = world.owner("GET", "/v1/sessions", Sent::Nothing).await;
    let items = sessions["items"].as_array().expect("items");
    let hers_open: Vec<_> = items.iter().filter(|one| one["device"] == "phone").collect();
    assert_eq!(hers_open.len(), 1, "{sessions}");
    assert_eq!((&hers_open[0]["user"], &hers_open[0]["aliases"]), (hers.0, &json!([hers.1])), "{sessions}");
    let (exit, out, _) = by_socket(&world, &["live", "list", "--user", "ann@corp.example"]).await;
    assert!(exit == 0 && out.contains("ann@corp.example as ann.lee@corp.example"), "{out}");

    // Whoever names her by either name means the same.
    let again = json!({ "user": "ann@corp.example", "device": "phone" });
    let (status, invited) = world.owner("POST", "/v1/invitations", Sent::Json(again)).await;
    assert_eq!((status, &invited["user"]), (201, hers.1), "{invited}");
    let (status, own) =
        world.owner("PATCH", "/v1/devices/phone", Sent::Json(json!({ "owner": "ann@corp.example" }))).await;
    assert_eq!((status, &own["owner"], own.get("owner-alias")), (200, hers.0, None), "{own}");
    let (status, _) =
        world.owner("PATCH", "/v1/devices/phone", Sent::Json(json!({ "owner": "bob@corp.example" }))).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn a_device_enrols_again_and_is_transferred_and_what_it_had_before_counts_no_more() {
    let app = Upstream::http1(|_| async { http::Response::new(never_ending()) }).await;
    let world = World::with(|builder| builder.policy("desk", DESK, &[("app", &app)])).await;
    world.people().await;
    let invite = async |user: &str, device: Option<&str>| {
        let mut args = vec!["device", "invite", user, "--json"];
        args.extend(device.into_iter().flat_map(|device| ["--device", device]));
        let (exit, out, err) = by_socket(&world, &args).await;
        assert_eq!(exit, 0, "{err}");
        let invited: Value = serde_json::from_str(&out).expect("JSON");
        invited["code"].as_str().expect("a code").to_owned()
    };
    // Who is known by this device: status, user, device.
    let known = async |user: &str, leaf: &Leaf| {
        let (status, me) = world.person(user, leaf).await.get("/v1/me").await;
        (status, me["user"].as_str().map(str::to_owned), me["device"].as_str().map(str::to_owned))
    };
    let (ann, bob) = ("ann@corp.example", "bob@corp.example");
    let first = enrolment::device(&world, &invite(ann, None).await, "first").await;
    let id = known(ann, &first).await.2.expect("a device");

    // Again, for the same person: the same device, and the key before it is over.
    let second = enrolment::device(&world, &invite(ann, Some(&id)).await, "second").await;
    assert_eq!(known(ann, &second).await, (200, Some(ann.to_owned()), Some(id.clone())));
    assert_eq!(known(ann, &first).await.0, 403);
    assert_eq!(enrolment::on_the_list(&world), 1);
    let path = format!("/v1/devices/{id}");
    let (_, shown) = world.owner("GET", &path, Sent::Nothing).await;
    let (history, keys) = (&shown["history"], shown["keys"].as_array().expect("keys"));
    assert_eq!((history[0]["revoked"].is_string(), history[1].get("revoked"), keys.len()), (true, None, 1), "{shown}");

    let unused = invite(ann, Some(&id)).await;
    let mut idle = world.person(ann, &second).await;
    assert_eq!(idle.get("/v1/me").await.0, 200);
    let mut client = world.gate.dial().sni("desk.corp.example").certificate(&second).h1().await;
    let request = http::Request::get("/").header("authorization", format!("Bearer {}", idle.token));
    let mut open = client.send(request.body(crate::upstream::full("")).expect("a request")).await.expect("an answer");
    assert!(open.body_mut().frame().await.expect("a piece").is_ok());

    let (exit, out, err) = by_socket(&world, &["device", "transfer", &id, "--to", bob, "--reason", "she left"]).await;
    assert_eq!((exit, out.contains(bob)), (0, true), "{err}");
    let rest = async { while open.body_mut().frame().await.is_some_and(|frame| frame.is_ok()) {} };
    tokio::time::timeout(crate::gateway::PATIENCE, rest).await.expect("what was open is cut");
    crate::gateway::eventually("her connection is closed", || idle.client.is_closed()).await;
    assert_eq!(known(ann, &second).await.0, 403);
    assert_eq!(known(bob, &second).await.0, 403, "nor is it his by her key");
    assert_eq!(enrolment::on_the_list(&world), 2);
    let (_, shown) = world.owner("GET", &path, Sent::Nothing).await;
    assert_eq!((&shown["owner"], &shown["status"], shown.get("keys")), (&json!(bob), &json!("active"), None));
    assert!(shown["history"][1]["revoked"].is_string(), "{shown}");
    let line = world.admin_lines("device-transfer", 1).await.remove(0);
    assert_eq!((&line["before"]["owner"], &line["after"]["owner"]), (&json!(ann), &json!(bob)), "{line}");
    assert_eq!((&line["reason"], &line["outcome"]), (&json!("she left"), &json!("done")));

    // What she was invited to is no longer hers, and she is not invited any more.
    let (_, csr) = enrolment::request(&world.gate.path(""), "late").await;
    let (status, told) = enrolment::enrol(&world, &unused, &csr).await;
    assert_eq!((status, told.contains("invitation-device")), (422, true), "{told}");
    let (exit, _, err) = by_socket(&world, &["device", "invite", ann, "--device", &id]).await;
    assert_eq!((exit, err.contains("not this person's")), (1, true), "{err}");
    let third = enrolment::device(&world, &invite(bob, Some(&id)).await, "third").await;
    assert_eq!(known(bob, &third).await, (200, Some(bob.to_owned()), Some(id.clone())));
    assert_eq!((known(ann, &second).await.0, known(ann, &first).await.0), (403, 403));
    let (_, shown) = world.owner("GET", &path, Sent::Nothing).await;
    let ended = shown["history"].as_array().expect("a history").iter().map(|one| one["revoked"].is_string());
    assert_eq!(ended.collect::<Vec<_>>(), [true, true, false], "{shown}");
}

/// Open to whoever is bound to their device.
const DESK: &str = r#"
[[resource]]
id = "desk"
hosts = ["desk.corp.example"]
upstream = "$app"
require = [{ id = "own-device", that = { device = { bound = true } } }]
"#;

#[tokio::test]
async fn nobody_goes_by_no_name() {
    let world = World::peopled().await;
    let kiosk = json!({ "id": "kiosk-1", "class": "kiosk", "sans": ["dns:kiosk-1.corp"] });
    assert_eq!(world.owner("POST", "/v1/devices", Sent::Json(kiosk)).await.0, 201);
    for name in ["", " ", "ann@corp.example ", "ann\n"] {
        let new = json!({ "id": "kiosk-2", "class": "kiosk", "sans": ["dns:kiosk-2.corp"], "owner": name });
        for (method, path, body) in [
            ("POST", "/v1/devices", new),
            ("PATCH", "/v1/devices/kiosk-1", json!({ "owner": name })),
            ("POST", "/v1/devices/kiosk-1/transfer", json!({ "to": name })),
            ("POST", "/v1/invitations", json!({ "user": name })),
            ("POST", "/v1/identities", json!([{ "user": name }])),
        ] {
            let (status, told) = world.owner(method, path, Sent::Json(body)).await;
            assert_eq!(status, 422, "{method} {path} `{name}`: {told}");
        }
    }
    for (path, status) in [("/v1/identities/%20", 422), ("/v1/identities/", 404)] {
        let (found, told) = world.owner("PUT", path, Sent::Json(json!({ "name": "Nobody" }))).await;
        assert_eq!(found, status, "{told}");
    }
    let (_, devices) = world.owner("GET", "/v1/devices?class=kiosk", Sent::Nothing).await;
    assert_eq!((ids(&devices), devices["items"][0].get("owner")), (vec!["kiosk-1"], None), "{devices}");
    let (_, invitations) = world.owner("GET", "/v1/invitations", Sent::Nothing).await;
    assert_eq!(invitations["items"], json!([]));
}
