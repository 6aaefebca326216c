//! The audit log from outside: one record for every request, whatever happens to the request, the disk or the clock.

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use proptest::prelude::*;
use rangegate::audit::replay::Replay;
use rangegate::audit::verify::{FaultKind, Log, Report, verify};
use rangegate::audit::{
    Alert, AlertKind, Audit, AuditSettings, Connection, ConnectionFault, ControlEvent, End, Entry, Exchange, Refused,
    Tls, WhenUnwritable,
};
use rangegate::evidence::timing::{TcpTiming, TlsSource, TlsTiming};
use rangegate::evidence::{
    Asn, Binding, Certificate, Device, DeviceStatus, Emergency, Evidence, Fact, Fault, Moment, Network, Place,
    Protocol, Quota, Request, Subject, Timing, Via,
};
use rangegate::latency::{Coordinates, Kilometres, Rtt};
use rangegate::policy::{
    Decided, Decision, Finding, Mode, Origin, Outcome, Reason, Remedy, Resource, Scheme, Scope, Seen, Sensitivity,
    Verdict,
};
use serde_json::Value;
use smallvec::smallvec;
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NOW: Moment = Moment(1_785_000_000_123);
const SOON: Duration = Duration::from_secs(20);

// ---- every way out ----

#[test]
fn every_way_out_leaves_one_record() {
    let bench = Bench::new();
    let audit = bench.start();
    let decided = |id: &str| decided(&audit, id, "GET", Outcome::Forward);

    deliver(decided("read").follow(Response::new(Full::from("abc"))));
    drop(decided("given-up").follow(Response::new(Full::from("abc"))));
    drop(decided("empty").follow(Response::new(Empty::<Bytes>::new())));
    drop(decided("before-answer"));
    let head = self::decided(&audit, "head", "HEAD", Outcome::Forward);
    drop(head.follow(Response::new(Full::from("abc"))));
    drop(audit.open(&connection(), &request("before-decision", "GET"), NOW));
    deliver(decided("upstream-died").follow(Response::new(Broken { sent: false })));
    deliver(decided("upstream-slow").follow_with(Response::new(Broken { sent: false }), |_| Some(End::Timeout)));
    let panicked = std::thread::scope(|scope| {
        let task = scope.spawn(|| {
            let _entry = decided("panic");
            std::panic::resume_unwind(Box::new("on purpose"))
        });
        task.join()
    });
    assert!(panicked.is_err());
    decided("tunnel").upgraded(101, NOW).finish(End::Complete);
    drop(decided("tunnel-dropped").upgraded(101, NOW));
    let mut cut = decided("tunnel-cut").upgraded(101, NOW);
    audit.cut("tunnel-cut", "certificate-revoked", NOW);
    cut.cutting("certificate-revoked");
    cut.finish(End::Complete);

    audit.close(SOON).expect("everything is written");
    assert_eq!(
        bench.ends(),
        [
            ("read", "complete"),
            ("given-up", "client-gone"),
            ("empty", "complete"),
            ("before-answer", "client-gone"),
            ("head", "complete"),
            ("before-decision", "client-gone"),
            ("upstream-died", "upstream-error"),
            ("upstream-slow", "timeout"),
            ("panic", "panic"),
            ("tunnel", "complete"),
            ("tunnel-dropped", "client-gone"),
            ("tunnel-cut", "cut:certificate-revoked"),
        ]
        .map(|(id, end)| (id.to_owned(), end.to_owned()))
    );
    bench.assert_whole();
}

/// Written records go back to the thread that opened them, which may never open another.
#[test]
fn nothing_is_kept_of_what_was_written_when_little_happens() {
    let bench = Bench::new();
    let audit = bench.start();
    let request = request("read", "GET");
    for _ in 0..500 {
        drop(audit.open(&connection(), &request, NOW));
    }
    wait_until(|| Arc::strong_count(&request) == 1);
    audit.close(SOON).expect("everything is written");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Law 8: whatever the requests of several tasks do, each leaves exactly one closed record.
    #[test]
    fn law_8_exactly_one_closed_record(fates in prop::collection::vec(prop::collection::vec(0u8..9, 0..40), 1..4)) {
        let bench = Bench::new();
        let audit = bench.start();
        std::thread::scope(|scope| {
            for (task, fates) in fates.iter().enumerate() {
                let audit = &audit;
                scope.spawn(move || {
                    for (at, fate) in fates.iter().enumerate() {
                        meet(audit, &format!("{task}-{at}"), *fate);
                    }
                });
            }
        });
        audit.close(SOON).expect("everything is written");
        let mut closed: Vec<String> = bench.ends().into_iter().map(|(id, _)| id).collect();
        closed.sort();
        let mut expected: Vec<String> = fates
            .iter()
            .enumerate()
            .flat_map(|(task, fates)| (0..fates.len()).map(move |at| format!("{task}-{at}")))
            .collect();
        expected.sort();
        prop_assert_eq!(closed, expected);
        bench.assert_whole();
    }
}

fn meet(audit: &Audit, id: &str, fate: u8) {
    match fate {
        0 => drop(audit.open(&connection(), &request(id, "GET"), NOW)),
        1 => drop(decided(audit, id, "GET", Outcome::Deny)),
        2 => deliver(decided(audit, id, "GET", Outcome::Observe).follow(Response::new(Full::from("x")))),
        3 => drop(decided(audit, id, "GET", Outcome::Forward).follow(Response::new(Full::from("x")))),
        4 => deliver(decided(audit, id, "GET", Outcome::Forward).follow(Response::new(Broken { sent: false }))),
        5 => drop(decided(audit, id, "GET", Outcome::Forward).upgraded(101, NOW)),
        6 => {
            let mut live = decided(audit, id, "GET", Outcome::Forward).upgraded(101, NOW);
            audit.redecided(id, again(id), NOW);
            audit.cut(id, "drain", NOW);
            live.cutting("drain");
        }
        7 => {
            let mut entry = decided(audit, id, "GET", Outcome::Forward);
            entry.opened(Some(200), NOW);
            deliver(entry.follow(Response::new(Full::from("x"))));
        }
        _ => {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _entry = decided(audit, id, "GET", Outcome::Forward);
                std::panic::resume_unwind(Box::new("on purpose"));
            }));
        }
    }
}

