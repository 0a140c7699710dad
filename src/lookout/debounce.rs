//! When to look after a change: once it is quiet, and in any case soon.
//!
//! A certificate comes with its key, and each with several events. Looking at the first one would
//! find half of it.

use std::time::Duration;

use tokio::time::Instant;

/// It is quiet when nothing has changed for so long.
const QUIET: Duration = Duration::from_millis(200);

/// A folder in which something changes all the time is looked at after so long.
const LONGEST: Duration = Duration::from_secs(1);

/// Changes that were heard of and not looked at.
#[derive(Debug, Default)]
pub struct Debounce {
    /// The first and the last of them.
    heard: Option<(Instant, Instant)>,
}

impl Debounce {
    /// Something has changed.
    pub fn hear(&mut self, now: Instant) {
        let first = self.heard.map_or(now, |(first, _)| first);
        self.heard = Some((first, now));
    }

    /// When to look; `None` if nothing has changed.
    pub fn due(&self) -> Option<Instant> {
        self.heard.map(|(first, last)| (last + QUIET).min(first + LONGEST))
    }

    /// Somebody looks now.
    pub fn looked(&mut self) {
        self.heard = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(150);

    #[test]
    fn one_looks_when_it_is_quiet() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        assert_eq!(debounce.due(), None);
        debounce.hear(start);
        assert_eq!(debounce.due(), Some(start + QUIET));
        debounce.hear(start + STEP);
        assert_eq!(debounce.due(), Some(start + STEP + QUIET));
        debounce.looked();
        assert_eq!(debounce.due(), None);
    }

    #[test]
    fn a_folder_that_is_never_quiet_is_looked_at_all_the_same() {
        let (mut debounce, start) = (Debounce::default(), Instant::now());
        (0..100).for_each(|step| debounce.hear(start + STEP * step));
        assert_eq!(debounce.due(), Some(start + LONGEST));
    }
}
