//! What is wrong with a file, and where: collected while reading, placed in the text at the end.
//!
//! Readers note and go on, so that one run shows everything. Notes that only follow from broken
//! syntax are dropped when the report is closed, because they would send people the wrong way.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pending::{Matter, Pending};
use super::twice;
use super::words::quoted;

/// No file needs more lines of complaint than this; it also bounds the work for a hostile one.
const MOST_NOTES: usize = 500;

/// The most characters of a source line that a problem carries.
const EXCERPT: usize = 120;

/// One error or warning, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named or included.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line itself, cut around the column when long; empty when there is none.
    pub source_line: String,
    /// The bytes of `source_line` that the problem is about.
    pub mark: Range<usize>,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// The way out.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// What is left of a report.
pub(super) struct Closed {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) pending: Pending,
}

/// A file that cannot be used: at least one problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The errors, in file order.
    pub problems: Vec<Problem>,
    /// The warnings, in file order.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [] => f.write_str("the file is invalid"),
            [only] => only.fmt(f),
            [first, others @ ..] => write!(f, "{first} (and {} more)", others.len()),
        }
    }
}

impl std::error::Error for Refused {}

/// A stretch of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index of the source in its report.
    pub(super) file: usize,
    /// First byte.
    pub(super) start: usize,
    /// Behind the last byte.
    pub(super) end: usize,
}

/// One text that was read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// As it was named or included.
    pub(super) name: String,
    /// What relative paths in it are relative to.
    pub(super) base: PathBuf,
    /// The whole text.
    pub(super) text: Arc<str>,
}

impl Source {
    /// Where it is, if it is a file.
    pub(super) fn path(&self) -> PathBuf {
        self.base.join(Path::new(&self.name).file_name().unwrap_or_default())
    }
}

/// The file system as far as a configuration needs it.
pub(super) trait Disk {
    /// The bytes of a file of reasonable size.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The files that a pattern matches, by name.
    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, String>;
    /// True if something is there and is no folder.
    fn blocks_folder(&self, path: &Path) -> bool;
}

/// How much a note matters, and when it may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Syntax,
    Value,
    /// Something is not there, which broken syntax can explain.
    Absence,
    Warning,
}

#[derive(Debug)]
struct Note {
    place: Place,
    weight: Weight,
    message: String,
    suggestion: Option<String>,
}

/// Everything noted while one configuration is read.
pub(super) struct Report {
    /// `None` reads no other file and checks none.
    pub(super) disk: Option<&'static dyn Disk>,
    sources: RefCell<Vec<Source>>,
    notes: RefCell<Vec<Note>>,
    pending: RefCell<Vec<(Matter, Note)>>,
}

impl Report {
    pub(super) fn new(disk: Option<&'static dyn Disk>) -> Self {
        Self {
            disk,
            sources: RefCell::default(),
            notes: RefCell::default(),
            pending: RefCell::default(),
        }
    }

    /// Adds a text and returns the index that its places carry.
    pub(super) fn add(&self, source: Source) -> usize {
        let mut sources = self.sources.borrow_mut();
        sources.push(source);
        sources.len() - 1
    }

    pub(super) fn source(&self, file: usize) -> Option<Source> {
        self.sources.borrow().get(file).cloned()
    }

    /// All texts, in the order they were read.
    pub(super) fn texts(&self) -> Vec<Arc<str>> {
        self.sources.borrow().iter().map(|source| source.text.clone()).collect()
    }

    /// `path` as seen from the file that names it.
    pub(super) fn resolve(&self, file: usize, path: &str) -> PathBuf {
        match self.sources.borrow().get(file) {
            Some(source) => source.base.join(path),
            None => PathBuf::from(path),
        }
    }

    /// `FILE:LINE` of a place, to name it in a message about another one.
    pub(super) fn name_of(&self, place: Place) -> String {
        let sources = self.sources.borrow();
        let Some(source) = sources.get(place.file) else { return String::new() };
        let end = source.text.floor_char_boundary(place.start);
        let line = source.text.as_bytes().iter().take(end).filter(|&&b| b == b'\n').count() + 1;
        format!("{}:{line}", source.name)
    }

    pub(super) fn syntax(&self, place: Place, message: String, suggestion: Option<String>) {
        self.note(Note { place, weight: Weight::Syntax, message, suggestion });
    }

    /// The key at `place` of a text stands there for the second time.
    pub(super) fn twice(&self, place: Place, text: &str) {
        let way_out = Some("keep one of them; a table or key is written once".to_owned());
        let message = match twice::first(text, place.start) {
            Some((name, at)) => {
                let there = self.name_of(Place { start: at, ..place });
                format!("{} is here for the second time, after {there}", quoted(&name))
            }
            None => {
                let key = text.get(place.start..place.end).unwrap_or_default();
                format!("{} is here for the second time", quoted(key))
            }
        };
        self.syntax(place, message, way_out);
    }

