//! Cedar's side: its own recommended way, everything parsed once, requests ready.

use crate::scenario::{Growing, INSIDE, OUTSIDE, Scenario, TEAMS};
use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use rangegate_benches::Result;
use serde_json::{Value, json};
use std::hint::black_box;

#[derive(Debug)]
pub struct Cedar {
    authorizer: Authorizer,
    whole: PolicySet,
    entities: Entities,
    asked: Vec<Asked>,
}

/// A request, and the policies that could apply to it.
#[derive(Debug)]
struct Asked {
    request: Request,
    own: PolicySet,
}

impl Cedar {
    pub fn build(scenario: &Scenario) -> Result<Self> {
        let common = scenario.cedar_common();
        let whole: String = (0..scenario.size).map(|target| scenario.cedar(target)).collect();
        let whole: PolicySet = format!("{common}{whole}").parse()?;
        let entities = Entities::from_json_value(entities(scenario), None)?;
        let authorizer = Authorizer::new();
        let all = |country| -> Result<Vec<Asked>> {
            let asked = |target| {
                let own = format!("{common}{}", scenario.cedar(target)).parse()?;
                Ok(Asked { request: request(scenario, target, country)?, own })
            };
            scenario.targets().into_iter().map(asked).collect()
        };
        for (country, expected) in [(INSIDE, Decision::Allow), (OUTSIDE, Decision::Deny)] {
            for Asked { request, own } in all(country)? {
                for policies in [&whole, &own] {
                    let answer = authorizer.is_authorized(&request, policies, &entities);
                    if answer.decision() != expected || answer.diagnostics().errors().next().is_some() {
                        return Err(format!("cedar decides {answer:?} for {country}").into());
                    }
                }
            }
        }
        Ok(Self { authorizer, whole, entities, asked: all(INSIDE)? })
    }

    /// One decision over all policies, as an application that hands Cedar its policies gets it.
    pub fn decide(&self, turn: usize) {
        let asked = &self.asked[turn % self.asked.len()];
        black_box(self.authorizer.is_authorized(black_box(&asked.request), &self.whole, &self.entities));
    }

    /// One decision over the policies that could apply, as if somebody had found them for nothing.
    pub fn decide_own(&self, turn: usize) {
        let asked = &self.asked[turn % self.asked.len()];
        black_box(self.authorizer.is_authorized(black_box(&asked.request), &asked.own, &self.entities));
    }
}

fn request(scenario: &Scenario, target: usize, country: &str) -> Result<Request> {
    let context = json!({
        "device": { "bound": true, "active": true, "class": "corporate" },
        "country": country,
        "hosting": false,
        "rtt_us": 38_000,
        "login_age_s": 7_200,
    });
    let (user, action): (EntityUid, EntityUid) = ("User::\"ann\"".parse()?, "Action::\"request\"".parse()?);
    let resource: EntityUid = scenario.entity(target).parse()?;
    Ok(Request::new(user, action, resource, Context::from_json_value(context, None)?, None)?)
}

/// Ann, her teams, and what she asks for.
fn entities(scenario: &Scenario) -> Value {
    let uid = |kind: &str, id: String| json!({ "type": kind, "id": id });
    let plain = |uid: Value| json!({ "uid": uid, "attrs": {}, "parents": [] });
    let teams = || (0..TEAMS).map(|team| uid("Group", format!("team-{team}")));
    let mut all =
        vec![json!({ "uid": uid("User", "ann".to_owned()), "attrs": {}, "parents": teams().collect::<Vec<_>>() })];
    all.extend(teams().map(plain));
    match scenario.growing {
        Growing::Resources => all.extend((0..scenario.size).map(|index| plain(uid("App", format!("app-{index}"))))),
        Growing::Routes => {
            let app = uid("App", "app-0".to_owned());
            all.push(plain(app.clone()));
            all.extend((0..scenario.size).map(|index| {
                json!({ "uid": uid("Route", format!("app-0/runs/{index}/approve")), "attrs": {}, "parents": [app] })
            }));
        }
    }
    Value::Array(all)
}
