//! Reads what a route of http answers by itself: `redirect` and `respond`.

use std::sync::Arc;

use super::fields;
use super::read::Section;
use super::tree::Kind;
use super::value::Value;
use super::words::{did_you_mean, quoted};
use super::{Redirect, Respond, defaults};

pub(super) const REDIRECT_KEYS: &[&str] = &["to", "status"];
pub(super) const RESPOND_KEYS: &[&str] = &["status", "body", "content_type"];

/// What can stand in `to` for a part of the request.
const PARTS: &[&str] = &["host", "path", "query"];
/// Statuses that lead elsewhere.
pub(super) const STATUSES: &[u32] = &[301, 302, 303, 307, 308];
/// Answers that have no body (RFC 9110, 6.4.1).
const BARE: &[u16] = &[204, 205, 304];

const EXAMPLE: &str = "{ to = \"https://www.example.com{path}\", status = 301 }";

pub(super) fn redirect(value: &Value<'_>) -> Option<Redirect> {
    if !value.is_table() {
        let Kind::Text(text) = &value.node.kind else {
            value.wrong_type("\"https\" or a table", EXAMPLE);
            return None;
        };
        if text != "https" {
            let way_out = format!("write \"https\", or {}", EXAMPLE);
            value.refuse(&format!("{} is not a valid value", quoted(text)), &way_out);
            return None;
        }
        return Some(Redirect::Https);
    }
    let section = value.as_section("redirect").only(REDIRECT_KEYS, &[]);
    let status = status(&section);
    let to = section.required("to", "\"https://www.example.com{path}\"")?;
    Some(Redirect::To { to: target(&to)?, status: status? })
}

fn status(section: &Section<'_>) -> Option<u16> {
    let Some(value) = section.value("status") else { return Some(defaults::REDIRECT_STATUS) };
    let number = value.integer(0..=999)?;
    if !STATUSES.contains(&number) {
        let way_out = "write 301 or 308 if it is for good, 302, 303 or 307 if it is not";
        value.refuse(&format!("{number} leads nobody elsewhere"), way_out);
        return None;
    }
    u16::try_from(number).ok()
}

/// A URL or a path, in which parts of the request stand in braces.
fn target(value: &Value<'_>) -> Option<Arc<str>> {
    let text = value.filled()?;
    let refuse = |message: &str, way_out: &str| {
        value.refuse(&format!("{} {message}", quoted(text)), way_out);
        None
    };
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return refuse("holds what a URL may not", "percent-encode it: a space is %20");
    }
    if let Some((message, way_out)) = bad_part(text) {
        return refuse(&message, &way_out);
    }
    let after = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match after {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => {
            refuse("has no host", "write it as in \"https://www.example.com{path}\"")
        }
        Some(rest) if rest.starts_with("{path}") || rest.starts_with("{query}") => {
            refuse("has no host", "write \"https://{host}{path}\"")
        }
        Some(_) => Some(text.into()),
        // What follows two slashes would be taken as a host, and clients choose the path.
        None if text.starts_with("//") || text.starts_with("/{path}") || !text.starts_with('/') => {
            let way_out =
                "write a whole URL, \"https://{host}{path}\", or a path as in \"/new{path}\"";
            refuse("is neither a URL nor a path", way_out)
        }
        None => Some(text.into()),
    }
}

/// Braces that stand for nothing, and the way out.
fn bad_part(text: &str) -> Option<(String, String)> {
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let braces = rest.get(at..).unwrap_or_default();
        let Some((part, behind)) = braces.strip_prefix('{').and_then(|it| it.split_once('}'))
        else {
            let way_out = "a part of the request is {host}, {path} or {query}";
            return Some(("has a brace without its other".to_owned(), way_out.to_owned()));
        };
        if !PARTS.contains(&part) {
            let way_out = did_you_mean(part, "parts", PARTS.iter().copied());
            return Some((format!("has the unknown part {}", quoted(part)), way_out));
        }
        rest = behind;
    }
    None
}

pub(super) fn respond(value: &Value<'_>) -> Option<Respond> {
    if !value.is_table() {
        value.wrong_type("a table", "{ status = 503, body = \"closed\" }");
        return None;
    }
    let section = value.as_section("respond").only(RESPOND_KEYS, &[]);
    let status = section.integer("status", 200..=599, u32::from(defaults::RESPOND_STATUS));
    let status = u16::try_from(status).unwrap_or(defaults::RESPOND_STATUS);
    let body = section.value("body").and_then(|value| value.text()).unwrap_or_default();
    if let Some(value) = section.value("body").filter(|_| !body.is_empty())
        && BARE.contains(&status)
    {
        let message = format!("stands beside status {status}, which has none");
        value.refuse(&message, "remove it, or write another status");
    }
    Some(Respond { status, body: body.into(), content_type: content_type(&section)? })
}

fn content_type(section: &Section<'_>) -> Option<Arc<str>> {
    let Some(value) = section.value("content_type") else {
        return Some(defaults::RESPOND_TYPE.into());
    };
    let content = fields::content(&value)?;
    let kind = content.split(';').next().unwrap_or_default().trim();
    let is_type = kind
        .split_once('/')
        .is_some_and(|(kind, subtype)| fields::is_token(kind) && fields::is_token(subtype));
    if !is_type {
        let message = format!("{} is not a type of content", quoted(&content));
        value.refuse(&message, "write it as in \"text/plain\" or \"application/json\"");
        return None;
    }
    Some(content)
}
