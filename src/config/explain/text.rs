//! The arithmetic for people: a block for each listener and pool, in columns.

use super::{Bound, Explained, Fact, Part, Way};
use crate::config::units::write_duration;

/// Lines are broken here.
const WIDTH: usize = 100;

/// Where the columns of a fact begin: its label, its number, how that is reckoned.
const LABEL: usize = 4;
const NUMBER: usize = 28;
const REASON: usize = 38;

pub(super) fn write(explained: &Explained<'_>) -> String {
    let mut out = String::from("What this file makes certain when something fails\n\n");
    out.push_str("process\n");
    fact(&mut out, &explained.stop);
    for way in &explained.ways {
        out.push('\n');
        block(&mut out, way);
    }
    out
}

fn block(out: &mut String, way: &Way<'_>) {
    let Way { listener, protocol, pool, backends, .. } = way;
    let of = way.fallback_of.map(|of| format!("fallback of \"{of}\", ")).unwrap_or_default();
    let plural = if *backends == 1 { "" } else { "s" };
    let count = match (way.discovers, *backends) {
        (true, 0) => "backends that are looked up".to_owned(),
        (true, named) => format!("{named} backend{plural} and those that are looked up"),
        (false, named) => format!("{named} backend{plural}"),
    };
    let head = format!("listener \"{listener}\" ({protocol}) → pool \"{pool}\" ({of}{count})\n");
    out.push_str(&head);
    for Part { title, facts, remarks } in &way.parts {
        out.push_str(&format!("\n  {title}\n"));
        facts.iter().for_each(|it| fact(out, it));
        for remark in remarks {
            wrap(out, &" ".repeat(LABEL), LABEL, remark);
        }
    }
}

fn fact(out: &mut String, fact: &Fact) {
    let (number, formula) = match &fact.bound {
        Bound::Within(sum) => (write_duration(sum.total()), sum.to_string()),
        Bound::None => ("no bound".to_owned(), String::new()),
    };
    let reasons: Vec<&str> =
        [formula.as_str(), &fact.note].into_iter().filter(|text| !text.is_empty()).collect();
    let start = column(&column(&" ".repeat(LABEL), NUMBER, &fact.label), REASON, &number);
    wrap(out, &start, REASON, &reasons.join("; "));
}

/// `line` with `text` behind it, filled up to the column `to`, with a space at least.
fn column(line: &str, to: usize, text: &str) -> String {
    let both = format!("{line}{text} ");
    let missing = to.saturating_sub(both.chars().count());
    both + &" ".repeat(missing)
}

/// Writes `text` behind `start`, broken between words and indented.
fn wrap(out: &mut String, start: &str, indent: usize, text: &str) {
    let mut line = start.to_owned();
    for (number, word) in text.split(' ').enumerate() {
        let is_first = number == 0 || line.trim().is_empty();
        if !is_first && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = format!("{}{word}", " ".repeat(indent));
        } else {
            line.push_str(if is_first { "" } else { " " });
            line.push_str(word);
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
}
