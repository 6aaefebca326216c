//! What somebody is told of at once: what watched people do, and devices that are not what they seem.

use crate::gateway::PKI;
use crate::world::{Sent, World};
use http::Request;
use serde_json::json;

const POLICY: &str = r#"
[[resource]]
id = "canteen"
hosts = ["canteen.corp.example"]
upstream = "$app"
sensitivity = "low"
require = [{ id = "local", that = { cidr = "127.0.0.0/8" } }]

[[resource]]
id = "vault"
hosts = ["vault.corp.example"]
upstream = "$app"
require = [{ id = "local", that = { cidr = "127.0.0.0/8" } }]
"#;

#[tokio::test]
async fn whatever_a_watched_person_does_is_told() {
    let app = crate::upstream::Upstream::plain().await;
    let world = World::with(|builder| builder.policy("places", POLICY, &[("app", &app)])).await;
    world.people().await;
    let token = world.gate.bound_token("ann@corp.example", &PKI.ann);
    let visit = async |place: &str| {
        let mut client = world.gate.dial().sni(place).certificate(&PKI.ann).h1().await;
        let request = Request::get("/").header("authorization", format!("Bearer {token}"));
        client.ask(request.body(crate::upstream::full("")).expect("a request")).await
    };
    assert_eq!(visit("vault.corp.example").await.status, 200);
    let watched = Sent::Json(json!({ "status": "watched" }));
    assert_eq!(world.owner("PATCH", "/v1/identities/ann@corp.example", watched).await.0, 200);
    for _ in 0..2 {
        assert_eq!(visit("canteen.corp.example").await.status, 200, "what is not sensitive stays open");
        let answer = visit("vault.corp.example").await;
        assert_eq!(answer.status, 403);
        assert!(!answer.text().contains("watch"), "and nobody is told why\n{}", answer.text());
    }
    let alerts = world.gate.lines_of("alert", 4).await;
    let said: Vec<_> = alerts.iter().map(|alert| (alert["event"].as_str(), alert["resource"].as_str())).collect();
    let (canteen, vault) = ((Some("watched"), Some("canteen")), (Some("watched"), Some("vault")));
    assert_eq!(said, [canteen, vault, canteen, vault], "each time: {alerts:#?}");
    assert!(alerts.iter().all(|alert| alert["user"] == "ann@corp.example" && alert["device"] == "ann-laptop"));
    world.gate.metrics_show("rangegate_alerts_total{kind=\"watched\",resource=\"vault\"} 2").await;
}
