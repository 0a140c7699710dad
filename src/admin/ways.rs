//! The routes of a listener in a dry run: why they do not take a session, in words.

use std::sync::Arc;

use crate::admin::route::percent;
use crate::api;
use crate::config::{Config, Leads, Listener, Route};
use crate::server::Miss;

/// What is named of a list, and of the routes that were passed.
const NAMED: usize = 4;

/// The routes that do not take a session.
pub(super) fn passed(spec: &Listener, passed: &[(Arc<str>, Miss)]) -> Vec<api::PassedRoute> {
    let one = |(name, miss): &(Arc<str>, Miss)| {
        let route = spec.routes.iter().find(|route| route.name == *name)?;
        let reason = format!("wants {miss} {}", wants(route, *miss));
        Some(api::PassedRoute { route: name.to_string(), reason })
    };
    passed.iter().filter_map(one).collect()
}

/// Why nobody takes it.
pub(super) fn nowhere(passed: &[api::PassedRoute]) -> String {
    let each: Vec<_> =
        passed.iter().map(|one| format!("route {} {}", one.route, one.reason)).collect();
    let why = list(&each, "; ");
    format!("no route takes it, and the listener has no pool of its own: {why}")
}

/// Where the route splits: the part of its sessions that goes to this pool, to be added to a reason.
pub(super) fn share(spec: &Listener, config: &Config, route: &str, pool: &str) -> String {
    let Some(route) = spec.routes.iter().find(|one| *one.name == *route) else {
        return String::new();
    };
    let Leads::Split(shares) = &route.leads else { return String::new() };
    let is_of = |index: usize| config.pools.get(index).is_some_and(|one| *one.name == *pool);
    let sum = |which: &dyn Fn(usize) -> bool| -> f64 {
        let shares = shares.iter().filter(|share| which(share.pool));
        shares.map(|share| f64::from(share.weight)).sum()
    };
    let part = sum(&is_of) / sum(&|_| true).max(1.0);
    format!("; route {} leads {} of its sessions to pool {pool}", route.name, percent(part))
}

fn wants(route: &Route, miss: Miss) -> String {
    let when = &route.when;
    let named: Vec<String> = match miss {
        Miss::Sni => when.sni.iter().map(ToString::to_string).collect(),
        Miss::Alpn => when.alpn.clone(),
        Miss::Client => when.client.iter().map(ToString::to_string).collect(),
        Miss::Host => when.host.iter().map(ToString::to_string).collect(),
        Miss::Path => when.path.iter().map(ToString::to_string).collect(),
        Miss::Method => when.method.clone(),
        Miss::Header => when.header.iter().map(ToString::to_string).collect(),
        Miss::Query => when.query.iter().map(ToString::to_string).collect(),
    };
    list(&named, " or ")
}

/// The first of them, and how many there are besides.
fn list(items: &[String], between: &str) -> String {
    let named = items.get(..NAMED).unwrap_or(items).join(between);
    match items.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}{between}{more} more"),
    }
}
