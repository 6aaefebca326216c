//! Laws 1 to 6 over random policies and random evidence. (Law 7 is the `compile_fail` example in `policy/decision.rs`.)

use proptest::prelude::*;
use rangegate::evidence::device::DeviceStatus;
use rangegate::evidence::timing::{Nearness, TcpTiming, TlsSource, TlsTiming};
use rangegate::evidence::*;
use rangegate::latency::{Coordinates, Kilometres, Rtt};
use rangegate::policy::source::Source;
use rangegate::policy::{Context, Decision, Mode, Outcome, Policy, Reason, Scope, Sensitivity, Verdict, given};
use std::borrow::Cow;
use std::sync::Arc;

// ---- law 1 ----

#[test]
fn law_1_join_is_associative_commutative_idempotent() {
    for a in Outcome::ALL {
        assert_eq!(a.join(a), a);
        assert_eq!(Outcome::Forward.join(a), a);
        for b in Outcome::ALL {
            assert_eq!(a.join(b), b.join(a));
            for c in Outcome::ALL {
                assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            }
        }
    }
}

// ---- laws 2 to 5 ----

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn law_2_adding_a_requirement_never_loosens(
        world in world(), added in requirement(), scope in 0..3_usize, evidence in evidence(),
    ) {
        let before = world.compile();
        let mut more = world;
        let added = Requirement { id: "added".to_owned(), ..added };
        match scope {
            0 => more.baseline.push(added),
            1 => more.resource.push(added),
            _ => more.routes.push(Route { matches: vec![("*", "/*/**")], requirements: vec![added] }),
        }
        let after = more.compile();
        let (before, after) = (decide(&before, &evidence), decide(&after, &evidence));
        // where nothing was required everything was refused (law 6): the first requirement is the first way in
        prop_assume!(before.reason != Reason::NothingRequired);
        no_looser(&before, &after)?;
    }

    #[test]
    fn grants_that_are_over_change_no_outcome(world in world(), evidence in evidence()) {
        let held = evidence.grants.as_ref().map(|grants| {
            grants.iter().filter(|grant| grant.over.is_none()).cloned().collect::<Arc<[Grant]>>()
        });
        let policy = world.compile();
        let without = decide(&policy, &Evidence { grants: held, ..evidence.clone() });
        let with = decide(&policy, &evidence);
        prop_assert_eq!((with.outcome, with.would), (without.outcome, without.would));
    }

    #[test]
    fn law_2_a_narrower_scope_only_tightens(world in world(), evidence in evidence()) {
        let mut wide = world.clone();
        wide.routes.clear();
        prop_assume!(!(wide.baseline.is_empty() && wide.resource.is_empty()));
        let mut wider = wide.clone();
        wider.resource.clear();
        no_looser(&decide(&wide.compile(), &evidence), &decide(&world.compile(), &evidence))?;
        if !wider.baseline.is_empty() {
            no_looser(&decide(&wider.compile(), &evidence), &decide(&wide.compile(), &evidence))?;
        }
    }

    #[test]
    fn law_3_losing_a_fact_never_loosens(world in world(), evidence in evidence(), how in lost()) {
        let policy = world.compile();
        let evidence = counted(&policy, &evidence);
        let before = policy.decide(&evidence);
        for lose in LOSSES {
            let mut less = evidence.clone();
            lose(&mut less, how);
            no_looser(&before, &policy.decide(&less))?;
        }
        for lose in STANDINGS {
            // A source that cannot answer might have said that somebody is suspended. One that answers that there
            // is nobody, or nobody genuine, has answered: then only what was required may not be loosened.
            let mut whole = evidence.clone();
            if !matches!(how, Lost::Unavailable) {
                reinstate(&mut whole);
            }
            let mut less = whole.clone();
            lose(&mut less, how);
            no_looser(&policy.decide(&whole), &policy.decide(&less))?;
        }
    }

    #[test]
    fn law_3_losing_everything_refuses_all_that_reads_a_fact(that in leaf(), how in lost()) {
        prop_assume!(!that.contains("method") && !that.contains("path") && !that.contains("schedule"));
        let world = World { resource: vec![Requirement { id: "q".to_owned(), that: That::Leaf(that), otherwise: None }], ..World::default() };
        let policy = world.compile();
        let mut evidence = counted(&policy, &given::nothing());
        evidence.request = request("a.example", "/", "GET");
        for lose in LOSSES.into_iter().chain(STANDINGS) {
            lose(&mut evidence, how);
        }
        let decision = policy.decide(&evidence);
        prop_assert!(decision.findings.iter().all(|finding| finding.verdict == Verdict::Unknown));
        prop_assert!(decision.outcome > Outcome::Observe);
    }

    #[test]
    fn law_4_order_is_irrelevant(world in world(), evidence in evidence(), seed in any::<u64>()) {
        let mut shuffled = world.clone();
        let mut random = seed | 1;
        shuffle(&mut shuffled.baseline, &mut random);
        shuffle(&mut shuffled.resource, &mut random);
        shuffle(&mut shuffled.routes, &mut random);
        for route in &mut shuffled.routes {
            shuffle(&mut route.requirements, &mut random);
            shuffle(&mut route.matches, &mut random);
        }
        let one = decide(&world.compile(), &evidence);
        let other = decide(&shuffled.compile_apart(&mut random), &evidence);
        prop_assert_eq!((one.outcome, one.would, one.reason), (other.outcome, other.would, other.reason));
        prop_assert_eq!(one.findings, other.findings);
    }

    #[test]
    fn law_4_so_is_the_order_of_conditions(that in that(), otherwise in otherwise(), evidence in evidence(), seed in any::<u64>()) {
        let world = |that| World { resource: vec![Requirement { id: "q".to_owned(), that, otherwise }], ..World::default() };
        let mut turned = that.clone();
        turned.shuffle(&mut (seed | 1));
        let (one, other) = (decide(&world(that).compile(), &evidence), decide(&world(turned).compile(), &evidence));
        prop_assert_eq!((one.outcome, one.would), (other.outcome, other.would));
    }

    #[test]
    fn law_5_the_outcome_demands_no_less_than_every_finding(world in world(), evidence in evidence()) {
        let policy = world.compile();
        let evidence = counted(&policy, &evidence);
        let decision = policy.decide(&evidence);
        for finding in &decision.findings {
            prop_assert!(demands_no_less(decision.would, finding.demand), "{:?}", decision);
            prop_assert_eq!(finding.verdict == Verdict::Met, finding.demand == Outcome::Forward, "{:?}", finding);
            if world.api && evidence.emergency != Emergency::Deny {
                prop_assert_eq!(decision.outcome, decision.would, "{:?}", decision);
            } else if evidence.emergency == Emergency::Off && world.mode == Mode::Enforce {
                prop_assert!(demands_no_less(decision.outcome, finding.demand), "{:?}", decision);
            } else if finding.demand != Outcome::Forward {
                prop_assert!(demands_no_less(decision.outcome, Outcome::Observe), "{:?}", decision);
            }
            // whoever is not in good standing is refused where others are only watched
            if (world.api || evidence.emergency == Emergency::Off) && finding.scope == Scope::BuiltIn {
                prop_assert!(demands_no_less(decision.outcome, finding.demand), "{:?}", decision);
            }
        }
        // and no more: somebody demands it
        if !decision.findings.is_empty() && decision.would != Outcome::Forward {
            prop_assert!(decision.findings.iter().any(|finding| finding.demand == decision.would));
        }
        if evidence.emergency == Emergency::Deny || evidence.request.malformed.is_some() {
            prop_assert_eq!(decision.outcome, Outcome::Deny);
        }
    }

    #[test]
    fn nobody_suspended_and_nothing_sensitive_for_the_watched(world in world(), evidence in evidence()) {
        let decision = decide(&world.compile(), &evidence);
        let suspended = evidence.identity.known().is_some_and(|identity| identity.status == IdentityStatus::Suspended)
            || evidence.device.known().is_some_and(|device| matches!(device.status, DeviceStatus::Suspended | DeviceStatus::Revoked));
        let suspended = suspended || evidence.owner == Fact::Known(IdentityStatus::Suspended);
        let watched = evidence.identity.known().is_some_and(|identity| identity.status == IdentityStatus::Watched)
            || evidence.owner == Fact::Known(IdentityStatus::Watched);
        if world.api || evidence.emergency != Emergency::Observe {
            if suspended || (watched && world.sensitivity == Sensitivity::High) {
                prop_assert_eq!(decision.outcome, Outcome::Deny);
            } else if watched {
                prop_assert!(demands_no_less(decision.outcome, Outcome::Observe));
            }
        }
    }

    #[test]
    fn what_needs_announce_is_what_the_decision_reads(world in world(), evidence in evidence()) {
        let policy = world.compile();
        let counted = counted(&policy, &evidence);
        let mut spare = counted.clone();
        spare.quotas.push(("another/limit".into(), Fact::Known(Quota::Exceeded { retry_after_ms: 1 })));
        prop_assert_eq!(policy.decide(&counted).findings, policy.decide(&spare).findings.clone());
        if !policy.needs(&counted.request).tls_round_trip {
            let mut untimed = counted.clone();
            for lose in [lose_tls, lose_gap, lose_excess, lose_nearness] {
                lose(&mut untimed, Lost::Unavailable);
            }
            prop_assert_eq!(policy.decide(&counted).findings, policy.decide(&untimed).findings);
        }
    }
}

