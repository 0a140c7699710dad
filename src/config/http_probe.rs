//! Reads what the http and https probes ask and expect.

use regex::bytes::Regex;

use super::fields::is_token;
use super::read::Section;
use super::value::Value;
use super::words::quoted;
use super::{BodyPattern, ClientTls, HttpProbe, Role, credentials};

pub(super) const ROLES: &[(&str, Role)] = &[("primary", Role::Primary), ("replica", Role::Replica)];

/// `tls` is the pool's own.
pub(super) fn over_tls(section: &Section<'_>, tls: Option<&ClientTls>) -> HttpProbe {
    HttpProbe { tls: Some(self::tls(section, tls)), ..plain(section) }
}

/// How a probe that speaks http goes over TLS; what the pool says of an upgrade is about its
/// sessions.
pub(super) fn tls(section: &Section<'_>, tls: Option<&ClientTls>) -> ClientTls {
    if let Some(value) = section.section("tls").value("starttls") {
        let message = "is for databases, and this probe speaks http";
        value.refuse(message, "remove it, or set probe = \"tls\"");
    }
    ClientTls { starttls: None, ..credentials::of_probe(section, tls) }
}

pub(super) fn plain(section: &Section<'_>) -> HttpProbe {
    let default = HttpProbe::default();
    HttpProbe {
        path: section.value("path").and_then(|value| path(&value)).unwrap_or(default.path),
        host: section.value("host").and_then(|value| credentials::host(&value)),
        method: section.value("method").and_then(|value| method(&value)).unwrap_or(default.method),
        headers: headers(&section.section("headers")),
        expect_status: section
            .value("expect_status")
            .map(|value| statuses(&value))
            .unwrap_or(default.expect_status),
        expect_body: section.value("expect_body").and_then(|value| body(&value)).map(BodyPattern),
        role: section.value("role").and_then(|value| value.choice(ROLES)),
        tls: None,
    }
}

fn path(value: &Value<'_>) -> Option<String> {
    let text = value.filled()?;
    if !text.starts_with('/') {
        let way_out = format!("write {}", quoted(&format!("/{text}")));
        value.refuse(&format!("{} does not start with a slash", quoted(text)), &way_out);
        return None;
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) || text.contains('#') {
        let message = format!("{} holds what a URL may not", quoted(text));
        value.refuse(&message, "percent-encode it: a space is %20");
        return None;
    }
    Some(text.to_owned())
}

fn method(value: &Value<'_>) -> Option<String> {
    let text = value.filled()?;
    if !is_token(text) {
        value.refuse(&format!("{} is not a method", quoted(text)), "write \"GET\" or \"HEAD\"");
        return None;
    }
    Some(text.to_owned())
}

fn headers(section: &Section<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for entry in section.keys() {
        let Some(value) = section.value(&entry.key) else { continue };
        if !is_token(&entry.key) {
            let message = format!("{} is not the name of a header", quoted(&entry.key));
            section.report.error(entry.place, message, "use letters, digits and -");
        } else if entry.key.eq_ignore_ascii_case("host") {
            value.refuse("has a key of its own", "write it as `host` of the health table");
        } else if let Some(text) = value.text() {
            if text.chars().any(char::is_control) {
                value.refuse("holds a control character", "write the value without it");
            }
            headers.push((entry.key.clone(), text.to_owned()));
        }
    }
    headers
}

fn statuses(value: &Value<'_>) -> Vec<(u16, u16)> {
    let items = value.one_or_more();
    if items.is_empty() {
        value.refuse("is an empty list", "write \"2xx\" to take any success");
    }
    items.iter().filter_map(status).collect()
}

fn status(value: &Value<'_>) -> Option<(u16, u16)> {
    // A bare 200 says as much as "200".
    let text = match value.node.kind {
        super::tree::Kind::Integer(number) => number.to_string(),
        _ => value.text()?.to_owned(),
    };
    let range = status_range(&text);
    if range.is_none() {
        let message = format!("{} is not a status", quoted(&text));
        value.refuse(&message, "write \"200\", \"2xx\", \"200-399\" or a list of these");
    }
    range
}

pub(super) fn status_range(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let hundred = class.parse::<u16>().ok().filter(|class| (1..=5).contains(class))? * 100;
        return Some((hundred, hundred + 99));
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| {
        let digits = text.len() == 3 && text.chars().all(|c| c.is_ascii_digit());
        text.parse::<u16>().ok().filter(|code| digits && (100..=599).contains(code))
    };
    let (low, high) = (code(low.trim())?, code(high.trim())?);
    (low <= high).then_some((low, high))
}

/// Writes a range so that [`status_range`] gives it back.
pub(super) fn write_status((low, high): (u16, u16)) -> String {
    if low == high {
        low.to_string()
    } else if low % 100 == 0 && high == low + 99 {
        format!("{}xx", low / 100)
    } else {
        format!("{low}-{high}")
    }
}

fn body(value: &Value<'_>) -> Option<Regex> {
    let text = value.filled()?;
    match Regex::new(text) {
        Ok(regex) => Some(regex),
        Err(error) => {
            // The crate draws the pattern over several lines; its last one says what is wrong.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("{} is not a regular expression: {reason}", quoted(text));
            value.refuse(&message, "write \\\\ before a character that is meant literally");
            None
        }
    }
}
