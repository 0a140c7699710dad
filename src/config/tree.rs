//! The file as a tree of values that know their place: parsed, in file order, `${…}` replaced.
//!
//! The parser's own tree is sorted by key and borrows its text; this one keeps the order in which
//! listeners and pools were written and holds several files.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::env;
use super::problem::{Place, Report, Source};
use super::words::quoted;

/// One value.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Text(String),
    /// Saturated when larger: no key takes anything near the bounds.
    Integer(i128),
    Float(f64),
    Flag(bool),
    Date,
    List(Vec<Node>),
    Table(Table),
    /// A problem has been noted; whoever reads it says nothing more.
    Broken,
}

/// A table, in file order.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

/// A JSON value as if it stood at `place` of a file, as it is: `${…}` stays.
pub(super) fn of_json(value: serde_json::Value, place: Place) -> Node {
    use serde_json::Value;
    let kind = match value {
        // What TOML has not is of no type that a key wants.
        Value::Null => Kind::Date,
        Value::Bool(flag) => Kind::Flag(flag),
        Value::Number(number) => match number.as_i128() {
            Some(whole) => Kind::Integer(whole),
            None => Kind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Kind::Text(text),
        Value::Array(items) => {
            Kind::List(items.into_iter().map(|item| of_json(item, place)).collect())
        }
        Value::Object(entries) => {
            let entry = |(key, value)| Entry { key, place, value: of_json(value, place) };
            Kind::Table(Table { entries: entries.into_iter().map(entry).collect() })
        }
    };
    Node { place, kind }
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Parses one text; what is wrong with its syntax goes to the report.
pub(super) fn parse(
    source: Source,
    report: &Report,
    env: &dyn Fn(&str) -> Option<String>,
) -> (usize, Table) {
    let text = source.text.clone();
    let file = report.add(source);
    let (root, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        let place = Place { file, start: span.start, end: span.end };
        if error.message().contains("duplicate key") {
            report.twice(place, &text);
            continue;
        }
        let (message, suggestion) = reworded(error.message(), text.get(span).unwrap_or_default());
        report.syntax(place, message, suggestion);
    }
    let grower = Grower { file, report, env };
    (file, grower.table(root.into_inner()))
}

/// The parser names the rule; people want to know what to do.
fn reworded(message: &str, found: &str) -> (String, Option<String>) {
    if message.starts_with("string values must be quoted") {
        return match found.trim() {
            "" => ("the value is missing".to_owned(), Some("write it behind the =".to_owned())),
            value => {
                let way_out = "put a string in double quotes; numbers and true or false go without";
                (format!("{} is not a value", quoted(value)), Some(way_out.to_owned()))
            }
        };
    }
    (message.to_owned(), None)
}

struct Grower<'a> {
    file: usize,
    report: &'a Report,
    env: &'a dyn Fn(&str) -> Option<String>,
}

impl Grower<'_> {
    fn table(&self, table: DeTable<'_>) -> Table {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| Entry {
                place: self.place(&key),
                key: key.into_inner().into_owned(),
                value: self.node(value),
            })
            .collect();
        entries.sort_by_key(|entry| entry.place);
        Table { entries }
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Node {
        let place = self.place(&value);
        let kind = match value.into_inner() {
            DeValue::String(text) => self.text(place, &text),
            DeValue::Integer(digits) => Kind::Integer(
                i128::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(i128::MAX),
            ),
            DeValue::Float(digits) => Kind::Float(digits.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Kind::Flag(flag),
            DeValue::Datetime(_) => Kind::Date,
            DeValue::Array(items) => {
                Kind::List(items.into_iter().map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => Kind::Table(self.table(table)),
        };
        Node { place, kind }
    }

    fn text(&self, place: Place, text: &str) -> Kind {
        match env::expand(text, self.env) {
            Ok(text) => Kind::Text(text),
            Err(unset) => {
                self.report.error(place, unset.message, unset.suggestion);
                Kind::Broken
            }
        }
    }

    fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        let span = spanned.span();
        Place { file: self.file, start: span.start, end: span.end }
    }
}
