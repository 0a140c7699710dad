//! `PATCH` of a backend: in or out of rotation, and its weight, for as long as the process runs.

use hyper::body::Body;
use hyper::{Request, StatusCode};
use serde_json::Value;

use crate::admin::answer::{Answer, Refusal, json};
use crate::admin::{body, status};
use crate::api;
use crate::config::{AdminState, HEAVIEST};
use crate::server::{Handle, SteerError, Steering};

/// A body that says more than this is none of ours.
const LARGEST_BODY: usize = 64 * 1024;

/// Does what the body says with a backend, and answers what then holds.
pub(super) async fn steer<B: Body>(
    handle: &Handle,
    (pool, backend): (&str, &str),
    request: Request<B>,
) -> Result<Answer, Refusal> {
    let (head, body) = request.into_parts();
    let body = body::read(&head.headers, body, LARGEST_BODY, &format!("send {EXAMPLE}")).await?;
    let steering = steering(&body)?;
    if handle.is_stopping() {
        return Err(Refusal::unavailable("the process is stopping: nothing is changed any more"));
    }
    handle.steer(pool, backend, steering).await.map_err(|error| match error {
        SteerError::NoPool => no_pool(handle, pool),
        SteerError::NoBackend => no_backend(handle, pool, backend),
        SteerError::Unwatched => {
            Refusal::unavailable("the process is starting or stopping: try again in a moment")
        }
    })?;
    let now = status::backend_of(&handle.snapshot(), pool, backend);
    now.map(|now| json(StatusCode::OK, &now)).ok_or_else(|| no_backend(handle, pool, backend))
}

const EXAMPLE: &str = "{\"state\": \"drain\", \"weight\": 3}, or one of the two";

/// What the body asks for; says which key is wrong, and what would be right.
fn steering(body: &[u8]) -> Result<Steering, Refusal> {
    let asked: api::Steer = serde_json::from_slice(body).map_err(|error| wrong(body, &error))?;
    if asked == api::Steer::default() {
        return Err(Refusal::bad(format!("nothing to change: send {EXAMPLE}")));
    }
    let state = asked
        .state
        .map(|word| AdminState::named(&word).ok_or_else(|| bad_state(&Value::String(word))));
    let weight = asked.weight.map(|weight| {
        if weight <= HEAVIEST { Ok(weight) } else { Err(bad_weight(&weight.into())) }
    });
    Ok(Steering { state: state.transpose()?, weight: weight.transpose()? })
}

fn bad_state(value: &Value) -> Refusal {
    Refusal::bad(format!("`state` is {value}; it is \"ready\", \"drain\" or \"maintenance\""))
}

fn bad_weight(value: &Value) -> Refusal {
    Refusal::bad(format!("`weight` is {value}; it is a whole number from 0 to {HEAVIEST}"))
}

/// Finds words for a body that is not what it should be.
fn wrong(body: &[u8], error: &serde_json::Error) -> Refusal {
    let whole = match serde_json::from_slice(body) {
        Ok(Value::Object(whole)) => whole,
        Ok(_) => return Refusal::bad(format!("the body is no JSON object; send {EXAMPLE}")),
        Err(error) => return Refusal::bad(format!("the body is no JSON: {error}; send {EXAMPLE}")),
    };
    if let Some(key) = whole.keys().find(|key| !matches!(key.as_str(), "state" | "weight")) {
        return Refusal::bad(format!("unknown key {key:?}; there are `state` and `weight`"));
    }
    match (whole.get("state"), whole.get("weight")) {
        (Some(state), _) if !state.is_string() && !state.is_null() => bad_state(state),
        (_, Some(weight)) if weight.as_u64().is_none_or(|weight| weight > HEAVIEST.into()) => {
            bad_weight(weight)
        }
        // A key that stands there twice, for one.
        _ => Refusal::bad(format!("the body cannot be meant: {error}; send {EXAMPLE}")),
    }
}

fn no_pool(handle: &Handle, name: &str) -> Refusal {
    let snapshot = handle.snapshot();
    let known: Vec<_> = snapshot.pools.iter().map(|pool| &**pool.name()).collect();
    unknown("pool", name, &known)
}

fn no_backend(handle: &Handle, pool: &str, name: &str) -> Refusal {
    let snapshot = handle.snapshot();
    let pools = snapshot.pools.iter().filter(|known| **known.name() == *pool);
    let lists: Vec<_> = pools.map(|pool| pool.members()).collect();
    let members = lists.iter().flat_map(|members| members.iter());
    let known: Vec<_> = members.map(|member| &**member.backend.name()).collect();
    unknown("backend", name, &known)
}

/// Names that a refusal lists.
const LISTED: usize = 10;

/// The longest name that is compared and said in full: the measure is quadratic.
const LONGEST: usize = 200;

/// Nothing has this name: says what does, the most similar one first.
pub(super) fn unknown(kind: &str, name: &str, known: &[&str]) -> Refusal {
    let name: String = name.chars().take(LONGEST).collect();
    let likeness = |known: &&str| strsim::jaro_winkler(&name, known);
    let mut nearest: Vec<_> = known.iter().map(|known| (likeness(known), *known)).collect();
    nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut nearest: Vec<_> = nearest.into_iter().map(|(_, known)| known).collect();
    let more = if known.len() > LISTED { ", …" } else { "" };
    nearest.truncate(LISTED);
    let there = if nearest.len() == 1 { "there is" } else { "there are" };
    Refusal::missing(format!("no {kind} {name:?}; {there} {}{more}", nearest.join(", ")))
}
