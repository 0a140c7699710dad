//! What a forwarder does once a sweep, and the end of its flows.

use crate::metric::Gauge;
use crate::outcome::Outcome;
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
