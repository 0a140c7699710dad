//! One value of the file, taken as what it should be.
//!
//! Whatever it is instead is noted with the key, the value and the way out.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::pending;
use super::problem::Report;
use super::read::Section;
use super::tree::{Kind, Node, Table};
use super::units;
use super::words::{did_you_mean, quoted};

/// One value under a key.
#[derive(Clone)]
pub(super) struct Value<'a> {
    pub(super) report: &'a Report,
    /// For messages: `pool "api": connect_timeout`.
    pub(super) subject: String,
    pub(super) title: String,
    pub(super) path: String,
    pub(super) node: &'a Node,
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

    /// Notes that this cap lets in sessions with so many descriptors.
    pub(super) fn promise(&self, descriptors: u64) {
        pending::promise(self.report, self.node.place, &self.subject, descriptors);
    }

    /// Notes that this value is of another type; `example` is what to write instead.
    pub(super) fn wrong_type(&self, wanted: &str, example: &str) {
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
        self.with_unit(units::duration, "a duration", "s", "1m30s")
    }

    /// A share, from 0 to 100.
    pub(super) fn percent(&self) -> Option<u8> {
        self.with_unit(units::percent, "a share in percent", "%", "50%")
    }

    /// A number of bytes.
    pub(super) fn size(&self) -> Option<u64> {
        self.with_unit(units::size, "a size", "B", "64KiB")
    }

    /// A text that says a number with its unit; a bare number is told the likely one.
    fn with_unit<T>(
        &self,
        read: impl Fn(&str) -> Result<T, units::BadUnit>,
        wanted: &str,
        unit: &str,
        example: &str,
    ) -> Option<T> {
        match &self.node.kind {
            Kind::Text(text) => {
                let read = read(text);
                read.map_err(|bad| self.refuse(&bad.message, &bad.suggestion)).ok()
            }
            Kind::Integer(number) => {
                self.wrong_type(wanted, &format!("\"{number}{unit}\""));
                None
            }
            _ => {
                self.wrong_type(wanted, &format!("it as in \"{example}\""));
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

    pub(super) fn choice<T: Clone>(&self, words: &[(&str, T)]) -> Option<T> {
        let Kind::Text(text) = &self.node.kind else {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let all = all.join(", ");
            self.wrong_type("a string", &format!("one of these in double quotes: {all}"));
            return None;
        };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let way_out = did_you_mean(text, "valid values", words.iter().map(|(word, _)| *word));
            self.refuse(&format!("{} is not a valid value", quoted(text)), &way_out);
        }
        found.map(|(_, value)| value.clone())
    }

    /// The items of a list, or this value alone where one may stand for a list.
    pub(super) fn one_or_more(&self) -> Vec<Self> {
        match &self.node.kind {
            Kind::List(_) => self.list("an entry"),
            _ => vec![self.clone()],
        }
    }

    /// The items of a list, which may be empty. `item` names one in messages, with its number;
    /// "an entry" has no name of its own.
    pub(super) fn list(&self, item: &str) -> Vec<Self> {
        let Kind::List(items) = &self.node.kind else {
            self.wrong_type("a list", "it in square brackets");
            return Vec::new();
        };
        let numbered = items.iter().zip(1usize..);
        numbered
            .map(|(node, number)| {
                let (subject, title) = match item {
                    "an entry" => (format!("{} entry {number}", self.subject), self.title.clone()),
                    _ => {
                        let title = format!("{}, {item} {number}", self.title);
                        (format!("{title}:"), title)
                    }
                };
                let path = format!("{}[{number}]", self.path);
                Self { report: self.report, subject, title, path, node }
            })
            .collect()
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.node.kind, Kind::Table(_))
    }

    pub(super) fn is_empty_table(&self) -> bool {
        matches!(&self.node.kind, Kind::Table(table) if table.entries.is_empty())
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    pub(super) fn table(&self) -> Option<&'a Table> {
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
        Section::of(self, title)
    }
}
