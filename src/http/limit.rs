//! How often a route may be gone: `rate_limit`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use crate::admission::{Counted, Limiter};
use crate::config::{RateKey, RateLimit};

/// The limit of one route, shared by all workers.
#[derive(Debug)]
pub struct Limit {
    spec: RateLimit,
    limiter: Limiter,
    /// By whose values requests are told apart; `None` = by the client.
    header: Option<HeaderName>,
}

impl Limit {
    /// As the file says it.
    pub fn new(spec: &RateLimit) -> Self {
        let header = match &spec.key {
            RateKey::ClientIp => None,
            RateKey::Header(name) => HeaderName::from_bytes(name.as_bytes()).ok(),
        };
        Self { spec: spec.clone(), limiter: Limiter::new(spec.rate), header }
    }

    /// True if it was made of this.
    pub fn is_of(&self, spec: &RateLimit) -> bool {
        self.spec == *spec
    }

    /// Counts a request. One without the header counts as its client.
    ///
    /// # Errors
    /// It comes too early; so many seconds later the next one does not: at least 1.
    pub(super) fn admit(
        &self,
        client: IpAddr,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<(), u64> {
        let value = self.header.as_ref().and_then(|name| headers.get(name));
        let who = match value {
            Some(value) => Counted::Value(value.as_bytes()),
            None => Counted::Client(client),
        };
        self.limiter.admit(who, now).map_err(whole_seconds)
    }
}

/// A wait in whole seconds, rounded up, since a header can say no less.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;

    #[test]
    fn requests_are_told_apart_by_a_header_or_their_client() {
        let rate = Rate { count: 1, per: Duration::from_secs(60), burst: 1 };
        let limit = Limit::new(&RateLimit { rate, key: RateKey::Header("x-api-key".into()) });
        let now = Instant::now();
        let key = |key: &str| {
            let key = (!key.is_empty()).then(|| (HeaderName::from_static("x-api-key"), key));
            key.map(|(name, key)| (name, key.parse().unwrap())).into_iter().collect::<HeaderMap>()
        };
        for (client, value, admitted) in [
            (1, "a", Ok(())),
            (2, "a", Err(60)),
            (2, "b", Ok(())),
            (1, "", Ok(())),
            (1, "", Err(60)),
            (2, "", Ok(())),
        ] {
            let client = IpAddr::from([192, 0, 2, client]);
            assert_eq!(limit.admit(client, &key(value), now), admitted, "{client} {value}");
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_that_are_enough() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_900, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), seconds);
        }
    }
}
