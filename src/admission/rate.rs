//! How fast each client may open sessions, or send requests: the generic cell rate algorithm
//! (ITU-T I.371) over a table of fixed size.
//!
//! A client is an IPv4 address or an IPv6 /64, or whoever sends a value. The table forgets whoever could come soonest when it
//! has no room: the most that a flood of addresses gains is that somebody gets a fresh burst.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Rate;

/// Parts with a lock each. Only the opening of a session takes one, and a request that is limited.
const SHARDS: usize = 64;
/// Sets of entries in a part.
const SETS: usize = 256;
/// Entries in a set, among which the one to be forgotten is chosen.
const WAYS: usize = 4;

/// Who is counted apart from others.
#[derive(Debug, Clone, Copy)]
pub enum Counted<'a> {
    /// A client, by its network.
    Client(IpAddr),
    /// Whoever sends these bytes.
    Value(&'a [u8]),
}

/// One client: who it is, and when the bucket is empty again, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    client: u64,
    due: u64,
}

/// Limits the rate of each client, be it of sessions or of requests.
#[derive(Debug)]
pub struct Limiter {
    /// Nanoseconds that one of them is worth.
    step: u64,
    /// How far ahead of time a client may be.
    ahead: u64,
    origin: Instant,
    keys: RandomState,
    shards: Box<[Mutex<Box<[Entry]>>]>,
}

impl Limiter {
    /// A limiter that has seen nobody. It holds 1 MiB, whoever comes.
    pub fn new(rate: Rate) -> Self {
        let step = nanoseconds(rate.per / rate.count.max(1)).max(1);
        let entries = || Mutex::new(vec![Entry::default(); SETS * WAYS].into());
        Self {
            step,
            ahead: step.saturating_mul(u64::from(rate.burst.max(1)) - 1),
            origin: Instant::now(),
            keys: RandomState::new(),
            shards: (0..SHARDS).map(|_| entries()).collect(),
        }
    }

    /// Counts one session or request.
    ///
    /// # Errors
    /// It comes too early, by so much; then it counts for nothing.
    pub fn admit(&self, who: Counted<'_>, now: Instant) -> Result<(), Duration> {
        let now = nanoseconds(now.saturating_duration_since(self.origin));
        // Under a key of our own: nobody can choose values that share a set.
        let hash = match who {
            Counted::Client(ip) => self.keys.hash_one(network(ip)),
            Counted::Value(bytes) => self.keys.hash_one(bytes),
        };
        let Some(shard) = self.shards.get(hash as usize % SHARDS) else { return Ok(()) };
        let set = (hash as usize / SHARDS) % SETS;
        let mut entries = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let ways = entries.iter_mut().skip(set * WAYS).take(WAYS);
        // The client's own entry, else the one that has waited longest.
        let chosen = ways.min_by_key(|entry| (entry.client != hash, entry.due));
        let Some(entry) = chosen else { return Ok(()) };
        if entry.client != hash {
            *entry = Entry { client: hash, due: now };
        }
        let due = entry.due.max(now);
        if due - now > self.ahead {
            return Err(Duration::from_nanos(due - now - self.ahead));
        }
        entry.due = due.saturating_add(self.step);
        Ok(())
    }
}

/// What counts as one client.
fn network(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(ip: &str) -> Counted<'static> {
        Counted::Client(ip.parse().unwrap())
    }

    #[test]
    fn a_burst_passes_then_the_rate_and_each_client_has_its_own() {
        let rate = Rate { count: 10, per: Duration::from_secs(1), burst: 3 };
        let limiter = Limiter::new(rate);
        let at = |ms| limiter.origin + Duration::from_millis(ms);
        let alice = client("10.0.0.1");
        let passed = (0..10).filter(|_| limiter.admit(alice, at(0)).is_ok()).count();
        assert_eq!(passed, 3);
        assert_eq!(limiter.admit(client("10.0.0.2"), at(0)), Ok(()));
        assert_eq!(limiter.admit(alice, at(99)), Err(Duration::from_millis(1)));
        assert_eq!(limiter.admit(alice, at(100)), Ok(()));
        assert_eq!(limiter.admit(alice, at(101)), Err(Duration::from_millis(99)));
        let passed = (0..10).filter(|_| limiter.admit(alice, at(5_000)).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn an_ipv6_client_is_its_64_bit_network() {
        let limiter = Limiter::new(Rate { count: 1, per: Duration::from_secs(9), burst: 1 });
        let now = limiter.origin;
        assert!(limiter.admit(client("2001:db8::1"), now).is_ok());
        assert!(limiter.admit(client("2001:db8::2"), now).is_err());
        assert!(limiter.admit(client("2001:db8:0:1::1"), now).is_ok());
    }

    #[test]
    fn a_value_is_counted_apart_from_every_other_and_from_addresses() {
        let limiter = Limiter::new(Rate { count: 1, per: Duration::from_secs(9), burst: 1 });
        let now = limiter.origin;
        for value in [&b"a"[..], b"b", b"", &1_u128.to_ne_bytes()] {
            assert!(limiter.admit(Counted::Value(value), now).is_ok(), "{value:?}");
            assert!(limiter.admit(Counted::Value(value), now).is_err(), "{value:?}");
        }
        assert!(limiter.admit(client("0.0.0.1"), now).is_ok());
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_and_stays_limited() {
        let limiter = Limiter::new(Rate { count: 1, per: Duration::from_secs(1), burst: 1 });
        let now = limiter.origin + Duration::from_secs(1);
        for number in 0..300_000_u32 {
            let client = Counted::Client(IpAddr::V4(number.into()));
            assert!(limiter.admit(client, now).is_ok());
        }
        let last = client("255.1.2.3");
        assert!(limiter.admit(last, now).is_ok() && limiter.admit(last, now).is_err());
    }
}
