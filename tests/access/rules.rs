//! Each rule of asking, approving and holding.

use rangegate::access::grant::Phase;
use rangegate::access::{
    Action, Actor, Answer, Asking, GrantRecord, GrantState, Parties, Refusal, ask, expire, held, held_lately, standing,
    step,
};
use rangegate::evidence::{Device, DeviceStatus, Employment, Grant, Identity, IdentityStatus, Moment, Over};
use rangegate::policy::source::Source;
use rangegate::policy::{Context, Policy, Role, given};
use std::sync::{Arc, LazyLock};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-03-04 10:00 in UTC, a Wednesday.
const NOW: Moment = Moment(1_772_618_400_000);

// ---- asking ----

#[test]
fn a_request_waits_as_long_as_the_role_says_and_says_what_was_asked() {
    let record = asked(&plain());
    assert_eq!(record.state, GrantState::Asked { until: after(8 * HOUR) });
    assert_eq!(
        (&*record.user, &*record.person, &*record.reason, record.duration),
        ("ann", "p-ann", "the ledger", 1_800_000)
    );
    assert_eq!(asked(&role("ask-within = '5m'")).state, GrantState::Asked { until: after(5 * MINUTE) });
}

#[test]
fn only_those_may_ask_whom_the_role_names() {
    let named = role("ask = { group = 'staff', employment = ['employee', 'contractor'] }");
    assert!(asks(&named, &ann(), ASKING).is_ok());
    assert_eq!(asks(&named, &Actor { groups: vec!["sales".into()], ..ann() }, ASKING), Err(Refusal::MayNotAsk));
    assert_eq!(asks(&named, &Actor { employment: Some(Employment::Vendor), ..ann() }, ASKING), Err(Refusal::MayNotAsk));
    assert_eq!(
        asks(&named, &Actor { employment: None, ..ann() }, ASKING),
        Err(Refusal::MayNotAsk),
        "unknown never passes"
    );
    assert!(
        asks(&plain(), &Actor::unrecorded("new".into(), Vec::new()), ASKING).is_ok(),
        "anybody, where nobody is named"
    );
}

#[test]
fn a_role_that_is_not_there_cannot_be_asked_for() {
    assert_eq!(ask(None, [], &ann(), ASKING, NOW), Err(Refusal::NoSuchRole));
}

#[test]
fn the_reason_is_there_and_looks_as_it_must() {
    let long = "x".repeat(1001);
    let reason = |reason| Asking { reason, ..ASKING };
    assert_eq!(asks(&plain(), &ann(), reason("  ")), Err(Refusal::ReasonMissing));
    assert!(asks(&role("reason = 'optional'"), &ann(), reason("")).is_ok());
    let ticket = role("reason-pattern = 'INC-####*'");
    assert_eq!(asks(&ticket, &ann(), reason("the ledger")), Err(Refusal::ReasonUnlike { pattern: "INC-####*".into() }));
    assert!(asks(&ticket, &ann(), reason(" INC-1234 the ledger ")).is_ok());
    assert_eq!(asks(&plain(), &ann(), reason(&long)), Err(Refusal::ReasonUnreadable));
    assert_eq!(asks(&plain(), &ann(), reason("a\u{1b}[2Jb")), Err(Refusal::ReasonUnreadable));
}

#[test]
fn nobody_asks_for_longer_than_the_longest() {
    let lasting = |duration_ms| Asking { duration_ms, ..ASKING };
    let duration = |asking| new(asks(&plain(), &ann(), asking)).duration;
    assert_eq!(duration(lasting(None)), 1_800_000, "the default");
    assert_eq!(duration(lasting(Some(3_600_000))), 3_600_000);
    for wrong in [0, 3_600_001, u64::MAX] {
        assert_eq!(asks(&plain(), &ann(), lasting(Some(wrong))), Err(Refusal::TooLong { longest_ms: 3_600_000 }));
    }
}

#[test]
fn sent_twice_it_is_asked_once() {
    let role = plain();
    let first = asked(&role);
    let again = |actor: &Actor, asking, records: &[&GrantRecord]| {
        ask(Some(&role), records.iter().copied(), actor, asking, after(1))
    };
    assert_eq!(again(&ann(), ASKING, &[&first]), Ok(Answer::Same("g_1".into())), "the same account, role and reason");
    assert_eq!(
        again(&ann(), Asking { reason: "another", ..ASKING }, &[&first]),
        Err(Refusal::AlreadyAsked { id: "g_1".into() })
    );
    let second = Actor { user: "ann-admin".into(), ..ann() };
    assert_eq!(again(&second, ASKING, &[&first]), Err(Refusal::AlreadyAsked { id: "g_1".into() }), "one for a person");
    assert!(matches!(again(&bob(), ASKING, &[&first]), Ok(Answer::New(_))), "somebody else's is somebody else's");
    let active = approved(&role, &first, &[&lee()], NOW).unwrap();
    assert_eq!(again(&ann(), ASKING, &[&active]), Ok(Answer::Same("g_1".into())), "also once it is held");
    assert_eq!(
        again(&ann(), Asking { reason: "another", ..ASKING }, &[&active]),
        Err(Refusal::AlreadyHeld { id: "g_1".into(), until: after(30 * MINUTE) })
    );
}

