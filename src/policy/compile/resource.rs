//! `[[resource]]`: what is protected, where it lives, what it requires.

use super::Context;
use super::requirement;
use super::role;
use super::upstream;
use crate::policy::criteria::{Names, method};
use crate::policy::decision::Scope;
use crate::policy::diagnostic::{Diagnostic, Place};
use crate::policy::hosts::HostPattern;
use crate::policy::requirement::Requirement;
use crate::policy::resource::{Mode, Origin, Resource, Sensitivity};
use crate::policy::segments::Pattern;
use crate::policy::source::{Table, Value};
use std::collections::BTreeMap;

/// A resource as written, before it is held against the others.
pub(super) struct Draft {
    pub resource: Resource,
    /// Of the id.
    pub place: Place,
    /// Whether it states a requirement of its own, good or bad.
    pub requires: bool,
    pub own: Vec<(Requirement, Place)>,
    pub routes: Vec<RouteDraft>,
    hosts: Vec<(HostPattern, Place)>,
    paths: Vec<(Pattern, Place)>,
}

pub(super) struct RouteDraft {
    pub matches: Vec<RouteMatch>,
    pub requirements: Vec<(Requirement, Place)>,
}

/// `POST /runs/*/approve`; `*` for any method.
pub(super) struct RouteMatch {
    pub method: Option<Box<str>>,
    pub pattern: Pattern,
    place: Place,
}

impl Draft {
    pub fn lower(mut table: Table<'_>, names: Names<'_>, context: &Context) -> Option<Self> {
        let id = table.required("id", requirement::id);
        let hosts = table.required("hosts", |hosts| {
            hosts.one_or_more(|host| {
                host.parsed("a host", "payroll.corp.example", HostPattern::parse).map(|name| (name, host.place()))
            })
        });
        let paths = table.optional("paths", |paths| {
            paths.one_or_more(|path| {
                let prefix = |text: &str| Pattern::parse_prefix(text).map_err(str::to_owned);
                Some((path.parsed("a path prefix", "/admin", prefix)?, path.place()))
            })
        });
        let upstreams = table.required("upstream", |value| upstream::lower(value, context));
        let decoy_place = table.key_place("decoy");
        let has_decoy = table.has("decoy");
        let decoy = table.optional("decoy", |value| upstream::lower(value, context));
        let mode_place = table.key_place("mode");
        let mode = table
            .or("mode", Mode::Enforce, |mode| mode.one_of(&[("enforce", Mode::Enforce), ("observe", Mode::Observe)]));
        let words = [("low", Sensitivity::Low), ("high", Sensitivity::High)];
        let sensitivity = table.or("sensitivity", Sensitivity::High, |value| value.one_of(&words));
        let owner = table.optional("owner", role::people);
        let names = Names { owner: id.as_ref().map_or("", |(id, _)| id), ..names };
        let requires = table.has("require") || table.has("route");
        let own = requirement::all(&mut table, Scope::Resource, has_decoy, names);
        let routes: Vec<RouteDraft> =
            table.tables("route").into_iter().filter_map(|route| RouteDraft::lower(route, has_decoy, names)).collect();

        let whole = Pattern::parse_prefix("/").ok()?;
        let paths = paths.unwrap_or_else(|| vec![(whole, table.place())]);
        check_routes(&table, &routes, &paths);
        if let (Some(upstreams), Some(decoy)) = (&upstreams, &decoy)
            && decoy.iter().any(|origin| upstreams.contains(origin))
        {
            let fault = Diagnostic::error(decoy_place.clone(), "the decoy is the real upstream");
            table.report(fault.label("whoever is sent to the decoy would reach the resource"));
        }
        if upstreams.iter().flat_map(|upstreams| upstreams.iter()).any(Origin::administers) && mode == Mode::Observe {
            let fault = Diagnostic::error(mode_place, "the administration cannot be only observed");
            let fault = fault.label("everybody would administer the gateway");
            table.report(fault.help("leave `mode` away, and say in its requirements who may"));
        }
        if decoy.iter().flat_map(|decoy| decoy.iter()).any(Origin::administers) {
            let fault = Diagnostic::error(decoy_place, "the administration is no decoy");
            table.report(fault.label("whoever is sent to the decoy would administer the gateway"));
        }
        table.finish();
        let (id, place) = id?;
        let resource = Resource { id, mode, sensitivity, owner, upstreams: upstreams?, decoy };
        Some(Self { resource, place, requires, own, routes, hosts: hosts?, paths })
    }

    /// The first of its hosts that is one name and not all below one.
    pub fn host(&self) -> Option<Box<str>> {
        self.hosts.iter().find_map(|(host, _)| match host {
            HostPattern::Exact(name) => Some(name.clone()),
            HostPattern::Below(_) => None,
        })
    }

    /// Every host and path prefix it claims.
    pub fn claims(&self) -> impl Iterator<Item = (&HostPattern, &Pattern, &Place)> {
        self.hosts.iter().flat_map(|(host, place)| {
            let several = self.paths.len() > 1;
            self.paths.iter().map(move |(path, path_place)| (host, path, if several { path_place } else { place }))
        })
    }

    /// Its own requirements and those of its routes.
    pub fn requirements(&self) -> impl Iterator<Item = &(Requirement, Place)> {
        self.own.iter().chain(self.routes.iter().flat_map(|route| &route.requirements))
    }
}

impl RouteDraft {
    fn lower(mut table: Table<'_>, decoy: bool, names: Names<'_>) -> Option<Self> {
        let matches = table.required("match", |value| value.one_or_more(RouteMatch::lower));
        if !table.has("require") {
            let fault = Diagnostic::error(table.place(), "this route requires nothing");
            table.report(fault.label("it would make no difference").help("add a `[[resource.route.require]]`"));
        }
        let requirements = requirement::all(&mut table, Scope::Route, decoy, names);
        table.finish();
        Some(Self { matches: matches?, requirements })
    }
}

impl RouteMatch {
    fn lower(value: Value<'_>) -> Option<Self> {
        let (word, path, pattern) = value.parsed("a route", "POST /runs/*/approve", |text| {
            let usage = || "expected a method or `*`, a space and a path pattern".to_owned();
            let (word, path) = text.split_once(' ').filter(|(word, _)| !word.is_empty()).ok_or_else(usage)?;
            Ok((word, path.trim(), Pattern::parse(path.trim())?))
        })?;
        let method = match word {
            "*" => None,
            _ => {
                let others = format!("`* {path}` matches every method, those of no registry too");
                Some(method::registered(value, word, &format!(" {path}"), &others)?)
            }
        };
        Some(Self { method, pattern, place: value.place() })
    }
}

/// Reports routes that no request can reach and routes that are written twice.
fn check_routes(table: &Table<'_>, routes: &[RouteDraft], paths: &[(Pattern, Place)]) {
    let mut known: BTreeMap<(&Option<Box<str>>, &Pattern), &Place> = BTreeMap::new();
    for route in routes.iter().flat_map(|route| &route.matches) {
        if !paths.iter().any(|(prefix, _)| prefix.covers(&route.pattern)) {
            let fault = Diagnostic::error(route.place.clone(), "no request reaches this route");
            table.report(fault.label("outside the `paths` of the resource"));
        }
        if let Some(first) = known.insert((&route.method, &route.pattern), &route.place) {
            let fault = Diagnostic::error(route.place.clone(), "this route is written twice");
            let fault = fault.label("again here").related(first.clone(), "first here");
            table.report(fault.help("put the requirements of both under one `[[resource.route]]`"));
        }
    }
}
