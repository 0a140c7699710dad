//! The way into a pool: whoever is up, by the pool's policy, or those it falls back on.

use std::sync::Arc;

use http::HeaderValue;

use crate::pool::ready::{Candidates, ReadySet, Share};
use crate::pool::sticky::Placed;
use crate::pool::{Ask, Lease, Picked, Pool, Ticket, Unpicked};

/// A pool as one listener sees it: with that listener's counters, and the pool to fall back on.
#[derive(Debug)]
pub struct Entrance {
    pub(super) pool: Arc<Pool>,
    pub(super) listener: Arc<str>,
    pub(super) fallback: Option<Box<Self>>,
}

impl Entrance {
    /// The entrance of `listener` to `pool`.
    pub fn new(listener: &Arc<str>, pool: Arc<Pool>, fallback: Option<Self>) -> Self {
        pool.serve(listener);
        let mut below = fallback.as_ref();
        while let Some(entrance) = below {
            pool.lead_to(&entrance.pool.queue);
            below = entrance.fallback.as_deref();
        }
        Self { pool, listener: Arc::clone(listener), fallback: fallback.map(Box::new) }
    }

    /// The pool itself, not its fallback.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Picks a backend and counts the session on it.
    ///
    /// First whoever is up, by the pool's policy; else the fallback pool by its own rules; else, if
    /// the pool fails open, those that are down. A cap is not a failure: while somebody is up but
    /// full, nobody else is asked. Nobody gets past those who wait.
    ///
    /// # Errors
    /// Why nobody was picked.
    pub fn pick(&self, ask: &Ask<'_>) -> Result<Picked<'_>, Unpicked<'_>> {
        self.pick_as(ask, None)
    }

    /// As [`Entrance::pick`], for one who waits: it gets a place where it waits only when it is the
    /// first there.
    ///
    /// # Errors
    /// Why nobody was picked.
    pub fn pick_in_turn(&self, ask: &Ask<'_>, ticket: &Ticket) -> Result<Picked<'_>, Unpicked<'_>> {
        self.pick_as(ask, Some(ticket))
    }

    fn pick_as(&self, ask: &Ask<'_>, ticket: Option<&Ticket>) -> Result<Picked<'_>, Unpicked<'_>> {
        loop {
            let set = self.pool.ready.load();
            let picked = self.pick_from(&set, ask, ticket);
            // A place taken by an outdated list is given back: that list no longer decides.
            if !self.pool.has_outdated(&set) {
                return picked;
            }
        }
    }

    fn pick_from(
        &self,
        set: &ReadySet,
        ask: &Ask<'_>,
        ticket: Option<&Ticket>,
    ) -> Result<Picked<'_>, Unpicked<'_>> {
        let home = set.draining_home(ask);
        if let Some(home) = home.filter(|home| home.backend.load().take_below(home.cap)) {
            return Ok(self.lease(home, None));
        }
        if !set.usable.is_empty() {
            let picked = self.take(set, &set.usable, ask, ticket)?;
            // Home is only full: it is a guest elsewhere.
            return Ok(Picked { cookie: picked.cookie.filter(|_| home.is_none()), ..picked });
        }
        if let Some(fallback) = &self.fallback {
            match fallback.pick_as(&ask.behind(), ticket) {
                Err(Unpicked::NoBackend) => {}
                picked => return picked,
            }
        }
        if set.last_resort.is_empty() {
            return Err(Unpicked::NoBackend);
        }
        self.take(set, &set.last_resort, ask, ticket)
    }

    fn take(
        &self,
        set: &ReadySet,
        candidates: &Candidates,
        ask: &Ask<'_>,
        ticket: Option<&Ticket>,
    ) -> Result<Picked<'_>, Unpicked<'_>> {
        let pool = &self.pool;
        let full = Unpicked::Full(&pool.queue);
        if !pool.queue.admits(ticket) {
            return Err(full);
        }
        let placed = pool.place(candidates, ask).ok_or(full)?;
        let cookie = set.cookies.as_ref().and_then(|cookies| match placed {
            Placed::Home(share) if ask.claim().home != Some(share.backend.id()) => {
                cookies.set(&share.backend)
            }
            Placed::Home(_) | Placed::Guest(_) => None,
        });
        Ok(self.lease(placed.share(), cookie.cloned()))
    }

    /// A place that was taken.
    fn lease(&self, share: &Share, cookie: Option<HeaderValue>) -> Picked<'_> {
        let (backend, tally) = (Arc::clone(&share.backend), share.backend.tally(&self.listener));
        let lease = Lease::of_taken(backend, tally, share.address);
        Picked { lease, pool: &self.pool, cookie }
    }
}
