//! The cursor over one table of the file: takes typed values and notes whatever is wrong with them.
//!
//! Every reader returns something usable after noting a problem, so that one broken value hides no
//! other. The result counts for nothing once the report has an error.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::later::Later;
use super::problem::{Place, Report, did_you_mean, quoted};
use super::tree::{Entry, Kind, Node, Table};
use super::units;

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

/// One value under a key.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) report: &'a Report,
    /// For messages: `pool "api": connect_timeout`.
    subject: String,
    title: String,
    path: String,
    pub(super) node: &'a Node,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(report: &'a Report, table: &'a Table) -> Self {
        let place = Place { file: 0, start: 0, end: 0 };
        Self { report, title: String::new(), path: String::new(), place, table }
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

impl<'a> Value<'a> {
    /// Notes that this value is wrong. `message` goes on after the name of the key.
    pub(super) fn refuse(&self, message: &str, way_out: &str) {
        let message = format!("{} {message}", self.subject);
        self.report.error(self.node.place, message, way_out);
    }

    /// Notes something questionable about this value.
    pub(super) fn warn(&self, message: &str, way_out: &str) {
        self.report.warn(self.node.place, format!("{} {message}", self.subject), way_out);
    }

    fn wrong_type(&self, wanted: &str, example: &str) {
        let is = match &self.node.kind {
            Kind::Text(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a float",
            Kind::Flag(_) => "a boolean",
            Kind::Date => "a date",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
            Kind::Broken => return,
        };
        self.refuse(&format!("is {is} and must be {wanted}"), &format!("write {example}"));
    }

    /// A text, possibly empty.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Text(text) => Some(text),
            Kind::Integer(number) => {
                self.wrong_type("a string", &format!("\"{number}\""));
                None
            }
            _ => {
                self.wrong_type("a string", "it in double quotes");
                None
            }
        }
    }

    /// A text that says something.
    pub(super) fn filled(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.refuse("is empty", "give it a value, or remove the key");
            return None;
        }
        Some(text)
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.filled()?;
        if text.contains('\0') {
            self.refuse("holds a NUL character", "write the path without it");
            return None;
        }
        Some(self.report.resolve(self.node.place.file, text))
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        match &self.node.kind {
            Kind::Text(text) => match units::duration(text) {
                Ok(duration) => Some(duration),
                Err(bad) => {
                    self.refuse(&bad.message, &bad.suggestion);
                    None
                }
            },
            Kind::Integer(number) => {
                self.wrong_type("a duration", &format!("\"{number}s\""));
                None
            }
            _ => {
                self.wrong_type("a duration", "it as in \"1m30s\"");
                None
            }
        }
    }

    pub(super) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let Kind::Integer(number) = self.node.kind else {
            self.wrong_type("an integer", "a whole number without quotes");
            return None;
        };
        match u32::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let (low, high) = range.into_inner();
                let way_out = format!("write a number from {low} to {high}");
                self.refuse(&format!("{number} is out of range"), &way_out);
                None
            }
        }
    }

    /// A number, whole or not.
    pub(super) fn float(&self) -> Option<f64> {
        match self.node.kind {
            Kind::Float(number) => Some(number),
            // More than the mantissa holds is out of every range anyway.
            Kind::Integer(number) => Some(number as f64),
            _ => {
                self.wrong_type("a number", "a number without quotes");
                None
            }
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        let Kind::Flag(flag) = self.node.kind else {
            self.wrong_type("a boolean", "true or false, without quotes");
            return None;
        };
        Some(flag)
    }

    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let way_out = did_you_mean(text, "valid values", words.iter().map(|(word, _)| *word));
            self.refuse(&format!("{} is not a valid value", quoted(text)), &way_out);
        }
        found.map(|(_, value)| *value)
    }

    /// The items of a list, or this value alone where one may stand for a list.
    pub(super) fn one_or_more(&self) -> Vec<Self> {
        match &self.node.kind {
            Kind::List(_) => self.list("an entry"),
            _ => vec![self.clone()],
        }
    }

    /// The items of a list, which may be empty. `item` names one in messages, with its number.
    pub(super) fn list(&self, item: &str) -> Vec<Self> {
        let Kind::List(items) = &self.node.kind else {
            self.wrong_type("a list", "it in square brackets");
            return Vec::new();
        };
        let numbered = items.iter().zip(1usize..);
        numbered
            .map(|(node, number)| {
                let (subject, title) = match item {
                    "backend" => {
                        let title = format!("{}, backend {number}", self.title);
                        (format!("{title}:"), title)
                    }
                    _ => (format!("{} entry {number}", self.subject), self.title.clone()),
                };
                let path = format!("{}[{number}]", self.path);
                Self { report: self.report, subject, title, path, node }
            })
            .collect()
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.node.kind, Kind::Table(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    fn table(&self) -> Option<&'a Table> {
        let Kind::Table(table) = &self.node.kind else {
            self.wrong_type("a table", &format!("it as [{}]", self.path));
            return None;
        };
        Some(table)
    }

    /// This value as a table of its own, named by what holds it.
    pub(super) fn as_section(&self, title: &str) -> Section<'a> {
        let title = match title {
            "" => self.title.clone(),
            title => format!("{}, {title}", self.title),
        };
        Section {
            report: self.report,
            title,
            path: self.path.clone(),
            place: self.node.place,
            table: self.table().unwrap_or(&EMPTY),
        }
    }
}