// ---- law 6 ----

#[test]
fn law_6_nothing_addressed_is_refused() {
    let world = World { resource: vec![Requirement::open("q")], ..World::default() };
    for emergency in [Emergency::Off, Emergency::Observe, Emergency::Deny] {
        let mut evidence = given::nothing();
        evidence.emergency = emergency;
        evidence.request = request("nowhere.example", "/", "GET");
        let decision = world.compile().decide(&evidence);
        assert_eq!((decision.outcome, decision.reason), (Outcome::Deny, Reason::NothingAddressed));
    }
}

#[test]
fn law_6_nothing_required_is_refused_in_every_mode() {
    for mode in [Mode::Enforce, Mode::Observe] {
        let route = Route { matches: vec![("*", "/a")], requirements: vec![Requirement::open("q")] };
        let world = World { mode, routes: vec![route], ..World::default() };
        let mut evidence = given::nothing();
        evidence.request = request("a.example", "/b", "GET");
        let decision = world.compile().decide(&evidence);
        assert_eq!((decision.outcome, decision.reason), (Outcome::Deny, Reason::NothingRequired));
        evidence.request = request("a.example", "/a", "GET");
        assert_eq!(world.compile().decide(&evidence).outcome, Outcome::Forward);
    }
}

#[test]
fn law_6_empty_lists_do_not_compile() {
    for that in [
        "{ all = [] }",
        "{ any = [] }",
        "{ not = { any = [] } }",
        "{ country = [] }",
        "{ method = [] }",
        "{ login = {} }",
        "{}",
    ] {
        let text = format!(
            "[[resource]]\nid = 'a'\nhosts = ['a.example']\nupstream = 'http://127.0.0.1:1'\n\
             [[resource.require]]\nid = 'q'\nthat = {that}\n"
        );
        assert!(Policy::compile(&[Source::new("t", text)], &Context::default()).is_err(), "{that}");
    }
    let open = "[[resource]]\nid = 'a'\nhosts = ['a.example']\nupstream = 'http://127.0.0.1:1'\n";
    assert!(Policy::compile(&[Source::new("t", open)], &Context::default()).is_err(), "nothing required");
    assert!(Policy::compile(&[], &Context::default()).is_err(), "no resource");
}