#[test]
fn a_key_names_one_submission_whatever_became_of_it() {
    let role = plain();
    let keyed = Asking { key: Some("k1"), ..ASKING };
    let first = new(asks(&role, &ann(), keyed));
    let refused = act(&role, &first, &lee(), Action::Refuse { why: "no".into() }, NOW).unwrap();
    let again = |asking| ask(Some(&role), [&refused], &ann(), asking, after(1));
    assert_eq!(again(keyed), Ok(Answer::Same("g_1".into())));
    assert_eq!(again(Asking { reason: "another", ..keyed }), Err(Refusal::KeyReused));
    assert!(matches!(again(Asking { key: Some("k2"), ..ASKING }), Ok(Answer::New(_))), "asked again on purpose");
    assert!(
        matches!(ask(Some(&role), [&refused], &bob(), keyed, after(1)), Ok(Answer::New(_))),
        "keys are each account's own"
    );
}

#[test]
fn nobody_asks_more_than_a_hundred_times_a_day() {
    let role = role("break-glass = { group = 'staff', longest = '1h' }");
    let withdrawn = |n: i64| GrantRecord {
        id: format!("g{n}").into(),
        asked: after(n),
        state: GrantState::Withdrawn { at: after(n) },
        ..asked(&role)
    };
    let refused = |n: i64| GrantRecord {
        state: GrantState::Refused { at: after(n), by: "lee".into(), why: "no".into() },
        ..withdrawn(n)
    };
    let mut own: Vec<GrantRecord> = (0..50).map(withdrawn).chain((50..100).map(refused)).collect();
    let day = 24 * HOUR;
    for (now, until) in [(after(100), day), (after(day - 1), day)] {
        let told = Refusal::TooMany { until: after(until) };
        assert_eq!(ask(Some(&role), &own, &ann(), ASKING, now), Err(told));
    }
    assert!(ask(Some(&role), &own, &ann(), ASKING, after(day)).is_ok(), "the first was a day ago");
    assert!(ask(Some(&role), &own, &ann(), BREAKING.to_owned(), after(100)).is_ok(), "the glass is another matter");
    assert!(ask(Some(&role), &own, &bob(), ASKING, after(100)).is_ok(), "as is another person");
    own.pop();
    assert!(ask(Some(&role), &own, &ann(), ASKING, after(100)).is_ok());
}

#[test]
fn nobody_has_more_open_than_can_be_looked_after() {
    let role = plain();
    let other = |n: usize| GrantRecord { id: format!("g{n}").into(), role: format!("r{n}").into(), ..asked(&role) };
    let open: Vec<GrantRecord> = (0..32).map(other).collect();
    assert_eq!(ask(Some(&role), &open, &ann(), ASKING, NOW), Err(Refusal::TooManyOpen));
    assert!(ask(Some(&role), &open[1..], &ann(), ASKING, NOW).is_ok());
}

#[test]
fn a_role_that_needs_no_approval_is_held_at_once() {
    let role = compiled("longest = '1h'\ndefault = '30m'\napprovals = 0");
    assert_eq!(asked(&role).state, GrantState::Active { since: NOW, until: after(30 * MINUTE) });
}

#[test]
fn after_one_was_held_the_person_waits() {
    let role = role("cool-down = '20m'");
    let active = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    let again = |record: &GrantRecord, at| ask(Some(&role), [record], &ann(), Asking { id: "g_2", ..ASKING }, at);
    let expired = expire(&active, after(30 * MINUTE)).unwrap();
    for ended in [&active, &expired] {
        assert_eq!(again(ended, after(50 * MINUTE - 1)), Err(Refusal::CoolingDown { until: after(50 * MINUTE) }));
        assert!(again(ended, after(50 * MINUTE)).is_ok());
    }
    let ended = act(&role, &active, &ann(), Action::End { why: "done".into() }, after(MINUTE)).unwrap();
    assert_eq!(again(&ended, after(2 * MINUTE)), Err(Refusal::CoolingDown { until: after(21 * MINUTE) }));
    let refused = act(&role, &asked(&role), &lee(), Action::Refuse { why: "no".into() }, NOW).unwrap();
    assert!(again(&refused, after(1)).is_ok(), "what was never held cools nothing");
}

// ---- hours ----

