//! What a backend has counted, as a process that follows goes on with it.

use crate::metric::Figure;
use crate::outcome::ConnectFailure;
use crate::pool::backend::{Backend, Stats};
use crate::pool::failure::Failure;

impl Stats {
    fn figures(&self, see: &mut dyn FnMut(&str, Figure<'_>)) {
        see("connect", Figure::Durations(&self.connect_duration));
        see("probe", Figure::Durations(&self.probe_duration));
        see("probes ok", Figure::Count(&self.probes_ok));
        see("probes failed", Figure::Count(&self.probes_failed));
        see("ejections", Figure::Count(&self.ejections));
        for (why, counter) in ConnectFailure::ALL.into_iter().zip(&self.connect_failures) {
            see(&format!("connect {}", why.as_str()), Figure::Count(counter));
        }
    }
}

impl Backend {
    /// Early resets so far.
    pub fn early_resets(&self) -> u64 {
        self.failures.reported().of(Failure::EarlyReset)
    }

    /// Shows all that only rises and does not belong to one listener, each by a name that stays.
    pub fn figures(&self, see: &mut dyn FnMut(&str, Figure<'_>)) {
        self.stats.figures(see);
        self.failures.figures(see);
    }
}
