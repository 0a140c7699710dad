//! What follows from what was found in a pair of files: pure, with the time as an argument.
//!
//! A pair is written file by file, so for a moment it does not match. A pair that cannot be used is
//! therefore doubted for a while before it is refused, and refused once, not at every look.

use std::time::Duration;

use tokio::time::Instant;

/// A pair may be wrong for so long after it was last seen to change.
const GRACE: Duration = Duration::from_secs(2);

/// A pair that is wrong in ever new ways is refused after so long.
const LONGEST_GRACE: Duration = Duration::from_secs(10);

/// Bytes of two files, or why there are none, as a number: equal numbers mean equal contents.
pub(super) type Fingerprint = u64;

/// What is known of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The files hold what is in force.
    InForce,
    /// They hold something that cannot be used, perhaps because it is not complete yet.
    Doubted { first: Instant, until: Instant, what: Fingerprint },
    /// They hold something that was refused.
    Refused(Fingerprint),
}

/// What was found in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// What is in force.
    Same,
    /// Something else that can be used.
    Other,
    /// Something that cannot.
    Unusable(Fingerprint),
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Nothing,
    /// What was found serves from now on.
    Replace,
    /// It is refused, and that is news.
    Refuse,
    /// What is in force is back in the files after something else was refused.
    Restored,
}

/// The judge of one pair.
#[derive(Debug)]
pub(super) struct Judge(Known);

impl Default for Judge {
    fn default() -> Self {
        Self(Known::InForce)
    }
}

impl Judge {
    /// Judges what was found at `now`.
    pub(super) fn take(&mut self, found: Found, now: Instant) -> Verdict {
        let before = self.0;
        let what = match found {
            Found::Unusable(what) => what,
            Found::Other => {
                self.0 = Known::InForce;
                return Verdict::Replace;
            }
            Found::Same => {
                self.0 = Known::InForce;
                let was_refused = matches!(before, Known::Refused(_));
                return if was_refused { Verdict::Restored } else { Verdict::Nothing };
            }
        };
        let doubt = |first: Instant| {
            let until = (now + GRACE).min(first + LONGEST_GRACE);
            Known::Doubted { first, until, what }
        };
        self.0 = match before {
            Known::Refused(told) if told == what => before,
            Known::Doubted { until, what: known, .. } if known == what && now < until => before,
            Known::Doubted { what: known, .. } if known == what => Known::Refused(what),
            Known::Doubted { first, .. } if first + LONGEST_GRACE <= now => Known::Refused(what),
            Known::Doubted { first, .. } => doubt(first),
            Known::InForce | Known::Refused(_) => doubt(now),
        };
        let is_news = self.0 != before && matches!(self.0, Known::Refused(_));
        if is_news { Verdict::Refuse } else { Verdict::Nothing }
    }

    /// When to look again even if nothing changes.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.0 {
            Known::Doubted { until, .. } => Some(until),
            Known::InForce | Known::Refused(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: Found = Found::Unusable(1);
    const WRONG_TOO: Found = Found::Unusable(2);

    #[test]
    fn a_good_pair_is_taken_at_once() {
        let (mut judge, start) = (Judge::default(), Instant::now());
        assert_eq!(judge.take(Found::Same, start), Verdict::Nothing);
        assert_eq!(judge.take(Found::Other, start), Verdict::Replace);
        assert_eq!(judge.due(), None);
    }

    #[test]
    fn a_pair_that_is_good_before_the_grace_is_over_was_never_wrong() {
        let (mut judge, start) = (Judge::default(), Instant::now());
        assert_eq!(judge.take(WRONG, start), Verdict::Nothing);
        assert_eq!(judge.due(), Some(start + GRACE));
        assert_eq!(judge.take(Found::Other, start + GRACE / 2), Verdict::Replace);
        assert_eq!(judge.take(WRONG, start), Verdict::Nothing);
        assert_eq!(judge.take(Found::Same, start + GRACE / 2), Verdict::Nothing);
        assert_eq!(judge.due(), None);
    }

    #[test]
    fn a_wrong_pair_is_refused_once_for_each_of_its_contents() {
        let (mut judge, start) = (Judge::default(), Instant::now());
        assert_eq!(judge.take(WRONG, start), Verdict::Nothing);
        assert_eq!(judge.take(WRONG, start + GRACE / 2), Verdict::Nothing);
        assert_eq!(judge.take(WRONG, start + GRACE), Verdict::Refuse);
        assert_eq!(judge.due(), None);
        let later = start + GRACE * 100;
        assert_eq!(judge.take(WRONG, later), Verdict::Nothing);
        assert_eq!(judge.take(WRONG_TOO, later), Verdict::Nothing);
        assert_eq!(judge.take(WRONG_TOO, later + GRACE), Verdict::Refuse);
        assert_eq!(judge.take(Found::Same, later + GRACE), Verdict::Restored);
        // The same wrong bytes after good ones are a new attempt.
        assert_eq!(judge.take(WRONG_TOO, later + GRACE), Verdict::Nothing);
        assert_eq!(judge.take(WRONG_TOO, later + GRACE * 2), Verdict::Refuse);
    }

    #[test]
    fn each_change_renews_the_grace_but_not_for_ever() {
        let (mut judge, start) = (Judge::default(), Instant::now());
        let step = GRACE / 2;
        let mut said = Vec::new();
        for turn in 0..12 {
            said.push(judge.take(Found::Unusable(turn.into()), start + step * turn));
        }
        let refused = said.iter().position(|verdict| *verdict == Verdict::Refuse).unwrap();
        assert_eq!(step * u32::try_from(refused).unwrap(), LONGEST_GRACE);
    }
}