#[test]
fn nothing_outlasts_the_hours() {
    let office = role("hours = { days = 'mon-fri', hours = '08:00-18:00', zone = 'UTC' }\nask-within = '12h'");
    let at = |hour: i64, minute: i64| after((hour - 10) * HOUR + minute * MINUTE);
    assert_eq!(ask(Some(&office), [], &ann(), ASKING, at(18, 0)), Err(Refusal::OutsideHours));
    assert_eq!(ask(Some(&office), [], &ann(), ASKING, at(7, 59)), Err(Refusal::OutsideHours));
    let record = asked(&office);
    let late = approved(&office, &record, &[&lee()], at(17, 50)).unwrap();
    assert_eq!(late.state, GrantState::Active { since: at(17, 50), until: at(18, 0) });
    assert_eq!(approved(&office, &record, &[&lee()], at(18, 0)), Err(Refusal::OutsideHours));
    // hours that got shorter while it is held
    let shorter = role("hours = { hours = '08:00-10:10', zone = 'UTC' }");
    let held = approved(&office, &record, &[&lee()], NOW).unwrap();
    assert_eq!(standing(&held, Some(&office), NOW).unwrap().expires, after(30 * MINUTE));
    assert_eq!(standing(&held, Some(&shorter), NOW).unwrap().expires, after(10 * MINUTE));
    assert_eq!(standing(&held, Some(&shorter), after(10 * MINUTE)), None);
}

// ---- approving ----

#[test]
fn approved_it_is_held_from_then_on() {
    let role = plain();
    let active = approved(&role, &asked(&role), &[&lee()], after(7)).unwrap();
    assert_eq!(active.state, GrantState::Active { since: after(7), until: after(7 + 30 * MINUTE) });
    assert_eq!((&*active.approvals[0].user, active.approvals[0].at), ("lee", after(7)));
}

#[test]
fn nobody_approves_what_they_asked_for_from_any_account() {
    let role = role("approvers = { group = ['leads', 'staff'] }");
    let record = asked(&role);
    let alias = Actor { user: "ann".into(), person: "p-else".into(), groups: vec!["leads".into()], ..ann() };
    let second = Actor { user: "ann-admin".into(), groups: vec!["leads".into()], ..ann() };
    for actor in [&ann(), &alias, &second] {
        assert_eq!(approved(&role, &record, &[actor], NOW), Err(Refusal::SelfApproval), "{actor:?}");
        assert_eq!(act(&role, &record, actor, Action::Refuse { why: "x".into() }, NOW), Err(Refusal::SelfApproval));
    }
    // two accounts that were known to be one person's only after it was asked
    let merged = Actor { person: "p-lee".into(), ..ann() };
    let parties = Parties { actor: &lee(), holder: &merged };
    assert_eq!(step(Some(&role), &record, parties, &Action::Approve { note: None }, NOW), Err(Refusal::SelfApproval));
}

#[test]
fn each_person_approves_once() {
    let two = role("approvals = 2");
    let record = asked(&two);
    let once = approved(&two, &record, &[&lee()], NOW).unwrap();
    assert!(matches!(once.state, GrantState::Asked { .. }));
    assert_eq!(approved(&two, &once, &[&lee()], NOW), Ok(once.clone()), "sent twice, counted once");
    let other_account = Actor { user: "lee-admin".into(), ..lee() };
    assert_eq!(approved(&two, &once, &[&other_account], NOW), Err(Refusal::SamePerson));
    let both = approved(&two, &once, &[&max()], after(5)).unwrap();
    assert_eq!(both.state, GrantState::Active { since: after(5), until: after(5 + 30 * MINUTE) });
    assert_eq!(approved(&two, &both, &[&max()], after(6)), Ok(both.clone()), "sent twice, begun once");
    assert_eq!(approved(&two, &both, &[&sue()], after(6)), Err(Refusal::AlreadyBegun));
}

#[test]
fn approvers_are_those_of_this_moment() {
    let role = plain();
    let record = asked(&role);
    let left = Actor { groups: Vec::new(), ..lee() };
    assert_eq!(approved(&role, &record, &[&left], NOW), Err(Refusal::NotAnApprover));
    assert_eq!(approved(&role, &record, &[&bob()], NOW), Err(Refusal::NotAnApprover));
    // who approved and left since has approved
    let two = self::role("approvals = 2");
    let once = approved(&two, &asked(&two), &[&lee()], NOW).unwrap();
    assert!(matches!(approved(&two, &once, &[&max()], NOW).unwrap().state, GrantState::Active { .. }));
}

#[test]
fn the_manager_approves_as_a_person() {
    let role = role("approvers = { manager = true }");
    let record = asked(&role);
    assert_eq!(approved(&role, &record, &[&lee()], NOW), Err(Refusal::NotAnApprover));
    let other_account = Actor { user: "sue-admin".into(), ..sue() };
    for manager in [&sue(), &other_account] {
        assert!(matches!(approved(&role, &record, &[manager], NOW).unwrap().state, GrantState::Active { .. }));
    }
    let new_manager = Actor { manager: Some("p-max".into()), ..ann() };
    let parties = Parties { actor: &sue(), holder: &new_manager };
    assert_eq!(step(Some(&role), &record, parties, &Action::Approve { note: None }, NOW), Err(Refusal::NotAnApprover));
}

