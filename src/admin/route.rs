//! `GET /api/v1/route`: the dry run of a session or a request, in words.

use std::time::Duration;

use hyper::StatusCode;

use crate::addr::ClientAddr;
use crate::admin::answer::{Answer, Refusal, json};
use crate::admin::asked::Asked;
use crate::admin::path;
use crate::admin::status::rfc3339;
use crate::admin::steer::unknown;
use crate::admin::ways;
use crate::api;
use crate::config::{AdminState, Listener};
use crate::outcome::Rejection;
use crate::pool::{Backend, Because, Candidate, Ending, Health, Preview, Reason, Standing};
use crate::server::{Fate, Foretold, Handle, Snapshot};

const EXAMPLE: &str = "/api/v1/route?listener=NAME&client=192.0.2.7";

/// Says whom a client of a listener would get, and why.
pub(super) fn answer(handle: &Handle, query: Option<&str>) -> Result<Answer, Refusal> {
    let wanted = |key| path::value(query, key).filter(|value| !value.is_empty());
    let missing = |key| Refusal::bad(format!("`{key}` is missing; ask {EXAMPLE}"));
    let listener = wanted("listener").ok_or_else(|| missing("listener"))?;
    let client = wanted("client").ok_or_else(|| missing("client"))?;
    let client = client.parse().map_err(|_| {
        let error = format!("`client` is {client:?}; it is an IP address, with a port or without");
        Refusal::bad(error)
    })?;
    let snapshot = handle.snapshot();
    let known: Vec<_> = snapshot.config.listeners.iter().map(|spec| &*spec.name).collect();
    if !known.contains(&&*listener) {
        return Err(unknown("listener", &listener, &known));
    }
    let asked = Asked::read(query)?;
    let foretold = handle.preview(&listener, client, &asked.as_ref());
    let foretold = foretold.filter(|_| !handle.is_stopping()).ok_or_else(|| {
        Refusal::unavailable("the process is starting or stopping: it takes no session now")
    })?;
    let spec = snapshot.config.listeners.iter().find(|spec| *spec.name == *listener);
    let spec = spec.ok_or_else(|| unknown("listener", &listener, &known))?;
    Ok(json(StatusCode::OK, &route(&snapshot, spec, client, foretold)))
}

fn route(
    snapshot: &Snapshot,
    spec: &Listener,
    client: ClientAddr,
    foretold: Foretold,
) -> api::Route {
    let mut route = api::Route {
        listener: spec.name.to_string(),
        route: None,
        pool: None,
        backend: None,
        address: None,
        reason: String::new(),
        rejected: None,
        target: None,
        answer: None,
        passed: ways::passed(spec, &foretold.passed),
        candidates: Vec::new(),
    };
    let refused = turned_away(snapshot, &spec.name, client);
    match foretold.fate {
        Fate::Nowhere => {
            route.rejected = Some(Rejection::NoRoute.as_str().to_owned());
            route.reason = ways::nowhere(&route.passed);
        }
        Fate::Illegible(why) => {
            route.answer = Some(api::RouteAnswer { status: 400, location: None });
            route.reason = format!("{why}: it is no request that could be led anywhere");
        }
        Fate::Answered { route: name, status, location } => {
            route.reason = match location {
                Some(_) => format!("route {name} redirects it"),
                None => format!("route {name} answers by itself"),
            };
            route.route = Some(name.to_string());
            route.answer = Some(api::RouteAnswer { status, location });
        }
        Fate::Led { route: name, pool, preview, target } => {
            (route.route, route.pool) = (Some(name.to_string()), Some(pool.to_string()));
            route.target = target;
            if refused.is_none() {
                choose(&mut route, preview);
                route.reason += &ways::share(spec, &snapshot.config, &name, &pool);
            }
        }
    }
    if let Some((why, reason)) = refused {
        (route.rejected, route.reason) = (Some(why.as_str().to_owned()), reason);
        (route.target, route.answer) = (None, None);
    }
    route
}

