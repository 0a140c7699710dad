//! What is counted of requests that have ended.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;

use crate::metric::{Codes, Histogram, REQUEST};
use crate::pool::Entrance;

/// The requests of one route that went to one pool.
#[derive(Debug)]
pub struct Requests {
    /// The name of the route; `None` = they came to none.
    pub route: Option<Arc<str>>,
    /// The name of the pool; `None` = we answered them.
    pub pool: Option<Arc<str>>,
    /// A status that is told before the first request had it, so that its count starts at 0.
    pub usual: u16,
    /// By the status of the answer.
    pub codes: Codes,
    /// How long they took, whichever pool they went to.
    pub duration: Arc<Histogram>,
}

impl Requests {
    /// Of requests that no route took, or that were refused before.
    pub fn unrouted() -> Arc<Self> {
        let usual = StatusCode::NOT_FOUND.as_u16();
        let duration = durations();
        Arc::new(Self { route: None, pool: None, usual, codes: Codes::default(), duration })
    }

    /// Of requests that a route answers by itself, mostly with the status that is `usual`.
    pub fn answered(route: &Arc<str>, usual: u16, duration: &Arc<Histogram>) -> Box<[Arc<Self>]> {
        Box::new([Arc::new(Self::of(route, None, usual, duration))])
    }

    /// Of requests that a route leads to a pool; also of those that go to one that it falls back on,
    /// in their order.
    pub fn led(
        route: &Arc<str>,
        entrance: &Entrance,
        duration: &Arc<Histogram>,
    ) -> Box<[Arc<Self>]> {
        let usual = StatusCode::OK.as_u16();
        let of =
            |pool: &Arc<str>| Arc::new(Self::of(route, Some(Arc::clone(pool)), usual, duration));
        entrance.pools().map(|pool| of(pool.name())).collect()
    }

    fn of(route: &Arc<str>, pool: Option<Arc<str>>, usual: u16, duration: &Arc<Histogram>) -> Self {
        let (route, duration) = (Some(Arc::clone(route)), Arc::clone(duration));
        Self { route, pool, usual, codes: Codes::default(), duration }
    }

    /// Those of before where there are any, so that they go on being counted.
    pub fn carried(fresh: Box<[Arc<Self>]>, before: &[Arc<Self>]) -> Box<[Arc<Self>]> {
        let known = |fresh: &Arc<Self>| {
            let is_it = |known: &&Arc<Self>| known.route == fresh.route && known.pool == fresh.pool;
            before.iter().find(is_it).cloned()
        };
        fresh.into_iter().map(|fresh| known(&fresh).unwrap_or(fresh)).collect()
    }

    /// Counts a request; `took` is `None` for what became a tunnel, which lasts as long as it is liked.
    pub(super) fn ended(&self, status: Option<StatusCode>, took: Option<Duration>) {
        self.codes.count(status.map(|status| status.as_u16()));
        if let Some(took) = took {
            self.duration.record(took);
        }
    }
}

/// How long the requests of a route took, before there was one.
pub fn durations() -> Arc<Histogram> {
    Arc::new(Histogram::new(REQUEST))
}
