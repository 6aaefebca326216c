//! The compiled policy, and the function that decides.

use super::cases::Case;
use super::criteria::rate::Limit;
use super::criterion::Criterion;
use super::decision::{Decision, Finding, Verdict};
use super::diagnostic::Diagnostic;
use super::good_standing;
use super::hosts::Hosts;
use super::outcome::Outcome;
use super::reason::Reason;
use super::requirement::Requirement;
use super::resource::{Mode, Origin, Resource, Scheme};
use super::role::Role;
use super::segments::Segments;
use crate::evidence::{Emergency, Evidence, Request};
use smallvec::SmallVec;
use std::sync::Arc;

/// A compiled set of policy files. Immutable; `Policy::compile` makes one.
#[derive(Debug)]
pub struct Policy {
    pub(super) version: Arc<str>,
    pub(super) hosts: Hosts,
    /// Sorted by id.
    pub(super) guarded: Vec<Guarded>,
    /// Sorted by id, like all requirements: the order of files and lines must not show in a decision.
    pub(super) baseline: Box<[Requirement]>,
    /// Sorted by id.
    pub(super) roles: Box<[Role]>,
    pub(super) lists: Box<[Arc<str>]>,
    /// Of all resources, sorted, each once.
    pub(super) origins: Box<[Origin]>,
    pub(super) cases: Vec<Case>,
    pub(super) warnings: Vec<Diagnostic>,
}

/// A resource and what it requires.
#[derive(Debug)]
pub(super) struct Guarded {
    pub resource: Arc<Resource>,
    /// A name it answers to; none when all its hosts are patterns.
    pub host: Option<Box<str>>,
    pub requirements: Box<[Requirement]>,
    pub routes: Box<[Route]>,
    /// The routes by path.
    pub tree: Segments<Entry>,
    /// Of the baseline and the resource together.
    pub share: Share,
}

#[derive(Debug)]
pub(super) struct Route {
    pub requirements: Box<[Requirement]>,
    pub share: Share,
}

/// One `match` of a route.
#[derive(Debug)]
pub(super) struct Entry {
    /// None: any method.
    pub method: Option<Box<str>>,
    pub route: u32,
}

/// What some requirements need beyond what is always gathered.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub limits: Vec<Limit>,
    pub tls_round_trip: bool,
}

/// What one request addresses: found once, for what has to be gathered and for the decision.
#[derive(Debug)]
pub struct Addressed<'p> {
    policy: &'p Policy,
    /// None: nothing, or nobody can tell.
    guarded: Option<&'p Guarded>,
    /// Of the routes, those that match, each once.
    routes: SmallVec<[u32; 8]>,
}

/// What has to be gathered for one request beyond what always is.
#[derive(Debug, Default)]
pub struct Needs<'p> {
    /// The limits this request counts against, each once.
    pub limits: SmallVec<[&'p Limit; 4]>,
    /// Whether a requirement reads the round trip to the TLS endpoint: worth waiting for its first sample.
    pub tls_round_trip: bool,
}

impl Policy {
    /// What becomes of a request of which `evidence` is known. Pure and total: the same evidence, the same decision.
    pub fn decide(&self, evidence: &Evidence) -> Decision {
        self.address(&evidence.request).decide(evidence)
    }