    pub(super) fn error(&self, place: Place, message: String, suggestion: impl Into<String>) {
        let suggestion = Some(suggestion.into());
        self.note(Note { place, weight: Weight::Value, message, suggestion });
    }

    pub(super) fn absence(&self, place: Place, message: String, suggestion: impl Into<String>) {
        let suggestion = Some(suggestion.into());
        self.note(Note { place, weight: Weight::Absence, message, suggestion });
    }

    pub(super) fn warn(&self, place: Place, message: String, suggestion: impl Into<String>) {
        let suggestion = Some(suggestion.into());
        self.note(Note { place, weight: Weight::Warning, message, suggestion });
    }

    /// Something that only shows outside of the file; `message` is for the case that it is bad.
    pub(super) fn pend(&self, place: Place, matter: Matter, message: String, way_out: &str) {
        let suggestion = Some(way_out.to_owned());
        let note = Note { place, weight: Weight::Warning, message, suggestion };
        self.pending.borrow_mut().push((matter, note));
    }

    fn note(&self, note: Note) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < MOST_NOTES {
            notes.push(note);
        }
    }

    /// Whether anything so far makes the file unusable.
    pub(super) fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.notes.borrow().iter().filter(|note| note.weight != Weight::Warning).count()
    }

    /// Places every note: errors and warnings, each in file order.
    pub(super) fn close(self) -> Closed {
        let sources = self.sources.into_inner();
        let lines: Vec<Lines<'_>> = sources.iter().map(Lines::of).collect();
        let mut notes = self.notes.into_inner();
        drop_consequences(&mut notes, &lines);
        notes.sort_by_key(|note| note.place);
        let (warnings, errors): (Vec<_>, Vec<_>) =
            notes.into_iter().partition(|note| note.weight == Weight::Warning);
        let place = |note: Note| lines.get(note.place.file).map(|lines| lines.place(note));
        let pending = self.pending.into_inner().into_iter();
        let pending = pending.filter_map(|(matter, note)| Some((matter, place(note)?))).collect();
        Closed {
            problems: distinct(errors.into_iter().filter_map(place).collect()),
            warnings: distinct(warnings.into_iter().filter_map(place).collect()),
            pending,
        }
    }
}

/// With broken syntax, what seems missing may well be there, and a line that could not be read says
/// nothing reliable.
fn drop_consequences(notes: &mut Vec<Note>, lines: &[Lines<'_>]) {
    let line_of = |note: &Note| {
        (note.place.file, lines.get(note.place.file).map(|lines| lines.number(note.place.start)))
    };
    let broken: Vec<_> =
        notes.iter().filter(|note| note.weight == Weight::Syntax).map(line_of).collect();
    if !broken.is_empty() {
        notes.retain(|note| match note.weight {
            Weight::Syntax => true,
            Weight::Absence => false,
            Weight::Value | Weight::Warning => !broken.contains(&line_of(note)),
        });
    }
}

fn distinct(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.dedup();
    problems
}

/// A source with the starts of its lines.
struct Lines<'a> {
    source: &'a Source,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(source: &'a Source) -> Self {
        let breaks = source.text.match_indices('\n').map(|(at, _)| at + 1);
        Self { source, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// From 1.
    fn number(&self, at: usize) -> usize {
        self.starts.partition_point(|&start| start <= at).max(1)
    }

    fn place(&self, note: Note) -> Problem {
        let text = &*self.source.text;
        let at = text.floor_char_boundary(note.place.start);
        let line = self.number(at);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let whole = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        let before = whole.floor_char_boundary((at - start).min(whole.len()));
        let length = note.place.end.saturating_sub(at);
        let (source_line, mark) = excerpt(whole, before, length);
        Problem {
            file: self.source.name.clone(),
            line,
            column: whole.get(..before).unwrap_or_default().chars().count() + 1,
            source_line,
            mark,
            message: note.message,
            suggestion: note.suggestion,
        }
    }
}

/// The part of a line around byte `at`, and where in it the `length` bytes from there now are.
fn excerpt(line: &str, at: usize, length: usize) -> (String, Range<usize>) {
    let end = line.floor_char_boundary(at.saturating_add(length).min(line.len())).max(at);
    if line.chars().nth(EXCERPT).is_none() {
        return (line.to_owned(), at..end);
    }
    let (before, after) = line.split_at(at);
    let lead = before.char_indices().rev().nth(EXCERPT / 3).map_or(0, |(index, _)| index);
    let tail =
        after.char_indices().nth(EXCERPT * 2 / 3).map_or(line.len(), |(index, _)| at + index);
    let mut cut = String::new();
    if lead > 0 {
        cut.push('…');
    }
    let mark = cut.len() + at - lead;
    cut.push_str(line.get(lead..tail).unwrap_or_default());
    let end = (mark + end - at).min(cut.len());
    if tail < line.len() {
        cut.push('…');
    }
    (cut, mark..end)
}
