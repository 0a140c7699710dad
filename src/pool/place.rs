//! Taking a place on one of the candidates: where the client was last, if we remember it or its cookie
//! says so, or by the policy.

use crate::pool::ready::{Candidates, Share};
use crate::pool::sticky::Placed;
use crate::pool::{Ask, Pool};

impl Pool {
    /// Takes a place; `None` if every candidate is full.
    pub(super) fn place<'a>(
        &self,
        candidates: &'a Candidates,
        ask: &Ask<'_>,
    ) -> Option<Placed<'a>> {
        if let Some(sticky) = &self.sticky {
            let at_home = |home: Option<&str>| {
                let named =
                    |share: &Share| home.is_some_and(|home| **share.backend.name() == *home);
                self.place_at_home(candidates, ask, named)
            };
            return sticky.place(ask.client.ip(), ask.now, at_home);
        }
        match ask.claim().home {
            Some(home) => self.place_at_home(candidates, ask, |share| share.backend.id() == home),
            None => self.place_anew(candidates, ask).map(Placed::Home),
        }
    }

    /// Takes a place by the policy.
    fn place_anew<'a>(&self, candidates: &'a Candidates, ask: &Ask<'_>) -> Option<&'a Share> {
        let taken = self.balancer.take(candidates, ask, |share| !ask.has_tried(&share.backend));
        // Everybody who has room was tried already: once more is better than not at all.
        match taken {
            None if !ask.tried.is_empty() => self.balancer.take(candidates, ask, |_| true),
            taken => taken,
        }
    }

    /// Takes a place on the backend that `is_home`, or elsewhere if it cannot be had: for good, unless
    /// home is only full.
    fn place_at_home<'a>(
        &self,
        candidates: &'a Candidates,
        ask: &Ask<'_>,
        is_home: impl Fn(&Share) -> bool,
    ) -> Option<Placed<'a>> {
        let home = candidates.shares.iter().find(|share| is_home(share));
        let Some(home) = home.filter(|home| !ask.has_tried(&home.backend)) else {
            return self.place_anew(candidates, ask).map(Placed::Home);
        };
        if home.backend.load().take_below(home.cap) {
            return Some(Placed::Home(home));
        }
        self.place_anew(candidates, ask).map(|share| match share.member == home.member {
            true => Placed::Home(share),
            false => Placed::Guest(share),
        })
    }
}