    /// What `request` addresses.
    pub fn address(&self, request: &Request) -> Addressed<'_> {
        let guarded = request.malformed.is_none().then(|| self.addressed(request)).flatten();
        let routes = guarded.map(|guarded| guarded.routes_of(request)).unwrap_or_default();
        Addressed { policy: self, guarded, routes }
    }

    /// What the decision on `request` will read that is not gathered for every request.
    pub fn needs(&self, request: &Request) -> Needs<'_> {
        self.address(request).needs()
    }

    /// The first 16 hex digits of the SHA-256 of the sources, whatever the order of the files.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What its files probably do not mean, sorted by place. None of it keeps the policy from being used.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Every resource, by id.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.guarded.iter().map(|guarded| &guarded.resource)
    }

    /// The role called `id`, as it is today.
    pub fn role(&self, id: &str) -> Option<&Role> {
        self.roles.binary_search_by(|role| (*role.id).cmp(id)).ok().and_then(|at| self.roles.get(at))
    }

    /// Every role, by id.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Every origin a request may be sent to, decoys included, each once.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Whether a request may be sent there.
    pub fn sends_to(&self, origin: &Origin) -> bool {
        self.origins.binary_search(origin).is_ok()
    }

    /// The host under which a service of the gateway itself is reached; none when no resource has it as its upstream.
    pub fn host_of(&self, service: &str) -> Option<&str> {
        let serves = |guarded: &&Guarded| {
            guarded.resource.upstreams.iter().any(|origin| origin.scheme == Scheme::Builtin && *origin.host == *service)
        };
        self.guarded.iter().filter(serves).find_map(|guarded| guarded.host.as_deref())
    }

    /// Every requirement: the baseline's, then each resource's with its routes'.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        let of_resources = self.guarded.iter().flat_map(|guarded| {
            guarded.requirements.iter().chain(guarded.routes.iter().flat_map(|route| &route.requirements))
        });
        self.baseline.iter().chain(of_resources)
    }

    /// Every limit of the policy, for whoever counts; a limit of several requirements comes several times.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.requirements().flat_map(Requirement::criteria).filter_map(|criterion| match criterion {
            Criterion::Rate(rate) => Some(&rate.limit),
            _ => None,
        })
    }

    /// The requirements `request` has to meet; none when it addresses nothing.
    pub fn requirements_of(&self, request: &Request) -> Vec<&Requirement> {
        let Some(guarded) = self.addressed(request) else { return Vec::new() };
        let addressed = Addressed { policy: self, guarded: Some(guarded), routes: guarded.routes_of(request) };
        addressed.applying(guarded).collect()
    }

    /// The configured lists the policy was compiled with.
    pub fn lists(&self) -> &[Arc<str>] {
        &self.lists
    }

    /// The `[[test]]`s of its files.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    fn addressed(&self, request: &Request) -> Option<&Guarded> {
        let index = self.hosts.addressed(&request.host, &request.path)?;
        self.guarded.get(usize::try_from(index).ok()?)
    }

    fn refuse(&self, resource: Option<&Arc<Resource>>, reason: Reason) -> Decision {
        Decision {
            policy: Arc::clone(&self.version),
            resource: resource.map(Arc::clone),
            outcome: Outcome::Deny,
            would: Outcome::Deny,
            reason,
            findings: Vec::new(),
        }
    }
}

impl<'p> Addressed<'p> {
    /// What becomes of the request, of which `evidence` is known: `Policy::decide`. The evidence must be of the request
    /// that was addressed.
    pub fn decide(&self, evidence: &Evidence) -> Decision {
        if let Some(malformed) = evidence.request.malformed {
            return self.policy.refuse(None, Reason::Malformed(malformed));
        }
        let Some(guarded) = self.guarded else {
            return self.policy.refuse(None, Reason::NothingAddressed);
        };
        // One more for what nobody has to require, which comes first.
        let mut findings = Vec::with_capacity(self.policy.baseline.len() + guarded.requirements.len() + 1);
        for requirement in self.applying(guarded) {
            findings.push(requirement.find(evidence));
        }
        if findings.is_empty() {
            return self.policy.refuse(Some(&guarded.resource), Reason::NothingRequired);
        }

        // What nobody has to require: it refuses where requirements are only watched, too.
        let built_in = good_standing::find(evidence, guarded.resource.sensitivity);
        let at_least = built_in.as_ref().map_or(Outcome::Forward, |finding| finding.demand);
        if let Some(finding) = built_in {
            findings.insert(0, finding);
        }
        let would = findings.iter().fold(Outcome::Forward, |heaviest, finding| heaviest.join(finding.demand));
        let watched = if would == Outcome::Forward { Outcome::Forward } else { Outcome::Observe };
        let outcome = match (evidence.emergency, guarded.resource.mode) {
            (Emergency::Deny, _) => Outcome::Deny,
            // Watching everybody is no reason to let everybody administer.
            _ if guarded.resource.administers() => would,
            (Emergency::Observe, _) => watched,
            (Emergency::Off, Mode::Observe) => watched.join(at_least),
            (Emergency::Off, Mode::Enforce) => would,
        };
        let reason = match evidence.emergency {
            Emergency::Deny => Reason::EmergencyDeny,
            _ => heaviest(&findings, would).map_or(Reason::AllMet, |finding| finding.reason),
        };
        let resource = Some(Arc::clone(&guarded.resource));
        Decision { policy: Arc::clone(&self.policy.version), resource, outcome, would, reason, findings }
    }