// ---- what the laws are held against ----

/// Written out by hand on purpose: law 5 must not be proved by the function it is about.
fn demands_no_less(outcome: Outcome, demand: Outcome) -> bool {
    use Outcome::{Decoy, Deny, Forward, Observe, RequireGrant, StepUp};
    match demand {
        Forward => true,
        Observe => matches!(outcome, Observe | RequireGrant | StepUp | Decoy | Deny),
        RequireGrant => matches!(outcome, RequireGrant | StepUp | Decoy | Deny),
        StepUp => matches!(outcome, StepUp | Decoy | Deny),
        Decoy => matches!(outcome, Decoy | Deny),
        Deny => matches!(outcome, Deny),
    }
}

fn no_looser(before: &Decision, after: &Decision) -> Result<(), TestCaseError> {
    prop_assert!(demands_no_less(after.would, before.would), "{:#?}\nthen\n{:#?}", before, after);
    prop_assert!(demands_no_less(after.outcome, before.outcome), "{:#?}\nthen\n{:#?}", before, after);
    Ok(())
}

/// Decides with every limit counted, as the gather step does.
fn decide(policy: &Policy, evidence: &Evidence) -> Decision {
    policy.decide(&counted(policy, evidence))
}

/// Gives each limit the fact that the random evidence holds for it.
fn counted(policy: &Policy, evidence: &Evidence) -> Evidence {
    let mut counted = evidence.clone();
    let fact = evidence.quotas.first().map_or(Fact::Absent, |(_, fact)| fact.clone());
    counted.quotas =
        policy.needs(&evidence.request).limits.iter().map(|limit| (Arc::clone(&limit.name), fact.clone())).collect();
    counted
}