// ---- what a record says ----

#[test]
fn a_record_says_what_happened() {
    let bench = Bench::new();
    let audit = bench.start();
    let mut entry = audit.open(&connection(), &request("r1", "POST"), NOW);
    let upload = entry.count(Full::<Bytes>::from("twelve bytes"));
    let decided = entry.record(evidence("r1", "POST"), decision(Outcome::Forward));
    assert_eq!(decided.decision.outcome, Outcome::Forward);
    block_on(upload.collect()).expect("the upload is read");
    let head = Duration::from_micros(1500);
    entry.upstream(Exchange { origin: Some(origin()), status: Some(201), head, attempts: 2, fault: None });
    let mut response = Response::new(Full::from("abc"));
    *response.status_mut() = http::StatusCode::CREATED;
    deliver(entry.follow(response));
    audit.close(SOON).expect("everything is written");

    let line = bench.lines().into_iter().find(|line| line["id"] == "r1").expect("the record");
    for (pointer, expected) in [
        ("/schema", Value::from(2)),
        ("/kind", "request".into()),
        ("/time", "2026-07-25T17:20:00.123Z".into()),
        ("/connection/listener", "public".into()),
        ("/connection/tls/version", "1.3".into()),
        ("/connection/tls/sni", "payroll.corp.example".into()),
        ("/connection/protocol", "h2".into()),
        ("/decision/policy", "0123456789abcdef".into()),
        ("/decision/resource", "payroll".into()),
        ("/decision/outcome", "forward".into()),
        ("/decision/findings/0/met", "all-met".into()),
        ("/upstream/origin", "https://10.0.4.7:8443".into()),
        ("/upstream/status", 201.into()),
        ("/upstream/attempts", 2.into()),
        ("/response/status", 201.into()),
        ("/micros/upstream", 1500.into()),
        ("/bytes/in", 12.into()),
        ("/bytes/out", 3.into()),
        ("/end", "complete".into()),
    ] {
        assert_eq!(line.pointer(pointer), Some(&expected), "{pointer} of {line}");
    }
    let back: Evidence = serde_json::from_value(line["evidence"].clone()).expect("evidence reads back");
    assert_eq!(back, evidence("r1", "POST"));
}

#[test]
fn what_lives_long_is_seen_while_it_lives() {
    let bench = Bench::new();
    let audit = bench.start();
    let mut live = decided(&audit, "ws", "GET", Outcome::Forward).upgraded(101, NOW);
    live.flow().add_received(7);
    live.flow().add_sent(70);
    audit.redecided("ws", again("ws"), NOW.plus_millis(5));
    audit.cut("ws", "certificate-revoked", NOW.plus_millis(6));
    live.cutting("certificate-revoked");
    drop(live);
    audit.close(SOON).expect("everything is written");
    let told: Vec<(String, String)> = bench
        .lines()
        .iter()
        .filter(|line| line["id"] == "ws")
        .map(|line| (text(line, "kind"), line["event"].as_str().unwrap_or_default().to_owned()))
        .collect();
    let expected = [("live", "opened"), ("live", "re-decided"), ("live", "cut"), ("request", "")];
    assert_eq!(told, expected.map(|(kind, event)| (kind.to_owned(), event.to_owned())));
    let closing = bench.lines().into_iter().rfind(|line| line["id"] == "ws").expect("the closing record");
    assert_eq!(closing["live"], true);
    assert_eq!(closing["bytes"], serde_json::json!({ "in": 7, "out": 70 }));
}

#[test]
fn an_observed_request_raises_an_alert_at_once() {
    let bench = Bench::new();
    let audit = bench.start();
    let entry = decided(&audit, "watched", "GET", Outcome::Observe);
    audit.refused(Refused {
        at: NOW,
        listener: "public".into(),
        address: [192, 0, 2, 9].into(),
        certificate: None,
        reason: ConnectionFault::Certificate(Fault::CertificateExpired),
    });
    audit.control(ControlEvent::Reload, "policy 0123456789abcdef", NOW);
    audit.alert(Alert {
        at: NOW,
        kind: AlertKind::PolicyRejected,
        id: None,
        resource: None,
        user: None,
        device: None,
        address: None,
        reason: "3 faults".into(),
    });
    drop(entry);
    audit.close(SOON).expect("everything is written");
    let lines = bench.lines();
    let kinds: Vec<(String, String)> =
        lines.iter().map(|line| (text(line, "kind"), line["event"].as_str().unwrap_or("-").to_owned())).collect();
    let expected = [
        ("control", "file-opened"),
        ("control", "start"),
        ("alert", "observed"),
        ("connection", "refused"),
        ("control", "reload"),
        ("alert", "policy-rejected"),
        ("request", "-"),
        ("control", "stop"),
    ];
    assert_eq!(kinds, expected.map(|(kind, event)| (kind.to_owned(), event.to_owned())));
}

