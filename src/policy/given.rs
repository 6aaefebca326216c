//! Evidence in an author's words, for tests and explanations: what is not stated is absent.

mod facts;
mod identity;
mod lost;
mod request;

pub use identity::person;
pub use request::request;

use super::criteria::list;
use super::decide::Policy;
use super::diagnostic::{Diagnostic, Place, has_errors};
use super::source::{Source, Value};
use crate::evidence::{Emergency, Evidence, Fact, Fault, Grant, Network, Posture, Protocol, Quota, Request};
use std::borrow::Cow;
use std::sync::Arc;

/// How long what is stated lasts, ms.
const HOUR_MS: i64 = 3_600_000;

/// What an author states. Lists and limits are filled in when the policy and the request are known.
#[derive(Clone, Debug)]
pub struct Given {
    evidence: Evidence,
    /// The lists the address is on; it is on no other. None: nothing is stated.
    lists: Option<Vec<Arc<str>>>,
    quota: Fact<Quota>,
    lists_unavailable: bool,
}

impl Default for Given {
    fn default() -> Self {
        Self { evidence: nothing(), lists: None, quota: Fact::Absent, lists_unavailable: false }
    }
}

impl Given {
    /// Reads `country = "US", rtt = "38ms"` as well as `country=US`, one or several in each text.
    ///
    /// # Errors
    /// The faults, with the source they point into.
    pub fn read(texts: &[String], policy: &Policy) -> Result<Self, (Source, Vec<Diagnostic>)> {
        if let Some(text) = texts.iter().find(|text| !text.trim().is_empty() && !text.contains('=')) {
            let source = Source::new("--given", text.as_str());
            let fault = Diagnostic::error(Place::new(&source.name, 0..text.len()), format!("`{text}` states nothing"));
            let fault = fault.label("no `=`").help(format!("write what it is, such as `--given {}=…`", text.trim()));
            return Err((source, vec![fault]));
        }
        let stated: Vec<String> = texts.iter().map(|text| quote_bare(text)).collect();
        let source = Source::new("--given", format!("given = {{ {} }}", stated.join(", ")));
        let document = source.parse();
        let mut root = document.root();
        let given = root.optional("given", |given| Self::lower(given, policy.lists()));
        root.finish();
        let faults = document.into_faults();
        match given {
            Some(given) if !has_errors(&faults) => Ok(given),
            _ => Err((source, faults)),
        }
    }

    /// The whole evidence for `request`, as `policy` will read it.
    pub fn evidence(&self, request: Request, policy: &Policy) -> Evidence {
        let mut evidence = self.evidence.clone();
        let mut network = Network::clone(&evidence.network);
        network.lists = policy.lists().iter().map(|list| (Arc::clone(list), self.on(list))).collect();
        evidence.network = Arc::new(network);
        let limits = policy.needs(&request).limits;
        evidence.quotas = limits.iter().map(|limit| (Arc::clone(&limit.name), self.quota.clone())).collect();
        evidence.request = Arc::new(request);
        evidence
    }