// ---- random policies ----

#[derive(Clone, Debug, Default)]
struct World {
    /// The resource is the administration of the gateway.
    api: bool,
    mode: Mode,
    sensitivity: Sensitivity,
    baseline: Vec<Requirement>,
    resource: Vec<Requirement>,
    routes: Vec<Route>,
}

#[derive(Clone, Debug)]
struct Route {
    matches: Vec<(&'static str, &'static str)>,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    id: String,
    that: That,
    otherwise: Option<Outcome>,
}

#[derive(Clone, Debug)]
enum That {
    Leaf(&'static str),
    All(Vec<That>),
    Any(Vec<That>),
    Not(Box<That>),
}

impl World {
    fn compile(&self) -> Policy {
        compile(&[Source::new("all", self.head() + &self.own())])
    }

    /// The same in two files, the other way round.
    fn compile_apart(&self, random: &mut u64) -> Policy {
        let mut files = [Source::new("head", self.head()), Source::new("own", self.own())];
        shuffle(&mut files, random);
        compile(&files)
    }

    fn head(&self) -> String {
        let mut text: String = self.baseline.iter().map(|requirement| requirement.text("require")).collect();
        // a role that nobody asks for does not compile
        if (text.clone() + &self.own()).contains("grant = 'g'") {
            text += "[[role]]\nid = 'g'\nopens = 'a'\nlongest = '1h'\napprovals = 0\n";
        }
        text
    }

    fn own(&self) -> String {
        let mode = if self.mode == Mode::Observe && !self.api { "observe" } else { "enforce" };
        let upstream = if self.api { "rangegate:api" } else { "http://127.0.0.1:1" };
        let sensitivity = if self.sensitivity == Sensitivity::Low { "low" } else { "high" };
        let mut text = format!(
            "[[resource]]\nid = 'a'\nsensitivity = '{sensitivity}'\nhosts = ['a.example', '*.b.example']\nupstream = '{upstream}'\n\
             decoy = 'http://127.0.0.1:2'\nmode = '{mode}'\n"
        );
        text.extend(self.resource.iter().map(|requirement| requirement.text("resource.require")));
        for route in &self.routes {
            let matches: Vec<String> =
                route.matches.iter().map(|(method, path)| format!("'{method} {path}'")).collect();
            text += &format!("[[resource.route]]\nmatch = [{}]\n", matches.join(", "));
            text.extend(route.requirements.iter().map(|requirement| requirement.text("resource.route.require")));
        }
        text
    }
}

impl Requirement {
    /// Met by everything.
    fn open(id: &str) -> Self {
        Self { id: id.to_owned(), that: That::Leaf("{ path = '/**' }"), otherwise: None }
    }

    fn text(&self, table: &str) -> String {
        let otherwise = self.otherwise.map(|outcome| format!("otherwise = '{}'\n", outcome.code())).unwrap_or_default();
        format!("[[{table}]]\nid = '{}'\nthat = {}\n{otherwise}", self.id, self.that.text())
    }
}

impl That {
    fn text(&self) -> String {
        let list = |items: &[Self]| items.iter().map(Self::text).collect::<Vec<_>>().join(", ");
        match self {
            Self::Leaf(text) => (*text).to_owned(),
            Self::All(items) => format!("{{ all = [{}] }}", list(items)),
            Self::Any(items) => format!("{{ any = [{}] }}", list(items)),
            Self::Not(item) => format!("{{ not = {} }}", item.text()),
        }
    }

    /// Whether it is met or unknown, so that `not` around it does not compile.
    fn never_false(&self) -> bool {
        match self {
            Self::Leaf(text) => text.ends_with("{ known = true } }"),
            Self::All(items) => items.iter().all(Self::never_false),
            Self::Any(items) => items.iter().any(Self::never_false),
            Self::Not(_) => false,
        }
    }

