//! Every refusal as people and programs meet it.

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use rangegate::enforce::answer::{AnswerContext, answer, upstream_fault};
use rangegate::evidence::{Fault, Malformed, Protocol, Request};
use rangegate::policy::{Decision, Finding, Outcome, Reason, Remedy, Scope, Seen, Verdict};
use rangegate::portal::PortalSettings;
use rangegate::portal::cause::Breakage;
use rangegate::portal::pages::STYLE;
use serde_json::{Value, json};

const ID: &str = "01K7Q4W8ZC3M9T2XVB6HNE5RDA";
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
const BREAKAGES: [(Breakage, u16, &str); 4] = [
    (Breakage::BadAnswer, 502, "14"),
    (Breakage::Unreachable, 503, "14"),
    (Breakage::TimedOut, 504, "4"),
    (Breakage::Internal, 500, "13"),
];

#[test]
fn every_reason_and_outcome_has_a_whole_answer_in_every_shape() {
    for reason in Reason::all() {
        for outcome in Outcome::ALL {
            let decision = decision(outcome, reason, Remedy::None);
            let case = format!("{} {}", outcome.code(), reason.code());
            let page = Answer::to(&decision, &accept(BROWSER));
            page.is_a_good_page(&case);
            let problem = Answer::to(&decision, &accept("*/*"));
            problem.is_a_good_problem(&case);
            assert_eq!(page.status, problem.status, "{case}");
            assert!(page.status.is_client_error() || page.status == 503, "{case}: {}", page.status);
            let grpc = Answer::to(&decision, &fields(&[("content-type", "application/grpc+proto")]));
            assert_eq!(grpc.status, 200, "{case}");
            assert_ne!(grpc.field("grpc-status"), "0", "{case}");
            for answer in [page, problem, grpc] {
                answer.is_guarded(&case);
                assert!(!answer.everything().contains("secret"), "{case}: {}", answer.everything());
                assert!(!answer.everything().contains("decoy"), "{case}");
            }
        }
    }
}

#[test]
fn every_breakage_has_a_whole_answer_in_every_shape() {
    for (breakage, status, grpc) in BREAKAGES {
        let to = |headers: &HeaderMap| Answer::of(upstream_fault(breakage, &request(), headers, &context()));
        let (page, problem) = (to(&accept(BROWSER)), to(&accept("application/json")));
        page.is_a_good_page("breakage");
        problem.is_a_good_problem("breakage");
        assert_eq!((page.status.as_u16(), problem.status.as_u16()), (status, status));
        let answer = to(&fields(&[("content-type", "application/grpc")]));
        assert_eq!(answer.field("grpc-status"), grpc);
    }
}

#[test]
fn statuses_are_those_of_the_standards() {
    let malformed = |malformed| Reason::Malformed(malformed);
    for (outcome, reason, status) in [
        (Outcome::Deny, malformed(Malformed::AmbiguousFraming), 400),
        (Outcome::Deny, malformed(Malformed::Misdirected), 421),
        (Outcome::Deny, malformed(Malformed::HeadersTooLarge), 431),
        (Outcome::Deny, Reason::LoginAbsent, 401),
        (Outcome::StepUp, Reason::LoginAbsent, 401),
        (Outcome::Deny, Reason::BindingAbsent, 401),
        (Outcome::Deny, Reason::TokenElsewhere, 401),
        (Outcome::StepUp, Reason::Fault(Fault::TokenForged), 401),
        (Outcome::StepUp, Reason::LoginTooOld, 401),
        (Outcome::StepUp, Reason::GroupMissing, 403),
        (Outcome::StepUp, Reason::Fault(Fault::KeysUnavailable), 503),
        (Outcome::StepUp, Reason::CountryOutside, 401),
        (Outcome::RequireGrant, Reason::GrantMissing, 403),
        (Outcome::Deny, Reason::CertificateAbsent, 403),
        (Outcome::Deny, Reason::DeviceAnotherOwner, 403),
        (Outcome::Deny, Reason::CountryOutside, 403),
        (Outcome::Deny, Reason::Fault(Fault::DatabaseCorrupt), 403),
        (Outcome::Deny, Reason::Fault(Fault::RegistryUnavailable), 503),
        (Outcome::Deny, Reason::Fault(Fault::CrlExpired), 503),
        (Outcome::Deny, Reason::RateExceeded, 429),
        (Outcome::Deny, Reason::AuditUnavailable, 503),
        (Outcome::Deny, Reason::EmergencyDeny, 403),
        (Outcome::Deny, Reason::NothingAddressed, 403),
        (Outcome::Decoy, Reason::ListOn, 403),
        (Outcome::Forward, Reason::AllMet, 403),
    ] {
        let answer = Answer::to(&decision(outcome, reason, Remedy::None), &HeaderMap::new());
        assert_eq!(answer.status, status, "{} {}", outcome.code(), reason.code());
    }
}

