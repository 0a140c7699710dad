//! The floors of the house, enforced: who may import whom, how long a file may be, what is pure.
//!
//! A module imports only from lower floors, and only what its row names. The table is the one in
//! `docs/architecture.md`; a new edge is added in both, with the code that needs it.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, tests at its foot not counted.
const LONGEST: usize = 400;

/// Module, floor, and the modules it may import.
const FLOORS: &[(&str, u8, &[&str])] = &[
    ("addr", 0, &[]),
    ("metric", 0, &[]),
    ("outcome", 0, &[]),
    ("wire", 0, &[]),
    ("api", 1, &["addr"]),
    ("config", 1, &["addr"]),
    ("event", 1, &[]),
    ("lookout", 1, &[]),
    ("net", 1, &["addr", "metric", "outcome"]),
    ("record", 1, &["addr"]),
    ("session", 1, &["addr", "metric", "outcome"]),
    ("admission", 2, &["config", "metric", "addr", "outcome"]),
    ("log", 2, &["config", "record", "metric"]),
    ("pool", 2, &["config", "metric", "addr", "outcome", "session"]),
    ("route", 2, &["config", "metric", "addr"]),
    ("tls", 2, &["config", "metric", "net"]),
    ("relay", 3, &["tls", "net", "record", "session", "metric", "outcome"]),
    (
        "upstream",
        3,
        &["pool", "tls", "net", "config", "record", "addr", "metric", "outcome", "session", "wire"],
    ),
    ("acme", 4, &["tls", "net", "config", "metric", "event"]),
    ("certificates", 4, &["tls", "config", "lookout", "metric", "event"]),
    ("discover", 4, &["config", "net", "lookout", "addr", "metric", "event"]),
    (
        "health",
        4,
        &["pool", "tls", "net", "config", "session", "metric", "event", "addr", "outcome", "wire"],
    ),
    (
        "http",
        4,
        &[
            "upstream",
            "relay",
            "route",
            "pool",
            "tls",
            "admission",
            "net",
            "record",
            "config",
            "session",
            "metric",
            "log",
            "addr",
            "outcome",
            "wire",
        ],
    ),
    (
        "tcp",
        4,
        &[
            "upstream", "relay", "route", "pool", "tls", "net", "record", "config", "session",
            "metric", "log", "addr", "outcome",
        ],
    ),
    (
        "udp",
        4,
        &[
            "pool",
            "route",
            "admission",
            "net",
            "record",
            "config",
            "session",
            "metric",
            "log",
            "addr",
            "outcome",
        ],
    ),
    (
        "listener",
        5,
        &[
            "http",
            "tcp",
            "udp",
            "admission",
            "upstream",
            "relay",
            "route",
            "pool",
            "tls",
            "net",
            "metric",
            "record",
            "log",
            "config",
            "addr",
            "session",
            "outcome",
            "wire",
        ],
    ),
    (
        "server",
        6,
        &[
            "acme",
            "listener",
            "http",
            "tcp",
            "udp",
            "admission",
            "health",
            "certificates",
            "discover",
            "upstream",
            "route",
            "pool",
            "tls",
            "net",
            "session",
            "event",
            "log",
            "api",
            "config",
            "metric",
            "addr",
            "outcome",
        ],
    ),
    (
        "admin",
        7,
        &[
            "server",
            "api",
            "event",
            "metric",
            "config",
            "pool",
            "session",
            "tls",
            "outcome",
            "log",
            "admission",
            "addr",
        ],
    ),
    ("cli", 8, &["admin", "server", "api", "config", "log", "net", "addr"]),
    ("main", 9, &["cli"]),
];

/// Modules without sockets, clocks or chance of their own: what they need is handed to them.
const PURE: &[&str] =
    &["addr", "api", "config", "metric", "outcome", "pool", "record", "route", "wire"];

/// Words that betray a socket, a clock or chance.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::net::Tcp",
    "std::net::Udp",
    "socket2::",
    "rustix::",
    "Instant::now",
    "SystemTime::now",
    "fastrand::",
    ".elapsed()",
    "std::thread",
    "std::process",
];

struct Source {
    path: PathBuf,
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 10, "no sources found under {}", root.display());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let inside = path.strip_prefix(root).unwrap();
            let first = inside.iter().next().unwrap().to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            let is_test = path.ends_with("tests.rs") || inside.iter().any(|part| part == "tests");
            let code = if is_test { String::new() } else { without_tests(&path) };
            found.push(Source { path, module, code });
        }
    }
}

/// The text up to the tests at the foot.
fn without_tests(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

/// Code lines without comments.
fn lines(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = code.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    numbered.filter(|(_, line)| !line.starts_with("//"))
}

/// Modules that a line names behind `crate::`.
fn imports(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let group = rest.strip_prefix('{').and_then(|inner| inner.split('}').next());
        let names: Vec<&str> = group.map_or_else(|| vec![rest], |inner| inner.split(',').collect());
        for name in names {
            let word = name.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next();
            found.extend(word.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
    found
}

#[test]
fn imports_only_go_down_the_floors() {
    let rows: BTreeMap<&str, (u8, &[&str])> =
        FLOORS.iter().map(|(name, floor, may)| (*name, (*floor, *may))).collect();
    for (name, (floor, may)) in &rows {
        for below in *may {
            assert!(rows[below].0 < *floor, "the table lets {name} import {below} from above");
        }
    }
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.module != "lib") {
        let Some((_, may)) = rows.get(source.module.as_str()) else {
            broken.push(format!("{}: no floor in the table", source.path.display()));
            continue;
        };
        for (number, line) in lines(&source.code) {
            for import in imports(line).iter().filter(|import| **import != source.module) {
                let is_module = rows.contains_key(import.as_str());
                if is_module && !may.contains(&import.as_str()) {
                    broken.push(format!("{}:{number}: imports {import}", source.path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn files_stay_short() {
    let long: Vec<_> = sources()
        .iter()
        .map(|source| (source.path.clone(), source.code.lines().count()))
        .filter(|(_, count)| *count > LONGEST)
        .collect();
    assert!(long.is_empty(), "over {LONGEST} lines: {long:?}");
}

#[test]
fn every_file_opens_with_why_it_exists() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|source| !fs::read_to_string(&source.path).unwrap().starts_with("//!"))
        .map(|source| source.path)
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top: {silent:?}");
}

#[test]
fn pure_modules_touch_no_socket_clock_or_chance() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.module.as_str())) {
        for (number, line) in lines(&source.code) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                broken.push(format!("{}:{number}: {word}", source.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    let empty = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];
    for source in sources() {
        let stem = source.path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(!empty.contains(&stem.as_str()), "{}", source.path.display());
    }
}

#[test]
fn imports_are_found_in_every_form() {
    assert_eq!(imports("use crate::{addr, pool::Pool};"), ["addr", "pool"]);
    assert_eq!(imports("use crate::net::Socket;"), ["net"]);
    assert_eq!(imports("let x = crate::log::start();"), ["log"]);
}
