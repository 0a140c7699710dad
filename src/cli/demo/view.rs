//! What the demo shows: a block that is redrawn on a terminal, lines elsewhere.

use std::io::{self, Write};

use super::clients::Ledger;
use crate::cli::table::Table;

/// One backend at an instant.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) address: String,
    /// What the balancer says of it.
    pub(super) state: String,
    pub(super) sessions: u64,
}

/// Where the demo shows what goes on.
#[derive(Debug)]
pub(super) struct View<W> {
    out: W,
    live: bool,
    /// Lines of the block that stands on the terminal.
    standing: usize,
}

impl<W: Write> View<W> {
    /// `live` redraws in place, as only a terminal can.
    pub(super) fn new(out: W, live: bool) -> Self {
        Self { out, live, standing: 0 }
    }

    /// Says something that stays.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Shows how things are at `second`.
    pub(super) fn show(&mut self, second: u64, rows: &[Row], ledger: &Ledger) -> io::Result<()> {
        self.clear()?;
        let lines =
            if self.live { block(second, rows, ledger) } else { vec![line(second, rows, ledger)] };
        for line in &lines {
            writeln!(self.out, "{line}")?;
        }
        if self.live {
            self.standing = lines.len();
        }
        self.out.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.standing) {
            0 => Ok(()),
            // To the start of the block, and away with all below.
            lines => write!(self.out, "\u{1b}[{lines}F\u{1b}[J"),
        }
    }
}

fn served(ledger: &Ledger, name: &str) -> u64 {
    let found = ledger.served.iter().find(|(of, _)| *of == name);
    found.map_or(0, |(_, count)| count.get())
}

fn block(second: u64, rows: &[Row], ledger: &Ledger) -> Vec<String> {
    let mut table = Table::new(&["  BACKEND", "ADDRESS", "HEALTH", ">SESSIONS", ">SERVED", ""]);
    for row in rows {
        table.row(&[
            format!("  {}", row.name),
            row.address.clone(),
            row.state.clone(),
            row.sessions.to_string(),
            served(ledger, row.name).to_string(),
            "#".repeat(usize::try_from(row.sessions.min(40)).unwrap_or_default()),
        ]);
    }
    let mut lines = table.lines();
    lines.push(format!("  {}", clients(second, ledger)));
    lines
}

fn line(second: u64, rows: &[Row], ledger: &Ledger) -> String {
    let each = rows.iter().map(|row| {
        let served = served(ledger, row.name);
        format!("{} {}, {} sessions, {served} served", row.name, row.state, row.sessions)
    });
    format!("{} | {}", each.collect::<Vec<_>>().join(" | "), clients(second, ledger))
}

fn clients(second: u64, ledger: &Ledger) -> String {
    let (tried, refused, cut) = (ledger.tried.get(), ledger.refused.get(), ledger.cut.get());
    format!("{second}s: {tried} connections made, {refused} refused, {cut} cut")
}

/// How it all went. `noticed` are the seconds that each failover took, `retries` the connects that
/// failed and were made again elsewhere.
pub(super) fn summary(ledger: &Ledger, noticed: &[(&str, f64)], retries: u64) -> String {
    let mut lines = vec![format!("summary: {} connections made", ledger.tried.get())];
    for (name, count) in &ledger.served {
        lines.push(format!("  served by {name}: {}", count.get()));
    }
    lines.push(format!(
        "  errors: {} refused, {} sessions cut",
        ledger.refused.get(),
        ledger.cut.get()
    ));
    lines.push(format!("  retries: {retries}, of which the clients saw nothing"));
    for (name, seconds) in noticed {
        lines.push(format!("  failover: {name} was found down {seconds:.2} s after it stopped"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(live: bool) -> String {
        let ledger = Ledger::new(["alpha"].into_iter());
        let row =
            Row { name: "alpha", address: "127.0.0.1:1".into(), state: "up".into(), sessions: 2 };
        let mut out = Vec::new();
        let mut view = View::new(&mut out, live);
        view.show(1, std::slice::from_ref(&row), &ledger).unwrap();
        view.say("alpha stops").unwrap();
        view.show(2, &[row], &ledger).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_file_gets_plain_lines() {
        let text = shown(false);
        assert!(!text.contains('\u{1b}'));
        let lines: Vec<_> = text.lines().collect();
        let (first, rest) = (lines[0], "1s: 0 connections made, 0 refused, 0 cut");
        assert_eq!(first, format!("alpha up, 2 sessions, 0 served | {rest}"));
        assert_eq!((lines[1], lines.len()), ("alpha stops", 3));
    }

    #[test]
    fn a_terminal_gets_a_block_that_is_redrawn() {
        let text = shown(true);
        assert_eq!(text.matches("\u{1b}[3F\u{1b}[J").count(), 1, "{text:?}");
        assert!(text.contains("##"));
    }
}