/// What the pool that it was led to does with it.
fn choose(route: &mut api::Route, preview: Preview) {
    let chosen = preview.candidates.iter().find(|one| matches!(one.reason, Reason::Picked(_)));
    let name = chosen.map(|candidate| candidate.backend.name().to_string()).unwrap_or_default();
    let named = |candidate: &Candidate| words(candidate, &name);
    route.reason = match preview.ending {
        Ending::Picked { pool, backend, address } => {
            route.pool = Some(pool.to_string());
            route.backend = Some(backend.to_string());
            route.address = Some(address.to_string());
            chosen.map(named).unwrap_or_default()
        }
        Ending::Waits { pool, behind } => {
            format!("waits in the queue of pool {pool}, behind {behind}: every backend is full")
        }
        Ending::Full => {
            route.rejected = Some(Rejection::QueueFull.as_str().to_owned());
            "every backend that is up is at its cap, and there is no room to wait".to_owned()
        }
        Ending::NoBackend => {
            route.rejected = Some(Rejection::NoBackend.as_str().to_owned());
            "no backend may take a session".to_owned()
        }
    };
    route.candidates = preview.candidates.iter().map(|one| candidate(one, named(one))).collect();
}

/// What would keep the client out before anybody is picked for it. Its rate is not asked: asking
/// would count.
fn turned_away(
    snapshot: &Snapshot,
    listener: &str,
    client: ClientAddr,
) -> Option<(Rejection, String)> {
    let view = snapshot.listeners.iter().find(|view| *view.name == *listener)?;
    let admission = &view.live.as_ref()?.admission;
    if !admission.has_room() {
        let reason = "the listener or the process is at its cap".to_owned();
        return Some((Rejection::MaxSessions, reason));
    }
    let is_allowed = admission.allows(client);
    let reason = || format!("`allow` and `deny` of listener {listener} keep it out");
    (!is_allowed).then(|| (Rejection::Denied, reason()))
}

fn candidate(seen: &Candidate, reason: String) -> api::Candidate {
    let is_picked = matches!(seen.reason, Reason::Picked(_));
    api::Candidate {
        pool: seen.pool.to_string(),
        backend: seen.backend.name().to_string(),
        verdict: if is_picked { "picked" } else { "passed-over" }.to_owned(),
        reason,
    }
}

/// Why a candidate is picked or not; `picked` is who is.
fn words(seen: &Candidate, picked: &str) -> String {
    match &seen.reason {
        Reason::Picked(because) => for_it(because),
        Reason::Policy(because) => against_it(because, picked),
        Reason::Standing(standing) => standing_words(*standing, &seen.backend),
        Reason::NoWeight => "weight 0".to_owned(),
        Reason::Backup => "backup: an ordinary one is up".to_owned(),
        Reason::AtCap(cap) => format!("at its cap of {cap}"),
        Reason::Queue => "others wait for a place".to_owned(),
    }
}

fn for_it(because: &Because) -> String {
    match because {
        Because::Remembered => "the client was here last".to_owned(),
        Because::Cookie => "the client's cookie leads here".to_owned(),
        Because::Turn => "its turn".to_owned(),
        Because::Sessions { own: (sessions, weight), .. } => {
            format!("fewest sessions for its weight: {sessions}/{weight} with this one")
        }
        Because::Hash => "the hash of the client leads here".to_owned(),
        Because::Chance(part) => format!("by chance: {} of the picks", percent(*part)),
        Because::Order => "the first with room".to_owned(),
    }
}

fn against_it(because: &Because, picked: &str) -> String {
    match because {
        Because::Remembered => format!("the client was at {picked} last"),
        Because::Cookie => format!("the client's cookie leads to {picked}"),
        Because::Turn => "not its turn".to_owned(),
        Because::Sessions { own, picked } => {
            let ((ours, weight), (theirs, than)) = (own, picked);
            format!("more sessions for its weight: {ours}/{weight} against {theirs}/{than}")
        }
        Because::Hash => format!("the hash of the client leads to {picked}"),
        Because::Chance(part) => format!("by chance: {} of the picks", percent(*part)),
        Because::Order => format!("{picked} comes first in the file"),
    }
}

pub(super) fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

fn standing_words(standing: Standing, backend: &Backend) -> String {
    if standing.admin != AdminState::Ready {
        return standing.admin.as_str().to_owned();
    }
    if standing.ejected {
        let ejection = backend.stats.last_ejection.load_full();
        return ejection.map_or_else(
            || "ejected".to_owned(),
            |ejection| format!("ejected until {}: {}", rfc3339(ejection.until), ejection.reason),
        );
    }
    let probe = backend.stats.last_probe.load_full();
    match (standing.health, probe) {
        (Health::Unknown, _) => "unknown: not probed yet".to_owned(),
        (health, None) => health.as_str().to_owned(),
        (health, Some(probe)) => {
            let age = age(probe.at.elapsed());
            format!("{}: {} {age} ago", health.as_str(), probe.reason)
        }
    }
}

fn age(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{}ms", time.as_millis()),
        seconds => format!("{seconds}s"),
    }
}
