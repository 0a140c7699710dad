//! A place for a session that had one before: in another process, which has handed it on.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::pool::{Entrance, Lease};

impl Entrance {
    /// Counts a session on the backend that it had, whatever that one's cap and health; it is
    /// connected to `address`. With the name of the pool, which is this one or one that it falls back
    /// on. `None` if the backend is not there any more.
    pub fn readmit(
        &self,
        pool: &str,
        backend: &str,
        address: SocketAddr,
    ) -> Option<(Arc<str>, Lease)> {
        let mut all = std::iter::successors(Some(self), |&above| above.fallback.as_deref());
        let entrance = all.find(|entrance| **entrance.pool.name() == *pool)?;
        let set = entrance.pool.ready();
        let backend = set.backends().find(|known| **known.name() == *backend)?;
        // 0 = no cap.
        backend.load().take_below(0);
        let tally = backend.tally(&entrance.listener);
        let lease = Lease::of_taken(Arc::clone(backend), tally, address);
        Some((Arc::clone(entrance.pool.name()), lease))
    }
}