#[test]
fn the_owner_of_the_resource_approves() {
    let role = role("approvers = { owner = true }");
    let record = asked(&role);
    assert_eq!(approved(&role, &record, &[&lee()], NOW), Err(Refusal::NotAnApprover));
    let owner = Actor { groups: vec!["owners".into()], ..max() };
    assert!(approved(&role, &record, &[&owner], NOW).is_ok());
}

#[test]
fn a_request_lapses_to_the_millisecond() {
    let role = plain();
    let record = asked(&role);
    assert!(approved(&role, &record, &[&lee()], after(8 * HOUR - 1)).is_ok());
    assert_eq!(approved(&role, &record, &[&lee()], after(8 * HOUR)), Err(Refusal::Lapsed));
    assert_eq!(expire(&record, after(8 * HOUR - 1)), None);
    let lapsed = expire(&record, after(9 * HOUR)).unwrap();
    assert_eq!(lapsed.state, GrantState::Lapsed { at: after(8 * HOUR) });
    assert_eq!(approved(&role, &lapsed, &[&lee()], NOW), Err(Refusal::Lapsed), "whatever the clock says");
    assert_eq!(act(&role, &record, &ann(), Action::Withdraw, after(8 * HOUR)), Err(Refusal::Lapsed));
}

#[test]
fn a_refusal_is_final_and_sent_twice_one() {
    let role = plain();
    let refuse =
        |record: &GrantRecord, actor: &Actor| act(&role, record, actor, Action::Refuse { why: "no".into() }, NOW);
    let refused = refuse(&asked(&role), &lee()).unwrap();
    assert_eq!(refused.state, GrantState::Refused { at: NOW, by: "lee".into(), why: "no".into() });
    assert_eq!(refuse(&refused, &lee()), Ok(refused.clone()));
    assert_eq!(refuse(&refused, &max()), Err(Refusal::Over));
    assert_eq!(approved(&role, &refused, &[&max()], NOW), Err(Refusal::Over));
    assert_eq!(refuse(&asked(&role), &bob()), Err(Refusal::NotAnApprover));
}

#[test]
fn what_is_asked_can_be_withdrawn_by_the_asker_alone() {
    let role = plain();
    let record = asked(&role);
    let second = Actor { user: "ann-admin".into(), ..ann() };
    let withdrawn = act(&role, &record, &second, Action::Withdraw, NOW).unwrap();
    assert_eq!(withdrawn.state, GrantState::Withdrawn { at: NOW });
    assert_eq!(act(&role, &withdrawn, &ann(), Action::Withdraw, after(1)), Ok(withdrawn.clone()));
    assert_eq!(act(&role, &record, &lee(), Action::Withdraw, NOW), Err(Refusal::NotYours));
    let active = approved(&role, &record, &[&lee()], NOW).unwrap();
    assert_eq!(act(&role, &active, &ann(), Action::Withdraw, NOW), Err(Refusal::AlreadyBegun));
}

// ---- ending ----

#[test]
fn what_is_held_can_be_ended_by_the_holder_or_an_approver() {
    let role = plain();
    let active = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    let end =
        |record: &GrantRecord, actor: &Actor, at| act(&role, record, actor, Action::End { why: "done".into() }, at);
    for actor in [&ann(), &max()] {
        let ended = end(&active, actor, after(5)).unwrap();
        assert_eq!(
            ended.state,
            GrantState::Ended { since: NOW, at: after(5), by: Arc::clone(&actor.user), why: "done".into() }
        );
        assert_eq!(standing(&ended, Some(&role), after(6)), None);
        assert_eq!(end(&ended, actor, after(9)), Ok(ended.clone()));
    }
    assert_eq!(end(&active, &bob(), after(5)), Err(Refusal::NotYours));
    assert_eq!(end(&active, &ann(), after(30 * MINUTE)), Err(Refusal::Over), "it was over by itself");
    assert_eq!(end(&asked(&role), &ann(), NOW), Err(Refusal::NotBegun));
}

#[test]
fn whoever_may_revoke_ends_what_is_held_and_refuses_what_waits() {
    let role = plain();
    let revoke = |record: &GrantRecord, at| act(&role, record, &bob(), Action::Revoke { why: "incident".into() }, at);
    assert!(matches!(revoke(&asked(&role), NOW).unwrap().state, GrantState::Refused { .. }));
    let active = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    let revoked = revoke(&active, after(1)).unwrap();
    assert!(matches!(revoked.state, GrantState::Ended { .. }));
    assert_eq!(revoke(&revoked, after(2)), Err(Refusal::Over));
    // a role that is gone is no way to keep a grant from being ended
    let parties = Parties { actor: &bob(), holder: &ann() };
    assert!(step(None, &active, parties, &Action::Revoke { why: "x".into() }, after(1)).is_ok());
}

#[test]
fn a_grant_ends_to_the_millisecond() {
    let role = plain();
    let active = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    let end = after(30 * MINUTE);
    assert_eq!(standing(&active, Some(&role), Moment(end.millis() - 1)).unwrap().expires, end);
    assert_eq!(standing(&active, Some(&role), end), None);
    assert_eq!(expire(&active, Moment(end.millis() - 1)), None);
    let expired = expire(&active, after(HOUR)).unwrap();
    assert_eq!(expired.state, GrantState::Expired { since: NOW, at: end });
    assert_eq!(expired.phase(NOW), Phase::Over);
}

