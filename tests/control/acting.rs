//! Just-in-time access as commands and as signed calls: every action by each of the two ways, what becomes of the grant,
//! and what is on record of it.

use crate::break_glass::CONSOLE;
use crate::remote::{Remote, at, world as reachable};
use crate::upstream::Upstream;
use crate::webhooks::{acting, call, seconds, target, world as hooked};
use crate::world::{Sent, World};
use serde_json::{Value, json};

/// A role whose requests lapse at once.
const SHORT: &str = r#"
[[resource]]
id = "archive"
hosts = ["archive.corp.example"]
upstream = "$app"
require = [{ id = "reader", that = { grant = "archive-reader" } }]

[[role]]
id = "archive-reader"
opens = "archive"
longest = "1h"
ask-within = "1s"
reason = "optional"
approvers = { group = "payroll-leads" }
"#;

/// What was done: the action, the grant's role and id, who did it, what they said, and the grant's state afterwards.
type Done<'a> = (&'a str, &'a str, String, &'a str, Option<&'a str>, &'a str);

/// Holds that the log has a line of each of these, and no other of theirs that says `done`.
async fn on_record(world: &World, done: &[Done<'_>], issuer: &str) {
    for (action, role, id, user, said, state) in done {
        let target = if *action == "grant-ask" { format!("role {role}") } else { format!("grant {id}") };
        let this = |line: &Value| {
            line["action"] == *action
                && line["outcome"] == "done"
                && line["after"]["id"] == **id
                && line["target"] == *target
        };
        let lines = world.gate.lines_where(1, this).await;
        assert_eq!(lines.len(), 1, "{action} of {id}: {lines:#?}");
        let line = &lines[0];
        assert_eq!((&line["kind"], &line["actor"]["user"]), (&json!("admin"), &json!(user)), "{line}");
        assert_eq!((&line["actor"]["issuer"], line["reason"].as_str()), (&json!(issuer), *said), "{line}");
        assert_eq!((&line["after"]["state"]["is"], &line["after"]["role"]), (&json!(state), &json!(role)), "{line}");
    }
}

/// Twice the same: as people read it, which says `told`, and as programs do. It is done once.
async fn both(person: &Remote<'_>, args: &[&str], told: &str) -> Value {
    let (exit, out, err) = person.run(args).await;
    assert_eq!((exit, out.contains(told)), (0, true), "{args:?} does not say `{told}`: {out}{err}");
    let (exit, out, err) = person.run(&[args, &["--json"]].concat()).await;
    assert_eq!(exit, 0, "{args:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{args:?}: {out}"))
}

async fn refused(person: &Remote<'_>, args: &[&str], told: &str) {
    let (exit, out, err) = person.run(args).await;
    assert_eq!((exit, &*out, err.contains(told)), (1, "", true), "{args:?}: {err}");
}

fn id(grant: &Value) -> String {
    grant["id"].as_str().unwrap_or_else(|| panic!("{grant}")).to_owned()
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_str()).collect()
}

