//! `include`: more files under the same roof, each table in exactly one of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Disk, Place, Problem, Report, Source};
use super::read::Section;
use super::tree::{self, Entry, Kind, Table};
use super::value::Value;
use super::words::quoted;

/// More files than this is a pattern gone wrong.
const MOST_FILES: usize = 1000;

/// Reads what `root` includes and moves its tables into `root`.
pub(super) fn merge(report: &Report, root: &mut Table, env: &dyn Fn(&str) -> Option<String>) {
    let Some(value) = Section::root(report, root).value("include") else { return };
    let Some(disk) = report.disk else {
        return value.refuse("works only in a file", "write the included tables here");
    };
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for item in value.one_or_more() {
        for file in named(&item, disk) {
            if files.iter().all(|(path, _)| *path != file.0) && files.len() < MOST_FILES {
                files.push(file);
            }
        }
    }
    let mut included = Vec::new();
    for item in files {
        included.extend(read(report, disk, &value, item, env));
    }
    for table in included {
        add(report, root, table);
    }
}

/// The files that one entry names: where they are, and what to call them.
fn named(item: &Value<'_>, disk: &dyn Disk) -> Vec<(PathBuf, String)> {
    let Some(text) = item.filled() else { return Vec::new() };
    let Some(path) = item.path() else { return Vec::new() };
    if !text.contains(['*', '?', '[']) {
        return vec![(path, text.to_owned())];
    }
    let base = item.report.resolve(item.node.place.file, "");
    let full = format!("{}/{text}", glob::Pattern::escape(&base.to_string_lossy()));
    let pattern = if Path::new(text).is_absolute() { text } else { &full };
    match disk.matching(pattern) {
        Err(reason) => {
            let message = format!("{} is not a pattern: {reason}", quoted(text));
            item.refuse(&message, "write it as in \"conf.d/*.toml\"");
            Vec::new()
        }
        Ok(found) => {
            if found.is_empty() {
                item.warn(
                    &format!("{} matches no file", quoted(text)),
                    "add one, or remove the entry",
                );
            }
            // A pattern may well match the file that it stands in.
            let main = item.report.source(0).map(|main| main.path()).unwrap_or_default();
            let name = |path: PathBuf| {
                let short = path.strip_prefix(&base).unwrap_or(&path).display().to_string();
                (path, short)
            };
            found.into_iter().filter(|path| *path != main).map(name).collect()
        }
    }
}

fn read(
    report: &Report,
    disk: &dyn Disk,
    from: &Value<'_>,
    (path, name): (PathBuf, String),
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<Table> {
    let bytes = match disk.read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("file {} cannot be read: {error}", quoted(&name));
            from.refuse(&message, "correct the path, or remove the entry");
            return None;
        }
    };
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    // Found beside the main file and named as people would from where they named that one.
    let name = shown(report, &name);
    let (_, table) = parse_bytes(report, name, base, bytes, env)?;
    if let Some(entry) = table.get("include") {
        let message = "`include` works only in the main file".to_owned();
        report.error(entry.place, message, "include these files from there");
    }
    Some(table)
}

/// An included name seen from where the main file's name is seen from.
fn shown(report: &Report, name: &str) -> String {
    let main = report.source(0).map(|source| source.name).unwrap_or_default();
    match Path::new(&main).parent() {
        Some(folder) => folder.join(name).display().to_string(),
        None => name.to_owned(),
    }
}

/// Parses bytes that should be UTF-8; if they are not, says where.
pub(super) fn parse_bytes(
    report: &Report,
    name: String,
    base: PathBuf,
    bytes: Vec<u8>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<(usize, Table)> {
    match String::from_utf8(bytes) {
        Ok(text) => {
            let source = Source { name, base, text: Arc::from(text) };
            Some(tree::parse(source, report, env))
        }
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let file = report.add(Source { name, base, text: Arc::from(text) });
            let place = Place { file, start: at, end: at + 3 };
            report.syntax(
                place,
                "the file is not UTF-8 text here".to_owned(),
                Some("save it as UTF-8".to_owned()),
            );
            None
        }
    }
}

/// Moves the tables of one file into the whole. What is there already stays.
fn add(report: &Report, root: &mut Table, more: Table) {
    for entry in more.entries.into_iter().filter(|entry| entry.key != "include") {
        let Some(existing) = root.entries.iter_mut().find(|other| other.key == entry.key) else {
            root.entries.push(entry);
            continue;
        };
        let by_name = matches!(entry.key.as_str(), "listener" | "pool");
        match (&mut existing.value.kind, entry.value.kind) {
            (Kind::Table(into), Kind::Table(from)) if by_name => {
                for child in from.entries {
                    add_named(report, into, &entry.key, child);
                }
            }
            _ => twice(report, &entry.key, existing, entry.place),
        }
    }
}

fn add_named(report: &Report, into: &mut Table, kind: &str, child: Entry) {
    match into.get(&child.key) {
        None => into.entries.push(child),
        Some(existing) => {
            let name = format!("{kind}.{}", child.key);
            twice(report, &name, existing, child.place);
        }
    }
}

fn twice(report: &Report, name: &str, first: &Entry, second: Place) {
    let there = report.name_of(first.place);
    let message = format!("{} is here for the second time, after {there}", quoted(name));
    report.error(second, message, "keep one of them");
}

/// The problem of a main file that cannot be read at all.
pub(super) fn unreadable(name: &str, error: &std::io::Error) -> Problem {
    let way_out = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "correct the path, or create the file: a [listener.NAME] with bind and pool, and a [pool.NAME] with backends"
        }
        std::io::ErrorKind::PermissionDenied => "let the user read it, or run as one who may",
        _ => "name a readable file with -c FILE",
    };
    Problem {
        file: name.to_owned(),
        line: 1,
        column: 1,
        source_line: String::new(),
        mark: 0..0,
        message: format!("{} cannot be read: {error}", quoted(name)),
        suggestion: Some(way_out.to_owned()),
    }
}