/// Which source spoke, and whether it spoke or was silent, cannot be told from outside.
#[test]
fn refusals_by_place_and_timing_are_the_same_byte_for_byte() {
    let seen = "country region asn address set list distance rtt tls-rtt rtt-excess relay-gap place too-near database \
        behind-forwarder no-measurement insufficient gateway-unplaced";
    let beginnings: Vec<&str> = seen.split_ascii_whitespace().collect();
    let mut answers = Reason::all()
        .filter(|reason| beginnings.iter().any(|beginning| reason.code().starts_with(beginning)))
        .map(|reason| {
            let decision = decision(Outcome::Deny, reason, Remedy::None);
            [BROWSER, "*/*"].map(|accepted| Answer::to(&decision, &accept(accepted)).everything())
        });
    let first = answers.next().unwrap();
    assert!(answers.inspect(|answer| assert_eq!(*answer, first)).count() > 40);
}

#[test]
fn a_decoy_that_cannot_be_served_looks_like_a_denial() {
    for reason in Reason::all() {
        let [decoy, deny] = [Outcome::Decoy, Outcome::Deny]
            .map(|outcome| Answer::to(&decision(outcome, reason, Remedy::None), &HeaderMap::new()).everything());
        assert_eq!(decoy, deny);
    }
}

#[test]
fn whatever_a_client_sends_is_escaped() {
    for hostile in ["\"><script>alert(1)</script>", "'\"&<img src=x onerror=y>", "a\r\nset-cookie: b", "\u{202e}\0é%\\"]
    {
        let request = Request { id: hostile.into(), host: hostile.into(), ..request() };
        for accepted in [BROWSER, "*/*"] {
            let decision =
                decision(Outcome::RequireGrant, Reason::GrantMissing, Remedy::Grant { role: hostile.into() });
            let answer = Answer::of(answer(&decision, &request, &accept(accepted), &context()));
            assert!(answer.headers.get("set-cookie").is_none());
            if accepted == BROWSER {
                let inside = answer.body.split_once("</style>").unwrap().1;
                assert!(!inside.contains("<script") && !inside.contains("<img"), "{inside}");
                assert!(inside.contains("?subject=Reference%20\">"), "{inside}");
            } else {
                let problem: Value = serde_json::from_str(&answer.body).unwrap();
                assert_eq!(problem["request_id"], hostile);
            }
        }
        let decision = decision(Outcome::Deny, Reason::LoginAbsent, Remedy::None);
        let challenge = Answer::of(answer(&decision, &request, &HeaderMap::new(), &context()));
        assert!(challenge.field("www-authenticate").starts_with("Bearer realm=\""));
    }
}

#[test]
fn html_is_for_those_who_ask_for_it() {
    for (accepted, page) in [
        (BROWSER, true),
        ("text/html", true),
        ("TEXT/HTML", true),
        ("text/*", true),
        ("text/html;level=1;q=0.5", true),
        ("text/html, application/json;q=0.9", true),
        ("text/html, application/json", true),
        ("text/html;q=0.9, */*;q=0.1", true),
        ("", false),
        ("*/*", false),
        ("text/html;q=0, */*", false),
        ("text/html;q=0.000", false),
        ("text/html;q=0.8, application/json", false),
        ("text/html;q=0.8, application/problem+json;q=0.81", false),
        ("text/*, application/json", false),
        ("text/*;q=1, text/html;q=0.1, application/*;q=0.2", false),
        ("text/html;q=0.2, */*;q=0.8", false),
        ("application/json", false),
        ("image/png", false),
        ("text/html;q=2", false),
        ("text/html;q=0.1234", false),
        ("text/html;q=x, ;;, ,", false),
        ("text/htmlx", false),
    ] {
        let answer = Answer::to(&decision(Outcome::Deny, Reason::NothingAddressed, Remedy::None), &accept(accepted));
        let expected = if page { "text/html; charset=utf-8" } else { "application/problem+json" };
        assert_eq!(answer.field("content-type"), expected, "accept: {accepted}");
    }
    let several = fields(&[("accept", "application/json;q=0.5"), ("accept", "text/html")]);
    let answer = Answer::to(&decision(Outcome::Deny, Reason::NothingAddressed, Remedy::None), &several);
    assert_eq!(answer.field("content-type"), "text/html; charset=utf-8");
}

