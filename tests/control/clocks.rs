//! Grants under a clock that a test holds: it goes on, stands still, and is set forward and back.
//!
//! The administrator, the store and the memory are real; what is held is asked as every request asks it.

use crate::upstream::Upstream;
use rangegate::access::{Action, Actor, GrantState, Refusal};
use rangegate::audit::{AdminActor, Audit, AuditSettings, WhenUnwritable};
use rangegate::authority::invitation::Invitation;
use rangegate::authority::revocation::{Why, read_published};
use rangegate::authority::{Authority, Passphrase};
use rangegate::authority::{Code, Revoked};
use rangegate::control::enrolment::NewInvitation;
use rangegate::control::grants::NewGrant;
use rangegate::control::webhook::{Before, Format, Rounds, WebhookSettings, Webhooks};
use rangegate::control::{Administrator, Fault, Issuing, Who};
use rangegate::evidence::{Certificate, Device, DeviceStatus, Fact, Moment, Subject};
use rangegate::policy::Context;
use rangegate::sources::recall::{Regrouped, Tide, recall};
use rangegate::state::devices::Devices;
use rangegate::state::memory::Memory;
use rangegate::state::policies::Policies;
use rangegate::store::document::space;
use rangegate::store::{Delivery, Expect, Handle, Kind, Store, StoreSettings, Write};
use serde_json::Value;
use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const POLICY: &str = "
[[resource]]
id = 'r'
hosts = ['r.example']
upstream = 'http://127.0.0.1:1'
require = [{ id = 'q', that = { grant = 'role' } }]

[[role]]
id = 'role'
opens = 'r'
longest = '1h'
ask-within = '10m'
reason = 'optional'
approvers = { group = 'leads' }
";

const NOW: Moment = Moment(1_800_000_000_000);
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * 24 * HOUR;

thread_local! {
    /// Every test has a thread of its own, on which everything here that asks for the time runs.
    static CLOCK: Cell<i64> = const { Cell::new(NOW.0) };
}

fn clock() -> Moment {
    Moment(CLOCK.get())
}

/// Sets the clock to so many milliseconds after `NOW`.
fn at(millis: i64) {
    CLOCK.set(NOW.0 + millis);
}