    fn shuffle(&mut self, random: &mut u64) {
        match self {
            Self::Leaf(_) => {}
            Self::Not(item) => item.shuffle(random),
            Self::All(items) | Self::Any(items) => {
                shuffle(items, random);
                items.iter_mut().for_each(|item| item.shuffle(random));
            }
        }
    }
}

fn compile(files: &[Source]) -> Policy {
    let context = Context { lists: vec!["hosting".into()], ..Context::default() };
    match Policy::compile(files, &context) {
        Ok(policy) => policy,
        Err(faults) => panic!("{}", rangegate::policy::diagnostic::render(&faults, files, false)),
    }
}

fn leaf() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{ login = { known = true } }",
        "{ login = { group = 'g', with = 'passkey' } }",
        "{ login = { within = '10m' } }",
        "{ login = { bound = true, user = ['ann', 'bob'] } }",
        "{ device = { known = true } }",
        "{ device = { bound = true, class = 'corporate' } }",
        "{ device = { status = ['active', 'suspended'], san = 'dns:a' } }",
        "{ country = ['US', 'CA'] }",
        "{ region = ['US-AZ', 'CA-QC'] }",
        "{ asn = [64500] }",
        "{ cidr = ['192.0.2.0/24'] }",
        "{ list = 'hosting' }",
        "{ distance = { below = '500km' } }",
        "{ rtt = { below = '50ms' } }",
        "{ tls-rtt = { below = '50ms' } }",
        "{ rtt-excess = { below = '50ms' } }",
        "{ relay-gap = { below = '50ms' } }",
        "{ too-near = false }",
        "{ schedule = { days = 'mon-fri', hours = '22:00-06:00', zone = 'America/Phoenix' } }",
        "{ rate = { limit = 5, per = '1m', by = 'subject' } }",
        "{ method = ['GET', 'POST'] }",
        "{ path = ['/a/**', '/b'] }",
        "{ grant = 'g' }",
        "{ posture = { attested = true } }",
        "{ identity = { known = true } }",
        "{ identity = { status = ['active', 'suspended'], employment = 'employee', vendor = 'acme' } }",
        "{ identity = { proofed-within = '30d' } }",
        "{ identity = { at-home = true } }",
        "{ identity = { at-home = '100km', country-is-home = true } }",
        "{ identity = { region-is-home = true } }",
        "{ memory-age = { below = '5m' } }",
    ])
}

fn that() -> impl Strategy<Value = That> {
    leaf().prop_map(That::Leaf).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(That::All),
            prop::collection::vec(inner.clone(), 1..4).prop_map(That::Any),
            inner.prop_map(|item| if item.never_false() { item } else { That::Not(Box::new(item)) }),
        ]
    })
}

/// All but `require-grant`, which compiles only beside a grant.
fn otherwise() -> impl Strategy<Value = Option<Outcome>> {
    prop::option::weighted(
        0.3,
        prop::sample::select(vec![Outcome::Observe, Outcome::StepUp, Outcome::Decoy, Outcome::Deny]),
    )
}

fn requirement() -> impl Strategy<Value = Requirement> {
    (that(), otherwise()).prop_map(|(that, otherwise)| Requirement { id: String::new(), that, otherwise })
}

fn requirements(most: usize) -> impl Strategy<Value = Vec<Requirement>> {
    prop::collection::vec(requirement(), 0..=most)
}

fn world() -> impl Strategy<Value = World> {
    let paths = ["/**", "/", "/a", "/a/*", "/a/**", "/*/b", "/b"];
    // a route must not be written twice: each draws from its own methods
    let matches = move |methods: &'static [&'static str]| {
        prop::sample::subsequence(paths.to_vec(), 1..4).prop_map(move |paths| {
            paths
                .into_iter()
                .zip(methods.iter().copied().cycle())
                .map(|(path, method)| (method, path))
                .collect::<Vec<_>>()
        })
    };
    let route = move |methods| {
        (matches(methods), prop::collection::vec(requirement(), 1..3))
            .prop_map(|(matches, requirements)| Route { matches, requirements })
    };
    let routes = (prop::option::of(route(&["*"])), prop::option::of(route(&["GET", "POST"])));
    let kind = (prop::bool::weighted(0.2), any::<bool>(), any::<bool>());
    (kind, requirements(2), requirements(2), routes).prop_map(
        |((api, observe, low), baseline, resource, (one, other))| {
            let mut world = World {
                api,
                mode: if observe { Mode::Observe } else { Mode::Enforce },
                sensitivity: if low { Sensitivity::Low } else { Sensitivity::High },
                baseline,
                resource,
                routes: one.into_iter().chain(other).collect(),
            };
            if world.baseline.is_empty() && world.resource.is_empty() && world.routes.is_empty() {
                world.resource.push(Requirement::open("open"));
            }
            let routes = world.routes.iter_mut().flat_map(|route| &mut route.requirements);
            let all = world.baseline.iter_mut().chain(&mut world.resource).chain(routes);
            for (index, requirement) in all.enumerate() {
                // scattered, so that the order of ids is not that of scopes
                requirement.id = format!("q{}", (index * 7 + 3) % 11);
            }
            world
        },
    )
}

