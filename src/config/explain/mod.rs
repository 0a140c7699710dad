//! Failure that can be predicted: what a file makes certain, per listener and pool, before any of
//! it happens.
//!
//! `arithmetic` reckons, `facts` and, for http, `requests` say what the sums are about, `text` lays
//! them out. `failover`
//! holds the file to its own `max_failover`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Config, Pool, Protocol};
use arithmetic::Chain;
pub(in crate::config) use arithmetic::{most_ejected, takes_sessions};
pub(in crate::config) use failover::assert;
use sum::Sum;

mod arithmetic;
mod facts;
mod failover;
mod requests;
mod sum;
mod text;

/// What a file makes certain when something fails.
#[derive(Debug, Serialize)]
pub struct Explained<'a> {
    /// How long a stop can take.
    stop: Fact,
    /// The step of the workers' clock, on which limits of waiting hang.
    #[serde(rename = "clock_step_ms", serialize_with = "milliseconds")]
    step: Duration,
    /// Each listener with each pool that its sessions can come to.
    ways: Vec<Way<'a>>,
}

/// From a listener to a pool.
#[derive(Debug, Serialize)]
struct Way<'a> {
    listener: &'a str,
    protocol: &'static str,
    pool: &'a str,
    /// The pool that this one is the fallback of, if it is one here.
    fallback_of: Option<&'a str>,
    /// As the file names them.
    backends: usize,
    /// Others are looked up.
    discovers: bool,
    parts: Vec<Part>,
}

/// Facts that belong together.
#[derive(Debug, Serialize)]
struct Part {
    title: &'static str,
    facts: Vec<Fact>,
    remarks: Vec<String>,
}

/// One thing that is certain.
#[derive(Debug, Serialize)]
struct Fact {
    /// For programs.
    id: &'static str,
    /// For people.
    label: String,
    #[serde(flatten)]
    bound: Bound,
    note: String,
}

/// How long something can last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    Within(Sum),
    /// Nothing in the file limits it.
    None,
}

#[derive(Serialize)]
struct Numbers {
    ms: Option<u64>,
    formula: Option<String>,
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbers = match self {
            Self::Within(sum) => Numbers {
                ms: Some(whole_milliseconds(sum.total())),
                formula: Some(sum.to_string()),
            },
            Self::None => Numbers { ms: None, formula: None },
        };
        numbers.serialize(serializer)
    }
}

impl From<Option<Sum>> for Bound {
    fn from(sum: Option<Sum>) -> Self {
        sum.map_or(Self::None, Self::Within)
    }
}

/// Rounded up: a bound stays one.
fn whole_milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(whole_milliseconds(*time))
}

/// Reckons what `config` makes certain. `step` is how coarse the workers' clock will be.
pub fn explain(config: &Config, step: Duration) -> Explained<'_> {
    let mut ways = Vec::new();
    let starts = config.listeners.iter().flat_map(|listener| {
        // A pool that several routes lead to is reckoned with once.
        let places: BTreeSet<_> = listener.pools().collect();
        places.into_iter().map(move |place| (listener, place))
    });
    for (listener, start) in starts {
        let Some(first) = config.pools.get(start) else { continue };
        let chain = Chain::of(first, &config.pools);
        let mut before: Option<&Pool> = None;
        for pool in chain.pools() {
            let mut parts = vec![facts::picked(pool, listener.protocol)];
            if before.is_none() {
                parts.push(match listener.protocol {
                    Protocol::Http => requests::waiting(&chain, listener, start, step),
                    Protocol::Tcp | Protocol::Udp => facts::waiting(&chain, listener, step),
                });
            }
            parts.push(facts::recovering(pool));
            parts.push(facts::leaving(pool, listener));
            ways.push(Way {
                listener: &listener.name,
                protocol: listener.protocol.as_str(),
                pool: &pool.name,
                fallback_of: before.map(|pool| &*pool.name),
                backends: pool.members.len(),
                discovers: pool.discover.is_some(),
                parts,
            });
            before = Some(pool);
        }
    }
    Explained { stop: facts::stop(&config.process), step, ways }
}

impl Explained<'_> {
    /// For people: one block for each listener and pool.
    pub fn text(&self) -> String {
        text::write(self)
    }
}

/// True if sessions of this protocol connect to backends, which they can wait for.
fn connects(protocol: Protocol) -> bool {
    protocol != Protocol::Udp
}

#[cfg(test)]
mod tests;
