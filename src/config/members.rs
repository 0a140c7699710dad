//! Reads backends: the list in the file, and the one that `discover.file` names.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::addr::BackendAddr;

use super::address;
use super::defaults;
use super::pending;
use super::pool::{BACKEND_KEYS, STATES};
use super::problem::{Place, Report, Source};
use super::read::{Section, is_name};
use super::tree;
use super::value::Value;
use super::words::quoted;
use super::{AdminState, HEAVIEST, Member};

const EXAMPLE: &str = "[\"10.0.0.11:5432\", \"10.0.0.12:5432\"]";

/// The backends that a pool names itself. There need be none if others are looked up.
pub(super) fn read(section: &Section<'_>, max_sessions: u32) -> Vec<Member> {
    if section.value("discover").is_some() && section.value("backends").is_none() {
        return Vec::new();
    }
    let Some(value) = section.required("backends", EXAMPLE) else { return Vec::new() };
    if value.is_list() && value.list("backend").is_empty() {
        value.refuse("is an empty list", &format!("name at least one, as in {EXAMPLE}"));
    }
    list(&value, max_sessions)
}

/// The backends that a JSON text lists, as `backends` would; `max_sessions` is the pool's. There may
/// be none. `path` is where the text is from.
///
/// # Errors
/// The first thing that is wrong with it, and the way out.
pub fn listed(path: &Path, text: &[u8], max_sessions: u32) -> Result<Vec<Member>, String> {
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let report = Report::new(None);
    let name = path.display().to_string();
    let file = report.add(Source { name, base: Path::new("/").to_owned(), text: Arc::from("") });
    let node = tree::of_json(value, Place { file, start: 0, end: 0 });
    let value = Value {
        report: &report,
        subject: "the file".to_owned(),
        title: "the file".to_owned(),
        path: String::new(),
        node: &node,
    };
    let members = list(&value, max_sessions);
    match report.close().problems.into_iter().next() {
        None => Ok(members),
        Some(wrong) => {
            let way_out = wrong.suggestion.map(|it| format!("; {it}")).unwrap_or_default();
            Err(format!("{}{way_out}", wrong.message))
        }
    }
}

fn list(value: &Value<'_>, max_sessions: u32) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    let mut names = HashSet::new();
    for item in value.list("backend") {
        let Some(member) = member(&item, max_sessions) else { continue };
        if let BackendAddr::Host(host, _) = &member.address {
            let what = format!("{}, backend {}", value.title, quoted(&member.name));
            pending::host(value.report, item.node.place, &what, host);
        }
        if !names.insert(Arc::clone(&member.name)) {
            let message = format!("the name {} is taken by another backend", quoted(&member.name));
            item.refuse(&message, "give each its own name: { address = \"…\", name = \"…\" }");
        }
        members.push(member);
    }
    members
}

fn member(item: &Value<'_>, max_sessions: u32) -> Option<Member> {
    if !item.is_table() {
        let text = item.text()?;
        return match address::backend(text) {
            Ok(address) => {
                Some(Member { name: Arc::from(text), max_sessions, ..Member::unset(address) })
            }
            Err(bad) => {
                item.refuse(&format!("address {}", bad.message), &bad.suggestion);
                None
            }
        };
    }
    let section = item.as_section("").only(BACKEND_KEYS, &[]);
    let weight = section.integer("weight", 0..=u32::from(HEAVIEST), u32::from(defaults::WEIGHT));
    let name = section.value("name").and_then(|value| member_name(&value));
    let max_sessions = section.integer("max_sessions", 0..=u32::MAX, max_sessions);
    let backup = section.flag("backup", false);
    let state = section.choice("state", STATES, AdminState::default());
    let value = section.required("address", "\"10.0.0.7:8080\"")?;
    let text = value.text()?;
    match address::backend(text) {
        Ok(address) => Some(Member {
            name: Arc::from(name.unwrap_or(text)),
            address,
            weight: u16::try_from(weight).unwrap_or_default(),
            max_sessions,
            backup,
            state,
        }),
        Err(bad) => {
            value.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

/// A name by the rules, or the address that a backend without a name is called by.
fn member_name<'a>(value: &Value<'a>) -> Option<&'a str> {
    let name = value.filled()?;
    if is_name(name) || address::backend(name).is_ok() {
        return Some(name);
    }
    value.refuse(&format!("{} is not valid", quoted(name)), "use letters, digits, -, _ and .");
    None
}
