//! Who may change records does not change their own.

use crate::gateway::PKI;
use crate::upstream::full;
use crate::world::{API, Person, Sent, World, read};
use http::{Method, Request};
use serde_json::{Value, json};

const OLGA: &str = "/v1/identities/olga@corp.example";

/// With an operator, and a second account of hers.
async fn world() -> World {
    let world = World::peopled().await;
    let people = "user,person,aliases,groups\n\
        olga@corp.example,p-olga,olga.lee@corp.example,rangegate-operators\n\
        olga.admin@corp.example,p-olga,,staff\n";
    assert_eq!(world.owner("POST", "/v1/identities", Sent::Text("text/csv", people)).await.0, 200);
    world
}

async fn set(olga: &mut Person<'_>, method: Method, user: &str, body: Value) -> (u16, Value) {
    read(&olga.ask(method, &format!("/v1/identities/{user}"), Some(body)).await)
}

async fn import(olga: &mut Person<'_>, text: &str) -> (u16, Value) {
    let request = Request::post("/v1/identities").header("authorization", format!("Bearer {}", olga.token));
    let request = request.header("content-type", "text/csv").body(full(text.to_owned())).expect("a request");
    read(&olga.client.ask(request).await)
}

#[track_caller]
fn refused((status, problem): &(u16, Value)) {
    assert_eq!((*status, &problem["reason"]), (403, &json!("self-change")), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("another administrator")), "{problem}");
}

#[tokio::test]
async fn an_operator_makes_nobody_of_themselves_that_they_are_not() {
    let world = world().await;
    let mut olga = world.registered("olga@corp.example").await;
    let leads = || json!({ "groups": ["rangegate-operators", "payroll-leads"] });
    let (olgas, seconds, bobs) = ("olga@corp.example", "olga.admin@corp.example", "bob@corp.example");
    for (method, user, body) in [
        (Method::PATCH, olgas, leads()),
        (Method::PATCH, "olga.lee@corp.example", leads()),
        (Method::PUT, olgas, leads()),
        (Method::PATCH, olgas, json!({ "person": "p-somebody" })),
        (Method::PATCH, olgas, json!({ "status": "watched" })),
        // Her second account would be another person's, and so might approve.
        (Method::PATCH, seconds, json!({ "person": "p-somebody" })),
        (Method::PATCH, seconds, leads()),
        // Bob's would be hers.
        (Method::PATCH, bobs, json!({ "person": "p-olga" })),
        (Method::PATCH, bobs, json!({ "aliases": ["olga@corp.example"] })),
        (Method::PUT, "olga.third@corp.example", json!({ "person": "p-olga", "groups": ["payroll-leads"] })),
    ] {
        refused(&set(&mut olga, method, user, body).await);
    }
    let (_, record) = world.owner("GET", OLGA, Sent::Nothing).await;
    assert_eq!((&record["version"], &record["person"]), (&json!(1), &json!("p-olga")), "{record}");
    let lines = world.admin_lines("identity-set", 10).await;
    assert!(lines.iter().all(|line| line["outcome"] == "refused" && line["reason"] == "self-change"), "{lines:#?}");
    // What is already so is no change, and others are hers to change.
    assert_eq!(set(&mut olga, Method::PATCH, olgas, json!({ "person": "p-olga" })).await.0, 200);
    assert_eq!(set(&mut olga, Method::PATCH, bobs, json!({ "name": "Bob" })).await.0, 200);
    // Over the socket it is the owner of the machine.
    let (status, record) = world.owner("PATCH", OLGA, Sent::Json(json!({ "name": "Olga" }))).await;
    assert_eq!((status, &record["name"]), (200, &json!("Olga")), "{record}");
}

#[tokio::test]
async fn nor_by_a_file() {
    let world = world().await;
    let mut olga = world.registered("olga@corp.example").await;
    let text = |user: &str, person: &str, groups: &str| {
        format!("user,person,groups\nann@corp.example,p-ann,staff;new\n{user},{person},{groups}\n")
    };
    for (user, person, groups) in [
        ("olga@corp.example", "p-olga", "rangegate-operators;payroll-leads"),
        ("olga.admin@corp.example", "p-somebody", "staff"),
        ("olga.third@corp.example", "p-olga", "payroll-leads"),
    ] {
        let answer = import(&mut olga, &text(user, person, groups)).await;
        refused(&answer);
        assert!(answer.1["detail"].as_str().is_some_and(|detail| detail.starts_with("line 3: ")), "{}", answer.1);
    }
    let (_, ann) = world.owner("GET", "/v1/identities/ann@corp.example", Sent::Nothing).await;
    assert_eq!(ann["version"], 1, "nothing was changed: {ann}");
    // The whole organisation's file has her in it, as she is.
    let (status, told) = import(&mut olga, &text("olga@corp.example", "p-olga", "rangegate-operators")).await;
    assert_eq!((status, &told["changed"]), (200, &json!(1)), "{told}");
}

