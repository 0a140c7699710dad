//! What a backend's state means, in words: the operator's wish before an ejection before health.

use crate::api::{BackendStatus, PoolStatus};
use crate::cli::count;

/// How good or bad something is. A word says it too, wherever a colour does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Good,
    /// As somebody wants it.
    Aside,
    Warning,
    Bad,
}

/// True if it takes new sessions.
pub(super) fn takes(backend: &BackendStatus) -> bool {
    let steered = backend.state == "ready" && backend.weight > 0;
    steered && backend.health == "up" && backend.ejected_until.is_none()
}

/// How many of a pool take new sessions.
pub(super) fn taking(pool: &PoolStatus) -> usize {
    pool.backends.iter().filter(|backend| takes(backend)).count()
}

/// The state in a word or two.
pub(super) fn state(backend: &BackendStatus) -> String {
    let mut words = Vec::new();
    if backend.state != "ready" {
        words.push(backend.state.as_str());
    }
    if backend.ejected_until.is_some() {
        words.push("ejected");
    }
    // Nobody probes in maintenance, so what was found before says nothing.
    if words.is_empty() || (backend.health != "up" && backend.state != "maintenance") {
        words.push(&backend.health);
    }
    words.join(", ")
}

/// How good the state is.
pub(super) fn level(backend: &BackendStatus) -> Level {
    let health = match backend.health.as_str() {
        "up" => Level::Good,
        "down" | "unresolved" => Level::Bad,
        "lagging" => Level::Warning,
        _ => Level::Aside,
    };
    match backend.state.as_str() {
        "maintenance" => Level::Aside,
        _ if health == Level::Bad => health,
        _ if backend.ejected_until.is_some() => Level::Warning,
        "ready" if backend.weight > 0 => health,
        _ => Level::Aside,
    }
}

/// Why it is in that state.
pub(super) fn why(backend: &BackendStatus) -> String {
    let mut words: Vec<String> = Vec::new();
    match backend.state.as_str() {
        "drain" => {
            words.push(format!("takes nothing new, {} left", count(backend.sessions, "session")))
        }
        "maintenance" => words.push("taken out by an operator, not probed".to_owned()),
        _ => {}
    }
    if let Some(until) = &backend.ejected_until {
        let clock = clock(until);
        let reason = backend.ejected_reason.as_deref().unwrap_or("its traffic failed");
        words.push(format!("{reason}; until {clock}"));
    }
    if backend.state != "maintenance" && (words.is_empty() || backend.health != "up") {
        words.push(health(backend));
    }
    if let Some(closing) = &backend.closing {
        let (cause, clock) = (&closing.cause, clock(&closing.until));
        words.push(format!("its sessions are being ended ({cause}), the last at {clock}"));
    }
    if backend.weight == 0 {
        words.push("weight 0 takes nothing new".to_owned());
    } else if backend.effective_weight > 0.0 && backend.effective_weight < f64::from(backend.weight)
    {
        words.push(format!("slow start: {} of {}", backend.effective_weight, backend.weight));
    }
    if backend.failures > 0 {
        words.push(format!("{} failures", backend.failures));
    }
    words.join("; ")
}

/// The time of day of a stamp after RFC 3339.
fn clock(stamp: &str) -> &str {
    stamp.split_once('T').and_then(|(_, time)| time.get(..8)).unwrap_or(stamp)
}

fn health(backend: &BackendStatus) -> String {
    let probe = match &backend.last_probe {
        None if backend.health == "up" => return "not probed".to_owned(),
        None => return "takes nothing before its first probe".to_owned(),
        Some(probe) => probe,
    };
    match backend.health.as_str() {
        "standby" => "healthy, in the other role".to_owned(),
        _ if probe.result == "ok" && (probe.reason.is_empty() || probe.reason == "ok") => {
            format!("probe ok in {:.1} ms", probe.duration_ms)
        }
        _ => probe.reason.clone(),
    }
}
