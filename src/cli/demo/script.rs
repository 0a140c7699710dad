//! What happens when: pure, so that the play can be read and tested without being watched.

/// Something that befalls a backend, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It stops, as a process that was killed.
    Stop(usize),
    /// It comes back at the same address.
    Revive(usize),
}

/// One act: a stop, a return, and calm before and after.
const ACT: u64 = 24;

/// Into an act.
const STOP: u64 = 8;

/// Into an act.
const REVIVE: u64 = 16;

/// What happens at `second` of a play of `length` seconds (none = without end) with `backends`.
///
/// Who is stopped comes back before the end. A play that is too short for it has no stop.
pub(super) fn event(second: u64, length: Option<u64>, backends: usize) -> Option<Event> {
    // The first is left alone in the first act: somebody reading along looks there.
    let who = |act: u64| usize::try_from(act + 1).unwrap_or_default().checked_rem(backends);
    match length {
        Some(length) if length < ACT => {
            let (stop, revive) = (length / 3, length * 2 / 3);
            if stop == 0 {
                None
            } else if second == stop {
                who(0).map(Event::Stop)
            } else if second == revive {
                who(0).map(Event::Revive)
            } else {
                None
            }
        }
        length => {
            let act = second / ACT;
            let fits = length.is_none_or(|length| (act + 1) * ACT <= length);
            match second % ACT {
                STOP if fits => who(act).map(Event::Stop),
                REVIVE if fits => who(act).map(Event::Revive),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(length: Option<u64>, until: u64) -> Vec<(u64, Event)> {
        (0..until).filter_map(|at| event(at, length, 3).map(|event| (at, event))).collect()
    }

    #[test]
    fn whoever_is_stopped_comes_back_before_the_end() {
        for length in 0..200 {
            let mut down = Vec::new();
            for (_, event) in events(Some(length), length) {
                match event {
                    Event::Stop(who) => down.push(who),
                    Event::Revive(who) => assert_eq!(down.pop(), Some(who)),
                }
            }
            assert!(down.is_empty(), "{length}");
        }
        assert_eq!(events(Some(6), 6), [(2, Event::Stop(1)), (4, Event::Revive(1))]);
        assert_eq!(events(Some(30), 30).len(), 2);
    }

    #[test]
    fn an_endless_play_stops_one_after_the_other() {
        let stopped: Vec<_> = events(None, 4 * ACT)
            .into_iter()
            .filter_map(|(_, event)| if let Event::Stop(who) = event { Some(who) } else { None })
            .collect();
        assert_eq!(stopped, [1, 2, 0, 1]);
    }
}