#[test]
fn challenges_are_those_of_rfc_6750_and_rfc_9470() {
    let login = |with: Option<&str>, within_seconds| Remedy::Login { with: with.map(Into::into), within_seconds };
    let level = "A different authentication level is required";
    let step_up = |description: &str, rest: &str| {
        format!("Bearer error=\"insufficient_user_authentication\", error_description=\"{description}\"{rest}")
    };
    let passkey = ", acr_values=\"urn:example:phr phrh\"";
    for (reason, remedies, expected) in [
        (Reason::LoginAbsent, vec![login(None, None)], "Bearer realm=\"payroll.corp.example\"".to_owned()),
        (
            Reason::Fault(Fault::TokenExpired),
            vec![],
            "Bearer error=\"invalid_token\", error_description=\"The access token expired\"".to_owned(),
        ),
        (
            Reason::Fault(Fault::TokenForged),
            vec![],
            "Bearer error=\"invalid_token\", error_description=\"The access token is not valid here\"".to_owned(),
        ),
        (
            Reason::UserOther,
            vec![],
            "Bearer error=\"insufficient_scope\", error_description=\"The access token does not grant access to this resource\"".to_owned(),
        ),
        (Reason::AssuranceMissing, vec![login(Some("passkey"), None)], step_up(level, passkey)),
        (
            Reason::LoginTooOld,
            vec![login(None, Some(600))],
            step_up("More recent authentication is required", ", max_age=\"600\""),
        ),
        (
            Reason::LoginTooOld,
            vec![login(Some("passkey"), Some(3600)), login(None, Some(600))],
            step_up(level, &format!("{passkey}, max_age=\"600\"")),
        ),
        // What proves both is asked for, where something does.
        (
            Reason::AssuranceMissing,
            vec![login(Some("passkey"), None), login(Some("mfa"), None)],
            step_up(level, ", acr_values=\"phrh\""),
        ),
        (
            Reason::AssuranceMissing,
            vec![login(Some("mfa"), None), login(Some("card"), None)],
            step_up(level, ", acr_values=\"mfa phrh card\""),
        ),
        (Reason::AssuranceMissing, vec![login(Some("nobody-configured-this"), None)], step_up(level, "")),
    ] {
        let mut decision = decision(Outcome::StepUp, reason, Remedy::None);
        let finding = decision.findings.remove(0);
        decision.findings.push(finding.clone());
        decision.findings.extend(remedies.into_iter().map(|remedy| Finding { remedy, ..finding.clone() }));
        for accepted in [BROWSER, "*/*"] {
            let answer = Answer::to(&decision, &accept(accepted));
            assert_eq!(answer.field("www-authenticate"), expected);
        }
    }
}

#[test]
fn a_presented_token_explains_more_than_a_missing_one() {
    let mut decision = decision(Outcome::Deny, Reason::BindingAbsent, Remedy::None);
    let login = Finding { reason: Reason::Fault(Fault::TokenExpired), ..decision.findings[0].clone() };
    decision.findings.push(login);
    let answer = Answer::to(&decision, &HeaderMap::new());
    assert!(answer.field("www-authenticate").contains("The access token expired"));
}

#[test]
fn a_problem_says_what_can_be_done() {
    let grant =
        decision(Outcome::RequireGrant, Reason::GrantMissing, Remedy::Grant { role: "payroll-approver".into() });
    let problem: Value = serde_json::from_str(&Answer::to(&grant, &HeaderMap::new()).body).unwrap();
    let expected = json!({
        "type": "tag:rangegate,2026:grant",
        "title": "You need permission for this",
        "status": 403,
        "detail": "This step needs the role “payroll-approver”, which you do not hold at the moment. \
            Ask for it: “rangegate grant ask payroll-approver --reason …”, or POST /v1/grants of the gateway’s API. \
            Once it is approved, open this page again.",
        "instance": format!("tag:rangegate,2026:request/{ID}"),
        "request_id": ID,
        "outcome": "require-grant",
        "remedies": [{ "grant": { "role": "payroll-approver" } }],
    });
    assert_eq!(problem, expected);

    let remedy = Remedy::Login { with: Some("passkey".into()), within_seconds: Some(600) };
    let again = Answer::to(&decision(Outcome::StepUp, Reason::LoginTooOld, remedy), &HeaderMap::new()).json();
    assert_eq!(again["remedies"], json!([{ "login": { "with": "passkey", "within_seconds": 600 } }]));
    assert!(
        again["detail"]
            .as_str()
            .unwrap()
            .ends_with("Sign in again with “passkey”, then repeat the step within 10 minutes.")
    );

    let malformed = Reason::Malformed(Malformed::AmbiguousFraming);
    assert_eq!(
        Answer::to(&decision(Outcome::Deny, malformed, Remedy::None), &HeaderMap::new()).json()["reason"],
        "ambiguous-framing"
    );

    let hopeless = Remedy::Login { with: None, within_seconds: None };
    let refused = Answer::to(&decision(Outcome::Deny, Reason::CountryOutside, hopeless), &HeaderMap::new()).json();
    assert_eq!((refused.get("remedies"), refused.get("reason")), (None, None), "no sign-in mends a place");
}