struct Stage {
    administrator: Arc<Administrator>,
    _directory: TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| Vec::new()).await
    }

    async fn with(webhooks: impl FnOnce(&Path) -> Vec<WebhookSettings>) -> Self {
        Self::issuing(webhooks, |_| None).await
    }

    async fn issuing(
        webhooks: impl FnOnce(&Path) -> Vec<WebhookSettings>,
        issuing: impl FnOnce(&Path) -> Option<Issuing>,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let here = directory.path();
        std::fs::create_dir(here.join("policies")).expect("a directory");
        std::fs::write(here.join("policies/all.toml"), POLICY).expect("written");
        let store = Store::open(&StoreSettings::sqlite(here.join("store.db"))).await.expect("opens");
        let memory = Arc::new(Memory::new(Arc::new(Devices::default())));
        memory.load(&store, clock()).await.expect("loads");
        let policies = Policies::load(here.join("policies"), Context::default());
        let audit = AuditSettings {
            path: here.join("audit.jsonl"),
            rotate_bytes: 1 << 30,
            rotate_after: Duration::from_secs(86_400),
            keep: None,
            queue: 1024,
            when_unwritable: WhenUnwritable::Deny,
            sync_every: None,
        };
        let administrator = Administrator {
            store,
            memory,
            tide: Arc::<Tide>::default(),
            policies: Arc::new(policies.unwrap_or_else(|faults| panic!("{:?}", faults.diagnostics))),
            audit: Audit::start(audit, || NOW).expect("a log"),
            cores: Arc::default(),
            issuing: issuing(here).map(Arc::new),
            clock,
            webhooks: Arc::new(Webhooks::load(&webhooks(here)).expect("webhooks")),
            importing: Arc::default(),
            forgetting: Arc::default(),
        };
        Self { administrator: Arc::new(administrator), _directory: directory }
    }

    async fn asked(&self, user: &str) -> Arc<str> {
        let new = NewGrant { role: "role".into(), reason: "".into(), duration: None, break_glass: false };
        let actor = Actor::unrecorded(user.into(), Vec::new());
        let (held, _) = self.administrator.ask(&who(user), &actor, &new, None, None).await.expect("asked");
        held.value.id
    }

    async fn approve(&self, id: &Arc<str>) -> Result<GrantState, Fault> {
        let lead = Actor::unrecorded("lee".into(), vec!["leads".into()]);
        let approve = Action::Approve { note: None };
        let held = self.administrator.step_grant(&who("lee"), &lead, id, &approve, |_| Ok(())).await?;
        Ok(held.value.state)
    }

    async fn granted(&self, user: &str) -> Arc<str> {
        let id = self.asked(user).await;
        self.approve(&id).await.expect("approved");
        id
    }

    /// As a request would find it.
    fn holds(&self, user: &str) -> bool {
        let Administrator { memory, tide, policies, .. } = &*self.administrator;
        let subject = Subject {
            issuer: "i".into(),
            id: user.into(),
            user: user.into(),
            groups: Vec::new(),
            assurance: Vec::new(),
            acr: None,
            amr: Vec::new(),
            authenticated: None,
            expires: Moment(i64::MAX),
            bound_to: None,
        };
        let policy = policies.current();
        let subject = Fact::Known(Arc::new(subject));
        let recalled = recall(
            memory,
            subject,
            &Fact::Absent,
            |role| policy.role(role),
            &Regrouped::default(),
            tide.reach(clock()),
        );
        recalled.grants.known().is_some_and(|grants| grants.iter().any(|grant| grant.is_held(clock())))
    }

    async fn state(&self, id: &str) -> GrantState {
        self.administrator.grant(id).await.expect("there").value.state
    }
}

/// The built-in authority.
fn built_in(at: &Path) -> Option<Issuing> {
    let settings = crate::world::authority(at);
    let passphrase = Passphrase::new("correct horse battery staple").expect("a passphrase");
    let authority = Authority::load(&settings, &passphrase).expect("an authority");
    Some(Issuing::new(authority, settings))
}

fn who(user: &str) -> Who {
    Who { actor: AdminActor { user: Some(user.into()), person: None, device: None, issuer: None }, request: None }
}

#[tokio::test]
async fn it_ends_to_the_millisecond_and_is_written_so() {
    let stage = Stage::new().await;
    let id = stage.granted("ann").await;
    for (after, held) in [(0, true), (HOUR - 1, true), (HOUR, false), (HOUR + 1, false)] {
        at(after);
        assert_eq!(stage.holds("ann"), held, "{after} ms after");
    }
    at(HOUR - 1);
    assert!(!stage.holds("ann"), "what was seen to end does not begin again");
    at(HOUR + 5 * MINUTE);
    stage.administrator.expire_grants().await;
    assert_eq!(stage.state(&id).await, GrantState::Expired { since: NOW, at: NOW.plus_millis(HOUR) });
}

#[tokio::test]
async fn while_the_clock_stands_still_nothing_ends_and_nothing_is_written() {
    let stage = Stage::new().await;
    let id = stage.granted("ann").await;
    at(HOUR - 1);
    let revision = stage.administrator.memory.revision();
    for _ in 0..50 {
        assert!(stage.holds("ann"));
        stage.administrator.expire_grants().await;
    }
    assert_eq!(stage.administrator.memory.revision(), revision);
    assert!(matches!(stage.state(&id).await, GrantState::Active { .. }));
    at(HOUR);
    assert!(!stage.holds("ann"), "one millisecond later it is over");
}

