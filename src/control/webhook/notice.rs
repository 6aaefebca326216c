//! What a notification says (docs/webhooks.md).

use super::Format;
use crate::audit::Admin;
use crate::control::moment;
use serde_json::{Map, Value, json};

/// Every event there is, in the order of their names.
pub const EVENTS: &[&str] = &[
    "break-glass",
    "delivery-give-up",
    "device-change",
    "device-enrol",
    "device-register",
    "device-renew",
    "device-resume",
    "device-revoke",
    "device-suspend",
    "device-transfer",
    "device-watch",
    "grant-approve",
    "grant-ask",
    "grant-end",
    "grant-expire",
    "grant-refuse",
    "grant-review",
    "grant-revoke",
    "grant-withdraw",
    "identity-add",
    "identity-import",
    "identity-set",
    "invitation-make",
    "invitation-withdraw",
    "live-cut",
    "revocation-list",
];

/// Whether an event is meant by what an operator wrote: its name, or a beginning with `*` behind it.
pub fn is_meant(written: &str, event: &str) -> bool {
    match written.strip_suffix('*') {
        Some(beginning) => event.starts_with(beginning),
        None => written == event,
    }
}

/// The event's name: the action's, but that breaking the glass has one of its own, so that it can be asked for alone.
pub fn event(done: &Admin) -> &'static str {
    match done.action {
        "grant-ask" if after(done, "break-glass") == Some(&Value::Bool(true)) => "break-glass",
        action => action,
    }
}

/// What nobody may miss, however much else waits: broken glass, and who or what was put out.
pub fn is_grave(done: &Admin) -> bool {
    let put_out = |status: &Value| matches!(status.as_str(), Some("suspended" | "revoked"));
    event(done) == "break-glass"
        || ["-revoke", "-suspend"].iter().any(|end| done.action.ends_with(end))
        || after(done, "status").is_some_and(put_out)
        // An import tells of many at once.
        || after(done, "suspended").is_some()
}

pub fn body(format: Format, id: &str, event: &str, done: &Admin) -> String {
    match format {
        Format::Json => document(id, event, done),
        Format::Chat => json!({ "text": sentence(event, done) }),
    }
    .to_string()
}

fn document(id: &str, event: &str, done: &Admin) -> Value {
    let mut document = Map::new();
    document.insert("id".to_owned(), id.into());
    document.insert("event".to_owned(), event.into());
    document.insert("at".to_owned(), moment::text(done.at).into());
    if let Value::Object(line) = json!(done) {
        // The line's own `id` is that of the request that asked for it.
        let named = line.into_iter().map(|(key, value)| (if key == "id" { "request".to_owned() } else { key }, value));
        document.extend(named.filter(|(key, _)| key != "action" && key != "outcome"));
    }
    document.into()
}

/// For people: who did what to what, why, and what they can do about it.
fn sentence(event: &str, done: &Admin) -> String {
    let actor = done.actor.user.as_deref().or(done.actor.device.as_deref()).unwrap_or("the gateway");
    let text = |key| after(done, key).and_then(Value::as_str).unwrap_or_default();
    let why = done.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let (id, role, user) = (text("id"), text("role"), text("user"));
    let sentence = match event {
        "grant-ask" => format!(
            "{actor} asks for the role {role}{why}. Approve with `rangegate grant approve {id}`, \
             refuse with `rangegate grant refuse {id}`."
        ),
        "break-glass" => format!(
            "{actor} broke the glass for the role {role}{why}. It is in force now, and somebody has to review it: \
             `rangegate grant review {id}`."
        ),
        "grant-approve" => format!("{actor} approved the role {role} for {user}{why}."),
        "grant-refuse" => format!("{actor} refused the role {role} to {user}{why}."),
        _ => format!("{actor}: {event}, {}{why}.", done.target),
    };
    escaped(&sentence)
}

fn after<'a>(done: &'a Admin, key: &str) -> Option<&'a Value> {
    done.after.as_ref()?.get(key)
}

/// What somebody wrote as a reason must not become a link or call a whole channel.
fn escaped(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AdminActor, AdminOutcome};
    use crate::evidence::Moment;

    fn asked(reason: &'static str, break_glass: bool) -> Admin {
        Admin {
            at: Moment(1_800_000_000_000),
            id: Some("01M8".to_owned()),
            actor: AdminActor { user: Some("ann".into()), person: Some("p1".into()), device: None, issuer: None },
            action: "grant-ask",
            target: "role payroll-approver".to_owned(),
            outcome: AdminOutcome::Done,
            reason: Some(reason.into()),
            before: None,
            after: Some(json!({"id": "g_1", "role": "payroll-approver", "user": "ann", "break-glass": break_glass})),
        }
    }

    /// The actions that the code names, found in its text: an event nobody knows of cannot be asked for.
    #[test]
    fn every_action_is_an_event_and_every_event_an_action() {
        let code = [
            include_str!("deliver.rs"),
            include_str!("../issuing.rs"),
            include_str!("../enrolment.rs"),
            include_str!("../grants.rs"),
            include_str!("../devices.rs"),
            include_str!("../live.rs"),
            include_str!("../identities.rs"),
        ];
        let before = [
            "About::new(\"",
            "action: \"",
            "} => \"",
            "GIVE_UP_EVENT: &str = \"",
            "Withdraw => \"",
            "Suspend => \"",
            "Watch => \"",
            "Resume => \"",
            "Revoke => \"",
        ];
        let mut found: Vec<&str> = code
            .iter()
            .flat_map(|text| text.lines())
            .flat_map(|line| before.iter().filter_map(|before| line.split_once(before)))
            .filter_map(|(_, after)| after.split('"').next())
            .filter(|name| name.contains('-'))
            .chain(["break-glass"])
            .collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, EVENTS);
    }

    #[test]
    fn programs_get_the_whole_line() {
        let body: Value =
            serde_json::from_str(&body(Format::Json, "w_1", "grant-ask", &asked("INC-1", false))).unwrap();
        assert_eq!(
            body,
            json!({
                "id": "w_1", "event": "grant-ask", "at": "2027-01-15T08:00:00.000Z", "request": "01M8",
                "actor": {"user": "ann", "person": "p1"}, "target": "role payroll-approver", "reason": "INC-1",
                "after": {"id": "g_1", "role": "payroll-approver", "user": "ann", "break-glass": false},
            })
        );
    }

    #[test]
    fn people_get_a_sentence_that_commands_nobody() {
        let body = body(Format::Chat, "w_1", "grant-ask", &asked("<!channel> & <https://evil|here>\n*now*", false));
        let body: Value = serde_json::from_str(&body).unwrap();
        let text = body["text"].as_str().unwrap();
        assert!(text.starts_with("ann asks for the role payroll-approver: &lt;!channel&gt; &amp; &lt;https"), "{text}");
        assert!(text.ends_with("refuse with `rangegate grant refuse g_1`."), "{text}");
        assert!(!text.contains(['<', '>', '\n']));
    }

    #[test]
    fn breaking_the_glass_is_an_event_of_its_own() {
        assert_eq!(event(&asked("", true)), "break-glass");
        assert_eq!(event(&asked("", false)), "grant-ask");
    }
}
