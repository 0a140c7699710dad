//! The cursor over one table of the file: takes typed values and notes whatever is wrong with them.
//!
//! Every reader returns something usable after noting a problem, so that one broken value hides no
//! other. The result counts for nothing once the report has an error.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::later::Later;
use super::problem::{Place, Report};
use super::tree::{Entry, Kind, Table};
use super::value::Value;
use super::words::{did_you_mean, quoted};

static EMPTY: Table = Table { entries: Vec::new() };

/// One table, with the keys that it may have.
#[derive(Clone)]
pub(super) struct Section<'a> {
    pub(super) report: &'a Report,
    /// For messages: `pool "api", health`.
    pub(super) title: String,
    /// As a dotted key: `pool.api.health`.
    path: String,
    /// What names it, for problems with the whole.
    pub(super) place: Place,
    table: &'a Table,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(report: &'a Report, table: &'a Table) -> Self {
        let place = Place { file: 0, start: 0, end: 0 };
        Self { report, title: String::new(), path: String::new(), place, table }
    }

    /// A value that is a table of its own.
    pub(super) fn of(value: &Value<'a>, title: String) -> Self {
        Self {
            report: value.report,
            title,
            path: value.path.clone(),
            place: value.node.place,
            table: value.table().unwrap_or(&EMPTY),
        }
    }

    /// Notes every key that is not in `keys`, or that a later version will have.
    pub(super) fn only(self, keys: &[&str], later: &[Later]) -> Self {
        for entry in &self.table.entries {
            if keys.contains(&entry.key.as_str()) {
                continue;
            }
            match later.iter().find(|later| later.key == entry.key) {
                Some(later) if later.off.holds(&entry.value) => {}
                Some(later) => later.refuse(self.report, &self.key_path(&entry.key), entry),
                None => self.unknown(entry, keys),
            }
        }
        self
    }

    fn unknown(&self, entry: &Entry, keys: &[&str]) {
        let key = quoted(&entry.key);
        let message = if self.title.is_empty() {
            format!("unknown key {key}")
        } else {
            format!("{}: unknown key {key}", self.title)
        };
        let way_out = did_you_mean(&entry.key, "valid keys", keys.iter().copied());
        self.report.error(entry.place, message, way_out);
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The keys as written.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.table.entries.iter()
    }

    /// What stands under `key`.
    pub(super) fn value(&self, key: &str) -> Option<Value<'a>> {
        let entry = self.table.get(key)?;
        let subject =
            if self.title.is_empty() { key.to_owned() } else { format!("{}: {key}", self.title) };
        Some(Value {
            report: self.report,
            subject,
            title: self.title.clone(),
            path: self.key_path(key),
            node: &entry.value,
        })
    }

    /// What must stand under `key`.
    pub(super) fn required(&self, key: &str, example: &str) -> Option<Value<'a>> {
        let value = self.value(key);
        if value.is_none() {
            let message = format!("{} has no {key}", self.title);
            self.report.absence(self.place, message, format!("write {key} = {example}"));
        }
        value
    }

    /// A duration above zero.
    pub(super) fn duration(&self, key: &str, default: Duration) -> Duration {
        self.some_duration(key).unwrap_or(default)
    }

    /// A duration above zero where there need be none.
    pub(super) fn some_duration(&self, key: &str) -> Option<Duration> {
        let value = self.value(key)?;
        let duration = value.duration()?;
        if duration.is_zero() {
            let way_out = "write a longer time, or remove the key";
            value.refuse("is \"0s\", which does not switch this off", way_out);
            return None;
        }
        Some(duration)
    }

    /// A duration that `0s` switches off.
    pub(super) fn switchable(&self, key: &str, default: Option<Duration>) -> Option<Duration> {
        match self.value(key) {
            Some(value) => value.duration().filter(|duration| !duration.is_zero()),
            None => default,
        }
    }

    pub(super) fn integer(&self, key: &str, range: RangeInclusive<u32>, default: u32) -> u32 {
        self.value(key).and_then(|value| value.integer(range)).unwrap_or(default)
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        self.value(key).and_then(|value| value.flag()).unwrap_or(default)
    }

    /// A text that says something.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.value(key)?.filled().map(str::to_owned)
    }

    /// A path, absolute or as seen from the file that names it.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.value(key)?.path()
    }

    /// One of a closed set of words.
    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)], default: T) -> T {
        self.value(key).and_then(|value| value.choice(words)).unwrap_or(default)
    }

    /// The table under `key`; an empty one where there is none.
    pub(super) fn section(&self, key: &str) -> Self {
        let entry = self.table.get(key);
        let title = match self.title.as_str() {
            "" => key.to_owned(),
            title => format!("{title}, {key}"),
        };
        let table = self.value(key).and_then(|value| value.table());
        Self {
            report: self.report,
            title,
            path: self.key_path(key),
            place: entry.map_or(self.place, |entry| entry.place),
            table: table.unwrap_or(&EMPTY),
        }
    }

    /// The tables under `key`, by name, in file order: `[pool.NAME]`.
    pub(super) fn named(&self, key: &'static str) -> Vec<(&'a str, Self)> {
        let Some(table) = self.value(key).and_then(|value| value.table()) else {
            return Vec::new();
        };
        table.entries.iter().map(|entry| (entry.key.as_str(), self.named_one(key, entry))).collect()
    }

    fn named_one(&self, key: &str, entry: &'a Entry) -> Self {
        if !is_name(&entry.key) {
            let message = format!("{key} name {} is not valid", quoted(&entry.key));
            self.report.error(entry.place, message, "use letters, digits, -, _ and .");
        }
        let table = match &entry.value.kind {
            Kind::Table(table) => table,
            Kind::Broken => &EMPTY,
            _ => {
                let message = format!("{key} {} is not a table", quoted(&entry.key));
                let way_out = format!("write it as [{key}.{}]", entry.key);
                self.report.error(entry.place, message, way_out);
                &EMPTY
            }
        };
        Self {
            report: self.report,
            title: format!("{key} {}", quoted(&entry.key)),
            path: format!("{key}.{}", entry.key),
            place: entry.place,
            table,
        }
    }
}

/// Whether a listener, pool or backend may be called so.
pub(super) fn is_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.chars().all(valid)
}
