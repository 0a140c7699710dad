//! The way back: what a flow's backend answers, to the client.

use rustix::io::Errno;

use crate::admission::Dropped;
use crate::net::{Destination, Intake, Run};
use crate::outcome::Outcome;
use crate::session::Direction;
use crate::udp::forwarder::{BATCHES, BURST, Forwarder};
use crate::udp::refusal::{is_lost, why_dropped};

/// What a flow's socket is asked for first: the one reply that most have, and whether that was all.
const FEW: usize = 2;

impl Forwarder {
    /// From a flow's backend to its client.
    pub(super) fn bring_back(&mut self, slot: usize, intake: &mut Intake) {
        let Some(flow) = self.table.get(slot) else { return };
        flow.load.socket.leave_queue();
        // Who has answered in bursts is asked for a burst at once: it then goes on as one run.
        let mut most = if flow.load.is_merging() { Intake::MOST } else { FEW };
        for _ in 0..BATCHES {
            let Some(flow) = self.table.get(slot) else { return };
            match intake.receive(&self.outlet, &flow.load.socket, most) {
                Ok(arrivals) => {
                    let is_over = arrivals.runs().fold(false, |_, run| self.reply(slot, &run));
                    if is_over {
                        return self.end(slot, Outcome::Ok);
                    }
                    if arrivals.len() < most {
                        return;
                    }
                    most = Intake::MOST;
                }
                Err(Errno::AGAIN) => return,
                Err(errno) if is_lost(errno) => self.lose(slot, errno),
                Err(_) => {}
            }
        }
        if let Some(flow) = self.table.get(slot) {
            flow.load.socket.reenter_queue();
        }
    }

    /// Sends a run to the client; true if the flow has now had all its replies.
    fn reply(&mut self, slot: usize, run: &Run<'_>) -> bool {
        let Some(flow) = self.table.get_mut(slot) else { return false };
        let (key, count) = (flow.key, run.count());
        if count >= BURST {
            flow.load.merge_arrivals();
        }
        let whither = Destination { to: key.client, is_connected: false, from: key.local };
        let sent = self.outlet.send(&self.listener, whither, run, 0);
        flow.load.moved(Direction::Out, sent.bytes, self.now);
        let figures = &self.proxy.admission.figures;
        figures.datagrams_out.add(sent.datagrams as u64);
        if let Some(errno) = sent.error {
            let why = why_dropped(errno, Dropped::ClientFull);
            figures.drop_datagrams(why, (count - sent.datagrams) as u64);
        }
        // What was dropped here was still an answer, and no other will come for it.
        self.table.on_replies(slot, self.now, count as u64)
    }
}