#[test]
fn a_rate_limit_says_how_long_to_wait() {
    for (after_ms, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")] {
        let decision = decision(Outcome::Deny, Reason::RateExceeded, Remedy::Retry { after_ms });
        let answer = Answer::to(&decision, &accept(BROWSER));
        assert_eq!((answer.status.as_u16(), answer.field("retry-after")), (429, seconds));
        let unit = if seconds == "1" { "second," } else { "seconds," };
        assert!(answer.body.contains(&format!("Wait {seconds} {unit}")));
        let grpc = Answer::to(&decision, &fields(&[("content-type", "application/grpc")]));
        assert_eq!((grpc.field("grpc-status"), grpc.field("grpc-retry-pushback-ms")), ("8", &*format!("{seconds}000")));
    }
}

#[test]
fn grpc_gets_a_status_in_the_head_and_no_body() {
    for (outcome, reason, code) in [
        (Outcome::Deny, Reason::CountryOutside, "7"),
        (Outcome::RequireGrant, Reason::GrantMissing, "7"),
        (Outcome::StepUp, Reason::LoginTooOld, "16"),
        (Outcome::Deny, Reason::RateExceeded, "8"),
        (Outcome::Deny, Reason::AuditUnavailable, "14"),
        (Outcome::Deny, Reason::Malformed(Malformed::HeaderInvalid), "3"),
    ] {
        for (sent, kind) in [
            ("application/grpc", "application/grpc"),
            ("application/grpc+proto", "application/grpc"),
            ("Application/GRPC; charset=x", "application/grpc"),
            ("application/grpc-web+json", "application/grpc-web"),
            ("application/grpc-web-text", "application/grpc-web-text"),
        ] {
            let headers = fields(&[("content-type", sent), ("accept", BROWSER)]);
            let answer = Answer::to(&decision(outcome, reason, Remedy::None), &headers);
            assert_eq!((answer.status.as_u16(), answer.field("content-type")), (200, kind), "{sent}");
            assert_eq!((answer.field("grpc-status"), &*answer.body), (code, ""));
            assert!(answer.field("grpc-message").bytes().all(|b| (b' '..=b'~').contains(&b)));
        }
    }
    let other = fields(&[("content-type", "application/grpcx")]);
    assert_eq!(Answer::to(&decision(Outcome::Deny, Reason::CountryOutside, Remedy::None), &other).status, 403);
}

#[test]
fn head_has_the_head_of_get() {
    let decision = decision(Outcome::Deny, Reason::CountryOutside, Remedy::None);
    for accepted in [BROWSER, "*/*"] {
        let get = Answer::to(&decision, &accept(accepted));
        let head = Request { method: "HEAD".into(), ..request() };
        let head = Answer::of(answer(&decision, &head, &accept(accepted), &context()));
        assert_eq!((head.headers, &*head.body), (get.headers.clone(), ""));
        assert_eq!(get.field("content-length"), get.body.len().to_string());
    }
}

