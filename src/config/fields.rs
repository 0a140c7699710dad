//! Names and values of http fields as the file writes them, and what may not be said of them.

use std::sync::Arc;

use super::read::Section;
use super::value::Value;
use super::words::quoted;

/// Fields that belong to one connection or say where a body ends: the balancer writes them itself,
/// on each side (RFC 9110, 7.6.1).
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A token (RFC 9110, 5.6.2), of which methods, names of fields and names of cookies consist.
pub(super) fn is_token(text: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(valid)
}

/// The name of a field, in lower case; or what is wrong with it, and the way out.
pub(super) fn name(text: &str) -> Result<Arc<str>, (String, &'static str)> {
    if !is_token(text) {
        let message = format!("{} is not the name of a header", quoted(text));
        return Err((message, "use letters, digits and -"));
    }
    if text.contains('*') {
        let message = format!("{} has a *, which stands for nothing here", quoted(text));
        return Err((message, "name each header in full"));
    }
    Ok(text.to_ascii_lowercase().into())
}

/// As [`name`], of a field that is set or removed.
fn changeable(text: &str) -> Result<Arc<str>, (String, &'static str)> {
    let name = name(text)?;
    if OURS.contains(&&*name) {
        let message = format!("{} belongs to the connection or frames the body", quoted(text));
        return Err((message, "leave it out: it is written anew on each side"));
    }
    Ok(name)
}

/// What a field may be set to.
pub(super) fn content(value: &Value<'_>) -> Option<Arc<str>> {
    let text = value.text()?;
    let is_plain = |c: char| c == '\t' || c == ' ' || c.is_ascii_graphic();
    if !text.chars().all(is_plain) {
        let message = "holds what a header may not";
        value.refuse(message, "write printable ASCII");
        return None;
    }
    if text.trim_matches([' ', '\t']) != text {
        value.refuse("begins or ends with a space, which no header does", "remove the space");
        return None;
    }
    Some(text.into())
}

/// The table under `key`: fields and what they are set to.
pub(super) fn set(section: &Section<'_>, key: &str) -> Vec<(Arc<str>, Arc<str>)> {
    let mut all: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for (name, value) in entries(section, key, changeable) {
        let Some(content) = content(&value) else { continue };
        all.push((name, content));
    }
    all
}

/// The list under `key`: fields that are removed.
pub(super) fn remove(
    section: &Section<'_>,
    key: &str,
    set: &[(Arc<str>, Arc<str>)],
) -> Vec<Arc<str>> {
    let items = section.value(key).map(|value| value.one_or_more()).unwrap_or_default();
    let name = |item: &Value<'_>| match changeable(item.filled()?) {
        Ok(name) if set.iter().any(|(other, _)| *other == name) => {
            item.refuse(&format!("{} is set as well", quoted(&name)), "remove one of them");
            None
        }
        Ok(name) if *name == *"host" => {
            item.refuse("\"host\" must be there in every request", "remove it from the list");
            None
        }
        Ok(name) => Some(name),
        Err((message, way_out)) => {
            item.refuse(&message, way_out);
            None
        }
    };
    items.iter().filter_map(name).collect()
}

/// The entries of the table under `key`, by a name that is read with `name` and is there once.
pub(super) fn entries<'a>(
    section: &Section<'a>,
    key: &str,
    name: impl Fn(&str) -> Result<Arc<str>, (String, &'static str)>,
) -> Vec<(Arc<str>, Value<'a>)> {
    if section.value(key).is_none_or(|value| value.table().is_none()) {
        return Vec::new();
    }
    let table = section.section(key);
    let mut all: Vec<(Arc<str>, Value<'a>)> = Vec::new();
    for entry in table.keys() {
        let Some(value) = table.value(&entry.key) else { continue };
        match name(&entry.key) {
            Err((message, way_out)) => {
                let message = format!("{}: {message}", table.title);
                section.report.error(entry.place, message, way_out);
            }
            Ok(name) if all.iter().any(|(other, _)| *other == name) => {
                let message = format!("{}: {} is in the table twice", table.title, quoted(&name));
                let way_out = "remove one: the case of its letters makes no difference";
                section.report.error(entry.place, message, way_out);
            }
            Ok(name) => all.push((name, value)),
        }
    }
    all
}