#[test]
fn what_ended_within_the_last_hour_is_told_and_counts_for_nothing() {
    let role = plain();
    let active = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    let end = after(30 * MINUTE);
    let lately = |records: &[&GrantRecord], role: &Role, device: Option<&str>, now| -> Vec<Grant> {
        held_lately(records.iter().copied(), |id| (id == "role").then_some(role), device, now).to_vec()
    };
    let over = |over, expires| vec![Grant { role: "role".into(), expires, over: Some(over) }];
    assert_eq!(lately(&[&active], &role, None, NOW), [Grant::held("role".into(), end)]);
    // Before anybody has written it down, and after.
    let expired = expire(&active, end).unwrap();
    for record in [&active, &expired] {
        for now in [end, after(90 * MINUTE - 1)] {
            assert_eq!(lately(&[record], &role, None, now), over(Over::Expired, end));
            assert!(held([record], |_| Some(&role), None, now).is_empty());
        }
        assert_eq!(lately(&[record], &role, None, after(90 * MINUTE)), []);
    }
    let why = Action::End { why: "done".into() };
    let ended = act(&role, &active, &ann(), why, after(MINUTE)).unwrap();
    assert_eq!(lately(&[&ended], &role, None, after(2 * MINUTE)), over(Over::Ended, after(MINUTE)));
    // By today's role it ended sooner.
    let shorter = compiled("longest = '10m'\ndefault = '5m'\napprovers = { group = 'leads' }");
    assert_eq!(lately(&[&active], &shorter, None, after(10 * MINUTE)), over(Over::Expired, after(10 * MINUTE)));
    // Of one role the last; and nothing where another counts.
    assert_eq!(lately(&[&ended, &expired], &role, None, end), over(Over::Expired, end));
    assert_eq!(lately(&[&expired, &ended], &role, None, end), over(Over::Expired, end));
    let again = GrantRecord { state: GrantState::Active { since: end, until: after(HOUR) }, ..active.clone() };
    for records in [[&expired, &again], [&again, &expired]] {
        assert_eq!(lately(&records, &role, None, after(40 * MINUTE)), [Grant::held("role".into(), after(HOUR))]);
    }
    // What was never held is not told of, nor what another device's grant was, nor a role that is gone.
    assert_eq!(lately(&[&asked(&role)], &role, None, after(HOUR)), []);
    let elsewhere = GrantRecord { break_glass: true, device: Some("d".into()), ..expired.clone() };
    assert_eq!(lately(&[&elsewhere], &role, Some("e"), end), []);
    assert_eq!(lately(&[&elsewhere], &role, Some("d"), end), over(Over::Expired, end));
    assert!(held_lately([&expired], |_| None, None, end).is_empty());
}

// ---- clocks ----

#[test]
fn an_end_that_is_written_is_final_whatever_the_clock_does() {
    let role = plain();
    let active = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    let expired = expire(&active, after(30 * MINUTE)).unwrap();
    for now in [i64::MIN, 0, NOW.millis(), after(MINUTE).millis(), i64::MAX] {
        assert_eq!(standing(&expired, Some(&role), Moment(now)), None);
        assert_eq!(expire(&expired, Moment(now)), None);
    }
}

#[test]
fn a_clock_that_was_set_back_approves_nothing_and_holds_nothing_from_the_future() {
    let role = plain();
    let record = asked(&role);
    assert_eq!(approved(&role, &record, &[&lee()], after(-MINUTE - 1)), Err(Refusal::ClockBehind));
    // two gateways' clocks may differ by a minute: then nothing happens before what it follows from
    let active = approved(&role, &record, &[&lee()], after(-MINUTE)).unwrap();
    assert_eq!(active.state, GrantState::Active { since: NOW, until: after(30 * MINUTE) });
    assert!(standing(&active, Some(&role), after(-MINUTE)).is_some());
    assert_eq!(standing(&active, Some(&role), after(-MINUTE - 1)), None);
    let ended = act(&role, &active, &ann(), Action::End { why: "done".into() }, after(-HOUR)).unwrap();
    assert_eq!(ended.ended(NOW), Some(NOW), "ended no earlier than begun");
}

#[test]
fn no_moment_is_too_far() {
    let role = plain();
    for now in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
        let Ok(Answer::New(record)) = ask(Some(&role), [], &ann(), ASKING, Moment(now)) else { continue };
        let _ =
            approved(&role, &record, &[&lee()], Moment(now)).map(|active| standing(&active, Some(&role), Moment(now)));
    }
    let forever = GrantRecord { duration: u64::MAX, ..asked(&role) };
    let active = approved(&role, &forever, &[&lee()], NOW).unwrap();
    assert_eq!(active.state, GrantState::Active { since: NOW, until: after(HOUR) }, "no longer than the longest");
}