#[test]
fn only_a_get_is_offered_again() {
    let decision = decision(Outcome::Deny, Reason::CertificateAbsent, Remedy::None);
    let post = Request { method: "POST".into(), ..request() };
    let page = |request: &Request| Answer::of(answer(&decision, request, &accept(BROWSER), &context())).body;
    assert!(page(&request()).contains(r#"<a class="action" href="">Try again</a>"#));
    assert!(!page(&post).contains("Try again</a>"));
}

#[test]
fn support_is_a_link_only_where_it_leads_somewhere_safe() {
    let page = |support: &str| {
        let portal = PortalSettings { organisation: String::new(), support: Some(support.into()) };
        let context = AnswerContext { portal, ..AnswerContext::default() };
        Answer::of(answer(
            &decision(Outcome::Deny, Reason::AllMet, Remedy::None),
            &request(),
            &accept(BROWSER),
            &context,
        ))
        .body
    };
    for (support, link) in [
        (
            "help@corp.example",
            format!("<a href=\"mailto:help@corp.example?subject=Reference%20{ID}\">help@corp.example</a>"),
        ),
        ("+44 20 7946 0000", "<a href=\"tel:+442079460000\">+44 20 7946 0000</a>".to_owned()),
        ("https://help.corp.example/?a=1&b", "<a href=\"https://help.corp.example/?a=1&#38;b\">".to_owned()),
        ("the desk on floor 2", "<dd>the desk on floor 2</dd>".to_owned()),
        ("javascript:alert(1)", "<dd>javascript:alert(1)</dd>".to_owned()),
        ("a@b?bcc=c@d", "<dd>a@b?bcc=c@d</dd>".to_owned()),
    ] {
        assert!(page(support).contains(&link), "{support}\n{}", page(support));
    }
}

/// WCAG 2.2 success criteria 1.4.3 (text, 4.5 : 1) and 1.4.11 (pictures, 3 : 1), light and dark.
#[test]
fn colours_have_contrast() {
    let (light, dark) = STYLE.split_once("prefers-color-scheme: dark").unwrap();
    for scheme in [light, dark] {
        let luminance = |name: &str| {
            let (_, value) = scheme.split_once(&format!("--{name}: #")).unwrap();
            let channel = |at: usize| {
                let value = f64::from(u8::from_str_radix(&value[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
        };
        for (over, under, least) in [
            ("ink", "card", 7.0),
            ("ink", "ground", 7.0),
            ("soft", "card", 4.5),
            ("soft", "ground", 4.5),
            ("link", "card", 4.5),
            ("on-act", "act", 4.5),
            ("todo", "card", 3.0),
            ("stop", "card", 3.0),
            ("fault", "card", 3.0),
        ] {
            let (a, b) = (luminance(over), luminance(under));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= least, "{over} on {under}: {contrast:.2}");
        }
    }
}

#[test]
#[ignore = "writes pages to target/pages, to be looked at"]
fn show() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    std::fs::create_dir_all(&directory).unwrap();
    let login = Remedy::Login { with: Some("passkey".into()), within_seconds: Some(600) };
    let grant = Remedy::Grant { role: "payroll-approver".into() };
    for (outcome, reason, remedy) in [
        (Outcome::StepUp, Reason::LoginAbsent, Remedy::None),
        (Outcome::StepUp, Reason::Fault(Fault::TokenExpired), Remedy::None),
        (Outcome::StepUp, Reason::LoginTooOld, login),
        (Outcome::StepUp, Reason::GroupMissing, Remedy::None),
        (Outcome::RequireGrant, Reason::GrantMissing, grant),
        (Outcome::Deny, Reason::CertificateAbsent, Remedy::None),
        (Outcome::Deny, Reason::DeviceAnotherOwner, Remedy::None),
        (Outcome::Deny, Reason::CountryOutside, Remedy::None),
        (Outcome::Deny, Reason::ScheduleOutside, Remedy::None),
        (Outcome::Deny, Reason::RateExceeded, Remedy::Retry { after_ms: 24_000 }),
        (Outcome::Deny, Reason::AuditUnavailable, Remedy::None),
        (Outcome::Deny, Reason::EmergencyDeny, Remedy::None),
        (Outcome::Deny, Reason::NothingAddressed, Remedy::None),
        (Outcome::Deny, Reason::Malformed(Malformed::PathEncoding), Remedy::None),
        (Outcome::Deny, Reason::Malformed(Malformed::Misdirected), Remedy::None),
        (Outcome::Deny, Reason::Malformed(Malformed::HeadersTooLarge), Remedy::None),
    ] {
        let answer = Answer::to(&decision(outcome, reason, remedy), &accept(BROWSER));
        std::fs::write(directory.join(format!("{}.html", reason.code())), answer.body).unwrap();
    }
    for (breakage, status, _) in BREAKAGES {
        let answer = Answer::of(upstream_fault(breakage, &request(), &accept(BROWSER), &context()));
        std::fs::write(directory.join(format!("{status}.html")), answer.body).unwrap();
    }
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn to(decision: &Decision, headers: &HeaderMap) -> Self {
        Self::of(answer(decision, &request(), headers, &context()))
    }

    fn of(response: Response<Full<bytes::Bytes>>) -> Self {
        let (head, body) = response.into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = runtime.block_on(body.collect()).unwrap().to_bytes();
        Self { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    fn field(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no `{name}`")).to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn everything(&self) -> String {
        format!("{} {:?}\n{}", self.status, self.headers, self.body)
    }

    /// What every answer carries, whatever its shape.
    fn is_guarded(&self, case: &str) {
        assert_eq!(self.field("cache-control"), "no-store", "{case}");
        assert_eq!(self.field("vary"), "accept", "{case}");
        assert_eq!(self.field("x-content-type-options"), "nosniff", "{case}");
        assert_eq!(self.field("x-frame-options"), "DENY", "{case}");
        assert_eq!(self.field("referrer-policy"), "no-referrer", "{case}");
        assert_eq!(self.field("rangegate-request-id"), ID, "{case}");
        if self.status == 401 {
            assert!(self.field("www-authenticate").starts_with("Bearer "), "{case}");
        }
        if self.status == 429 || self.status == 503 {
            assert!(self.field("retry-after").parse::<u64>().unwrap() > 0, "{case}");
        }
    }

    fn is_a_good_page(&self, case: &str) {
        assert_eq!(self.field("content-type"), "text/html; charset=utf-8", "{case}");
        let (before, rest) = self.body.split_once("<style>").unwrap();
        let (style, inside) = rest.split_once("</style>").unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
        let digest = base64::prelude::BASE64_STANDARD.encode(digest);
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        assert_eq!(self.field("content-security-policy"), policy, "{case}");

        assert!(before.starts_with("<!doctype html>\n<html lang=\"en\">"), "{case}");
        let title = between(before, "<title>", "</title>");
        assert!(title.ends_with(" – Corp Example"), "{case}: {title}");
        assert_eq!(self.body.matches("<main>").count(), 1, "{case}");
        assert_eq!(between(inside, "<h1>", "</h1>"), title.trim_end_matches(" – Corp Example"), "{case}");
        assert_eq!(between(inside, "<code>", "</code>").replace("<span>", "").replace("</span>", ""), ID, "{case}");
        assert!(inside.contains(self.status.as_str()) && inside.contains("payroll.corp.example"), "{case}");
        let article = between(inside, "</h1>", "<dl>");
        assert_eq!((article.matches("<p>").count(), article.matches("<p class=\"next\">").count()), (1, 1), "{case}");
        assert!(article.len() < 700, "{case}: two short paragraphs");
        for never in ["<script", "<link", "<img", "<iframe", "src=", "style=", "@import", "url(", "http://", "onclick"]
        {
            assert!(!self.body.contains(never), "{case}: {never}");
        }
    }

    fn is_a_good_problem(&self, case: &str) {
        assert_eq!(self.field("content-type"), "application/problem+json", "{case}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{case}");
        assert_eq!(problem["request_id"], ID, "{case}");
        assert_eq!(problem["instance"], format!("tag:rangegate,2026:request/{ID}"), "{case}");
        for field in ["type", "title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| text.len() > 8), "{case}: {field}");
        }
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no `{start}`"));
    rest.split_once(end).unwrap_or_else(|| panic!("no `{end}`")).0
}

fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    let field =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    fields.iter().map(field).fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(name, value);
        headers
    })
}

fn accept(accepted: &str) -> HeaderMap {
    fields(&[("accept", accepted)])
}

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
    let acr = |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect());
    AnswerContext {
        portal: PortalSettings { organisation: "Corp Example".into(), support: Some("help@corp.example".into()) },
        acr: [acr("passkey", &["urn:example:phr", "phrh"]), acr("mfa", &["mfa", "phrh"]), acr("card", &["card"])]
            .into(),
    }
}

/// A decision with one finding that nobody outside may see anything of.
fn decision(outcome: Outcome, reason: Reason, remedy: Remedy) -> Decision {
    let finding = Finding {
        scope: Scope::Route,
        requirement: "secret-requirement".into(),
        verdict: Verdict::Unmet,
        reason,
        demand: outcome,
        seen: Seen::Text("secret-seen".into()),
        remedy,
    };
    Decision {
        policy: "secret-policy".into(),
        resource: None,
        outcome,
        would: outcome,
        reason,
        findings: [finding].into_iter().collect(),
    }
}