#[tokio::test]
async fn every_action_as_a_command_of_two_people() {
    let world = reachable().await;
    let app = Upstream::plain().await;
    world.gate.set_policy("archive", SHORT, &[("app", &app)]).await;
    world.gate.set_policy("console", CONSOLE, &[("app", &app)]).await;
    let people = "user,person,groups\ncarla@corp.example,p-carla,staff\ndora@corp.example,p-dora,staff;payroll-leads\n";
    assert_eq!(world.owner("POST", "/v1/identities", Sent::Text("text/csv", people)).await.0, 200);
    let carla = Remote::new(&world, "carla", "staff", 41).await;
    let dora = Remote::new(&world, "dora", "payroll-leads", 42).await;
    let (carlas, doras) = ("carla@corp.example", "dora@corp.example");
    let ask = ["grant", "ask", "payroll-approver", "--reason", "PAY-1234", "--for", "10m"];
    let role = "payroll-approver";
    let mut done: Vec<Done<'_>> = Vec::new();

    // Asked, seen by both, approved, held, ended.
    let grant = both(&carla, &ask, "payroll-approver for carla@corp.example: asked").await;
    let one = id(&grant);
    assert_eq!((&grant["phase"], &grant["duration"]), (&json!("waiting"), &json!(600)), "{grant}");
    assert_eq!(ids(&both(&dora, &["grant", "list", "--waiting"], &one).await), [&*one]);
    assert_eq!(ids(&both(&carla, &["grant", "list"], &one).await), [&*one]);
    assert_eq!(ids(&both(&carla, &["grant", "list", "--waiting"], "0 lines").await), [""; 0]);
    assert_eq!(both(&carla, &["grant", "show", &one], &one).await["reason"], "PAY-1234");
    refused(&carla, &["grant", "approve", &one], "somebody else has to").await;
    refused(&carla, &["grant", "list", "--all"], "in the audit log: ").await;
    let grant = both(&dora, &["grant", "approve", &one, "--note", "run 7 only"], "active, held until ").await;
    assert_eq!((&grant["phase"], &grant["approvals"][0]["note"]), (&json!("held"), &json!("run 7 only")), "{grant}");
    assert_eq!(grant["approvals"].as_array().map(Vec::len), Some(1), "once");
    let grant = both(&carla, &["grant", "end", &one, "--why", "done"], ": ended").await;
    assert_eq!((&grant["phase"], &grant["state"]["is"]), (&json!("over"), &json!("ended")), "{grant}");
    done.push(("grant-ask", role, one.clone(), carlas, Some("PAY-1234"), "asked"));
    done.push(("grant-approve", role, one.clone(), doras, Some("run 7 only"), "active"));
    done.push(("grant-end", role, one.clone(), carlas, Some("done"), "ended"));

    // Refused.
    let two = id(&both(&carla, &ask, ": asked").await);
    refused(&carla, &["grant", "refuse", &two, "--why", "no"], "somebody else has to").await;
    let grant = both(&dora, &["grant", "refuse", &two, "--why", "not today"], ": refused").await;
    assert_eq!((&grant["state"]["by"], &grant["state"]["why"]), (&json!(doras), &json!("not today")), "{grant}");
    done.push(("grant-refuse", role, two.clone(), doras, Some("not today"), "refused"));

    // Withdrawn, by the one who asked.
    let three = id(&both(&carla, &ask, ": asked").await);
    refused(&dora, &["grant", "withdraw", &three], "").await;
    let grant = both(&carla, &["grant", "withdraw", &three], ": withdrawn").await;
    assert_eq!((&grant["phase"], &grant["state"]["is"]), (&json!("over"), &json!("withdrawn")), "{grant}");
    done.push(("grant-withdraw", role, three.clone(), carlas, None, "withdrawn"));

    // Broken, at this device, and reviewed by the other.
    let glass = ["grant", "ask", "console-glass", "--break-glass", "--reason", "the console hangs"];
    let grant = both(&carla, &glass, "console-glass for carla@corp.example: active, held until ").await;
    let four = id(&grant);
    assert_eq!((&grant["break-glass"], &grant["device"]), (&json!(true), &json!("carla-laptop")), "{grant}");
    assert_eq!(ids(&both(&dora, &["grant", "list", "--waiting"], &four).await), [&*four]);
    refused(&carla, &["grant", "review", &four, "--note", "fine"], "somebody else has to").await;
    let grant = both(&dora, &["grant", "review", &four, "--note", "seen"], ": active").await;
    assert_eq!((&grant["review"]["user"], &grant["review"]["note"]), (&json!(doras), &json!("seen")), "{grant}");
    assert_eq!(both(&carla, &["grant", "end", &four, "--why", "it runs"], ": ended").await["phase"], "over");
    done.push(("grant-ask", "console-glass", four.clone(), carlas, Some("the console hangs"), "active"));
    done.push(("grant-review", "console-glass", four.clone(), doras, Some("seen"), "active"));
    done.push(("grant-end", "console-glass", four.clone(), carlas, Some("it runs"), "ended"));
    on_record(&world, &done, crate::gateway::ISSUER).await;
    let reviewed = world.admin_lines("grant-review", 2).await;
    let outcomes: Vec<_> = reviewed.iter().map(|line| (&line["outcome"], &line["after"]["reviewed-by"])).collect();
    assert_eq!(outcomes, [(&json!("refused"), &Value::Null), (&json!("done"), &json!(doras))]);

    // Nobody answered in time.
    let five = id(&both(&carla, &["grant", "ask", "archive-reader"], ": asked").await);
    let lapsed = |line: &Value| line["action"] == "grant-expire" && line["after"]["id"] == *five;
    let line = world.gate.lines_where(1, lapsed).await.remove(0);
    assert_eq!((&line["kind"], &line["after"]["state"]["is"]), (&json!("admin"), &json!("lapsed")), "{line}");
    assert_eq!(line["actor"].get("user").and_then(Value::as_str), None, "nobody did that");

    // While nobody can sign in the certificate alone breaks the glass, and asks for nothing else.
    let alone: Vec<&str> = carla.ends[..4].iter().map(String::as_str).collect();
    let (exit, out, err) = at(&world, "direct", "servers.pem", &[&glass[..], &["--json"]].concat(), &alone).await;
    assert_eq!(exit, 0, "{err}");
    let grant: Value = serde_json::from_str(&out).expect("JSON");
    let by_device = ("grant-ask", "console-glass", id(&grant), carlas, Some("the console hangs"), "active");
    on_record(&world, &[by_device], "device").await;
    let (exit, _, err) = at(&world, "direct", "servers.pem", &ask, &alone).await;
    assert_eq!((exit, err.contains("--token-file")), (1, true), "{err}");
    let broken = world.gate.lines_where(2, |line| line["kind"] == "alert" && line["event"] == "break-glass").await;
    assert_eq!(broken.len(), 2, "each of the two, once: {broken:#?}");
}

