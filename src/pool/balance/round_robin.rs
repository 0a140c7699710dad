//! Smooth weighted round robin: a sequence worked out once, and one cursor for all workers.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

use crate::pool::ready::{Candidates, Share};

/// Whose turn it is. It goes on over changes of the list.
#[derive(Debug, Default)]
pub(in crate::pool) struct Turn(CachePadded<AtomicUsize>);

impl Turn {
    /// The next share of the sequence that may be picked; the turn moves behind it.
    pub(super) fn choose<'a>(
        &self,
        candidates: &'a Candidates,
        may: &impl Fn(&Share) -> bool,
    ) -> Option<&'a Share> {
        loop {
            let turn = self.get();
            let (step, share) = next(candidates, turn, may)?;
            if self.advance(turn, turn.wrapping_add(step + 1)) {
                return Some(share);
            }
        }
    }

    /// As [`choose`](Self::choose), and the turn stays where it is.
    pub(super) fn peek<'a>(
        &self,
        candidates: &'a Candidates,
        may: &impl Fn(&Share) -> bool,
    ) -> Option<&'a Share> {
        next(candidates, self.get(), may).map(|(_, share)| share)
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Moves the turn if nobody else has.
    pub(super) fn advance(&self, from: usize, to: usize) -> bool {
        self.0.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The next share of the sequence from `turn` on that may be picked, and how many were passed over.
fn next<'a>(
    candidates: &'a Candidates,
    turn: usize,
    may: &impl Fn(&Share) -> bool,
) -> Option<(usize, &'a Share)> {
    let sequence = &candidates.sequence;
    (0..sequence.len()).find_map(|step| {
        let position = *sequence.get(turn.wrapping_add(step) % sequence.len())?;
        let share = candidates.shares.get(usize::from(position))?;
        may(share).then_some((step, share))
    })
}