#[tokio::test]
async fn a_clock_set_back_brings_nothing_back() {
    let stage = Stage::new().await;
    let id = stage.granted("ann").await;
    at(HOUR);
    assert!(!stage.holds("ann"));
    // Before anybody has written it down.
    at(-HOUR);
    assert!(!stage.holds("ann"));
    stage.administrator.expire_grants().await;
    assert_eq!(stage.state(&id).await, GrantState::Expired { since: NOW, at: NOW.plus_millis(HOUR) });
    assert!(!stage.holds("ann"), "nor after");
    at(1);
    assert!(!stage.holds("ann"));
}

#[tokio::test]
async fn a_clock_set_forward_by_mistake_and_back_ends_what_was_held_and_not_what_comes() {
    for swept_meanwhile in [false, true] {
        at(0);
        let stage = Stage::new().await;
        let (old, waiting) = (stage.granted("ann").await, stage.asked("bob").await);
        at(YEAR);
        assert!(!stage.holds("ann"), "early is the safe side");
        if swept_meanwhile {
            stage.administrator.expire_grants().await;
        }
        at(MINUTE);
        stage.administrator.expire_grants().await;
        assert!(matches!(stage.state(&old).await, GrantState::Expired { .. }));
        assert!(matches!(stage.state(&waiting).await, GrantState::Lapsed { .. }));
        assert!(!stage.holds("ann"));
        // The clock is right, and counts.
        let new = stage.granted("zoe").await;
        assert!(stage.holds("zoe"), "swept meanwhile: {swept_meanwhile}");
        stage.administrator.expire_grants().await;
        at(MINUTE + HOUR - 1);
        assert!(stage.holds("zoe"));
        at(MINUTE + HOUR);
        assert!(!stage.holds("zoe"));
        stage.administrator.expire_grants().await;
        let (since, end) = (NOW.plus_millis(MINUTE), NOW.plus_millis(MINUTE + HOUR));
        assert_eq!(stage.state(&new).await, GrantState::Expired { since, at: end });
    }
}

/// Until the ends are written down, a clock that was set back is not believed: not even where the store is away.
#[tokio::test]
async fn without_a_store_the_clock_is_not_believed_again() {
    let stage = Stage::new().await;
    stage.granted("ann").await;
    at(HOUR);
    assert!(!stage.holds("ann"));
    stage.administrator.store.close().await;
    at(0);
    stage.administrator.expire_grants().await;
    assert!(!stage.holds("ann"));
}

#[tokio::test]
async fn what_nobody_answered_in_time_cannot_be_approved() {
    let stage = Stage::new().await;
    let late = stage.asked("ann").await;
    at(10 * MINUTE);
    let refused = stage.approve(&late).await;
    assert!(matches!(refused, Err(Fault::Access(Refusal::Lapsed))), "{refused:?}");
    assert!(!stage.holds("ann"));
    let just = stage.asked("bob").await;
    at(20 * MINUTE - 1);
    let since = NOW.plus_millis(20 * MINUTE - 1);
    let approved = stage.approve(&just).await.expect("approved");
    assert_eq!(approved, GrantState::Active { since, until: since.plus_millis(HOUR) });
    assert!(stage.holds("bob"));
}

/// A webhook whose target is not there.
fn nowhere(at: &Path, name: &str) -> WebhookSettings {
    WebhookSettings {
        name: name.to_owned(),
        url: "http://127.0.0.1:1/".to_owned(),
        authority: None,
        private: false,
        secret: crate::pki::file(at, "chat.secret", crate::webhooks::SECRET),
        events: vec!["*".to_owned()],
        format: Format::Chat,
        acts: false,
        retry_after: Duration::from_secs(15),
    }
}