#[test]
fn nothing_hostile_leaves_its_line() {
    let hostile = "/a\r\n{\"kind\":\"request\"}\u{1b}[2J\0\
                   \u{7f}\u{85}\u{9b}31m\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{e0041}é€";
    let bench = Bench::new();
    let audit = bench.start();
    let mut evidence = evidence("hostile", "GET");
    Arc::make_mut(&mut evidence.request).path = hostile.to_owned();
    let mut entry = audit.open(&connection(), &evidence.request, NOW);
    let _ = entry.record(evidence, decision(Outcome::Forward));
    drop(entry);
    audit.close(SOON).expect("everything is written");
    let raw = fs::read_to_string(bench.path()).expect("UTF-8");
    let odd = |c: char| c != '\n' && !(' '..='~').contains(&c) && c != 'é' && c != '€';
    assert_eq!(raw.chars().find(|c| odd(*c)), None, "{raw}");
    let line = bench.lines().into_iter().find(|line| line["id"] == "hostile").expect("the record");
    assert_eq!(line["evidence"]["request"]["path"], hostile, "nothing is lost by escaping");
    bench.assert_whole();
}

// ---- the bound ----

#[test]
fn a_full_queue_denies_and_says_how_often() {
    let mut bench = Bench::new();
    bench.settings.queue = 4;
    let audit = bench.start();
    let held: Vec<Entry> = (0..4).map(|at| decided(&audit, &format!("held-{at}"), "GET", Outcome::Forward)).collect();
    assert!(!audit.writable());
    for at in 0..3 {
        let mut entry = audit.open(&connection(), &request(&format!("over-{at}"), "GET"), NOW);
        let decision = &entry.record(evidence("over", "GET"), decision(Outcome::Forward)).decision;
        assert_eq!((decision.outcome, decision.reason), (Outcome::Deny, Reason::AuditUnavailable));
    }
    drop(held);
    wait_until(|| audit.writable());
    assert_eq!(decide(&audit, "after").outcome, Outcome::Forward);
    audit.close(SOON).expect("everything is written");
    assert_eq!(bench.ends().len(), 5);
    assert_eq!(unrecorded(&bench.lines()), 3);
    bench.assert_whole();
}

#[test]
fn by_setting_a_full_queue_forwards() {
    let mut bench = Bench::new();
    bench.settings.queue = 0;
    bench.settings.when_unwritable = WhenUnwritable::Forward;
    let audit = bench.start();
    assert_eq!(decide(&audit, "over").outcome, Outcome::Forward);
    audit.close(SOON).expect("everything is written");
    assert!(bench.ends().is_empty());
}

#[test]
fn those_who_stay_hold_no_place() {
    let mut bench = Bench::new();
    bench.settings.queue = 2;
    let audit = bench.start();
    let live: Vec<_> = (0..10)
        .map(|at| {
            let live = decided(&audit, &format!("ws-{at}"), "GET", Outcome::Forward).upgraded(101, NOW);
            wait_until(|| audit.writable());
            live
        })
        .collect();
    assert_eq!(decide(&audit, "beside").outcome, Outcome::Forward);
    drop(live);
    audit.close(SOON).expect("everything is written");
    assert_eq!(bench.ends().len(), 11);
}

#[test]
fn a_flood_of_refused_connections_leaves_room_for_requests() {
    let mut bench = Bench::new();
    bench.settings.queue = 8;
    let audit = bench.start();
    // Open entries keep the writer from freeing their places.
    let held: Vec<Entry> = (0..4).map(|at| decided(&audit, &at.to_string(), "GET", Outcome::Forward)).collect();
    let refused = Refused {
        at: NOW,
        listener: "public".into(),
        address: [192, 0, 2, 9].into(),
        certificate: None,
        reason: ConnectionFault::AddressLimit,
    };
    for _ in 0..1000 {
        audit.refused(refused.clone());
    }
    assert_eq!(decide(&audit, "legitimate").outcome, Outcome::Forward);
    drop(held);
    audit.close(SOON).expect("everything is written");
    let lines = bench.lines();
    assert!(lines.iter().all(|line| line["kind"] != "connection"));
    assert_eq!(unrecorded(&lines), 1000);
}

#[test]
fn closing_has_a_deadline() {
    let bench = Bench::new();
    let audit = bench.start();
    let stuck = decided(&audit, "stuck", "GET", Outcome::Forward);
    assert_eq!(audit.close(Duration::from_millis(20)), Err(1));
    assert!(!audit.writable());
    assert_eq!(decide(&audit, "late").outcome, Outcome::Deny, "nothing is let through after the end");
    drop(stuck);
    bench.assert_whole();
}

// ---- files ----

#[test]
fn files_rotate_and_the_chain_runs_on() {
    let mut bench = Bench::new();
    bench.settings.rotate_bytes = 16 << 10;
    let audit = bench.start();
    std::thread::scope(|scope| {
        for task in 0..3 {
            let audit = &audit;
            scope.spawn(move || (0..100).for_each(|at| meet(audit, &format!("{task}-{at}"), 1)));
        }
    });
    audit.close(SOON).expect("everything is written");
    let files = bench.files();
    assert!(files.len() > 10, "{files:?}");
    for file in &files {
        assert!(fs::metadata(file).expect("file").len() <= 16 << 10);
    }
    let report = bench.assert_whole();
    assert_eq!(report.files, files.len());
    assert_eq!(bench.ends().len(), 300);
    for pair in files.windows(2) {
        let (before, after) = (read(&pair[0]), read(&pair[1]));
        let (last, first) = (before.last().expect("last"), &after[0]);
        assert_eq!((&last["event"], &first["event"]), (&"file-closed".into(), &"file-opened".into()));
        assert_eq!(first["prev"], last["hash"]);
    }

    // A rotated file proves its own end, and begins where the one before ended.
    let alone = verify(&Log { files: vec![files[3].clone()], head: None }).expect("readable");
    assert_eq!((alone.fault_count, alone.notes.len()), (0, 1), "{alone:?}");
    // Without the file between, its lines are missing.
    let gap = verify(&Log { files: vec![files[3].clone(), files[5].clone()], head: None }).expect("readable");
    assert_eq!(kinds(&gap), [FaultKind::Missing]);
}

