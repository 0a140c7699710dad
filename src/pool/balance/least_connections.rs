//! Least connections, exact over all workers without a lock.
//!
//! A picker looks at everybody, chooses, and takes the place only if the chosen one's load is still
//! what it saw. Others can meanwhile have lost sessions, so it looks again: each load also counts
//! departures, which tells the fewest sessions a backend can have had in between. If that could have
//! beaten the choice, the place is given back and the search starts anew; somebody's departure is
//! what caused it, so the system as a whole moves on.

use crate::pool::balance::round_robin::Turn;
use crate::pool::load::Seen;
use crate::pool::ready::{Candidates, Share};

/// Restarts before a choice is taken as it is. Under any real load the first or second try stands.
const RESTARTS: usize = 64;

/// What least connections compares: (sessions + 1) / weight.
pub(super) fn pressure(sessions: u32, weight: u32) -> f64 {
    (f64::from(sessions) + 1.0) / f64::from(weight)
}

struct Choice<'a> {
    position: usize,
    share: &'a Share,
    seen: Seen,
}

/// Takes a place where (sessions + 1) / weight is smallest; ties in turn.
pub(super) fn take<'a>(
    candidates: &'a Candidates,
    turn: &Turn,
    may: impl Fn(&Share) -> bool,
) -> Option<&'a Share> {
    let shares = &candidates.shares;
    let mut looks = [const { None }; 16];
    let mut many = Vec::new();
    let looks: &mut [Option<Seen>] = if shares.len() <= looks.len() {
        &mut looks[..shares.len()]
    } else {
        many.resize(shares.len(), None);
        &mut many
    };
    for restart in 0.. {
        let choice = least(shares, looks, turn.get(), &may)?;
        if !choice.share.backend.load().take_if(choice.seen) {
            continue;
        }
        if restart >= RESTARTS || stands(shares, looks, &choice) {
            // Losing the race for the turn only means that another tie was broken at the same time.
            turn.advance(turn.get(), choice.position + 1);
            return Some(choice.share);
        }
        choice.share.backend.load().give_back();
    }
    None
}

/// Whom [`take`] would choose if nobody else came or went.
pub(super) fn peek<'a>(candidates: &'a Candidates, turn: &Turn) -> Option<&'a Share> {
    let shares = &candidates.shares;
    least(shares, &mut vec![None; shares.len()], turn.get(), &|_| true).map(|choice| choice.share)
}

/// Looks at everybody, from whose turn it is, and keeps what was seen.
fn least<'a>(
    shares: &'a [Share],
    looks: &mut [Option<Seen>],
    turn: usize,
    may: &impl Fn(&Share) -> bool,
) -> Option<Choice<'a>> {
    let mut best: Option<Choice<'a>> = None;
    for step in 0..shares.len() {
        let position = turn.wrapping_add(step) % shares.len();
        let (Some(share), Some(look)) = (shares.get(position), looks.get_mut(position)) else {
            continue;
        };
        let seen = share.backend.load().seen();
        *look = may(share).then_some(seen);
        if look.is_none() || !has_room(share, seen.sessions()) {
            continue;
        }
        if best.as_ref().is_none_or(|best| is_less(share, seen.sessions(), best)) {
            best = Some(Choice { position, share, seen });
        }
    }
    best
}

/// True if nobody can have had a smaller value than the choice when its place was taken.
fn stands(shares: &[Share], looks: &[Option<Seen>], choice: &Choice<'_>) -> bool {
    shares.iter().zip(looks).enumerate().all(|(position, (share, look))| {
        let Some(seen) = look else { return true };
        let fewest = seen.fewest_until(share.backend.load().seen());
        position == choice.position || !has_room(share, fewest) || !is_less(share, fewest, choice)
    })
}

fn has_room(share: &Share, sessions: u32) -> bool {
    share.cap == 0 || sessions < share.cap
}

/// Compares (sessions + 1) / weight without dividing.
fn is_less(share: &Share, sessions: u32, than: &Choice<'_>) -> bool {
    let ours = (u64::from(sessions) + 1) * u64::from(than.share.weight);
    ours < (u64::from(than.seen.sessions()) + 1) * u64::from(share.weight)
}
