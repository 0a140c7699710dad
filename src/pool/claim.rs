//! What a request says of where it belongs: the key that is hashed, the backend that it had.
//!
//! A request is read once, for each pool that its way may lead to, before a backend is looked for:
//! each pool has its own key and its own cookie, and by the time of another attempt the head may have
//! gone to a backend.

use http::HeaderMap;

use crate::config::HashKey;
use crate::pool::balance::hash_of;
use crate::pool::cookie::values;
use crate::pool::{Entrance, Pool};

/// What a request says to one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    /// What is hashed in place of the client's address; `None` = it does not say.
    pub(super) key: Option<u64>,
    /// The number of the backend that its cookie names.
    pub(super) home: Option<u64>,
}

impl Entrance {
    /// What a request says to this pool and, in their order, to those it falls back on; empty where
    /// none of them asks. The path is the normalised one, without the query.
    pub fn claims(&self, path: &str, headers: &HeaderMap) -> Vec<Claim> {
        if !self.pools().any(Pool::asks_requests) {
            return Vec::new();
        }
        self.pools().map(|pool| pool.claim(path, headers)).collect()
    }

    /// True if the request's cookie names a backend of this pool, the fallback not counted.
    pub fn has_kept(&self, headers: &HeaderMap) -> bool {
        self.pool.home(headers).is_some()
    }

    /// This pool, and those it falls back on in their order.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        let all = std::iter::successors(Some(self), |&entrance| entrance.fallback.as_deref());
        all.map(|entrance| &*entrance.pool)
    }
}

impl Pool {
    fn asks_requests(&self) -> bool {
        let is_of_request = |key: &HashKey| match key {
            HashKey::ClientIp | HashKey::ClientIpPort => false,
            HashKey::Header(_) | HashKey::Cookie(_) | HashKey::Path => true,
        };
        self.cookies.is_some() || self.balancer.hash_key().is_some_and(is_of_request)
    }

    fn claim(&self, path: &str, headers: &HeaderMap) -> Claim {
        let key = self.balancer.hash_key().and_then(|key| key_of(key, path, headers));
        Claim { key: key.map(hash_of), home: self.home(headers) }
    }

    /// The number of the backend that the client's cookie names.
    fn home(&self, headers: &HeaderMap) -> Option<u64> {
        // Most pools have none: these need not look at their list.
        self.cookies.as_ref()?;
        self.ready.load().cookies.as_ref()?.home(headers)
    }
}

/// The bytes that are hashed. An empty value says no more than a missing one.
fn key_of<'a>(key: &'a HashKey, path: &'a str, headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let bytes = match key {
        HashKey::ClientIp | HashKey::ClientIpPort => None,
        HashKey::Header(name) => headers.get(&**name).map(|value| value.as_bytes()),
        HashKey::Cookie(name) => values(headers, name).next(),
        HashKey::Path => Some(path.as_bytes()),
    };
    bytes.filter(|bytes| !bytes.is_empty())
}