// ---- roles that change ----

#[test]
fn a_role_that_is_gone_opens_nothing_and_is_approved_by_nobody() {
    let role = plain();
    let record = asked(&role);
    let parties = Parties { actor: &lee(), holder: &ann() };
    for action in [Action::Approve { note: None }, Action::Refuse { why: "x".into() }] {
        assert_eq!(step(None, &record, parties, &action, NOW), Err(Refusal::RoleGone));
    }
    assert!(step(None, &record, Parties { actor: &ann(), holder: &ann() }, &Action::Withdraw, NOW).is_ok());
    let active = approved(&role, &record, &[&lee()], NOW).unwrap();
    assert_eq!(standing(&active, None, NOW), None);
    let parties = Parties { actor: &ann(), holder: &ann() };
    assert!(step(None, &active, parties, &Action::End { why: "x".into() }, NOW).is_ok(), "the holder may give it back");
}

#[test]
fn a_role_that_got_shorter_shortens_what_waits_and_what_is_held() {
    let (role, shorter) = (plain(), compiled("longest = '10m'\napprovers = { group = 'leads' }"));
    let record = asked(&role);
    let later = approved(&shorter, &record, &[&lee()], NOW).unwrap();
    assert_eq!(later.state, GrantState::Active { since: NOW, until: after(10 * MINUTE) });
    let active = approved(&role, &record, &[&lee()], NOW).unwrap();
    assert_eq!(standing(&active, Some(&shorter), NOW).unwrap().expires, after(10 * MINUTE));
    assert_eq!(standing(&active, Some(&shorter), after(10 * MINUTE)), None);
    let longer = compiled("longest = '8h'\napprovers = { group = 'leads' }");
    assert_eq!(standing(&active, Some(&longer), NOW).unwrap().expires, after(30 * MINUTE), "nothing gets longer");
}

#[test]
fn a_role_that_asks_for_more_approvals_is_no_longer_held_by_fewer() {
    let (one, two) = (plain(), role("approvals = 2"));
    let active = approved(&one, &asked(&one), &[&lee()], NOW).unwrap();
    assert!(standing(&active, Some(&one), NOW).is_some());
    assert_eq!(standing(&active, Some(&two), NOW), None);
    let waits = approved(&two, &asked(&one), &[&lee()], NOW).unwrap();
    assert!(matches!(waits.state, GrantState::Asked { .. }), "today's role says how many");
}

#[test]
fn whoever_may_no_longer_ask_is_no_longer_approved() {
    let (role, narrow) = (plain(), role("ask = { group = 'other' }\nreason-pattern = 'INC-#'"));
    assert_eq!(approved(&narrow, &asked(&role), &[&lee()], NOW), Err(Refusal::HolderMayNotAsk));
    let ticket = self::role("reason-pattern = 'INC-#'");
    assert!(matches!(approved(&ticket, &asked(&role), &[&lee()], NOW), Err(Refusal::ReasonUnlike { .. })));
}

#[test]
fn a_record_is_worth_nothing_under_another_role() {
    let role = plain();
    let active = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    let other = GrantRecord { role: "other".into(), ..active };
    assert_eq!(standing(&other, Some(&role), NOW), None);
    assert_eq!(
        approved(&role, &GrantRecord { role: "other".into(), ..asked(&role) }, &[&lee()], NOW),
        Err(Refusal::RoleGone)
    );
}

// ---- suspension ----

#[test]
fn whoever_is_suspended_neither_asks_nor_answers_nor_is_approved() {
    let role = plain();
    let suspended = |actor: Actor| Actor { suspended: true, ..actor };
    assert_eq!(asks(&role, &suspended(ann()), ASKING), Err(Refusal::Suspended));
    let record = asked(&role);
    assert_eq!(approved(&role, &record, &[&suspended(lee())], NOW), Err(Refusal::Suspended));
    let parties = Parties { actor: &lee(), holder: &suspended(ann()) };
    assert_eq!(
        step(Some(&role), &record, parties, &Action::Approve { note: None }, NOW),
        Err(Refusal::HolderSuspended)
    );
    assert!(step(Some(&role), &record, parties, &Action::Refuse { why: "x".into() }, NOW).is_ok());
    for action in [Action::Withdraw, Action::Revoke { why: "x".into() }, Action::Review { note: None }] {
        assert_eq!(act(&role, &record, &suspended(ann()), action, NOW), Err(Refusal::Suspended));
    }
}

// ---- breaking the glass ----

#[test]
fn broken_glass_begins_at_once_is_marked_and_bound_to_the_device() {
    let role = glass();
    let record = new(asks(&role, &oncall(), *BREAKING));
    assert_eq!(record.state, GrantState::Active { since: NOW, until: after(10 * MINUTE) });
    assert!(record.break_glass && record.needs_review() && record.approvals.is_empty());
    let on = |device| held([&record], |id| (id == "role").then_some(&role), device, NOW).len();
    assert_eq!((on(Some("laptop")), on(Some("other")), on(None)), (1, 0, 0));
    let ordinary = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    assert_eq!(held([&ordinary], |_| Some(&role), None, NOW).len(), 1, "an ordinary grant is the account's");
}

