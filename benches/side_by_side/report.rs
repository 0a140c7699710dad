//! The text of the report: how it was measured, the machine, a table per scenario, the goals.

use crate::peers::{Missing, Peer};
use crate::run::Sample;
use crate::scenario::{Scenario, Work};
use crate::tables::{Best, Measure, Results, best_rival, ratio};

pub(crate) struct Report {
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) results: Results,
    pub(crate) scenarios: Vec<Scenario>,
}

const METHOD: &str = "\
# Side by side

Written by `make bench`; do not edit.

## What was measured, and how

Each proxy runs with 2 threads (nginx: 2 workers), least connections and 2 backends, all on loopback
and on one machine together with the load and the backends. The load and the backends are
processes of their own; the figures are the proxy's alone, all its processes and threads together.

- Short connections: 64 at a time, each sends 64 bytes, gets 64 back, and closes first.
- Round trips: 64 bytes there and back on 64 standing connections, one in flight on each.
- Bulk: 2 GB in all, download and upload, on 1 and on 8 connections. 1 GB is 10⁹ bytes.
- Idle: resident memory that each session adds when it has echoed 64 bytes and then stands still.
- UDP: a request and its answer are one unit. Round trips are 64 bytes on 64 standing flows, one in
  flight on each; bursts are 1200 bytes on 8 standing flows, 64 in flight on each; new flows are 64
  bytes from another address and port each, 64 at a time. What has no answer after 200 ms is sent
  again, and counted as resent. The load and the backends send and receive datagrams one by one.
- TLS: ended by the proxy, cleartext to the backends. Every proxy shows the same certificate, ECDSA
  on P-256. The client offers TLS 1.3 with AES-256-GCM and X25519 and nothing else, so that all do
  the same work, and checks of each connection that it was a full handshake, or a resumed one. A
  resumed one has a ticket and a key exchange. For the rest as without TLS; each proxy sends as many
  tickets as it does by itself.

Every round starts every proxy anew, on fresh ports, each round beginning with another proxy. The best
round of a proxy is the one with the fewest instructions per unit of work, or the least CPU time
where there are no hardware counters; its figures are the row. Ratios are of that figure, below 1
is cheaper. Rounds of short connections with more than 1.25 times the kernel
instructions of the proxy's leanest round are dropped: there the kernel searched for ports.
The configurations are in `benches/side_by_side/peers/`.

HAProxy with and without splice-auto does the same work in short connections and round trips: what
their rows differ by there is the noise of this run. By CPU time that can be half of a figure on a
busy machine, so a goal judged by it only seems reached or missed.
";

/// What judges where there is nothing better: it repeats, which CPU time does not.
const BY_CALLGRIND: &str = "callgrind";

const COUNTED: &str = "
## TLS: user instructions by callgrind

This machine offers no hardware counters. So a twentieth of the work was done once more with each
proxy under callgrind, which counts what it runs outside the kernel, for each connection or GB. It
knows no vector instructions beyond AVX2: ciphers take other ways there than on this processor.

";

impl Report {
    pub(crate) fn text(&self) -> String {
        let mut out = METHOD.to_owned();
        out.push_str("\n## The machine\n\n");
        for (name, value) in &self.facts {
            out.push_str(&format!("- {name}: {value}\n"));
        }
        for (peer, reason) in &self.missing {
            out.push_str(&format!("\n{} was left out: {reason}.\n", peer.name()));
        }
        for &scenario in &self.scenarios {
            self.scenario(&mut out, scenario);
        }
        self.counts(&mut out);
        self.goals(&mut out);
        out
    }

    /// What callgrind counted, where perf could not.
    fn counts(&self, out: &mut String) {
        let counted = |scenario: &&Scenario| !self.results.counts(**scenario).is_empty();
        let mut rows = Vec::new();
        for &scenario in self.scenarios.iter().filter(counted) {
            let counts = self.results.counts(scenario);
            let own = counts.iter().find(|(peer, _)| *peer == Peer::Evenkeel).map(|(_, own)| *own);
            for &(peer, count) in &counts {
                rows.push(vec![
                    scenario.title().to_owned(),
                    peer.name().to_owned(),
                    number(Some(count / 1e6), 3),
                    number(own.map(|own| own / count), 2),
                ]);
            }
        }
        if !rows.is_empty() {
            out.push_str(COUNTED);
            let titles = ["scenario", "proxy", "M user instructions", "Evenkeel to it"];
            table(out, &titles, rows);
        }
    }