/// What came where, and when: the target's name, the delivery, and milliseconds after `NOW`.
type Came = Arc<Mutex<Vec<(&'static str, String, i64)>>>;

/// A target on this test's thread, so that it reads this test's clock.
async fn target(name: &'static str, came: &Came, answer: impl Fn() -> u16 + Send + Sync + 'static) -> Upstream {
    let came = Arc::clone(came);
    Upstream::http1(move |request| {
        let delivery = request.headers()["rangegate-delivery"].to_str().expect("text").to_owned();
        came.lock().expect("no panic").push((name, delivery, clock().0 - NOW.0));
        let status = answer();
        async move { crate::upstream::status(status, "") }
    })
    .await
}

#[tokio::test]
async fn a_target_that_fails_for_an_hour_hears_at_the_moments_documented_and_holds_up_no_other() {
    const SECOND: i64 = 1000;
    let came = Came::default();
    let failing = target("failing", &came, || if clock().0 - NOW.0 < HOUR { 500 } else { 204 }).await;
    let well = target("well", &came, || 204).await;
    let urls = [("failing", failing.url()), ("well", well.url())];
    let stage = Stage::with(|at| urls.map(|(name, url)| WebhookSettings { url, ..nowhere(at, name) }).to_vec()).await;
    let rounds = Arc::<Rounds>::default();
    let begun = std::time::Instant::now();
    for second in (0..=75 * 60).step_by(5) {
        at(second * SECOND);
        if let Some(user) = [(0, "ann"), (20 * 60, "bob"), (40 * 60, "zoe")].iter().find(|asks| asks.0 == second) {
            stage.asked(user.1).await;
        }
        // Until nothing is due and nothing is under way: each attempt holds the rounds.
        loop {
            stage.administrator.deliver_due(&rounds).await;
            tokio::task::yield_now().await;
            let left = stage.administrator.page::<Delivery>(Kind::Delivery, "", 100).await.expect("an answer");
            let settled = Arc::strong_count(&rounds) == 1 && left.iter().all(|left| left.value.next > clock());
            if settled {
                break;
            }
            assert!(begun.elapsed() < 2 * crate::gateway::PATIENCE, "second {second}: {left:#?}");
        }
    }
    let left = stage.administrator.page::<Delivery>(Kind::Delivery, "", 100).await.expect("an answer");
    assert!(left.is_empty(), "all are taken now: {left:#?}");
    // As docs/webhooks.md has it: after 15 and 30 seconds, 1, 2 and 5 minutes, then every 10.
    let waits = [15, 30, 60, 120, 300].into_iter().chain(std::iter::repeat(600)).map(|seconds| seconds * SECOND);
    let came = came.lock().expect("no panic");
    let moments = |name: &str| {
        let mut moments = std::collections::BTreeMap::<_, Vec<i64>>::new();
        for (_, delivery, at) in came.iter().filter(|came| came.0 == name) {
            moments.entry(delivery).or_default().push(*at);
        }
        let mut moments: Vec<_> = moments.into_values().collect();
        moments.sort();
        moments
    };
    let asked = [0, 20 * MINUTE, 40 * MINUTE];
    let documented = asked.map(|asked| {
        let mut attempts = vec![asked];
        for wait in waits.clone() {
            let last = attempts.last().copied().unwrap_or(asked);
            if last >= HOUR {
                break;
            }
            attempts.push(last + wait);
        }
        attempts
    });
    assert_eq!(moments("failing"), documented);
    assert_eq!(documented[0].len(), 12, "{documented:?}");
    assert_eq!(moments("well"), asked.map(|asked| vec![asked]), "at once, and once");
}

/// Two targets that are away for days are told of what the other missed, and not of that for ever.
#[tokio::test]
async fn what_nobody_took_for_a_day_is_given_up_and_told_of_once() {
    let stage = Stage::with(|at| vec![nowhere(at, "one"), nowhere(at, "other")]).await;
    stage.asked("ann").await;
    let rounds = Arc::<Rounds>::default();
    for (day, waiting) in [(0, vec!["grant-ask"; 2]), (1, vec!["delivery-give-up"; 4]), (2, Vec::new())] {
        at(day * 25 * HOUR);
        let begun = std::time::Instant::now();
        loop {
            stage.administrator.deliver_due(&rounds).await;
            tokio::task::yield_now().await;
            let left = stage.administrator.page::<Delivery>(Kind::Delivery, "", 100).await.expect("an answer");
            let events: Vec<_> = left.iter().map(|delivery| &*delivery.value.event).collect();
            let tried = left.iter().all(|delivery| delivery.value.attempts > 0);
            if events == waiting && tried {
                break;
            }
            assert!(begun.elapsed() < crate::gateway::PATIENCE, "day {day}: {events:?}");
        }
    }
}

/// A call is remembered for longer than anybody believes it, and no longer.
#[tokio::test]
async fn a_call_is_remembered_until_nobody_believes_it_any_more() {
    let stage = Stage::with(|at| vec![WebhookSettings { acts: true, ..nowhere(at, "chat") }]).await;
    let administrator = &stage.administrator;
    let hook = administrator.webhooks.named("chat").expect("the hook");
    // As far ahead as a signature may be.
    let signature = crate::webhooks::signed(NOW.millis() / 1000 + 300, "{}");
    let signed = hook.verify(Some(&signature), b"{}", clock()).expect("believed");
    assert_eq!(administrator.called(hook, &signed).await, Ok(Before::Never));
    assert_eq!(administrator.called(hook, &signed).await, Ok(Before::Unanswered));
    administrator.answered(hook, &signed, "done".to_owned()).await;
    at(10 * MINUTE);
    assert!(hook.verify(Some(&signature), b"{}", clock()).is_ok(), "still believed");
    for after in [10 * MINUTE, 15 * MINUTE] {
        at(after);
        administrator.tend(false).await;
        assert_eq!(administrator.called(hook, &signed).await, Ok(Before::Answered("done".to_owned())));
    }
    at(15 * MINUTE + 1);
    assert!(hook.verify(Some(&signature), b"{}", clock()).is_err());
    administrator.tend(false).await;
    assert_eq!(administrator.called(hook, &signed).await, Ok(Before::Never), "nobody believes it any more");
}

/// A bot that runs wild is stopped; it costs little to see when there is room again.
#[tokio::test]
async fn ten_thousand_calls_of_a_webhook_are_remembered_and_no_more_are_made() {
    let acting = |at: &Path, name| WebhookSettings { acts: true, ..nowhere(at, name) };
    let stage = Stage::with(|at| vec![acting(at, "chat"), acting(at, "other")]).await;
    let administrator = &stage.administrator;
    let call = |n: usize| {
        let body = format!("{{\"hook\":\"chat\",\"at\":{}}}", NOW.0);
        Write::Put { kind: Kind::Call, id: format!("c_{n:05}").into(), expect: Expect::New, body }
    };
    // By another gateway of the same store.
    administrator.store.commit((1..10_000).map(call).collect(), NOW).await.expect("written");
    administrator.tend(false).await;
    let mut number = 0;
    let mut called = async |name: &str| {
        number += 1;
        let body = number.to_string();
        let signature = crate::webhooks::signed(clock().millis() / 1000, &body);
        let hook = administrator.webhooks.named(name).expect("the hook");
        let signed = hook.verify(Some(&signature), body.as_bytes(), clock()).expect("believed");
        administrator.called(hook, &signed).await
    };
    assert_eq!(called("chat").await, Ok(Before::Never), "the last there is room for");
    let full = |told: &Result<Before, Fault>| matches!(told, Err(Fault::Away(why)) if why.contains("too many calls"));
    let told = called("chat").await;
    assert!(full(&told), "{told:?}");
    assert_eq!(called("other").await, Ok(Before::Never), "each webhook has room of its own");
    at(10 * MINUTE);
    administrator.tend(false).await;
    let kept = administrator.page::<Value>(Kind::Call, "", 20_000).await.expect("an answer").len();
    assert_eq!(kept, 10_001, "as long as they may be believed");
    // So many are not read again at once.
    for (after, room) in [(1, false), (50_000, false), (60_000, true)] {
        at(10 * MINUTE + after);
        administrator.tend(false).await;
        let told = called("chat").await;
        assert_eq!((told == Ok(Before::Never), full(&told)), (room, !room), "{after}: {told:?}");
    }
}

impl Stage {
    async fn withdrawn(&self, user: &str) -> Arc<str> {
        let id = self.asked(user).await;
        let actor = Actor::unrecorded(user.into(), Vec::new());
        let withdrawn = self.administrator.step_grant(&who(user), &actor, &id, &Action::Withdraw, |_| Ok(())).await;
        withdrawn.expect("withdrawn");
        id
    }

    /// What is left of these, in the store and in memory.
    async fn left(&self, ids: &[Arc<str>]) -> Vec<bool> {
        let mut left = Vec::new();
        for id in ids {
            let kept = self.administrator.grant(id).await.is_ok();
            assert_eq!(self.administrator.memory.grant(id).is_some(), kept, "{id}");
            left.push(kept);
        }
        left
    }
}

#[tokio::test]
async fn what_is_over_is_forgotten_after_a_month_and_no_id_comes_again() {
    let stage = Stage::new().await;
    let mut ids = Vec::new();
    for minute in 0..4 {
        at(minute * 2 * MINUTE);
        ids.push(stage.withdrawn("ann").await);
    }
    at(10 * MINUTE);
    ids.push(stage.granted("ann").await);
    let other = stage.withdrawn("bob").await;
    at(2 * HOUR);
    stage.administrator.tend(false).await;
    at(30 * DAY);
    stage.administrator.tend(false).await;
    assert_eq!(stage.left(&ids).await, [true; 5]);
    // All of it is a month old now, and what was held ended an hour later.
    at(30 * DAY + 90 * MINUTE);
    stage.administrator.tend(false).await;
    assert_eq!(stage.left(&ids).await, [false, false, false, false, true], "the last one stays: ids follow from it");
    assert!(stage.administrator.grant(&other).await.is_ok());
    let next = stage.asked("ann").await;
    assert!(!ids.contains(&next));
    let again = stage.withdrawn("bob").await;
    assert_ne!(again, other);
    at(31 * DAY);
    stage.administrator.tend(false).await;
    assert_eq!(stage.left(&[ids[4].clone(), next, other, again]).await, [false, true, false, true]);
}

#[tokio::test]
async fn who_asks_all_day_is_stopped_and_costs_requests_nothing() {
    let stage = Stage::new().await;
    for _ in 0..100 {
        stage.withdrawn("ann").await;
    }
    let new = NewGrant { role: "role".into(), reason: "".into(), duration: None, break_glass: false };
    let ann = Actor::unrecorded("ann".into(), Vec::new());
    let asked = stage.administrator.ask(&who("ann"), &ann, &new, None, None).await;
    let until = NOW.plus_millis(DAY);
    assert!(matches!(asked, Err(Fault::Access(Refusal::TooMany { until: told })) if told == until), "{asked:?}");
    assert_eq!(stage.administrator.memory.grants("ann").len(), 0);
    at(DAY);
    stage.granted("ann").await;
    assert_eq!(stage.administrator.memory.grants("ann").len(), 1);
    at(DAY + 2 * HOUR);
    stage.administrator.tend(false).await;
    stage.administrator.learn().await;
    assert_eq!(stage.administrator.memory.grants("ann").len(), 0, "ended an hour ago, and told of for an hour");
}

#[tokio::test]
async fn invitations_and_revocations_that_are_over_are_forgotten() {
    let stage = Stage::issuing(|_| Vec::new(), built_in).await;
    let administrator = &stage.administrator;
    let (withdrawn, _) = administrator.invite(&who("lee"), &invitation(DAY)).await.expect("invited");
    administrator.withdraw_invitation(&who("lee"), &withdrawn.value.id).await.expect("withdrawn");
    let (unused, _) = administrator.invite(&who("lee"), &invitation(5 * DAY)).await.expect("invited");
    let revoked = Revoked { serial: "7".into(), at: NOW, expires: NOW.plus_millis(DAY), why: Why::default() };
    let body = serde_json::to_string(&revoked).expect("JSON");
    let write = Write::Put { kind: Kind::Revocation, id: "7".into(), expect: Expect::New, body };
    administrator.store.commit(vec![write], NOW).await.expect("written");
    let there = async |kind, id: &str| administrator.store.get(kind, id).await.expect("an answer").is_some();
    for (millis, first, second, listed) in [
        (2 * DAY, true, true, true),
        (2 * DAY + HOUR, true, true, false),
        (30 * DAY, true, true, false),
        (30 * DAY + HOUR, false, true, false),
        (35 * DAY + HOUR, false, false, false),
    ] {
        at(millis);
        administrator.tend(false).await;
        assert_eq!(there(Kind::Invitation, &withdrawn.value.id).await, first, "{millis}");
        assert_eq!(there(Kind::Invitation, &unused.value.id).await, second, "{millis}");
        // A list counts for a day.
        assert_eq!(there(Kind::Revocation, "7").await, listed, "{millis}");
    }
    assert!(administrator.page::<Invitation>(Kind::Invitation, "", 10).await.expect("an answer").is_empty());
}

/// A disk that is full, or a directory that is closed to the gateway, gets its list as soon as it can.
#[tokio::test]
async fn a_list_that_cannot_be_written_is_tried_again_soon_and_told_of_once() {
    let elsewhere = |at: &Path| {
        let mut issuing = built_in(at)?;
        issuing.settings.revocation_list = at.join("lists/authority.crl");
        Some(issuing)
    };
    let stage = Stage::issuing(|_| Vec::new(), elsewhere).await;
    let (administrator, here) = (&stage.administrator, stage._directory.path());
    let (lists, list) = (here.join("lists"), here.join("lists/authority.crl"));
    let told = async || {
        administrator.audit.written().await;
        let log = std::fs::read_to_string(here.join("audit.jsonl")).expect("a log");
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let lines = lines.filter(|line| line["action"] == "revocation-list");
        lines.map(|line| line["outcome"].as_str().expect("an outcome").to_owned()).collect::<Vec<_>>()
    };
    administrator.tend(false).await;
    assert_eq!(told().await, ["failed"]);
    std::fs::create_dir(&lists).expect("a directory");
    for (after, written) in [(4_999, false), (5_000, true)] {
        at(after);
        administrator.tend(false).await;
        assert_eq!(list.exists(), written, "{after}");
    }
    assert_eq!(told().await, ["failed", "done"]);
    // A revocation comes while it is away again, and for long.
    std::fs::remove_dir_all(&lists).expect("removed");
    let revoked = Revoked { serial: "7".into(), at: NOW, expires: NOW.plus_millis(DAY), why: Why::default() };
    let body = serde_json::to_string(&revoked).expect("JSON");
    let write = Write::Put { kind: Kind::Revocation, id: "7".into(), expect: Expect::New, body };
    administrator.store.commit(vec![write], NOW).await.expect("written");
    administrator.learn().await;
    administrator.tend(true).await;
    for second in 6..600 {
        at(second * 1000);
        administrator.tend(false).await;
    }
    assert_eq!(told().await, ["failed", "done", "failed"], "once, however often it was tried");
    std::fs::create_dir(&lists).expect("a directory");
    for second in 600..=660 {
        at(second * 1000);
        administrator.tend(false).await;
    }
    let last = read_published(&list).expect("a list, within a minute");
    assert_eq!(last.entries, 1);
    assert_eq!(told().await, ["failed", "done", "failed", "done"]);
    at(HOUR);
    administrator.tend(false).await;
    assert_eq!(read_published(&list), Some(last), "from then on when it is due");
}

fn invitation(expires_in: i64) -> NewInvitation {
    let expires_in = u64::try_from(expires_in / 1000).ok();
    NewInvitation { user: "ann".into(), class: "corporate".into(), device: None, expires_in }
}

/// Whatever the policy lets through: nobody asks twice what the memory of this gateway knew a moment ago.
#[tokio::test]
async fn a_suspended_owners_device_renews_nothing() {
    let stage = Stage::issuing(|_| Vec::new(), built_in).await;
    let administrator = &stage.administrator;
    let (_, csr) = crate::enrolment::request(stage._directory.path(), "device").await;
    let csr = std::fs::read(csr).expect("a request");
    let device = Device {
        id: "d_1".into(),
        owner: Some("ann@old".into()),
        class: "corporate".into(),
        status: DeviceStatus::Active,
    };
    let record = serde_json::json!({ "id": "d_1", "owner": "ann@old", "class": "corporate", "status": "active" });
    let ann = |status: &str| {
        serde_json::json!({ "user": "ann", "person": "ann", "aliases": ["ann@old"], "status": status }).to_string()
    };
    let put = |kind, id: &str, expect, body| Write::Put { kind, id: id.into(), expect, body };
    let name =
        |name: &str| Write::Claim { handle: Handle::new(space::USER, name), kind: Kind::Identity, id: "ann".into() };
    let writes = vec![
        put(Kind::Device, "d_1", Expect::New, record.to_string()),
        put(Kind::Identity, "ann", Expect::New, ann("suspended")),
        name("ann"),
        name("ann@old"),
    ];
    administrator.store.commit(writes, NOW).await.expect("written");
    let certificate = Certificate {
        sha256: "".into(),
        spki_sha256: "".into(),
        serial: "1".into(),
        subject: "".into(),
        issuer: "".into(),
        sans: vec!["uri:urn:rangegate:device:d_1".into()],
        not_before: NOW,
        not_after: NOW,
        class: None,
    };
    let renewed = administrator.renew(&who("ann"), &certificate, &device, &csr).await;
    assert!(matches!(&renewed, Err(Fault::Admit(fault)) if fault.code() == "owner-suspended"), "{renewed:?}");
    let again = vec![put(Kind::Identity, "ann", Expect::Version(1), ann("active"))];
    administrator.store.commit(again, NOW).await.expect("written");
    let renewed = administrator.renew(&who("ann"), &certificate, &device, &csr).await;
    assert!(!matches!(renewed, Err(Fault::Admit(_))), "{renewed:?}");
}

#[tokio::test]
async fn whoever_has_a_good_code_is_heard_while_a_stranger_tries_others() {
    let stage = Stage::issuing(|_| Vec::new(), built_in).await;
    let administrator = &stage.administrator;
    let (_, code) = administrator.invite(&who("lee"), &invitation(DAY)).await.expect("invited");
    let guesses = &administrator.issuing.as_ref().expect("an authority").guesses;
    for n in 0..1_000 {
        let _ = guesses.attempt(std::net::IpAddr::from([0x2001, 0xdb8, 0, n, 0, 0, 0, 1]), clock());
    }
    let office = Some(std::net::IpAddr::from([192, 0, 2, 1]));
    let revision = administrator.memory.revision();
    for wrong in [Code::of(&[7; 17]).to_string(), "nonsense".to_owned()] {
        let told = administrator.enrol(&who("nobody"), &wrong, b"no request", office).await;
        assert!(matches!(told, Err(Fault::Guesses(_))), "{told:?}");
    }
    // It is looked at, and what is wrong is the request alone.
    let told = administrator.enrol(&who("nobody"), &code.to_string(), b"no request", office).await;
    assert!(matches!(told, Err(Fault::Issue(_))), "{told:?}");
    assert_eq!(administrator.memory.revision(), revision);
}