    pub(super) fn lower(value: Value<'_>, lists: &[Arc<str>]) -> Option<Self> {
        let mut table = value.table()?;
        let mut given = Self::default();
        let evidence = &mut given.evidence;
        if let Some(at) = table.optional("at", facts::moment) {
            evidence.at = at;
        }
        let words = [("off", Emergency::Off), ("observe", Emergency::Observe), ("deny", Emergency::Deny)];
        evidence.emergency = table.or("emergency", Emergency::Off, |value| value.one_of(&words));
        facts::identity(&mut table, evidence);
        identity::lower(&mut table, evidence);
        facts::network(&mut table, evidence);
        facts::timing(&mut table, &mut evidence.timing);
        let expires = evidence.at.plus_millis(HOUR_MS);
        if let Some(roles) = table.optional("grants", |value| value.list(Value::name)) {
            let held = roles.into_iter().map(|role| Grant::held(role.into(), expires));
            evidence.grants = Fact::Known(held.collect());
        }
        if let Some(attested) = table.optional("posture-attested", Value::boolean) {
            evidence.posture = Fact::Known(Posture { attested });
        }
        if let Some(age) = table.optional("memory-age", Value::duration) {
            evidence.memory_age = Fact::Known(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        }
        table.at_most_one(&["list", "lists"]);
        let one = table.optional("list", |value| Some(vec![list::known(value, lists)?]));
        let several = table.optional("lists", |value| value.list(|name| list::known(name, lists)));
        given.lists = one.or(several);
        let words = [("within", Quota::Within), ("exceeded", Quota::Exceeded { retry_after_ms: 1000 })];
        if let Some(quota) = table.optional("quota", |value| value.one_of(&words)) {
            given.quota = Fact::Known(quota);
        }
        for lost in table.list("unavailable", |value| value.one_of(&lost::UNAVAILABLE)) {
            given.lose(lost);
        }
        for lost in table.list("invalid", |value| value.one_of(&lost::INVALID)) {
            given.lose(lost);
        }
        table.finish();
        Some(given)
    }

    fn on(&self, list: &Arc<str>) -> Fact<bool> {
        match &self.lists {
            _ if self.lists_unavailable => Fact::Unavailable(Fault::ListUnavailable),
            Some(on) => Fact::Known(on.contains(list)),
            None => Fact::Absent,
        }
    }
}

/// `country=US` as a shell user writes it, with the value in quotes; what is TOML already is left alone.
fn quote_bare(text: &str) -> String {
    let Some((key, value)) = text.split_once('=') else { return text.to_owned() };
    let quoted = || format!("{key}= '{}'", value.trim().replace('\'', ""));
    match toml::de::DeTable::parse(&format!("given = {{ {text} }}")) {
        // a date is text in this language
        Ok(_) if value.trim().parse::<toml::value::Datetime>().is_ok() => quoted(),
        Ok(_) => text.to_owned(),
        Err(_) => quoted(),
    }
}

/// The evidence of a request of which nothing is known.
pub fn nothing() -> Evidence {
    Evidence::absent(Request {
        id: String::new(),
        protocol: Protocol::Http11,
        method: Cow::Borrowed("GET"),
        host: String::new(),
        path: "/".to_owned(),
        upgrade: None,
        malformed: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Binding;
    use crate::policy::{Context, diagnostic};

    fn policy() -> Policy {
        let text = "[[resource]]\nid = 'r'\nhosts = ['r.example']\nupstream = 'http://127.0.0.1:1'\n\
                    [[resource.require]]\nid = 'q'\nthat = { country = 'US' }\n";
        let context = Context { lists: vec!["anonymous".into(), "hosting".into()], ..Context::default() };
        Policy::compile(&[Source::new("t", text)], &context).expect("compiles")
    }

    fn read(texts: &[&str]) -> Result<Evidence, String> {
        let policy = policy();
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        match Given::read(&texts, &policy) {
            Ok(given) => Ok(given.evidence(request("GET https://r.example/").expect("a request"), &policy)),
            Err((source, faults)) => Err(diagnostic::lines(&faults, &[source])),
        }
    }

    #[test]
    fn toml_and_shell_words_say_the_same() {
        let toml = read(&["user = 'ann@corp.example', country = \"US\", rtt = '38ms'", "lists = ['hosting']"]);
        let words = read(&["user=ann@corp.example", "country=US", "rtt=38ms", "list=hosting"]);
        assert_eq!(toml, words);
        let evidence = words.expect("reads");
        assert_eq!(evidence.network.on_list("hosting"), Fact::Known(true));
        assert_eq!(evidence.network.on_list("anonymous"), Fact::Known(false));
        assert_eq!(read(&["at=2026-03-04T10:00:00Z"]), read(&["at = '2026-03-04T03:00:00-07:00'"]));
    }

    #[test]
    fn what_is_not_stated_is_absent() {
        let evidence = read(&[]).expect("reads");
        assert_eq!(evidence.network.on_list("hosting"), Fact::Absent);
        assert_eq!(
            (&evidence.subject, &evidence.device, &evidence.binding),
            (&Fact::Absent, &Fact::Absent, &Fact::Absent)
        );
        assert_eq!((&evidence.timing.tcp, &evidence.timing.relay_gap), (&Fact::Absent, &Fact::Absent));
    }

    #[test]
    fn the_binding_follows_from_owner_and_user() {
        for (given, binding) in [
            ("user = 'ann', device = 'd', device-owner = 'ann'", Fact::Known(Binding::DeviceOnly)),
            ("user = 'ann', device = 'd', device-owner = 'bob'", Fact::Known(Binding::AnotherOwner)),
            ("user = 'ann', device = 'd'", Fact::Known(Binding::NoOwner)),
            ("user = 'ann', device = 'd', bound = true", Fact::Known(Binding::TokenAndDevice)),
            ("user = 'ann', device = 'd', bound = false", Fact::Known(Binding::AnotherOwner)),
            ("device = 'd'", Fact::Absent),
        ] {
            assert_eq!(read(&[given]).expect("reads").binding, binding, "{given}");
        }
    }

    #[test]
    fn what_older_records_do_not_have_is_absent() {
        let evidence = read(&["identity = {}, memory-age = '1s'"]).expect("reads");
        let mut json = serde_json::to_value(&evidence).expect("serializes");
        let fields = json.as_object_mut().expect("an object");
        assert!(fields.remove("identity").is_some() && fields.remove("memory_age").is_some());
        let older: Evidence = serde_json::from_value(json).expect("reads back");
        assert_eq!((older.identity, older.memory_age), (Fact::Absent, Fact::Absent));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let told = read(&["contry=US", "rtt=38"]).expect_err("two faults");
        assert!(
            told.contains("--given:1:11: unknown key `contry`") && told.contains("`rtt` takes a duration"),
            "{told}"
        );
        let nothing = read(&["rtt=38ms", "country"]).expect_err("no value");
        assert!(nothing.contains("`country` states nothing"), "{nothing}");
    }

    #[test]
    fn a_request_is_a_method_and_an_address() {
        let read = request("POST https://r.example:8443/runs/7?dry=1").expect("a request");
        assert_eq!((&*read.method, &*read.host, &*read.path), ("POST", "r.example", "/runs/7"));
        assert_eq!(request("GET https://r.example").expect("a request").path, "/");
        for text in [
            "",
            "GET",
            "get https://r.example/",
            "GET http://r.example/",
            "GET https://*.example/",
            "GET https://r.example/a*",
            "GET https://r.example/../x",
        ] {
            assert!(request(text).is_err(), "{text}");
        }
    }
}