#[test]
fn a_file_rotates_by_age_and_old_ones_go() {
    let mut bench = Bench::new();
    bench.settings.rotate_after = Duration::ZERO;
    bench.settings.keep = Some(3);
    let audit = bench.start();
    (0..10).for_each(|at| meet(&audit, &at.to_string(), 1));
    audit.close(SOON).expect("everything is written");
    assert_eq!(bench.files().len(), 4, "three kept and the current one");
    let report = bench.assert_whole();
    assert_eq!(report.notes.len(), 1, "{report:?}");
}

#[test]
fn the_age_of_a_file_outlives_a_restart() {
    let mut bench = Bench::new();
    bench.settings.rotate_after = Duration::from_secs(3600);
    bench.start().close(SOON).expect("everything is written");
    bench.clock.store(NOW.0 + 3_600_000, Ordering::Relaxed);
    let audit = bench.start();
    meet(&audit, "later", 1);
    audit.close(SOON).expect("everything is written");
    assert_eq!(bench.files().len(), 2);
    bench.assert_whole();
}

#[test]
fn a_clock_that_steps_back_changes_nothing() {
    let mut bench = Bench::new();
    bench.settings.rotate_bytes = 16 << 10;
    for step in [0, -86_400_000, 3_600_000, i64::MIN / 2] {
        bench.clock.store(NOW.0 + step, Ordering::Relaxed);
        let audit = bench.start();
        for at in 0..20 {
            let now = NOW.plus_millis(step - at * 1000);
            drop(audit.open(&connection(), &request(&format!("{step}/{at}"), "GET"), now));
        }
        audit.close(SOON).expect("everything is written");
    }
    bench.assert_whole();
    let seqs: Vec<u64> = bench.lines().iter().map(|line| line["seq"].as_u64().expect("seq")).collect();
    assert!(seqs.iter().zip(1..).all(|(seq, expected)| *seq == expected), "{seqs:?}");
}

#[test]
fn a_restart_continues_the_chain() {
    let bench = Bench::new();
    for at in 0..3 {
        let audit = bench.start();
        meet(&audit, &at.to_string(), 1);
        audit.close(SOON).expect("everything is written");
    }
    assert_eq!(bench.files().len(), 1);
    let report = bench.assert_whole();
    assert_eq!(report.lines, 1 + 3 * 3);
}

#[test]
fn two_gateways_cannot_share_a_log() {
    let bench = Bench::new();
    let _first = bench.start();
    let second = Audit::start(bench.settings.clone(), || NOW).err().expect("refused");
    assert!(second.to_string().contains("in use by another gateway"), "{second}");
}

#[test]
fn a_line_torn_by_a_crash_is_moved_aside() {
    let bench = Bench::filled(5);
    let whole = fs::read(bench.path()).expect("log");
    fs::write(bench.path(), [&whole[..], b"{\"schema\":1,\"kind\":\"requ"].concat()).expect("torn");
    let report = bench.verify();
    assert_eq!((report.fault_count, report.torn.map(|place| place.line)), (0, Some(9)));

    bench.start().close(SOON).expect("everything is written");
    let torn = fs::read(bench.directory.path().join("audit.jsonl.torn")).expect("torn");
    assert_eq!(torn, b"{\"schema\":1,\"kind\":\"requ\n");
    let report = bench.assert_whole();
    assert_eq!(report.torn, None);
    assert!(bench.lines().iter().any(|line| line["event"] == "repaired"));
}

#[test]
fn a_last_line_that_lacks_only_its_newline_is_kept() {
    let bench = Bench::filled(5);
    let mut whole = fs::read(bench.path()).expect("log");
    whole.pop();
    fs::write(bench.path(), &whole).expect("cut");
    bench.start().close(SOON).expect("everything is written");
    let report = bench.assert_whole();
    assert_eq!(report.lines, 8 + 3);
}

#[test]
fn lines_lost_from_the_end_stay_missing_after_a_restart() {
    let bench = Bench::filled(5);
    bench.rewrite(|lines| lines.truncate(4));
    assert_eq!(kinds(&bench.verify()), [FaultKind::Cut]);
    bench.start().close(SOON).expect("everything is written");
    let report = bench.verify();
    assert_eq!(kinds(&report), [FaultKind::Missing]);
    assert_eq!(report.faults[0].text, "lines 5 to 8 are missing before line 9");
}