    fn scenario(&self, out: &mut String, scenario: Scenario) {
        let best = self.results.best(scenario);
        let measure = self.results.measure(scenario);
        let rivals: Vec<_> = best.iter().map(|entry| entry.peer).filter(|p| p.is_rival()).collect();
        out.push_str(&format!("\n## {}\n\nRatios of {}.\n\n", scenario.title(), measure.name()));

        let (mut titles, figures) = columns(scenario);
        let against: Vec<_> = rivals.iter().map(|rival| format!("to {}", rival.name())).collect();
        titles.extend(against.iter().map(String::as_str));
        titles.push("to the best peer");
        let champion = best_rival(&best, measure);
        let rows = best.iter().map(|entry| {
            let mut row = vec![entry.peer.name().to_owned()];
            row.extend(figures(entry.sample));
            let others = rivals.iter().copied().map(Some).chain([champion]);
            row.extend(others.map(|rival| ratio_cell(&best, measure, entry, rival)));
            row
        });
        table(out, &titles, rows.collect());
        let notes = scenario.notes().iter().map(|&note| note.to_owned());
        for remark in notes.chain(self.results.remarks(scenario)) {
            out.push_str(&format!("\n- {remark}\n"));
        }
    }

    fn goals(&self, out: &mut String) {
        out.push_str("\n## Goals\n\n");
        let rows =
            GOALS.iter().filter(|goal| self.scenarios.contains(&goal.scenario)).map(|goal| {
                let measure = self.results.measure(goal.scenario);
                let best = self.results.best(goal.scenario);
                let counted = self.results.counted_ratio(goal.scenario, goal.rival);
                let reached = counted.or_else(|| ratio(&best, measure, Peer::Evenkeel, goal.rival));
                let judged = if counted.is_some() { BY_CALLGRIND } else { measure.name() };
                let verdict = match (reached, measure) {
                    (None, _) => "not measured",
                    (Some(ratio), _) if counted.is_some() && ratio <= goal.at_most => "reached",
                    (Some(_), _) if counted.is_some() => "missed",
                    (Some(ratio), Measure::CpuTime) if ratio <= goal.at_most => "seems reached",
                    (Some(_), Measure::CpuTime) => "seems missed",
                    (Some(ratio), _) if ratio <= goal.at_most => "reached",
                    (Some(_), _) => "missed",
                };
                vec![
                    goal.scenario.title().to_owned(),
                    format!("at most {:.1} of {}", goal.at_most, goal.rival.name()),
                    judged.to_owned(),
                    number(reached, 2),
                    verdict.to_owned(),
                ]
            });
        table(out, &["scenario", "goal", "judged by", "ratio", "verdict"], rows.collect());
    }
}

/// What Evenkeel set itself.
struct Goal {
    scenario: Scenario,
    rival: Peer,
    at_most: f64,
}

const GOALS: [Goal; 18] = [
    Goal { scenario: Scenario::Conn, rival: Peer::Nginx, at_most: 1.0 },
    Goal { scenario: Scenario::Rtt, rival: Peer::Nginx, at_most: 1.0 },
    Goal { scenario: Scenario::Bulk1, rival: Peer::HaproxySplice, at_most: 0.6 },
    Goal { scenario: Scenario::Bulk8, rival: Peer::HaproxySplice, at_most: 0.6 },
    Goal { scenario: Scenario::Upload1, rival: Peer::HaproxySplice, at_most: 0.6 },
    Goal { scenario: Scenario::Upload8, rival: Peer::HaproxySplice, at_most: 0.6 },
    Goal { scenario: Scenario::Idle, rival: Peer::Haproxy, at_most: 0.5 },
    Goal { scenario: Scenario::UdpRtt, rival: Peer::Nginx, at_most: 0.9 },
    Goal { scenario: Scenario::UdpBurst, rival: Peer::Nginx, at_most: 0.5 },
    Goal { scenario: Scenario::TlsFull, rival: Peer::Envoy, at_most: 1.0 },
    Goal { scenario: Scenario::TlsResumed, rival: Peer::Envoy, at_most: 1.0 },
    Goal { scenario: Scenario::TlsBulk1, rival: Peer::Envoy, at_most: 1.0 },
    Goal { scenario: Scenario::TlsBulk8, rival: Peer::Envoy, at_most: 1.0 },
    Goal { scenario: Scenario::TlsUpload1, rival: Peer::Envoy, at_most: 1.0 },
    Goal { scenario: Scenario::TlsUpload8, rival: Peer::Envoy, at_most: 1.0 },
    Goal { scenario: Scenario::TlsIdle, rival: Peer::Envoy, at_most: 1.0 },
    Goal { scenario: Scenario::Http1, rival: Peer::Haproxy, at_most: 1.0 },
    Goal { scenario: Scenario::Http2, rival: Peer::Haproxy, at_most: 1.0 },
];