fn shuffle<T>(items: &mut [T], random: &mut u64) {
    for last in (1..items.len()).rev() {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        items.swap(last, usize::try_from(*random % (last as u64 + 1)).unwrap());
    }
}

// ---- random evidence ----

fn fact<T: Clone + std::fmt::Debug + 'static>(
    known: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Fact<T>> {
    prop_oneof![
        6 => known.prop_map(Fact::Known),
        1 => Just(Fact::Absent),
        1 => Just(Fact::Invalid(Fault::TokenForged)),
        1 => Just(Fact::Unavailable(Fault::Insufficient)),
    ]
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Arc<str>> {
    prop::sample::select(words).prop_map(Arc::from)
}

fn some(words: &'static [&'static str]) -> impl Strategy<Value = Vec<Arc<str>>> {
    prop::collection::vec(word(words), 0..3)
}

fn rtt() -> impl Strategy<Value = Rtt> {
    prop::sample::select(vec![0, 10_000, 49_999, 50_000, 200_000]).prop_map(Rtt::from_micros)
}

const AT: i64 = 1_772_640_000_000;

fn identity() -> impl Strategy<Value = Evidence> {
    let certificate = (word(&["c", "d"]), some(&["dns:a", "dns:b"])).prop_map(|(sha256, sans)| {
        Arc::new(Certificate {
            spki_sha256: Arc::clone(&sha256),
            sha256,
            serial: "1".into(),
            subject: "".into(),
            issuer: "".into(),
            sans,
            not_before: Moment(0),
            not_after: Moment(i64::MAX),
            class: None,
        })
    });
    let status = prop::sample::select(vec![
        DeviceStatus::Active,
        DeviceStatus::Watched,
        DeviceStatus::Suspended,
        DeviceStatus::Revoked,
    ]);
    let device = (prop::option::of(word(&["ann", "bob"])), word(&["corporate", "kiosk"]), status)
        .prop_map(|(owner, class, status)| Arc::new(Device { id: "d".into(), owner, class, status }));
    let subject = (
        word(&["ann", "bob", "eve"]),
        some(&["g", "h"]),
        some(&["passkey", "otp"]),
        prop::option::of(prop::sample::select(vec![AT - 3_600_000, AT - 60_000, AT + 30_000, AT + 3_600_000])),
        prop::option::of(word(&["c", "d"])),
    )
        .prop_map(|(user, groups, assurance, authenticated, bound_to)| {
            Arc::new(Subject {
                issuer: "https://id".into(),
                id: Arc::clone(&user),
                user,
                groups,
                assurance,
                acr: None,
                amr: Vec::new(),
                authenticated: authenticated.map(Moment),
                expires: Moment(AT + 1),
                bound_to,
            })
        });
    let binding = prop::sample::select(vec![
        Binding::TokenAndDevice,
        Binding::DeviceOnly,
        Binding::AnotherOwner,
        Binding::NoOwner,
        Binding::AnotherCertificate,
    ]);
    let owner = prop_oneof![
        4 => Just(IdentityStatus::Active),
        1 => Just(IdentityStatus::Watched),
        1 => Just(IdentityStatus::Suspended),
    ];
    (fact(certificate), fact(device), fact(subject), fact(binding), fact(record()), fact(owner)).prop_map(
        |(certificate, device, subject, binding, identity, owner)| Evidence {
            certificate,
            device,
            binding,
            // Only where nobody is signed in is it asked whose device it is.
            owner: if subject.known().is_some() { Fact::Absent } else { owner },
            subject,
            identity,
            ..given::nothing()
        },
    )
}

