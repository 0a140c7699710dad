//! What a forwarder does once a sweep, and the end of its flows.

use std::time::{Duration, Instant};

use crate::metric::Gauge;
use crate::outcome::Outcome;
use crate::session::Called;
use crate::udp::forwarder::Forwarder;

impl Forwarder {
    /// Folds byte counts, ends who was idle, makes room for whom another worker turned away.
    pub(super) fn sweep(&mut self) {
        self.table.iter_mut().for_each(|(_, flow)| flow.load.fold());
        let mut overdue = Vec::new();
        self.table.overdue(self.now, &mut overdue);
        for slot in overdue {
            self.end(slot, Outcome::Idle);
        }
        self.make_room();
    }

    /// How long until the next sweep: an order may be due before.
    pub(super) fn until_sweep(&self) -> Duration {
        let due = self.roll.due().map(|due| due.saturating_duration_since(Instant::now()));
        due.map_or(self.tools.sweep, |due| due.min(self.tools.sweep))
    }

    /// Ends flows as the orders of their backends say. Their clients' next datagrams open flows to
    /// other backends: these have moved, whatever the cause was.
    pub(super) fn obey(&mut self) {
        let flows = self.table.iter().filter(|(_, flow)| flow.load.is_called());
        let called = flows.map(|(slot, flow)| Called {
            recall: &flow.load.lease.tally().recall,
            last: flow.last(),
            slot,
        });
        let ended = self.roll.call(called.collect(), Instant::now(), self.now);
        for (slot, _) in ended {
            self.end(slot, Outcome::Moved);
        }
    }

    /// Gives up stale flows for those whom other workers had to turn away.
    pub(super) fn make_room(&mut self) {
        while let Some(stale) = self.table.stale(self.now) {
            if !self.proxy.admission.must_make_room() {
                return;
            }
            self.end(stale, Outcome::Idle);
        }
    }

    pub(super) fn end_all(&mut self) {
        let slots: Vec<usize> = self.table.iter_mut().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.end(slot, Outcome::Shutdown);
        }
    }

    pub(super) fn end(&mut self, slot: usize, outcome: Outcome) {
        let Some(flow) = self.table.remove(slot) else { return };
        self.load(Gauge::decrement);
        flow.load.end(&self.proxy, self.ends(flow.key), outcome);
    }
}