type Figures = fn(&Sample) -> Vec<String>;

fn columns(scenario: Scenario) -> (Vec<&'static str>, Figures) {
    match scenario.work() {
        Work::Connect | Work::Exchange | Work::Requests | Work::Streams => (
            vec!["proxy", "per second", "CPU µs", "instructions", "user", "kernel", "cycles"],
            |sample| work_cells(sample, 0, 1e6, 1.0),
        ),
        Work::Datagrams | Work::Flows => (
            vec![
                "proxy",
                "per second",
                "CPU µs",
                "instructions",
                "user",
                "kernel",
                "cycles",
                "resent",
            ],
            datagram_cells,
        ),
        Work::Download | Work::Upload => (
            vec![
                "proxy",
                "GB/s",
                "CPU ms/GB",
                "M instructions/GB",
                "user",
                "kernel",
                "M cycles/GB",
            ],
            |sample| work_cells(sample, 2, 1e3, 1e-6),
        ),
        Work::Hold => {
            (vec!["proxy", "sessions", "MiB before", "MiB after", "KiB a session"], memory_cells)
        }
    }
}

fn work_cells(sample: &Sample, decimals: usize, seconds: f64, counts: f64) -> Vec<String> {
    let per = |total: f64| Some(total * counts / sample.units);
    let cell = |value: Option<f64>| number(value, 0);
    vec![
        number(Some(sample.rate()), decimals),
        number(sample.cpu_seconds.map(|cpu| cpu * seconds / sample.units), 1),
        cell(sample.counts.and_then(|c| per(c.instructions()))),
        cell(sample.counts.and_then(|c| per(c.user))),
        cell(sample.counts.and_then(|c| per(c.kernel))),
        cell(sample.counts.and_then(|c| per(c.cycles))),
    ]
}

fn datagram_cells(sample: &Sample) -> Vec<String> {
    let mut cells = work_cells(sample, 0, 1e6, 1.0);
    cells.push(number(sample.resent.map(|resent| resent as f64), 0));
    cells
}

fn memory_cells(sample: &Sample) -> Vec<String> {
    let mebibytes = |bytes: u64| Some(bytes as f64 / f64::from(1 << 20));
    vec![
        number(Some(sample.units), 0),
        number(sample.resident.and_then(|(before, _)| mebibytes(before)), 1),
        number(sample.resident.and_then(|(_, after)| mebibytes(after)), 1),
        number(sample.bytes_per_unit().map(|bytes| bytes / 1024.0), 2),
    ]
}

fn ratio_cell(best: &[Best<'_>], measure: Measure, entry: &Best<'_>, to: Option<Peer>) -> String {
    number(to.and_then(|rival| ratio(best, measure, entry.peer, rival)), 2)
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// A Markdown table that is also readable as it stands.
fn table(out: &mut String, titles: &[&str], rows: Vec<Vec<String>>) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([titles[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..titles.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells: Vec<_> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    out.push_str(&line(titles.to_vec()));
    let rules: Vec<_> = widths
        .iter()
        .enumerate()
        .map(|(column, &width)| match column {
            0 => "-".repeat(width),
            _ => format!("{}:", "-".repeat(width - 1)),
        })
        .collect();
    out.push_str(&line(rules.iter().map(String::as_str).collect()));
    for row in &rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
}