#[test]
fn the_glass_is_broken_by_those_named_from_a_device_of_theirs() {
    let role = glass();
    assert_eq!(asks(&role, &ann(), *BREAKING), Err(Refusal::MayNotBreakGlass));
    assert_eq!(asks(&plain(), &oncall(), *BREAKING), Err(Refusal::NoBreakGlass));
    assert_eq!(asks(&role, &oncall(), Asking { device: None, ..*BREAKING }), Err(Refusal::DeviceNeeded));
    for device in [
        device("bob", DeviceStatus::Active),
        device("ann", DeviceStatus::Suspended),
        device("ann", DeviceStatus::Revoked),
    ] {
        let asking = Asking { device: Some(&device), ..ASKING };
        assert_eq!(asks(&role, &oncall(), Asking { break_glass: true, ..asking }), Err(Refusal::DeviceNotYours));
    }
    assert_eq!(asks(&role, &oncall(), Asking { reason: "", ..*BREAKING }), Err(Refusal::ReasonMissing));
    let too_long = Asking { duration_ms: Some(600_001), ..*BREAKING };
    assert_eq!(asks(&role, &oncall(), too_long), Err(Refusal::TooLong { longest_ms: 600_000 }));
}

#[test]
fn neither_hours_nor_cool_down_nor_a_waiting_request_hold_up_the_glass() {
    let role = role(
        "hours = { hours = '02:00-03:00', zone = 'UTC' }\ncool-down = '1h'\nask = { group = 'nobody' }\n\
         reason-pattern = 'INC-#'\nbreak-glass = { group = 'oncall', longest = '10m' }",
    );
    let waiting = asked(&plain());
    assert!(matches!(ask(Some(&role), [&waiting], &oncall(), *BREAKING, NOW), Ok(Answer::New(_))));
    let broken = new(asks(&role, &oncall(), *BREAKING));
    assert!(standing(&broken, Some(&role), NOW).is_some());
    assert_eq!(ask(Some(&role), [&broken], &oncall(), *BREAKING, NOW), Ok(Answer::Same("g_1".into())));
    let other = device("ann", DeviceStatus::Active);
    let other = Device { id: "other".into(), ..other };
    let elsewhere = Asking { device: Some(&other), ..*BREAKING };
    assert!(
        matches!(ask(Some(&role), [&broken], &oncall(), elsewhere, NOW), Ok(Answer::New(_))),
        "on another device it counts for nothing"
    );
}

#[test]
fn a_role_may_have_nothing_but_glass() {
    let role = compiled("longest = '1h'\nbreak-glass = { group = 'oncall', reviewers = { group = 'security' } }");
    assert_eq!(asks(&role, &oncall(), ASKING), Err(Refusal::OnlyBreakGlass));
    assert!(asks(&role, &oncall(), *BREAKING).is_ok());
}

#[test]
fn when_the_glass_is_taken_away_nothing_is_held_by_it() {
    let record = new(asks(&glass(), &oncall(), *BREAKING));
    assert_eq!(standing(&record, Some(&plain()), NOW), None);
    let shorter = role("break-glass = { group = 'oncall', longest = '1m' }");
    assert_eq!(standing(&record, Some(&shorter), NOW).unwrap().expires, after(MINUTE));
}

#[test]
fn somebody_else_reviews_once() {
    let role = glass();
    let record = new(asks(&role, &oncall(), *BREAKING));
    let review = |record: &GrantRecord, actor: &Actor| {
        act(&role, record, actor, Action::Review { note: Some("seen".into()) }, after(HOUR))
    };
    let security = Actor { groups: vec!["security".into()], ..max() };
    let own_account = Actor { user: "ann-admin".into(), groups: vec!["security".into()], ..ann() };
    assert_eq!(review(&record, &own_account), Err(Refusal::SelfReview));
    assert_eq!(review(&record, &lee()), Err(Refusal::NotAReviewer));
    let reviewed = review(&record, &security).unwrap();
    assert!(!reviewed.needs_review() && reviewed.review.as_ref().unwrap().note.as_deref() == Some("seen"));
    assert_eq!(review(&reviewed, &security), Ok(reviewed.clone()));
    let other = Actor { groups: vec!["security".into()], ..bob() };
    assert_eq!(review(&reviewed, &other), Err(Refusal::AlreadyReviewed));
    assert_eq!(review(&asked(&role), &security), Err(Refusal::NothingToReview));
    // without reviewers of its own, the approvers look; without the role, anybody else
    let by_approvers = self::role("break-glass = { group = 'oncall' }");
    assert!(act(&by_approvers, &record, &lee(), Action::Review { note: None }, NOW).is_ok());
    let parties = Parties { actor: &bob(), holder: &ann() };
    assert!(step(None, &record, parties, &Action::Review { note: None }, NOW).is_ok());
}

