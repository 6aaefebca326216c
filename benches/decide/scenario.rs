//! The policies both engines get, the people who ask, and what they ask for.

use std::fmt::Write as _;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growing {
    /// Resources, one host each, five requirements each.
    Resources,
    /// Routes of one resource: its five requirements and one more for each route.
    Routes,
}

/// A policy set of one size.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub growing: Growing,
    pub size: usize,
}

/// Groups that requirements ask for in turn.
pub const TEAMS: usize = 8;

/// Requests that are asked in turn, spread over the whole set, so that no cache holds just the one that is measured.
const TARGETS: usize = 64;

/// The nation of those who may, and of those who may not.
pub const INSIDE: &str = "DE";
pub const OUTSIDE: &str = "FR";

impl Scenario {
    /// Which resources or routes are asked for.
    pub fn targets(&self) -> Vec<usize> {
        let count = TARGETS.min(self.size);
        (0..count).map(|target| target * self.size / count).collect()
    }

    /// In the language of `policies/`.
    pub fn rangegate(&self) -> String {
        let mut text = String::new();
        match self.growing {
            Growing::Resources => {
                for index in 0..self.size {
                    resource(&mut text, &format!("app-{index}"), index % TEAMS);
                }
            }
            Growing::Routes => {
                resource(&mut text, "app-0", 0);
                for index in 0..self.size {
                    let _ = write!(
                        text,
                        "  [[resource.route]]\n  match = [\"POST /runs/{index}/approve\"]\n    [[resource.route.require]]\n    \
                         id = \"approver-{index}\"\n    that = {{ login = {{ group = \"team-{team}\" }} }}\n",
                        team = index % TEAMS,
                    );
                }
            }
        }
        text
    }

    /// Method and address of a target.
    pub fn request(&self, target: usize) -> String {
        match self.growing {
            Growing::Resources => format!("GET https://app-{target}.corp.example/reports/2026"),
            Growing::Routes => format!("POST https://app-0.corp.example/runs/{target}/approve"),
        }
    }

    /// The entity a target is for Cedar.
    pub fn entity(&self, target: usize) -> String {
        match self.growing {
            Growing::Resources => format!("App::\"app-{target}\""),
            Growing::Routes => format!("Route::\"app-0/runs/{target}/approve\""),
        }
    }

    /// The Cedar policies that speak of a target alone. One `permit` with five conditions is the least Cedar can be
    /// asked to evaluate for them.
    pub fn cedar(&self, target: usize) -> String {
        match self.growing {
            Growing::Resources => permit(&format!("resource == App::\"app-{target}\""), target % TEAMS),
            Growing::Routes => format!(
                "forbid (principal, action, resource == {entity}) unless {{ principal in Group::\"team-{team}\" }};\n",
                entity = self.entity(target),
                team = target % TEAMS,
            ),
        }
    }

    /// The Cedar policies that speak of every target.
    pub fn cedar_common(&self) -> String {
        match self.growing {
            Growing::Resources => String::new(),
            Growing::Routes => permit("resource in App::\"app-0\"", 0),
        }
    }
}

fn resource(text: &mut String, name: &str, team: usize) {
    let _ = write!(
        text,
        r#"
[[resource]]
id = "{name}"
hosts = ["{name}.corp.example"]
upstream = "http://10.0.0.1:8080"
  [[resource.require]]
  id = "bound-laptop"
  that = {{ device = {{ bound = true, class = ["corporate"] }} }}
  [[resource.require]]
  id = "near-countries"
  that = {{ country = ["DE", "AT", "CH"] }}
  [[resource.require]]
  id = "no-hosting"
  that = {{ not = {{ list = "hosting" }} }}
  [[resource.require]]
  id = "near"
  that = {{ rtt = {{ below = "150ms" }} }}
  [[resource.require]]
  id = "on-the-team"
  that = {{ login = {{ group = "team-{team}", within = "8h" }} }}
"#
    );
}

fn permit(resource: &str, team: usize) -> String {
    format!(
        "permit (principal in Group::\"team-{team}\", action, {resource}) when {{\n  \
         context.device.bound && context.device.active && context.device.class == \"corporate\" &&\n  \
         [\"DE\", \"AT\", \"CH\"].contains(context.country) && !context.hosting &&\n  \
         context.rtt_us < 150000 && context.login_age_s <= 28800\n}};\n"
    )
}