    /// What the decision will read that is not gathered for every request.
    pub fn needs(&self) -> Needs<'p> {
        let mut needs = Needs::default();
        if let Some(guarded) = self.guarded {
            needs.add(&guarded.share);
            self.routes(guarded).for_each(|route| needs.add(&route.share));
        }
        needs
    }

    /// The role called `id`, as it is today.
    pub fn role(&self, id: &str) -> Option<&'p Role> {
        self.policy.role(id)
    }

    /// All scopes at once, so that a narrower one can only add.
    fn applying(&self, guarded: &'p Guarded) -> impl Iterator<Item = &'p Requirement> {
        let routes = self.routes(guarded).flat_map(|route| &route.requirements);
        self.policy.baseline.iter().chain(&guarded.requirements).chain(routes)
    }

    fn routes(&self, guarded: &'p Guarded) -> impl Iterator<Item = &'p Route> {
        self.routes.iter().filter_map(|route| guarded.routes.get(usize::try_from(*route).ok()?))
    }
}

/// The finding that speaks for the decision: of those that demand as much as the whole, one that saw something
/// wrong before one that saw nothing, and then the first, their order being canonical.
fn heaviest(findings: &[Finding], would: Outcome) -> Option<&Finding> {
    let unmet = findings.iter().filter(|finding| finding.verdict != Verdict::Met);
    unmet.filter(|finding| finding.demand == would).min_by_key(|finding| finding.verdict == Verdict::Unknown)
}

impl Guarded {
    /// Every route that matches, each once.
    fn routes_of(&self, request: &Request) -> SmallVec<[u32; 8]> {
        let mut matching: SmallVec<[u32; 8]> = SmallVec::new();
        self.tree.matching(&request.path, &mut |entry| {
            if entry.covers(&request.method) {
                matching.push(entry.route);
            }
        });
        matching.sort_unstable();
        matching.dedup();
        matching
    }
}

impl Entry {
    /// Without case, and `GET` with `HEAD`: a request must not slip past a requirement by its spelling.
    fn covers(&self, method: &str) -> bool {
        self.method.as_ref().is_none_or(|named| {
            named.eq_ignore_ascii_case(method) || (&**named == "GET" && method.eq_ignore_ascii_case("HEAD"))
        })
    }
}

impl Share {
    pub fn of<'p>(requirements: impl IntoIterator<Item = &'p Requirement>) -> Self {
        let mut share = Self::default();
        for criterion in requirements.into_iter().flat_map(Requirement::criteria) {
            share.tls_round_trip |= criterion.reads_tls_round_trip();
            if let Criterion::Rate(rate) = criterion {
                share.limits.push(rate.limit.clone());
            }
        }
        share
    }
}

