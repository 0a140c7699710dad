//! Reads what a route of http does with requests and answers besides leading them.

use super::fields;
use super::listener;
use super::read::Section;
use super::request_matchers::prefix;
use super::value::Value;
use super::words::{did_you_mean, quoted};
use super::{RateKey, RateLimit, Treatment};

pub(super) const KEYS: &[&str] = &[
    "strip_prefix",
    "add_prefix",
    "set_request_headers",
    "set_response_headers",
    "remove_request_headers",
    "remove_response_headers",
    "rate_limit",
    "request_timeout",
    "max_body",
];
pub(super) const RATE_LIMIT_KEYS: &[&str] = &["rate", "burst", "key"];

/// Keys that change what a backend gets, for which there must be one.
pub(super) const TOWARDS_BACKENDS: &[&str] = &[
    "strip_prefix",
    "add_prefix",
    "set_request_headers",
    "remove_request_headers",
    "request_timeout",
    "max_body",
];

pub(super) fn read(section: &Section<'_>) -> Treatment {
    let set_request_headers = fields::set(section, "set_request_headers");
    let set_response_headers = fields::set(section, "set_response_headers");
    Treatment {
        strip_prefix: section.value("strip_prefix").and_then(|value| prefix(&value)),
        add_prefix: section.value("add_prefix").and_then(|value| prefix(&value)),
        remove_request_headers: fields::remove(
            section,
            "remove_request_headers",
            &set_request_headers,
        ),
        remove_response_headers: fields::remove(
            section,
            "remove_response_headers",
            &set_response_headers,
        ),
        set_request_headers,
        set_response_headers,
        rate_limit: rate_limit(section),
        request_timeout: section.some_duration("request_timeout"),
        max_body: section.value("max_body").and_then(|value| value.size()),
    }
}

fn rate_limit(section: &Section<'_>) -> Option<RateLimit> {
    section.value("rate_limit")?.table()?;
    let section = section.section("rate_limit").only(RATE_LIMIT_KEYS, &[]);
    let key = match section.value("key") {
        Some(value) => rate_key(&value)?,
        None => RateKey::ClientIp,
    };
    Some(RateLimit { rate: listener::rate(&section, "\"10/s\"")?, key })
}

fn rate_key(value: &Value<'_>) -> Option<RateKey> {
    let text = value.filled()?;
    let Some(name) = text.strip_prefix("header:") else {
        if text == RateKey::CLIENT_IP {
            return Some(RateKey::ClientIp);
        }
        let way_out = did_you_mean(text, "valid values", [RateKey::CLIENT_IP, "header:NAME"]);
        value.refuse(&format!("{} is not a valid value", quoted(text)), &way_out);
        return None;
    };
    match fields::name(name) {
        Ok(name) => Some(RateKey::Header(name)),
        Err((message, way_out)) => {
            value.refuse(&message, way_out);
            None
        }
    }
}