fn record() -> impl Strategy<Value = Arc<Identity>> {
    let status = prop_oneof![
        4 => Just(IdentityStatus::Active),
        1 => Just(IdentityStatus::Watched),
        1 => Just(IdentityStatus::Suspended),
    ];
    let employment = prop::sample::select(vec![Employment::Employee, Employment::Contractor, Employment::Vendor]);
    let proofed = prop::sample::select(vec![AT - 31 * 86_400_000, AT - 86_400_000, AT + 3_600_000]);
    let home = (
        word(&["US", "CA"]),
        prop::option::of(word(&["AZ", "QC"])),
        prop::option::of(place()),
        prop::option::of(Just(50.0)),
    )
        .prop_map(|(country, region, coordinates, radius_km)| Home { country, region, coordinates, radius_km });
    let rest = (prop::option::of(proofed), prop::option::of(home), prop::option::of(word(&["acme", "other"])));
    (status, prop::option::of(employment), rest).prop_map(|(status, employment, (proofed, home, vendor))| {
        let proofing = proofed.map(|at| Proofing { method: "m".into(), by: "b".into(), at: Moment(at), until: None });
        Arc::new(Identity { status, employment, vendor, home, proofing, ..given::person("ann") })
    })
}

fn place() -> impl Strategy<Value = Coordinates> {
    let places = vec![(33.4, -112.0), (33.5, -112.1), (39.7, -105.0), (f64::NAN, 0.0)];
    prop::sample::select(places).prop_map(|(latitude, longitude)| Coordinates { latitude, longitude })
}

fn network() -> impl Strategy<Value = Network> {
    let address =
        prop::sample::select(vec!["192.0.2.1", "198.51.100.1", "2001:db8::1"]).prop_map(|text| text.parse().unwrap());
    let asn = prop::sample::select(vec![64_500, 64_501]).prop_map(|number| Asn { number, organisation: "".into() });
    let place = (fact(word(&["US", "CA", "KP"])), fact(word(&["AZ", "QC"])), fact(place()));
    (fact(address), place, fact(asn), fact(any::<bool>())).prop_map(|(address, place, asn, hosting)| {
        let (country, region, coordinates) = place;
        let mut network = Network::clone(&given::nothing().network);
        network.address = address;
        network.place.country = country;
        network.place.region = region;
        network.place.coordinates = coordinates;
        network.asn = asn;
        network.lists = vec![("hosting".into(), hosting)];
        network
    })
}

fn timing() -> impl Strategy<Value = Timing> {
    let tcp = rtt().prop_map(|rtt| TcpTiming { first: rtt, minimum: rtt, smoothed: rtt, variation: rtt });
    let tls = rtt().prop_map(|minimum| TlsTiming { minimum, samples: 1, source: TlsSource::Http2Ping });
    let distance = prop::sample::select(vec![0.0, 499.0, 500.0, 9000.0, f64::NAN]).prop_map(Kilometres);
    let nearness = (any::<bool>(), rtt()).prop_map(|(too_near, rtt)| Nearness { too_near, floor: rtt, measured: rtt });
    (fact(tcp), fact(tls), fact(rtt()), fact(rtt()), fact(distance), fact(nearness)).prop_map(
        |(tcp, tls, relay_gap, excess, distance, nearness)| Timing {
            tcp,
            tls,
            relay_gap,
            excess,
            distance,
            nearness,
            ..given::nothing().timing
        },
    )
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let over = prop::sample::select(vec![None, Some(Over::Expired), Some(Over::Ended)]);
    let grants = prop::collection::vec((word(&["g", "h"]), prop::sample::select(vec![AT, AT + 1]), over), 0..3)
        .prop_map(|grants| {
            let grant = |(role, expires, over)| Grant { role, expires: Moment(expires), over };
            grants.into_iter().map(grant).collect::<Arc<[Grant]>>()
        });
    let quota = prop_oneof![Just(Quota::Within), Just(Quota::Exceeded { retry_after_ms: 500 })];
    let asked = (
        prop::sample::select(vec!["a.example", "x.b.example", "a.example", "nowhere.example"]),
        prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a;v=1/b", "/c/b", "/b"]),
        prop::sample::select(vec!["GET", "HEAD", "POST", "post", "DELETE"]),
        prop::option::weighted(0.05, Just(Malformed::Syntax)),
    );
    let emergency = prop_oneof![8 => Just(Emergency::Off), 1 => Just(Emergency::Observe), 1 => Just(Emergency::Deny)];
    let at = prop::sample::select(vec![AT, AT + 43_200_000, i64::MAX, i64::MIN]);
    let rest = (
        fact(grants),
        fact(any::<bool>().prop_map(|attested| Posture { attested })),
        fact(prop::sample::select(vec![0, 299_999, 300_000, u64::MAX])),
        fact(quota),
        asked,
        emergency,
        at,
    );
    (identity(), network(), timing(), rest).prop_map(|(identity, network, timing, rest)| {
        let (grants, posture, memory_age, quota, (host, path, method, malformed), emergency, at) = rest;
        Evidence {
            at: Moment(at),
            emergency,
            request: Arc::new(Request { malformed, ..(*request(host, path, method)).clone() }),
            network: Arc::new(network),
            timing,
            quotas: [(QuotaName::from("any"), quota)].into_iter().collect(),
            grants,
            posture,
            memory_age,
            ..identity
        }
    })
}