impl<'p> Needs<'p> {
    fn add(&mut self, share: &'p Share) {
        self.tls_round_trip |= share.tls_round_trip;
        for limit in &share.limits {
            if !self.limits.iter().any(|known| known.name == limit.name) {
                self.limits.push(limit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Fact, Malformed, Quota};
    use crate::policy::decision::{Remedy, Ruling};
    use crate::policy::given::{self, Given};
    use crate::policy::source::Source;
    use crate::policy::{Context, LimitKey};

    const TEXT: &str = "
        [[require]]
        id = 'polite'
        that = { rate = { limit = 100, per = '1s', by = 'address' } }

        [[resource]]
        id = 'app'
        hosts = ['app.example']
        upstream = 'http://127.0.0.1:1'

          [[resource.require]]
          id = 'at-home'
          that = { country = 'US' }

          [[resource.require]]
          id = 'signed-in'
          that = { login = { with = 'passkey', within = '10m' } }

          [[resource.route]]
          match = 'POST /exports'
            [[resource.route.require]]
            id = 'unhurried'
            that = { all = [{ rate = { limit = 2, per = '1h', by = 'subject' } }, { tls-rtt = { below = '1s' } }] }
    ";

    fn policy() -> Policy {
        Policy::compile(&[Source::new("t", TEXT)], &Context::default()).expect("compiles")
    }

    fn evidence(policy: &Policy, request: &str, given: &str) -> Evidence {
        let given = Given::read(&[given.to_owned()], policy).expect("reads");
        given.evidence(given::request(request).expect("a request"), policy)
    }

    #[test]
    fn a_malformed_request_is_refused_before_anything_else_is_asked() {
        let policy = policy();
        for emergency in [Emergency::Off, Emergency::Observe, Emergency::Deny] {
            let mut evidence = evidence(&policy, "GET https://app.example/", "");
            evidence.emergency = emergency;
            Arc::make_mut(&mut evidence.request).malformed = Some(Malformed::AmbiguousFraming);
            let decision = policy.decide(&evidence);
            assert_eq!(decision.reason, Reason::Malformed(Malformed::AmbiguousFraming));
            assert!(decision.resource.is_none() && decision.findings.is_empty());
            assert!(matches!(decision.ruling(), Ruling::Deny));
            assert!(policy.needs(&evidence.request).limits.is_empty());
        }
    }

    #[test]
    fn who_administers_is_never_only_watched() {
        let policy = |upstream: &str| {
            let text = format!(
                "[[resource]]\nid = 'r'\nhosts = ['gate.example']\nupstream = '{upstream}'\n\
                 require = [{{ id = 'owner', that = {{ login = {{ group = 'owner' }} }} }}]\n"
            );
            Policy::compile(&[Source::new("t", text)], &Context::default()).expect("compiles")
        };
        let outcome = |policy: &Policy, given: &str, emergency| {
            let mut evidence = evidence(policy, "PUT https://gate.example/v1/identities/eve", given);
            evidence.emergency = emergency;
            policy.decide(&evidence).outcome
        };
        let api = policy("rangegate:api");
        let owner = "user = 'uid:0', issuer = 'unix', groups = ['owner']";
        let suspended = "user = 'uid:0', issuer = 'unix', groups = ['owner'], identity = { status = 'suspended' }";
        for emergency in [Emergency::Off, Emergency::Observe] {
            assert_eq!(outcome(&api, "", emergency), Outcome::StepUp, "{emergency:?}");
            assert_eq!(outcome(&api, suspended, emergency), Outcome::Deny, "{emergency:?}");
            assert_eq!(outcome(&api, owner, emergency), Outcome::Forward, "{emergency:?}: repairs");
        }
        assert_eq!(outcome(&api, owner, Emergency::Deny), Outcome::Deny);
        // What else the gateway serves is for everybody, and what it protects is watched as ever.
        for other in ["rangegate:assertion-keys", "http://127.0.0.1:1"] {
            assert_eq!(outcome(&policy(other), "", Emergency::Observe), Outcome::Observe, "{other}");
        }
    }

    #[test]
    fn of_equal_demands_what_is_wrong_speaks_before_what_is_unknown() {
        let policy = policy();
        let decision = policy.decide(&evidence(&policy, "GET https://app.example/", "country = 'KP'"));
        assert_eq!(decision.findings[0].reason, Reason::RateAbsent, "the baseline is the first and denies as well");
        assert_eq!((decision.outcome, decision.reason), (Outcome::Deny, Reason::CountryOutside));
    }

    #[test]
    fn each_request_counts_against_its_own_limits() {
        let policy = policy();
        let names = |request: &str| {
            let needs = policy.needs(&given::request(request).expect("a request"));
            let names: Vec<String> = needs.limits.iter().map(|limit| limit.name.to_string()).collect();
            (names, needs.tls_round_trip)
        };
        let baseline = "*/polite/100-per-1000ms-by-address".to_owned();
        assert_eq!(names("GET https://app.example/exports"), (vec![baseline.clone()], false));
        let own = "app/unhurried/2-per-3600000ms-by-subject".to_owned();
        assert_eq!(names("POST https://app.example/exports"), (vec![baseline, own], true));
        assert_eq!(names("GET https://other.example/"), (vec![], false));
        assert_eq!(policy.limits().map(|limit| limit.by).collect::<Vec<_>>(), [LimitKey::Address, LimitKey::Subject]);
    }

    #[test]
    fn the_remedies_are_those_of_the_demand() {
        let policy = policy();
        let mut evidence = evidence(&policy, "GET https://app.example/", "country = 'US', quota = 'within'");
        let decision = policy.decide(&evidence);
        assert_eq!((decision.outcome, decision.reason), (Outcome::StepUp, Reason::LoginAbsent));
        let login = Remedy::Login { with: Some("passkey".into()), within_seconds: Some(600) };
        assert_eq!(decision.remedies().collect::<Vec<_>>(), [&login]);
        for (_, fact) in &mut evidence.quotas {
            *fact = Fact::Known(Quota::Exceeded { retry_after_ms: 700 });
        }
        let decision = policy.decide(&evidence);
        assert_eq!((decision.outcome, decision.reason), (Outcome::Deny, Reason::RateExceeded));
        assert_eq!(decision.remedies().collect::<Vec<_>>(), [&Remedy::Retry { after_ms: 700 }, &login]);
    }

    #[test]
    fn a_decision_is_recorded_with_what_was_seen() {
        let policy = policy();
        let decision = policy.decide(&evidence(&policy, "GET https://app.example/", "country = 'KP'"));
        let json = serde_json::to_value(&decision).expect("serializes");
        assert_eq!(json["outcome"], "deny");
        assert_eq!(json["would"], "deny");
        assert_eq!(json["reason"], "country-outside");
        assert_eq!(json["resource"], "app");
        assert_eq!(json["policy"], **policy.version());
        let finding = serde_json::json!({
            "resource": "at-home", "unmet": "country-outside", "demand": "deny", "seen": "KP",
        });
        assert_eq!(json["findings"][1], finding);
    }
}
