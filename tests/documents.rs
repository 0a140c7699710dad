//! What the documents say, held against the program: keys and defaults, metrics, floors, examples,
//! links.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// README, changelog and everything under `docs/`.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The text from a heading to the next one of the same or a higher level.
fn chapter<'a>(text: &'a str, heading: &str) -> &'a str {
    let from = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading:?}"));
    let body = &text[from + heading.len() + 2..];
    let level = heading.chars().take_while(|c| *c == '#').count();
    let ends = (1..=level).filter_map(|level| body.find(&format!("\n{} ", "#".repeat(level))));
    ends.min().map_or(body, |end| &body[..end])
}

/// The default of a key as the file would write it; tables have their own chapter.
fn written(default: &Value) -> Option<String> {
    match default {
        Value::Object(_) | Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        other => Some(other.to_string()),
    }
}

#[test]
fn every_key_stands_in_the_reference_with_its_default() {
    let chapters = [
        ("Process", "## `[process]`"),
        ("Log", "## `[log]`"),
        ("Admin", "## `[admin]`"),
        ("Listener", "## `[listener.NAME]`"),
        ("ConnectionRate", "### `connection_rate`"),
        ("Pool", "## `[pool.NAME]`"),
        ("Backend", "### A backend as a table"),
        ("Discover", "## `[pool.NAME.discover]`"),
        ("Balance", "### `balance` as a table"),
        ("Retry", "## `[pool.NAME.retry]`"),
        ("Health", "## `[pool.NAME.health]`"),
        ("Passive", "## `[pool.NAME.passive]`"),
        ("Queue", "## `[pool.NAME.queue]`"),
        ("Close", "## `[pool.NAME.close]`"),
        ("Sticky", "## `[pool.NAME.sticky]`"),
        ("ListenerTls", "## `[listener.NAME.tls]`"),
        ("Certificate", "### `certificates`"),
        ("Acme", "## `[listener.NAME.tls.acme]`"),
        ("Route", "## `[[listener.NAME.route]]`"),
        ("Share", "### `split`"),
        ("Redirect", "### `redirect`"),
        ("Respond", "### `respond`"),
        ("RateLimit", "### `rate_limit`"),
        ("PoolHttp", "## `[pool.NAME.http]`"),
        ("ClientTls", "## `[pool.NAME.tls]`"),
    ];
    let text = read("docs/configuration.md");
    let schema = evenkeel::config::schema();
    let tables = schema["$defs"].as_object().unwrap();
    let described = tables.iter().filter(|(_, table)| table.get("properties").is_some());
    let mut wrong = Vec::new();
    for (table, spec) in described {
        let heading = chapters.iter().find(|(name, _)| name == table);
        let (_, heading) = heading.unwrap_or_else(|| panic!("no chapter for {table}"));
        let chapter = chapter(&text, heading);
        for (key, spec) in spec["properties"].as_object().unwrap() {
            let row = chapter.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
            let Some(row) = row else {
                wrong.push(format!("{heading}: no row for {key}"));
                continue;
            };
            let default = spec.get("default").and_then(written);
            if let Some(default) = default.filter(|it| !row.contains(&format!("| `{it}` |"))) {
                wrong.push(format!("{heading}: the default of {key} is {default}"));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/configuration.md\n{}", wrong.join("\n"));
}

#[test]
fn every_metric_is_explained() {
    let names = read("src/admin/names.rs");
    let text = read("docs/operations.md");
    let quoted = names.split('"').filter(|word| {
        let name = word.strip_prefix("evenkeel_").or_else(|| word.strip_prefix("process_"));
        name.is_some_and(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        })
    });
    let missing: Vec<_> =
        quoted.filter(|name| !text.contains(&format!("\n| `{name}` |"))).collect();
    assert!(missing.is_empty(), "docs/operations.md: {missing:?}");
}

/// Rows of the floors table, as module, floor and imports.
type Floors = Vec<(String, String, Vec<String>)>;

/// As `tests/architecture.rs` has it.
fn enforced() -> Floors {
    let source = read("tests/architecture.rs");
    let from = source.find("const FLOORS").unwrap();
    let table = &source[from..from + source[from..].find("\n];").unwrap()];
    let tight: String = table.split_whitespace().collect();
    let row = |row: &str| {
        let (module, rest) = row.split_once("\",").unwrap();
        let (floor, rest) = rest.split_once(",&[").unwrap();
        let imports = rest.split(']').next().unwrap().split('"').skip(1).step_by(2);
        (module.to_owned(), floor.to_owned(), imports.map(str::to_owned).collect())
    };
    tight.split("(\"").skip(1).map(row).collect()
}

#[test]
fn the_floors_are_those_of_the_architecture_test() {
    let text = read("docs/architecture.md");
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let imports = cells[3].split(", ").filter(|name| *name != "nothing of ours");
        (cells[2].to_owned(), cells[1].to_owned(), imports.map(str::to_owned).collect())
    };
    let is_row = |line: &&str| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit();
    let told: Floors = chapter(&text, "## Floors").lines().filter(is_row).map(row).collect();
    assert_eq!(told, enforced());
}

#[test]
fn every_whole_example_is_a_valid_file() {
    let mut tried = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // Others show a few keys and are no file by themselves.
            if block.contains("[listener.") {
                let read = evenkeel::config::parse("example", block, &|_| None);
                let problems = read.err().map(|refused| refused.problems);
                assert!(problems.is_none(), "{}: {problems:?}", path.display());
                tried += 1;
            }
        }
    }
    assert!(tried >= 2, "the examples were not found");
}

/// A heading as a link names it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let to =
                if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            let leads = heading.is_empty()
                || fs::read_to_string(&to).is_ok_and(|text| {
                    text.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
                });
            if !to.exists() || !leads {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}
