//! From rounds to rows: the best round of each proxy, and its ratio to the others.

use std::collections::BTreeMap;

use crate::peers::Peer;
use crate::run::Sample;
use crate::scenario::{Scenario, Work};

/// Kernel instructions beyond this multiple of the leanest round are the port search's, not the proxy's.
const CONTAMINATED: f64 = 1.25;

/// What all rounds gave.
#[derive(Default)]
pub(crate) struct Results {
    cells: BTreeMap<(Scenario, Peer), Cell>,
    /// User instructions a unit, by callgrind.
    counted: BTreeMap<(Scenario, Peer), f64>,
}

#[derive(Default)]
struct Cell {
    samples: Vec<Sample>,
    failures: Vec<String>,
}

/// The best round of one proxy in one scenario.
pub(crate) struct Best<'a> {
    pub(crate) peer: Peer,
    pub(crate) sample: &'a Sample,
}

/// What a unit of work costs, in the figure that the scenario is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    Instructions,
    CpuTime,
    Memory,
}

impl Measure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::CpuTime => "CPU time",
            Self::Memory => "resident memory",
        }
    }

    pub(crate) fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Instructions => sample.counts.map(|counts| counts.instructions() / sample.units),
            Self::CpuTime => sample.cpu_seconds.map(|seconds| seconds / sample.units),
            Self::Memory => sample.bytes_per_unit(),
        }
    }
}

impl Results {
    pub(crate) fn add(&mut self, scenario: Scenario, peer: Peer, outcome: anyhow::Result<Sample>) {
        let cell = self.cells.entry((scenario, peer)).or_default();
        match outcome {
            Ok(sample) => cell.samples.push(sample),
            Err(error) => cell.failures.push(format!("{error:#}")),
        }
    }

    pub(crate) fn counted(&mut self, scenario: Scenario, peer: Peer, instructions: f64) {
        self.counted.insert((scenario, peer), instructions);
    }

    /// What callgrind counted, in the order of the peers.
    pub(crate) fn counts(&self, scenario: Scenario) -> Vec<(Peer, f64)> {
        let own = self.counted.iter().filter(|((of, _), _)| *of == scenario);
        own.map(|((_, peer), count)| (*peer, *count)).collect()
    }

    /// The instructions of Evenkeel against those of another, as callgrind counted them.
    pub(crate) fn counted_ratio(&self, scenario: Scenario, to: Peer) -> Option<f64> {
        let count = |peer| self.counted.get(&(scenario, peer)).copied();
        Some(count(Peer::Evenkeel)? / count(to)?)
    }

    /// Failed twice and never succeeded: not worth another round.
    pub(crate) fn is_hopeless(&self, scenario: Scenario, peer: Peer) -> bool {
        let cell = self.cells.get(&(scenario, peer));
        cell.is_some_and(|cell| cell.samples.is_empty() && cell.failures.len() >= 2)
    }

    /// Instructions where every proxied round has them, else CPU time.
    pub(crate) fn measure(&self, scenario: Scenario) -> Measure {
        let mut proxied = self
            .of(scenario)
            .filter(|(peer, _)| *peer != Peer::None)
            .flat_map(|(_, cell)| &cell.samples);
        if scenario.work() == Work::Hold {
            Measure::Memory
        } else if proxied.all(|sample| sample.counts.is_some()) {
            Measure::Instructions
        } else {
            Measure::CpuTime
        }
    }

    pub(crate) fn best(&self, scenario: Scenario) -> Vec<Best<'_>> {
        let measure = self.measure(scenario);
        let cost = |sample: &Sample| measure.of(sample).unwrap_or(sample.took.as_secs_f64());
        self.of(scenario)
            .filter_map(|(peer, cell)| {
                let (clean, _) = cell.sorted_out(scenario);
                let sample = clean.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
                Some(Best { peer, sample })
            })
            .collect()
    }

    /// What a reader of the table has to know beside it.
    pub(crate) fn remarks(&self, scenario: Scenario) -> Vec<String> {
        let mut remarks = Vec::new();
        for (peer, cell) in self.of(scenario) {
            let (_, contaminated) = cell.sorted_out(scenario);
            if contaminated > 0 {
                remarks
                    .push(format!("{}: {contaminated} contaminated rounds dropped", peer.name()));
            }
            if let Some(failure) = cell.failures.last() {
                let times = cell.failures.len();
                remarks.push(format!("{}: failed {times} times, last: {failure}", peer.name()));
            }
        }
        remarks
    }

    fn of(&self, scenario: Scenario) -> impl Iterator<Item = (Peer, &Cell)> {
        self.cells
            .iter()
            .filter(move |((of, _), _)| *of == scenario)
            .map(|((_, peer), c)| (*peer, c))
    }
}

impl Cell {
    /// The rounds that count, and how many were dropped as contaminated.
    fn sorted_out(&self, scenario: Scenario) -> (Vec<&Sample>, usize) {
        let kernel = |sample: &Sample| sample.counts.map_or(0.0, |counts| counts.kernel);
        let leanest = self.samples.iter().map(kernel).fold(f64::INFINITY, f64::min);
        let clean: Vec<_> = self
            .samples
            .iter()
            .filter(|sample| {
                scenario.work() != Work::Connect || kernel(sample) <= leanest * CONTAMINATED
            })
            .collect();
        let dropped = self.samples.len() - clean.len();
        (clean, dropped)
    }
}

/// The cost of one proxy against that of another.
pub(crate) fn ratio(best: &[Best<'_>], measure: Measure, of: Peer, to: Peer) -> Option<f64> {
    Some(cost(best, measure, of)? / cost(best, measure, to)?)
}

/// The rival that did it for the least.
pub(crate) fn best_rival(best: &[Best<'_>], measure: Measure) -> Option<Peer> {
    best.iter()
        .filter(|entry| entry.peer.is_rival())
        .filter_map(|entry| Some((measure.of(entry.sample)?, entry.peer)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, peer)| peer)
}

fn cost(best: &[Best<'_>], measure: Measure, peer: Peer) -> Option<f64> {
    let entry = best.iter().find(|entry| entry.peer == peer)?;
    measure.of(entry.sample).filter(|cost| *cost > 0.0)
}