#[test]
fn a_file_of_something_else_is_set_aside() {
    let bench = Bench::new();
    fs::write(bench.path(), "not a log\n").expect("write");
    bench.start().close(SOON).expect("everything is written");
    let aside = bench.directory.path().join("audit.000000000000-damaged.jsonl");
    assert_eq!(fs::read(aside).expect("aside"), b"not a log\n");
    assert_eq!(read(&bench.path())[0]["event"], "file-opened");
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_with_its_path() {
    let mut bench = Bench::new();
    bench.settings.path = bench.directory.path().join("no/such/directory/audit.jsonl");
    let error = Audit::start(bench.settings.clone(), || NOW).err().expect("refused").to_string();
    assert!(error.contains("no/such/directory") && error.contains("cannot be opened"), "{error}");
}

#[test]
fn a_log_moved_away_while_it_is_written_goes_on_in_a_new_file() {
    let bench = Bench::new();
    let audit = bench.start();
    meet(&audit, "before", 1);
    let aside = bench.directory.path().join("audit.000000000001.jsonl");
    wait_until(|| fs::read_to_string(bench.path()).is_ok_and(|text| text.contains("before")));
    fs::rename(bench.path(), &aside).expect("moved");
    let mut after = 0;
    wait_until(|| {
        assert_eq!(decide(&audit, "after").outcome, Outcome::Forward);
        after += 1;
        wait_until(|| settled(&audit));
        bench.path().exists()
    });
    audit.close(SOON).expect("everything is written");
    assert_eq!(bench.ends().len(), 1 + after);
    bench.assert_whole();
}

// ---- tampering ----

#[test]
fn every_kind_of_tampering_is_named_with_its_place() {
    type Case = (&'static str, fn(&mut Vec<String>), &'static [(FaultKind, u64)]);
    let cases: [Case; 9] = [
        ("changed", |lines| lines[3] = lines[3].replace("deny", "forward"), &[(FaultKind::Changed, 4)]),
        ("missing", |lines| drop(lines.remove(3)), &[(FaultKind::Missing, 4)]),
        ("two missing", |lines| drop(lines.drain(3..5)), &[(FaultKind::Missing, 4)]),
        ("repeated", |lines| lines.insert(4, lines[3].clone()), &[(FaultKind::Inserted, 5)]),
        ("garbage", |lines| lines.insert(3, "{}".to_owned()), &[(FaultKind::Changed, 4)]),
        ("truncated", |lines| lines[3].truncate(40), &[(FaultKind::Changed, 4), (FaultKind::Missing, 5)]),
        ("cut", |lines| lines.truncate(6), &[(FaultKind::Cut, 0)]),
        ("beheaded", |lines| drop(lines.drain(..2)), &[(FaultKind::Missing, 1)]),
        ("emptied", Vec::clear, &[(FaultKind::Cut, 0)]),
    ];
    for (name, tamper, expected) in cases {
        let bench = Bench::filled(5);
        bench.rewrite(tamper);
        let report = bench.verify();
        let found: Vec<(FaultKind, u64)> = report.faults.iter().map(|fault| (fault.kind, fault.place.line)).collect();
        assert_eq!(found, expected, "{name}: {report:?}");
        assert!(report.faults.iter().all(|fault| fault.place.file == bench.path()));
    }
}

#[test]
fn a_log_that_is_gone_is_missed_by_its_head() {
    let bench = Bench::filled(5);
    fs::remove_file(bench.path()).expect("log");
    for named in [bench.directory.path().to_owned(), bench.path()] {
        let report = verify(&Log::gather(&[named]).expect("readable")).expect("readable");
        assert_eq!((kinds(&report), report.files), (vec![FaultKind::Cut], 0), "{report:?}");
        assert_eq!(report.faults[0].text, "lines 1 to 8 are missing from the end");
    }
    // A head that says nothing is one fault, not two.
    let bench = Bench::filled(5);
    fs::write(bench.directory.path().join("audit.head"), "?").expect("head");
    assert_eq!(kinds(&bench.verify()), [FaultKind::Changed]);
}

#[test]
fn replay_does_not_decide_what_was_altered() {
    let bench = Bench::filled(5);
    bench.rewrite(|lines| lines[3] = lines[3].replace("deny", "forward"));
    let mut replay = Replay::default();
    let log = fs::read(bench.path()).expect("log");
    replay.file("log", &mut &log[..], &mut |_: &Evidence| decision(Outcome::Deny)).expect("readable");
    let altered: Vec<_> = replay.unreadable.iter().map(|line| (line.line, line.error.as_str())).collect();
    assert_eq!(altered, [(4, "the line is not as it was written")]);
}

#[test]
fn without_a_head_the_end_is_not_taken_on_trust() {
    let bench = Bench::filled(5);
    fs::remove_file(bench.directory.path().join("audit.head")).expect("head");
    assert_eq!(kinds(&bench.verify()), [FaultKind::HeadMissing]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_changed_byte_is_found(at in any::<prop::sample::Index>(), flip in 1u8..=255) {
        let bench = Bench::filled(3);
        let mut bytes = fs::read(bench.path()).expect("log");
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(bench.path(), bytes).expect("write");
        let report = bench.verify();
        prop_assert!(report.fault_count > 0, "byte {}: {:?}", at, report);
    }

    #[test]
    fn any_other_order_is_found(order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle()) {
        prop_assume!(!order.is_sorted());
        let bench = Bench::filled(5);
        bench.rewrite(|lines| *lines = order.iter().map(|at| lines[*at].clone()).collect());
        prop_assert!(bench.verify().fault_count > 0);
    }

    #[test]
    fn any_missing_lines_are_found(keep in prop::collection::vec(any::<bool>(), 8)) {
        prop_assume!(keep.contains(&false));
        let bench = Bench::filled(5);
        let mut keep = keep.into_iter();
        bench.rewrite(|lines| lines.retain(|_| keep.next() == Some(true)));
        prop_assert!(bench.verify().fault_count > 0);
    }
}

// ---- the disk ----

/// `/dev/full` is where the log leads for a while: every write meets ENOSPC.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_denies_keeps_and_recovers() {
    let bench = Bench::new();
    let audit = bench.start();
    meet(&audit, "before", 1);
    wait_until(|| fs::read_to_string(bench.path()).is_ok_and(|text| text.contains("before")));
    fs::rename(bench.path(), bench.directory.path().join("audit.000000000001.jsonl")).expect("moved");
    std::os::unix::fs::symlink("/dev/full", bench.path()).expect("link");
    let mut acknowledged = 0;
    wait_until(|| {
        acknowledged += usize::from(decide(&audit, "acknowledged").outcome == Outcome::Forward);
        wait_until(|| settled(&audit));
        !audit.writable()
    });
    assert_eq!(decide(&audit, "denied").reason, Reason::AuditUnavailable);
    fs::remove_file(bench.path()).expect("unlink");
    wait_until(|| audit.writable());
    assert_eq!(decide(&audit, "recovered").outcome, Outcome::Forward);
    let metrics = audit.metrics().encode(NOW);
    audit.close(SOON).expect("everything is written");

    let lines = bench.lines();
    let of = |id: &'static str| lines.iter().filter(move |line| line["id"] == id);
    let forwarded = of("acknowledged").filter(|line| line["decision"]["outcome"] == "forward");
    assert_eq!(forwarded.count(), acknowledged, "nothing acknowledged is lost");
    for id in ["before", "denied", "recovered"] {
        assert_eq!(of(id).count(), 1, "{id}");
    }
    let recovered = lines.iter().find(|line| line["event"] == "recovered").expect("a line says so");
    assert!(recovered["detail"].as_str().is_some_and(|detail| detail.contains("No space left")), "{recovered}");
    assert!(!metrics.contains("audit_write_failures_total 0"), "{metrics}");
    bench.assert_whole();
}

/// A limit on the size of files makes writes fail in the middle of a line. It is the process's own, so
/// the test runs itself again as a child.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_in_the_middle_leaves_no_half_line() {
    const CHILD: &str = "RANGEGATE_TEST_FILE_LIMIT";
    if std::env::var_os(CHILD).is_some() {
        return half_written();
    }
    let this = std::env::current_exe().expect("the test's own path");
    let name = "a_write_that_fails_in_the_middle_leaves_no_half_line";
    let child = std::process::Command::new(this).args([name, "--exact", "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("the child runs");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

#[cfg(target_os = "linux")]
fn half_written() {
    let bench = Bench::new();
    let audit = bench.start();
    limit_files(Some(10_000));
    let mut acknowledged = 0;
    wait_until(|| {
        meet(&audit, &acknowledged.to_string(), 1);
        acknowledged += 1;
        wait_until(|| settled(&audit));
        !audit.writable()
    });
    assert_eq!(decide(&audit, "denied").outcome, Outcome::Deny);
    let length = fs::metadata(bench.path()).expect("log").len();
    let text = fs::read(bench.path()).expect("log");
    assert!(length <= 10_000 && text.ends_with(b"\n"), "no half line stays");
    limit_files(None);
    wait_until(|| audit.writable());
    audit.close(SOON).expect("everything is written");
    assert_eq!(bench.ends().len(), acknowledged + 1);
    bench.assert_whole();
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no crate at hand sets a resource limit")]
fn limit_files(bytes: Option<libc::rlim_t>) {
    // SAFETY: both calls take and fill plain structures that live on this stack.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit), 0);
        limit.rlim_cur = bytes.unwrap_or(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

// ---- metrics and replay ----

#[test]
fn metrics_are_a_fold_over_the_records() {
    let bench = Bench::new();
    let audit = bench.start();
    let mut entry = decided(&audit, "one", "GET", Outcome::Forward);
    let head = Duration::from_millis(2);
    entry.upstream(Exchange { origin: Some(origin()), status: Some(200), head, attempts: 1, fault: None });
    deliver(entry.follow(Response::new(Full::from("abc"))));
    drop(decided(&audit, "two", "GET", Outcome::Deny));
    drop(decided(&audit, "three", "GET", Outcome::Observe));
    let live = decided(&audit, "four", "GET", Outcome::Forward).upgraded(101, NOW);
    audit.metrics().reloaded("policy", true);
    audit.metrics().policy("0123456789abcdef");
    audit.metrics().upstreams([("https://10.0.4.7:8443".to_owned(), true)]);
    audit.metrics().databases([("city".to_owned(), Some(NOW.plus_millis(-86_400_000))), ("asn".to_owned(), None)]);
    audit.metrics().connections().inc();
    wait_until(|| audit.metrics().encode(NOW).contains("rangegate_live_streams 1"));
    drop(live);
    audit.close(SOON).expect("everything is written");
    let text = audit.metrics().encode(NOW);
    for expected in [
        r#"rangegate_requests_total{resource="payroll",outcome="forward",reason="all-met"} 2"#,
        r#"rangegate_requests_total{resource="payroll",outcome="deny",reason="all-met"} 1"#,
        r#"rangegate_requests_total{resource="payroll",outcome="observe",reason="all-met"} 1"#,
        r#"rangegate_request_ends_total{end="complete"} 1"#,
        "rangegate_decision_seconds_count 4",
        r#"rangegate_upstream_seconds_count{resource="payroll"} 1"#,
        r#"rangegate_body_bytes_total{resource="payroll",direction="out"} 3"#,
        r#"rangegate_client_rtt_seconds_count{height="tcp"} 4"#,
        r#"rangegate_client_rtt_seconds_count{height="tls"} 4"#,
        "rangegate_live_streams 0",
        r#"rangegate_alerts_total{kind="observed",resource="payroll"} 1"#,
        "rangegate_audit_queue_records 0",
        "rangegate_audit_write_failures_total 0",
        "rangegate_connections 1",
        r#"rangegate_reloads_total{kind="policy",result="accepted"} 1"#,
        r#"rangegate_policy_info{version="0123456789abcdef"} 1"#,
        r#"rangegate_upstream_healthy{origin="https://10.0.4.7:8443"} 1"#,
        r#"rangegate_geo_database_age_seconds{database="city"} 86400.0"#,
        r#"rangegate_geo_database_loaded{database="city"} 1"#,
        r#"rangegate_geo_database_loaded{database="asn"} 0"#,
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn replay_groups_what_would_change() {
    let bench = Bench::new();
    let audit = bench.start();
    (0..5).for_each(|at| meet(&audit, &format!("denied-{at}"), 1));
    (0..3).for_each(|at| meet(&audit, &format!("forwarded-{at}"), 3));
    meet(&audit, "undecided", 0);
    audit.close(SOON).expect("everything is written");
    let mut log = fs::read(bench.path()).expect("log");
    log.extend_from_slice(b"{\"torn");

    let mut same = Replay::default();
    let mut stricter = Replay::default();
    let deny = |evidence: &Evidence| {
        assert_eq!(evidence.subject.known().map(|subject| &*subject.user), Some("ann@corp.example"));
        let mut decision = decision(Outcome::Deny);
        decision.reason = Reason::NothingAddressed;
        decision
    };
    let outcome = |evidence: &Evidence| match evidence.request.id.starts_with("denied") {
        true => decision(Outcome::Deny),
        false => decision(Outcome::Forward),
    };
    same.file("log", &mut BufReader::new(&log[..]), &mut { outcome }).expect("readable");
    stricter.file("log", &mut BufReader::new(&log[..]), &mut { deny }).expect("readable");

    assert_eq!((same.decided, same.same, same.changed, same.unreadable_count), (8, 8, 0, 1));
    assert_eq!(same.unreadable[0].line, bench.lines().len() as u64 + 1);
    assert_eq!((stricter.same, stricter.another_reason, stricter.changed), (5, 5, 3));
    let json = serde_json::to_value(&stricter).expect("serializes");
    let group = &json["groups"][0];
    assert_eq!(json["groups"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&group["resource"], &group["from"], &group["to"], &group["reason"], &group["count"]),
        (&"payroll".into(), &"forward".into(), &"deny".into(), &"nothing-addressed".into(), &3.into())
    );
    let example = serde_json::json!({
        "id": "forwarded-0", "user": "ann@corp.example", "request": "GET payroll.corp.example/runs/7"
    });
    assert_eq!(group["examples"][0], example);
}

#[test]
fn replay_sets_aside_what_the_policy_did_not_decide() {
    let mut bench = Bench::new();
    bench.settings.queue = 1;
    let audit = bench.start();
    let held = decided(&audit, "held", "GET", Outcome::Forward);
    let over = audit.open(&connection(), &request("over", "GET"), NOW);
    drop(held);
    drop(over);
    audit.close(SOON).expect("everything is written");
    let log = fs::read_to_string(bench.path()).expect("log");
    // As somebody would write it down for a test of their own: without a seal there is nothing to hold it against.
    let unsealed = log.lines().map(|line| line.split_once(r#","seq""#).expect("sealed").0.to_owned() + "}\n");
    let log = unsealed.collect::<String>().replace(r#""reason":"all-met""#, r#""reason":"audit-unavailable""#);
    let mut replay = Replay::default();
    replay.file("log", &mut log.as_bytes(), &mut |_: &Evidence| decision(Outcome::Deny)).expect("readable");
    assert_eq!((replay.decided, replay.set_aside, replay.unreadable_count), (0, 1, 0));
}

// ---- the bench ----

struct Bench {
    directory: TempDir,
    settings: AuditSettings,
    clock: Arc<AtomicI64>,
}

impl Bench {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let settings = AuditSettings {
            path: directory.path().join("audit.jsonl"),
            rotate_bytes: 64 << 20,
            rotate_after: Duration::from_secs(86_400),
            keep: None,
            queue: 1024,
            when_unwritable: WhenUnwritable::Deny,
            sync_every: None,
        };
        Self { directory, settings, clock: Arc::new(AtomicI64::new(NOW.0)) }
    }

    /// A closed log of eight lines, the third to the seventh being requests.
    fn filled(requests: usize) -> Self {
        let bench = Self::new();
        let audit = bench.start();
        (0..requests).for_each(|at| meet(&audit, &at.to_string(), 1));
        audit.close(SOON).expect("everything is written");
        bench
    }

    fn start(&self) -> Audit {
        let clock = Arc::clone(&self.clock);
        Audit::start(self.settings.clone(), move || Moment(clock.load(Ordering::Relaxed))).expect("the log opens")
    }

    fn path(&self) -> PathBuf {
        self.settings.path.clone()
    }

    fn files(&self) -> Vec<PathBuf> {
        Log::gather(&[self.directory.path().to_owned()]).expect("readable").files
    }

    fn lines(&self) -> Vec<Value> {
        self.files().iter().flat_map(|file| read(file)).collect()
    }

    /// Id and end of each closed record.
    fn ends(&self) -> Vec<(String, String)> {
        let lines = self.lines();
        let closed = lines.iter().filter(|line| line["kind"] == "request");
        closed.map(|line| (text(line, "id"), text(line, "end"))).collect()
    }

    fn rewrite(&self, change: impl FnOnce(&mut Vec<String>)) {
        let text = fs::read_to_string(self.path()).expect("log");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        fs::write(self.path(), text).expect("write");
    }

    fn verify(&self) -> Report {
        verify(&Log::gather(&[self.directory.path().to_owned()]).expect("readable")).expect("readable")
    }

    fn assert_whole(&self) -> Report {
        let report = self.verify();
        assert_eq!((report.fault_count, &report.torn), (0, &None), "{report:?}");
        report
    }
}

fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("log");
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn text(line: &Value, key: &str) -> String {
    line[key].as_str().expect(key).to_owned()
}

/// How many records the log says found no place.
fn unrecorded(lines: &[Value]) -> u32 {
    let counted = lines.iter().filter(|line| line["event"] == "unrecorded").map(|line| {
        let detail = text(line, "detail");
        detail.split(' ').next().and_then(|count| count.parse::<u32>().ok()).expect("a count")
    });
    counted.sum()
}

fn kinds(report: &Report) -> Vec<FaultKind> {
    report.faults.iter().map(|fault| fault.kind).collect()
}

/// Whether nothing waits to be written, or nothing can be.
fn settled(audit: &Audit) -> bool {
    !audit.writable() || audit.waiting() == 0
}

/// Polls; gives up loudly.
fn wait_until(mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !happened() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        std::thread::yield_now();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// Reads the body to its end or to its fault.
fn deliver<B: Body + Unpin>(response: Response<B>) {
    let mut body = response.into_body();
    block_on(async { while let Some(Ok(_)) = body.frame().await {} });
}

/// Three bytes, then a fault.
struct Broken {
    sent: bool,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let first = !std::mem::replace(&mut self.sent, true);
        Poll::Ready(Some(if first {
            Ok(Frame::data(Bytes::from_static(b"abc")))
        } else {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }))
    }
}

fn decided(audit: &Audit, id: &str, method: &'static str, outcome: Outcome) -> Entry {
    let mut entry = audit.open(&connection(), &request(id, method), NOW);
    let _ = entry.record(evidence(id, method), decision(outcome));
    entry
}

/// What becomes of a request that the policy forwards.
fn decide(audit: &Audit, id: &str) -> Decision {
    let mut entry = audit.open(&connection(), &request(id, "GET"), NOW);
    entry.record(evidence(id, "GET"), decision(Outcome::Forward)).decision.clone()
}

fn again(id: &str) -> Arc<Decided> {
    Arc::new(Decided { evidence: evidence(id, "GET"), decision: decision(Outcome::Deny) })
}

fn connection() -> Arc<Connection> {
    Arc::new(Connection {
        listener: "public".into(),
        peer: ([198, 51, 100, 7], 50_123).into(),
        tls: Some(Tls {
            version: "1.3".into(),
            cipher: "TLS13_AES_256_GCM_SHA384".into(),
            sni: Some("payroll.corp.example".into()),
        }),
        protocol: "h2".into(),
    })
}

fn request(id: &str, method: &'static str) -> Arc<Request> {
    Arc::new(Request {
        id: id.to_owned(),
        protocol: Protocol::Http2,
        method: method.into(),
        host: "payroll.corp.example".to_owned(),
        path: "/runs/7".to_owned(),
        upgrade: None,
        malformed: None,
    })
}

fn origin() -> Origin {
    Origin { scheme: Scheme::Https, host: "10.0.4.7".into(), port: 8443 }
}

fn decision(outcome: Outcome) -> Decision {
    let upstreams = Arc::new([origin()]);
    Decision {
        policy: "0123456789abcdef".into(),
        resource: Some(Arc::new(Resource {
            id: "payroll".into(),
            mode: Mode::Enforce,
            sensitivity: Sensitivity::High,
            owner: None,
            upstreams,
            decoy: None,
        })),
        outcome,
        would: outcome,
        reason: Reason::AllMet,
        findings: vec![Finding {
            scope: Scope::Resource,
            requirement: "bound-laptop".into(),
            verdict: Verdict::Met,
            reason: Reason::AllMet,
            demand: Outcome::Forward,
            seen: Seen::Word("ann-laptop"),
            remedy: Remedy::None,
        }],
    }
}

fn evidence(id: &str, method: &'static str) -> Evidence {
    let tcp = TcpTiming {
        first: Rtt::from_micros(38_400),
        minimum: Rtt::from_micros(38_211),
        smoothed: Rtt::from_micros(39_900),
        variation: Rtt::from_micros(1200),
    };
    Evidence {
        at: NOW,
        emergency: Emergency::Off,
        request: request(id, method),
        certificate: Fact::Known(Arc::new(Certificate {
            sha256: "ab".repeat(32).into(),
            spki_sha256: "cd".repeat(32).into(),
            serial: "1f".into(),
            subject: "CN=ann-laptop".into(),
            issuer: "CN=Corp Devices".into(),
            sans: vec!["dns:ann-laptop.corp.example".into()],
            not_before: NOW.plus_millis(-1000),
            not_after: NOW.plus_millis(1000),
            class: None,
        })),
        device: Fact::Known(Arc::new(Device {
            id: "ann-laptop".into(),
            owner: Some("ann@corp.example".into()),
            class: "corporate".into(),
            status: DeviceStatus::Active,
        })),
        subject: Fact::Known(Arc::new(Subject {
            issuer: "https://login.corp.example".into(),
            id: "7".into(),
            user: "ann@corp.example".into(),
            groups: vec!["finance".into()],
            assurance: vec!["passkey".into()],
            acr: None,
            amr: vec![],
            authenticated: Some(NOW.plus_millis(-60_000)),
            expires: NOW.plus_millis(60_000),
            bound_to: None,
        })),
        binding: Fact::Known(Binding::DeviceOnly),
        network: Arc::new(Network {
            address: Fact::Known([198, 51, 100, 7].into()),
            peer: [198, 51, 100, 7].into(),
            via: Via::Direct,
            place: Place {
                country: Fact::Known("US".into()),
                region: Fact::Absent,
                city: Fact::Unavailable(Fault::DatabaseMissing),
                coordinates: Fact::Known(Coordinates { latitude: 40.75, longitude: -73.875 }),
                built: Fact::Known(NOW),
            },
            asn: Fact::Known(Asn { number: 64_500, organisation: "Example Net".into() }),
            lists: vec![("hosting".into(), Fact::Known(false))],
        }),
        timing: Timing {
            tcp: Fact::Known(tcp),
            tls: Fact::Known(TlsTiming { minimum: Rtt::from_millis(39), samples: 3, source: TlsSource::Http2Ping }),
            device_tcp: Fact::Absent,
            device_tls: Fact::Absent,
            relay_gap: Fact::Unavailable(Fault::Insufficient),
            distance: Fact::Known(Kilometres(5570.25)),
            excess: Fact::Absent,
            nearness: Fact::Absent,
        },
        quotas: smallvec![("payroll/limit".into(), Fact::Known(Quota::Within))],
        grants: Fact::Absent,
        posture: Fact::Absent,
        memory_age: Fact::Absent,
        identity: Fact::Absent,
        owner: Fact::Absent,
    }
}