#[tokio::test]
async fn refused_withdrawn_and_ended_by_signed_calls() {
    let (upstream, _got) = target(|_| Some(200)).await;
    let url = upstream.url();
    let world = hooked(move |at| acting(at, &url)).await;
    let (ann, bob) = ("ann@corp.example", "bob@corp.example");
    // Each call is signed at a second of its own, so that no two are the same.
    let mut second = seconds() - 60;
    let mut made = async |body: Value, expected: u16| {
        second += 1;
        let (status, told) = call(&world, "chat", second, body.clone()).await;
        assert_eq!(status, expected, "{body}: {told}");
        told
    };
    let ask = json!({ "action": "ask", "user": ann, "role": "payroll-approver", "reason": "PAY-1234" });
    let act = |action: &str, user: &str, grant: &str, note: Option<&str>| {
        let mut body = json!({ "action": action, "user": user, "grant": grant });
        if let Some(note) = note {
            body["note"] = note.into();
        }
        body
    };
    let mut done: Vec<Done<'_>> = Vec::new();
    let role = "payroll-approver";

    let one = id(&made(ask.clone(), 201).await);
    made(act("refuse", bob, &one, None), 422).await;
    assert_eq!(made(act("refuse", ann, &one, Some("no")), 403).await["reason"], "self-approval");
    let grant = made(act("refuse", bob, &one, Some("not today")), 200).await;
    assert_eq!((&grant["state"]["is"], &grant["state"]["by"]), (&json!("refused"), &json!(bob)), "{grant}");
    done.push(("grant-ask", role, one.clone(), ann, Some("PAY-1234"), "asked"));
    done.push(("grant-refuse", role, one.clone(), bob, Some("not today"), "refused"));

    let two = id(&made(ask.clone(), 201).await);
    assert_eq!(made(act("withdraw", bob, &two, None), 403).await["reason"], "not-yours");
    let grant = made(act("withdraw", ann, &two, None), 200).await;
    assert_eq!((&grant["state"]["is"], &grant["phase"]), (&json!("withdrawn"), &json!("over")), "{grant}");
    done.push(("grant-withdraw", role, two.clone(), ann, None, "withdrawn"));

    let three = id(&made(ask.clone(), 201).await);
    assert_eq!(made(act("end", ann, &three, Some("early")), 409).await["reason"], "not-begun");
    assert_eq!(made(act("approve", bob, &three, None), 200).await["phase"], "held");
    made(act("end", ann, &three, None), 422).await;
    let grant = made(act("end", ann, &three, Some("done")), 200).await;
    assert_eq!((&grant["state"]["is"], &grant["state"]["why"]), (&json!("ended"), &json!("done")), "{grant}");
    done.push(("grant-approve", role, three.clone(), bob, None, "active"));
    done.push(("grant-end", role, three.clone(), ann, Some("done"), "ended"));
    on_record(&world, &done, "webhook:chat").await;

    // The glass is not broken by a bot.
    let mut glass = ask;
    glass["break-glass"] = json!(true);
    made(glass, 400).await;
    made(act("review", bob, &three, None), 400).await;
    made(act("revoke", bob, &three, Some("x")), 400).await;
}
