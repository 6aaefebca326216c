//! Devices as administrators see them: those of the store and of the registry file, by whichever name of their owner.

use crate::commands::by_socket;
use crate::gateway::PKI;
use crate::world::{Sent, World};
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
