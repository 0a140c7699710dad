//! Finds where a key that is written twice in one text was written first.
//!
//! The parser says where the second one is and forgets the first, so the lines are searched. A line
//! inside a longer value may look like a key; then a message names the wrong line, nothing more.

use toml::de::{DeTable, DeValue};

/// The whole name of the key at byte `at`, and the byte where that name stands first.
pub(super) fn first(text: &str, at: usize) -> Option<(String, usize)> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..)?.lines().next()?;
    let before = text.get(..start)?;
    if let Some(path) = header(line) {
        let found = lines(before).find(|(_, line)| header(line).as_ref() == Some(&path));
        return found.map(|(at, _)| (path.join("."), at));
    }
    let path = key(line)?;
    let table = lines(before).filter_map(|(at, line)| Some((at, header(line)?))).last();
    let (from, mut name) = table.unwrap_or_default();
    let mut inside = lines(before).skip_while(|(at, _)| *at < from);
    let (at, _) = inside.find(|(_, line)| key(line).as_ref() == Some(&path))?;
    name.extend(path);
    Some((name.join("."), at))
}

/// Every line with its first byte that is not white space.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at + line.len() - line.trim_start().len();
        at += line.len();
        (start, line.trim())
    })
}

/// The path in a line such as `[pool.api]`.
fn header(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    if line.starts_with('[') { path(line) } else { None }
}

/// The path in a line such as `health.probe = "tcp"`.
fn key(line: &str) -> Option<Vec<String>> {
    let (key, _) = line.trim().split_once('=')?;
    path(&format!("{key} = 0"))
}

fn path(line: &str) -> Option<Vec<String>> {
    let root = DeTable::parse(line).ok()?.into_inner();
    let mut path = Vec::new();
    let mut table = &root;
    while let Some((key, value)) = table.iter().next() {
        path.push(key.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inside) => table = inside,
            DeValue::Array(_) => return None,
            _ => break,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_is_found_in_its_own_table() {
        let text = "[a]\nx = 1\n[b]\n  x = 1\ny = 2\n\"x\" = 3\n[ a ] # again\n";
        let key = text.rfind("\"x\"").unwrap();
        assert_eq!(first(text, key), Some(("b.x".to_owned(), text.find("  x").unwrap() + 2)));
        let table = text.rfind("a ]").unwrap();
        assert_eq!(first(text, table), Some(("a".to_owned(), 0)));
        assert_eq!(first("x = { y = 1, y = 2 }", 13), None);
        assert_eq!(first("", 0), None);
    }
}
