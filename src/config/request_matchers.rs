//! Reads what a route asks of a request: host, path, method, header and query.

use std::sync::Arc;

use crate::addr::normal_path;

use super::fields;
use super::names;
use super::read::Section;
use super::routes::items;
use super::value::Value;
use super::words::quoted;
use super::{Field, Matchers, NamePattern, PathPattern};

/// What stands for any value.
const ANY: &str = "*";

/// Methods that everybody writes in capitals, and so compare as such.
const METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

/// The matchers that only routes of http have.
pub(super) fn read(section: &Section<'_>) -> Matchers {
    let all = |key, example| items(section, key, example);
    Matchers {
        host: all("host", "\"www.example.com\"").iter().filter_map(host).collect(),
        path: all("path", "\"/api/*\"").iter().filter_map(path).collect(),
        method: all("method", "\"GET\"").iter().filter_map(method).collect(),
        header: fields_of(section, "header", |text| match fields::name(text)? {
            host if *host == *"host" => {
                let message = "\"host\" has a matcher of its own".to_owned();
                Err((message, "write it as `host` of the route"))
            }
            name => Ok(name),
        }),
        query: fields_of(section, "query", |text| match text {
            "" => Err(("a key of the query has no name".to_owned(), "name it")),
            name => Ok(name.into()),
        }),
        ..Matchers::default()
    }
}

fn host(item: &Value<'_>) -> Option<NamePattern> {
    match names::host(item.filled()?) {
        Ok(pattern) => Some(pattern),
        Err(bad) => {
            item.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

fn method(item: &Value<'_>) -> Option<String> {
    let text = item.filled()?;
    if !fields::is_token(text) || text == ANY {
        let message = format!("{} is not a method", quoted(text));
        item.refuse(&message, "write it as in \"GET\", or remove the key for any");
        return None;
    }
    if let Some(meant) = METHODS.iter().find(|it| it.eq_ignore_ascii_case(text) && **it != text) {
        let message = format!("{} is no method: their case counts", quoted(text));
        item.refuse(&message, &format!("write \"{meant}\""));
        return None;
    }
    Some(text.to_owned())
}

fn path(item: &Value<'_>) -> Option<PathPattern> {
    let text = item.filled()?;
    let (front, is_prefix) = match text.strip_suffix("/*") {
        Some(front) => (front, true),
        None => (text, false),
    };
    if let Err((message, way_out)) = check_path(front, text) {
        item.refuse(&format!("{} {message}", quoted(text)), &way_out);
        return None;
    }
    if is_prefix && front.is_empty() {
        return Some(PathPattern::Under(front.into()));
    }
    let normal = normal(item, front)?;
    Some(if is_prefix { PathPattern::Under(normal) } else { PathPattern::Exact(normal) })
}

/// What is wrong with a path, and the way out. `text` is all that was written of it.
fn check_path(path: &str, text: &str) -> Result<(), (&'static str, String)> {
    if text == ANY {
        return Err(("is no path", "write \"/*\" for any path".to_owned()));
    }
    if !path.is_empty() && !path.starts_with('/') || text.is_empty() {
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        let bare = bare.find('/').filter(|_| bare != text).map_or(bare, |at| &bare[at..]);
        let with_slash = if bare.starts_with('/') { bare.to_owned() } else { format!("/{bare}") };
        return Err(("does not start with a slash", format!("write {}", quoted(&with_slash))));
    }
    if let Some((front, _)) = path.split_once('*') {
        let front = front.rsplit_once('/').map_or("", |(front, _)| front);
        let way_out = format!(
            "a * stands at the end, for all that is under a path: {}",
            quoted(&format!("{front}/*"))
        );
        return Err(("has a * in the wrong place", way_out));
    }
    if let Some((front, _)) = path.split_once('?') {
        let way_out = format!("write {}, and match the query by `query`", quoted(front));
        return Err(("has a query, which is no part of the path", way_out));
    }
    if !path.chars().all(|c| c.is_ascii_graphic() && c != '#') {
        return Err(("holds what a path may not", "percent-encode it: a space is %20".to_owned()));
    }
    Ok(())
}

/// The form in which paths of requests are compared with it.
fn normal(value: &Value<'_>, path: &str) -> Option<Arc<str>> {
    let normal = normal_path(path);
    if normal.is_none() {
        value.refuse(&format!("{} leads above the root", quoted(path)), "write it without \"..\"");
    }
    normal.map(Arc::from)
}

/// `strip_prefix` and `add_prefix`: a path without a slash at the end.
pub(super) fn prefix(value: &Value<'_>) -> Option<Arc<str>> {
    let text = value.filled()?;
    if let Some(front) = text.strip_suffix("/*") {
        let way_out = format!("write {}", quoted(front));
        value.refuse(&format!("{} has a *, which belongs to `path`", quoted(text)), &way_out);
        return None;
    }
    if let Err((message, way_out)) = check_path(text, text) {
        value.refuse(&format!("{} {message}", quoted(text)), &way_out);
        return None;
    }
    let normal = normal(value, text)?;
    let bare = normal.trim_end_matches('/');
    if bare.is_empty() {
        value.refuse("is the root, which changes nothing", "name a path, or remove the key");
        return None;
    }
    Some(bare.into())
}

/// A table of fields, each with the values that any may have.
fn fields_of(
    section: &Section<'_>,
    key: &str,
    name: impl Fn(&str) -> Result<Arc<str>, (String, &'static str)>,
) -> Vec<Field> {
    if let Some(value) = section.value(key)
        && value.is_empty_table()
    {
        let message = "is an empty table, which asks for nothing";
        value.refuse(message, &format!("write {key} = {{ NAME = \"VALUE\" }}, or remove the key"));
    }
    let field = |(name, value): (Arc<str>, Value<'_>)| {
        let items = value.one_or_more();
        if items.is_empty() && value.is_list() {
            let way_out = "name a value, or write \"*\" for any";
            value.refuse("is an empty list, which nothing matches", way_out);
        }
        let values: Option<Vec<Arc<str>>> = items.iter().map(wanted).collect();
        let mut values = values?;
        if values.iter().any(|value| **value == *ANY) {
            values.clear();
        }
        Some(Field { name, values })
    };
    fields::entries(section, key, name).into_iter().filter_map(field).collect()
}

/// A value that is compared with; anything may be asked for that could come.
fn wanted(item: &Value<'_>) -> Option<Arc<str>> {
    let text = item.text()?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        item.refuse("holds a control character", "write the value without it");
        return None;
    }
    Some(text.into())
}
