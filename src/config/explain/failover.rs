//! `max_failover`: a pool whose settings cannot keep it is refused, with the key that is in the way.

use std::time::Duration;

use super::arithmetic::{self, takes_sessions};
use super::sum::Sum;
use crate::config::Pool;
use crate::config::units::write_duration;

/// Why an assertion does not hold, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Broken {
    /// Goes on after the name of the key.
    pub(in crate::config) message: String,
    pub(in crate::config) way_out: String,
}

/// Times below this are not proposed: no network keeps them.
const SHORTEST: Duration = Duration::from_millis(10);

/// Holds `pool` to its `max_failover`, if it has one. `connects` is false if only datagrams come
/// to it.
///
/// # Errors
/// The time is not kept, or not certain.
pub(in crate::config) fn assert(pool: &Pool, connects: bool) -> Result<(), Broken> {
    let Some(asserted) = pool.max_failover else { return Ok(()) };
    let written = write_duration(asserted);
    let Some(needed) = arithmetic::failover(pool, connects) else {
        return Err(Broken {
            message: format!(
                "is \"{written}\", and health.probe is \"none\": a dead backend is only seen if \
                 enough clients happen to fail on it, so that no time is certain"
            ),
            way_out: "set health.probe, or remove max_failover".to_owned(),
        });
    };
    let is_whole = pool.fallback.is_none() && pool.discover.is_none();
    if is_whole && pool.members.iter().filter(|it| takes_sessions(it)).count() < 2 {
        return Err(Broken {
            message: format!(
                "is \"{written}\", and backends has only one that takes sessions: when it is dead, \
                 clients have nowhere to go"
            ),
            way_out: "add another backend, or a fallback".to_owned(),
        });
    }
    if needed.total() <= asserted {
        return Ok(());
    }
    Err(too_slow(pool, connects, asserted, &needed))
}

fn too_slow(pool: &Pool, connects: bool, asserted: Duration, needed: &Sum) -> Broken {
    let keys = Key::all(pool, connects);
    let most = keys.iter().copied().max_by_key(|key| key.share(pool)).unwrap_or(Key::Interval);
    let (written, total) = (write_duration(asserted), write_duration(needed.total()));
    Broken {
        message: format!(
            "is \"{written}\", and it can take {total} until all clients are off a dead backend \
             ({needed}): most of it is {}",
            most.told(pool)
        ),
        way_out: format!("{}, or allow max_failover = \"{total}\"", cure(pool, connects, most)),
    }
}

/// What would do: one key if that is enough, else all of them.
fn cure(pool: &Pool, connects: bool, most: Key) -> String {
    let keeps = |changed: &Pool| {
        let sum = arithmetic::failover(changed, connects);
        sum.is_some_and(|sum| changed.max_failover.is_some_and(|most| sum.total() <= most))
    };
    let alone = most.alone(pool, connects).filter(keeps).map(|changed| most.written(&changed));
    let fewer = (most == Key::Interval).then(|| fewer_probes(pool, connects)).flatten();
    let fewer = fewer.map(|fall| format!("health.fall = {fall}"));
    let single: Vec<String> = alone.into_iter().chain(fewer).collect();
    if !single.is_empty() {
        return format!("set {}", single.join(", or "));
    }
    let needed = arithmetic::failover(pool, connects).map(|sum| sum.total()).unwrap_or_default();
    let asserted = pool.max_failover.unwrap_or_default();
    let ratio = asserted.as_secs_f64() / needed.as_secs_f64().max(f64::MIN_POSITIVE);
    let keys = Key::all(pool, connects);
    let mut changed = pool.clone();
    for key in &keys {
        let value = key.value(&mut changed);
        *value = round_down(value.mul_f64(ratio));
    }
    let is_possible = keys.iter().all(|key| *key.value(&mut changed.clone()) >= SHORTEST);
    if keeps(&changed) && is_possible {
        let written: Vec<String> = keys.iter().map(|key| key.written(&changed)).collect();
        format!("set {}", written.join(" and "))
    } else {
        "lower health.interval, health.timeout and connect_timeout together".to_owned()
    }
}

