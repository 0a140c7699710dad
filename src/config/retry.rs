//! Reads `[pool.NAME.retry]`.

use super::read::Section;
use super::tree::Kind;
use super::value::Value;
use super::words::{did_you_mean, quoted};
use super::{Retry, RetryHttp, RetryOn};

pub(super) const KEYS: &[&str] =
    &["attempts", "window", "backoff", "on", "non_idempotent", "body", "budget"];
/// Those that are about requests.
pub(super) const OF_REQUESTS: &[&str] = &["on", "non_idempotent", "body", "budget"];

pub(super) const WORDS: &[&str] = &["connect", "reset", "timeout", "502", "503", "504"];

pub(super) fn read(section: &Section<'_>) -> Retry {
    let section = section.clone().only(KEYS, &[]);
    let default = Retry::default();
    Retry {
        attempts: section.integer("attempts", 1..=1000, default.attempts),
        window: section.duration("window", default.window),
        backoff: section.switchable("backoff", None).unwrap_or_default(),
        http: RetryHttp {
            on: section.value("on").map_or(default.http.on, |value| on(&value)),
            non_idempotent: section.flag("non_idempotent", default.http.non_idempotent),
            body: section.value("body").and_then(|value| value.size()).unwrap_or(default.http.body),
            budget: section
                .value("budget")
                .and_then(|value| value.percent())
                .unwrap_or(default.http.budget),
        },
    }
}

fn on(value: &Value<'_>) -> RetryOn {
    let mut on = RetryOn { connect: false, reset: false, timeout: false, statuses: [false; 3] };
    for item in value.one_or_more() {
        // A bare 502 says as much as "502".
        let text = match item.node.kind {
            Kind::Integer(number) => number.to_string(),
            _ => match item.text() {
                Some(text) => text.to_owned(),
                None => continue,
            },
        };
        match text.as_str() {
            "connect" => on.connect = true,
            "reset" => on.reset = true,
            "timeout" => on.timeout = true,
            status => {
                let status = status.parse::<u16>().ok();
                let at = RetryOn::STATUSES.iter().position(|known| Some(*known) == status);
                match at.and_then(|at| on.statuses.get_mut(at)) {
                    Some(flag) => *flag = true,
                    None => refuse(&item, &text),
                }
            }
        }
    }
    on
}

fn refuse(item: &Value<'_>, text: &str) {
    let way_out = did_you_mean(text, "valid values", WORDS.iter().copied());
    item.refuse(&format!("{} is not a valid value", quoted(text)), &way_out);
}

/// As the file writes it.
pub(super) fn write_on(on: &RetryOn) -> Vec<String> {
    let [bad_gateway, unavailable, late] = on.statuses;
    let flags = [on.connect, on.reset, on.timeout, bad_gateway, unavailable, late];
    WORDS.iter().zip(flags).filter(|(_, on)| *on).map(|(word, _)| (*word).to_owned()).collect()
}
