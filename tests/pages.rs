//! Every refusal as people and programs meet it.

use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use rangegate::enforce::answer::{AnswerContext, answer, upstream_fault};
use rangegate::evidence::{Fault, Malformed, Protocol, Request};
use rangegate::policy::{Decision, Finding, Outcome, Reason, Remedy, Scope, Verdict};
use rangegate::portal::PortalSettings;
use rangegate::portal::cause::Breakage;
use std::sync::Arc;

const ID: &str = "01K7Q4W8ZC3M9T2XVB6HNE5RDA";

fn request() -> Request {
    Request {
        id: ID.into(),
        protocol: Protocol::Http2,
        method: "GET".into(),
        host: "payroll.corp.example".into(),
        path: "/runs/7".into(),
        upgrade: None,
        malformed: None,
    }
}

fn context() -> AnswerContext {
    AnswerContext {
        portal: PortalSettings {
            organisation: "Corp Example".into(),
            support: Some("help@corp.example".into()),
        },
        acr: [("passkey".to_owned(), vec!["urn:example:phr".to_owned(), "phrh".to_owned()])].into(),
    }
}

fn decision(outcome: Outcome, reason: Reason, remedy: Remedy) -> Decision {
    let finding = Finding {
        scope: Scope::Route,
        requirement: "secret-requirement".into(),
        verdict: Verdict::Unmet,
        reason,
        demand: outcome,
        seen: "secret-seen".into(),
        remedy,
    };
    Decision {
        policy: "0011223344556677".into(),
        resource: None,
        outcome,
        would: outcome,
        reason,
        findings: [finding].into_iter().collect(),
    }
}

#[test]
#[ignore = "writes every page to target/pages, to be looked at"]
fn show() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    std::fs::create_dir_all(&directory).unwrap();
    let accept: HeaderMap = [(header::ACCEPT, HeaderValue::from_static("text/html"))].into_iter().collect();
    let deny = |reason| decision(Outcome::Deny, reason, Remedy::None);
    let login = Remedy::Login { with: Some("passkey".into()), within_seconds: Some(600) };
    let decisions = [
        ("place", deny(Reason::Fault(Fault::DatabaseMissing))),
        ("certificate", deny(Reason::Fault(Fault::CertificateExpired))),
        ("sign-in", deny(Reason::Fault(Fault::TokenExpired))),
        ("sign-in-again", decision(Outcome::StepUp, Reason::AllMet, login)),
        ("grant", decision(Outcome::RequireGrant, Reason::AllMet, Remedy::Grant { role: "payroll-approver".into() })),
        ("unchecked", deny(Reason::Fault(Fault::RegistryUnavailable))),
        ("closed", deny(Reason::EmergencyDeny)),
        ("refused", deny(Reason::NothingAddressed)),
        ("malformed", deny(Reason::Malformed(Malformed::PathEncoding))),
        ("misdirected", deny(Reason::Malformed(Malformed::Misdirected))),
    ];
    for (name, decision) in decisions {
        let page = answer(&decision, &request(), &accept, &context());
        std::fs::write(directory.join(format!("{name}.html")), body(page)).unwrap();
    }
    for (name, breakage) in [("timed-out", Breakage::TimedOut), ("unreachable", Breakage::Unreachable)] {
        let page = upstream_fault(breakage, &request(), &accept, &context());
        std::fs::write(directory.join(format!("{name}.html")), body(page)).unwrap();
    }
}

fn body(response: http::Response<http_body_util::Full<bytes::Bytes>>) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}