/// The largest `fall` that keeps the time, all else being as it is.
fn fewer_probes(pool: &Pool, connects: bool) -> Option<u32> {
    let total = arithmetic::failover(pool, connects)?.total();
    let rounds = Key::Interval.share(pool);
    let left = pool.max_failover?.checked_sub(total.saturating_sub(rounds))?;
    let fall = left.as_nanos() / pool.health.interval.as_nanos().max(1);
    u32::try_from(fall).ok().filter(|fall| (1..pool.health.fall).contains(fall))
}

/// A time that the sum consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Interval,
    Timeout,
    Connect,
    Backoff,
}

impl Key {
    fn all(pool: &Pool, connects: bool) -> Vec<Self> {
        let mut keys = vec![Self::Interval, Self::Timeout];
        if connects {
            keys.push(Self::Connect);
        }
        if connects && pool.retry.attempts > 1 && !pool.retry.backoff.is_zero() {
            keys.push(Self::Backoff);
        }
        keys
    }

    fn name(self) -> &'static str {
        match self {
            Self::Interval => "health.interval",
            Self::Timeout => "health.timeout",
            Self::Connect => "connect_timeout",
            Self::Backoff => "retry.backoff",
        }
    }

    /// With what it brings into the sum.
    fn told(self, pool: &Pool) -> String {
        let share = write_duration(self.share(pool));
        match self {
            Self::Interval => format!("health.interval × health.fall, {share}"),
            Self::Timeout if !arithmetic::is_paced_by_interval(pool) => format!(
                "health.timeout, {share}, which is longer than health.interval and sets the pace"
            ),
            key => format!("{}, {share}", key.name()),
        }
    }

    fn value(self, pool: &mut Pool) -> &mut Duration {
        match self {
            Self::Interval => &mut pool.health.interval,
            Self::Timeout => &mut pool.health.timeout,
            Self::Connect => &mut pool.connect_timeout,
            Self::Backoff => &mut pool.retry.backoff,
        }
    }

    /// How often the sum holds it: a probe that may outlast the interval sets the pace instead.
    fn count(self, pool: &Pool) -> u32 {
        let (fall, paced) = (pool.health.fall, arithmetic::is_paced_by_interval(pool));
        match self {
            Self::Interval => {
                if paced {
                    fall
                } else {
                    0
                }
            }
            Self::Timeout => {
                let turns = if paced { 1 } else { fall.saturating_add(1) };
                turns.saturating_mul(arithmetic::timeouts(pool))
            }
            _ => 1,
        }
    }

    /// How much of the sum is owed to it.
    fn share(self, pool: &Pool) -> Duration {
        self.value(&mut pool.clone()).saturating_mul(self.count(pool))
    }

    /// The pool with this key lowered by what is too much; `None` if that would leave nothing.
    fn alone(self, pool: &Pool, connects: bool) -> Option<Pool> {
        let needed = arithmetic::failover(pool, connects)?.total();
        let excess = needed.saturating_sub(pool.max_failover?);
        let mut changed = pool.clone();
        let count = self.count(pool).max(1);
        let value = self.value(&mut changed);
        let less = (excess + Duration::from_nanos(u64::from(count) - 1)) / count;
        *value = round_down(value.checked_sub(less)?);
        (*value >= SHORTEST).then_some(changed)
    }

    fn written(self, pool: &Pool) -> String {
        format!("{} = \"{}\"", self.name(), write_duration(*self.value(&mut pool.clone())))
    }
}

/// Two digits are what people would write.
fn round_down(time: Duration) -> Duration {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let digits = millis.checked_ilog10().unwrap_or_default();
    let step = 10_u64.pow(digits.saturating_sub(1));
    Duration::from_millis(millis / step * step)
}