// ---- who is who ----

#[test]
fn the_record_says_who_somebody_is() {
    let identity = Identity {
        groups: Some(vec!["leads".into()]),
        status: IdentityStatus::Suspended,
        person: "p".into(),
        ..given::person("lee")
    };
    let actor = Actor::recorded(&identity, &["token".into()], None);
    assert_eq!((&*actor.person, actor.groups.as_slice(), actor.suspended), ("p", ["leads".into()].as_slice(), true));
    let bare = Actor::recorded(&Identity { groups: None, ..identity }, &["token".into()], None);
    assert_eq!(bare.groups, ["token".into()]);
}

#[test]
fn records_read_back_as_they_were_written() {
    let role = glass();
    let active = approved(&role, &asked(&role), &[&lee()], NOW).unwrap();
    let ended = act(&role, &active, &ann(), Action::End { why: "done".into() }, after(1)).unwrap();
    let broken = new(asks(&role, &oncall(), Asking { key: Some("k"), ..*BREAKING }));
    let security = Actor { groups: vec!["security".into()], ..max() };
    let reviewed = act(&role, &broken, &security, Action::Review { note: None }, NOW).unwrap();
    for record in [asked(&role), expire(&active, after(HOUR)).unwrap(), active, ended, broken, reviewed] {
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<GrantRecord>(&json).unwrap(), record, "{json}");
    }
}

// ---- the cast ----

const ASKING: Asking<'static> =
    Asking { id: "g_1", key: None, reason: "the ledger", duration_ms: None, device: None, break_glass: false };

/// From a device of Ann's.
static BREAKING: LazyLock<Asking<'static>> =
    LazyLock::new(|| Asking { break_glass: true, device: Some(&LAPTOP), ..ASKING });

static LAPTOP: LazyLock<Device> = LazyLock::new(|| device("ann", DeviceStatus::Active));

fn device(owner: &str, status: DeviceStatus) -> Device {
    Device { id: "laptop".into(), owner: Some(owner.into()), class: "corporate".into(), status }
}

fn actor(user: &str, group: &str) -> Actor {
    Actor {
        user: user.into(),
        person: format!("p-{user}").into(),
        groups: vec![group.into()],
        employment: Some(Employment::Employee),
        suspended: false,
        manager: None,
    }
}

fn ann() -> Actor {
    Actor { manager: Some("p-sue".into()), ..actor("ann", "staff") }
}

fn oncall() -> Actor {
    Actor { groups: vec!["staff".into(), "oncall".into()], ..ann() }
}

fn bob() -> Actor {
    actor("bob", "staff")
}

fn lee() -> Actor {
    actor("lee", "leads")
}

fn max() -> Actor {
    actor("max", "leads")
}

fn sue() -> Actor {
    actor("sue", "bosses")
}

fn after(millis: i64) -> Moment {
    NOW.plus_millis(millis)
}

/// One hour at most, half an hour unless said, approved by a lead; and `more`, which may name other approvers.
fn role(more: &str) -> Role {
    let approvers = if more.contains("approvers =") { "" } else { "approvers = { group = 'leads' }\n" };
    compiled(&format!("longest = '1h'\ndefault = '30m'\n{approvers}{more}"))
}

fn plain() -> Role {
    role("")
}

fn glass() -> Role {
    role("break-glass = { group = 'oncall', longest = '10m', reviewers = { group = 'security' } }")
}

fn compiled(lines: &str) -> Role {
    let text = format!(
        "[[resource]]\nid = 'r'\nhosts = ['r.example']\nupstream = 'http://127.0.0.1:1'\nowner = {{ group = 'owners' }}\n\
         require = [{{ id = 'q', that = {{ grant = 'role' }} }}]\n[[role]]\nid = 'role'\nopens = 'r'\n{lines}\n"
    );
    let policy = Policy::compile(&[Source::new("t", text)], &Context::default()).unwrap();
    policy.role("role").unwrap().clone()
}

fn asks(role: &Role, actor: &Actor, asking: Asking<'_>) -> Result<Answer, Refusal> {
    ask(Some(role), [], actor, asking, NOW)
}

fn new(answer: Result<Answer, Refusal>) -> GrantRecord {
    match answer {
        Ok(Answer::New(record)) => record,
        other => panic!("{other:?}"),
    }
}

fn asked(role: &Role) -> GrantRecord {
    new(asks(role, &ann(), ASKING))
}

fn act(role: &Role, record: &GrantRecord, actor: &Actor, action: Action, now: Moment) -> Result<GrantRecord, Refusal> {
    step(Some(role), record, Parties { actor, holder: &ann() }, &action, now)
}

fn approved(role: &Role, record: &GrantRecord, by: &[&Actor], now: Moment) -> Result<GrantRecord, Refusal> {
    by.iter().try_fold(record.clone(), |record, actor| act(role, &record, actor, Action::Approve { note: None }, now))
}