/// A device that may administer by itself, where the policy says so.
const ALONE: &str = r#"
[[resource]]
id = "people-by-device"
hosts = ["gate.corp.example"]
paths = ["/v1/identities"]
upstream = "rangegate:api"

  [[resource.require]]
  id = "operator-or-auditor"
  that = { any = [{ login = { issuer = "unix", group = "owner" } }, { device = { known = true } }] }
  otherwise = "deny"
"#;

#[tokio::test]
async fn nor_where_a_device_alone_may_and_it_is_theirs() {
    let world = World::with(|builder| builder.policy("people", ALONE, &[])).await;
    world.people().await;
    // Ann's laptop in the registry file, and nobody is signed in on it.
    let mut laptop = world.gate.dial().sni(API).certificate(&PKI.ann).h1().await;
    let mut patch = async |user: &str, body: Value| {
        let request = Request::patch(format!("/v1/identities/{user}")).header("content-type", "application/json");
        read(&laptop.ask(request.body(full(body.to_string())).expect("a request")).await)
    };
    for (user, body) in [
        ("ann@corp.example", json!({ "groups": ["payroll-leads"] })),
        ("ann.lee@corp.example", json!({ "groups": ["payroll-leads"] })),
        ("ann.admin@corp.example", json!({ "person": "p-somebody" })),
        ("bob@corp.example", json!({ "person": "p-ann" })),
        ("bob@corp.example", json!({ "manager": "ann@corp.example" })),
    ] {
        refused(&patch(user, body).await);
    }
    assert_eq!(patch("bob@corp.example", json!({ "name": "Bob" })).await.0, 200);
    // The socket is nobody's device.
    let (status, record) =
        world.owner("PATCH", "/v1/identities/ann@corp.example", Sent::Json(json!({ "name": "Ann" }))).await;
    assert_eq!((status, &record["name"]), (200, &json!("Ann")), "{record}");
}

#[tokio::test]
async fn nor_anybodys_manager_of_themselves() {
    let world = world().await;
    let mut olga = world.registered("olga@corp.example").await;
    let bobs = "/v1/identities/bob@corp.example";
    let managed = |manager: &str| json!({ "manager": manager });
    for manager in ["olga@corp.example", "olga.lee@corp.example", "olga.admin@corp.example", "p-olga"] {
        let answer = set(&mut olga, Method::PATCH, "bob@corp.example", managed(manager)).await;
        refused(&answer);
        let told = answer.1["detail"].as_str().unwrap_or_default();
        assert!(told.starts_with("it would make you the manager of `bob@corp.example`: "), "{told}");
        refused(&set(&mut olga, Method::PUT, "new@corp.example", managed(manager)).await);
        let file = format!("user,manager\nann@corp.example,\nbob@corp.example,{manager}\n");
        let answer = import(&mut olga, &file).await;
        refused(&answer);
        let told = answer.1["detail"].as_str().unwrap_or_default();
        assert!(told.starts_with("line 3: it would make you the manager of `bob@corp.example`: "), "{told}");
    }
    // Others are hers to name; and where another made her somebody's manager, the rest of that record is, too.
    assert_eq!(set(&mut olga, Method::PATCH, "bob@corp.example", managed("ann@corp.example")).await.0, 200);
    assert_eq!(world.owner("PATCH", bobs, Sent::Json(managed("olga.lee@corp.example"))).await.0, 200);
    assert_eq!(set(&mut olga, Method::PATCH, "bob@corp.example", json!({ "name": "Bob" })).await.0, 200);
    let file = "user,name,manager\nbob@corp.example,Rob,olga.lee@corp.example\n";
    assert_eq!(import(&mut olga, file).await.0, 200);
    assert_eq!(set(&mut olga, Method::PATCH, "bob@corp.example", json!({ "manager": null })).await.0, 200);
}