fn request(host: &str, path: &str, method: &'static str) -> Arc<Request> {
    let nothing = (*given::nothing().request).clone();
    Arc::new(Request { host: host.to_owned(), path: path.to_owned(), method: Cow::Borrowed(method), ..nothing })
}

// ---- losing facts ----

#[derive(Clone, Copy, Debug)]
enum Lost {
    Absent,
    Invalid,
    Unavailable,
}

fn lost() -> impl Strategy<Value = Lost> {
    prop_oneof![Just(Lost::Absent), Just(Lost::Invalid), Just(Lost::Unavailable)]
}

impl Lost {
    fn fact<T>(self) -> Fact<T> {
        match self {
            Self::Absent => Fact::Absent,
            Self::Invalid => Fact::Invalid(Fault::TokenExpired),
            Self::Unavailable => Fact::Unavailable(Fault::DatabaseCorrupt),
        }
    }
}

/// One for every fact there is, but for those of `STANDINGS`.
const LOSSES: [fn(&mut Evidence, Lost); 18] = [
    |e, how| e.certificate = how.fact(),
    |e, how| Arc::make_mut(&mut e.network).place.coordinates = how.fact(),
    |e, how| e.subject = how.fact(),
    |e, how| e.binding = how.fact(),
    |e, how| Arc::make_mut(&mut e.network).address = how.fact(),
    |e, how| Arc::make_mut(&mut e.network).place.country = how.fact(),
    |e, how| Arc::make_mut(&mut e.network).place.region = how.fact(),
    |e, how| Arc::make_mut(&mut e.network).asn = how.fact(),
    |e, how| Arc::make_mut(&mut e.network).lists.iter_mut().for_each(|(_, fact)| *fact = how.fact()),
    |e, _| Arc::make_mut(&mut e.network).lists.clear(),
    |e, how| e.timing.tcp = how.fact(),
    |e, how| e.timing.distance = how.fact(),
    lose_tls,
    lose_gap,
    lose_excess,
    lose_nearness,
    |e, how| e.quotas.iter_mut().for_each(|(_, fact)| *fact = how.fact()),
    |e, how| (e.grants, e.posture, e.memory_age) = (how.fact(), how.fact(), how.fact()),
];

/// The facts that say whether somebody is suspended.
const STANDINGS: [fn(&mut Evidence, Lost); 3] =
    [|e, how| e.device = how.fact(), |e, how| e.identity = how.fact(), |e, how| e.owner = how.fact()];

/// Makes whoever is suspended, revoked or watched an active one.
fn reinstate(evidence: &mut Evidence) {
    if let Fact::Known(identity) = &mut evidence.identity {
        Arc::make_mut(identity).status = IdentityStatus::Active;
    }
    evidence.owner = std::mem::replace(&mut evidence.owner, Fact::Absent).map(|_| IdentityStatus::Active);
    if let Fact::Known(device) = &mut evidence.device
        && matches!(device.status, DeviceStatus::Suspended | DeviceStatus::Revoked)
    {
        Arc::make_mut(device).status = DeviceStatus::Active;
    }
    // one that could not be read may not become one that answers
    for lose in STANDINGS {
        let unreadable = matches!(evidence.identity, Fact::Invalid(_) | Fact::Unavailable(_))
            || matches!(evidence.owner, Fact::Invalid(_) | Fact::Unavailable(_))
            || matches!(evidence.device, Fact::Unavailable(_));
        if unreadable {
            lose(evidence, Lost::Absent);
        }
    }
}

fn lose_tls(evidence: &mut Evidence, how: Lost) {
    evidence.timing.tls = how.fact();
}

fn lose_gap(evidence: &mut Evidence, how: Lost) {
    evidence.timing.relay_gap = how.fact();
}

fn lose_excess(evidence: &mut Evidence, how: Lost) {
    evidence.timing.excess = how.fact();
}

fn lose_nearness(evidence: &mut Evidence, how: Lost) {
    evidence.timing.nearness = how.fact();
}
