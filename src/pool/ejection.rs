//! Passive health of one backend: failures under traffic within a window put it out for a while.
//!
//! Pure: its owner, the pool's monitor, hands in the time and what has been counted so far.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::Passive;
use crate::pool::failure::Marks;

/// Parts of the window that are told apart, so that a long one needs no more room than a short one.
/// A failure may count so much of the window too long, and never too short.
const PARTS: u32 = 40;

/// The passive health of one backend. Times are the age of its monitor.
#[derive(Debug)]
pub struct Ejection {
    rules: Passive,
    /// What had been counted at the last look.
    seen: Marks,
    /// What was new at earlier looks, and when; the oldest first.
    recent: VecDeque<Span>,
    /// It is ejected until then.
    until: Option<Duration>,
    /// How long its last ejection was to last; zero before the first.
    term: Duration,
    /// When its last ejection ended.
    ended: Option<Duration>,
    /// It has been said that it is spared.
    is_spared: bool,
}

/// What was counted between two times.
#[derive(Debug)]
struct Span {
    first: Duration,
    last: Duration,
    marks: Marks,
}

/// What a look at a backend leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It takes nothing from now on.
    Ejected {
        /// The failures in the window.
        why: Marks,
        /// For how long.
        term: Duration,
    },
    /// It ought to be ejected, but as many are as may be. Said once, not at each look.
    Spared {
        /// The failures in the window.
        why: Marks,
    },
    /// The term of its ejection is over.
    Returned {
        /// How long that was.
        term: Duration,
    },
}

/// How many more backends of a pool may be ejected.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    most: usize,
    ejected: usize,
}

impl Allowance {
    /// For a pool of so many `backends` of which some are `ejected`: `max_ejected` of them, rounded
    /// down. Whoever is alone is never ejected.
    pub fn new(rules: &Passive, backends: usize, ejected: usize) -> Self {
        let most = if backends > 1 { backends * usize::from(rules.max_ejected) / 100 } else { 0 };
        Self { most, ejected }
    }

    fn take(&mut self) -> bool {
        let has_room = self.ejected < self.most;
        self.ejected += usize::from(has_room);
        has_room
    }

    fn give_back(&mut self) {
        self.ejected = self.ejected.saturating_sub(1);
    }
}

impl Ejection {
    /// A backend of which `seen` has been counted already, which speaks no more against it.
    pub fn new(rules: Passive, seen: Marks) -> Self {
        Self {
            rules,
            seen,
            recent: VecDeque::new(),
            until: None,
            term: Duration::ZERO,
            ended: None,
            is_spared: false,
        }
    }

    /// What counts from now on; who is out stays out for the term it was given.
    pub fn set_rules(&mut self, rules: Passive) {
        self.rules = rules;
    }

    /// It was ejected by another monitor, for `term`, of which `rest` is left.
    pub fn resume(&mut self, term: Duration, rest: Duration, now: Duration) {
        self.term = term;
        self.until = Some(now.saturating_add(rest));
    }

    /// What is left of the ejection that is in force, and how long that was to last.
    pub fn rest(&self, now: Duration) -> Option<(Duration, Duration)> {
        self.until.map(|until| (until.saturating_sub(now), self.term))
    }

    /// True while it is out.
    pub fn is_ejected(&self) -> bool {
        self.until.is_some()
    }

    /// Looks at what has been counted so far. Only a backend that `may` be picked can be ejected;
    /// what is counted against any other is forgotten.
    pub fn look(
        &mut self,
        counted: Marks,
        may: bool,
        now: Duration,
        allowance: &mut Allowance,
    ) -> Option<Ruling> {
        let news = counted.since(std::mem::replace(&mut self.seen, counted));
        if let Some(until) = self.until {
            if now < until {
                return None;
            }
            self.end(now);
            allowance.give_back();
            return Some(Ruling::Returned { term: self.term });
        }
        if !may || self.rules.failures == 0 {
            self.forget();
            return None;
        }
        let why = self.within_window(news, now);
        if why.total() < u64::from(self.rules.failures) {
            self.is_spared = false;
            return None;
        }
        if !allowance.take() {
            let is_said = std::mem::replace(&mut self.is_spared, true);
            return (!is_said).then_some(Ruling::Spared { why });
        }
        Some(Ruling::Ejected { why, term: self.eject(now) })
    }

    /// At how many failures in all it would be ejected; `None` while more of them change nothing.
    pub fn alarm_at(&self) -> Option<u64> {
        if self.rules.failures == 0 || self.is_ejected() || self.is_spared {
            return None;
        }
        let recent: u64 = self.recent.iter().map(|span| span.marks.total()).sum();
        let missing = u64::from(self.rules.failures).saturating_sub(recent).max(1);
        Some(self.seen.total().saturating_add(missing))
    }

    /// Ends an ejection before its term; true if there was one.
    pub fn end(&mut self, now: Duration) -> bool {
        let was_ejected = self.until.take().is_some();
        if was_ejected {
            self.ended = Some(now);
        }
        self.forget();
        was_ejected
    }

    fn eject(&mut self, now: Duration) -> Duration {
        let Passive { eject_for, eject_max, .. } = self.rules;
        let is_repeat = self.ended.is_some_and(|ended| now < ended.saturating_add(eject_max));
        let longer = if is_repeat { self.term.saturating_mul(2) } else { eject_for };
        self.term = longer.min(eject_max);
        self.until = Some(now.saturating_add(self.term));
        self.forget();
        self.term
    }

    fn forget(&mut self) {
        self.recent.clear();
        self.is_spared = false;
    }

    /// Adds the news and sums up what lies within the window.
    fn within_window(&mut self, news: Marks, now: Duration) -> Marks {
        let window = self.rules.window;
        while self.recent.front().is_some_and(|span| now.saturating_sub(span.last) > window) {
            self.recent.pop_front();
        }
        if news.total() > 0 {
            let open = self.recent.back_mut();
            match open.filter(|span| now.saturating_sub(span.first) < window / PARTS) {
                Some(span) => {
                    span.last = now;
                    span.marks = span.marks.and(news);
                }
                None => self.recent.push_back(Span { first: now, last: now, marks: news }),
            }
        }
        self.recent.iter().fold(Marks::default(), |sum, span| sum.and(span.marks))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pool::Failure;

    const SECOND: Duration = Duration::from_secs(1);

    fn alone(rules: Passive) -> (Ejection, Allowance) {
        (Ejection::new(rules, Marks::default()), Allowance::new(&rules, 4, 0))
    }

    fn refused(count: usize) -> Marks {
        std::iter::repeat_n(Failure::Refused, count).collect()
    }

    #[test]
    fn so_many_failures_within_the_window_eject_and_older_ones_do_not_count() {
        let (mut one, mut allowance) = alone(Passive::default());
        let mut look =
            |count, at: u64| one.look(refused(count), true, SECOND * at as u32, &mut allowance);
        assert_eq!(look(2, 0), None);
        assert_eq!(look(4, 11), None, "the first two are past");
        let ejected = Ruling::Ejected { why: refused(3), term: SECOND * 10 };
        assert_eq!(look(5, 21), Some(ejected));
        // What fails while it is out, and what failed before, is not held against it afterwards.
        assert_eq!(look(9, 30), None);
        assert_eq!(look(9, 31), Some(Ruling::Returned { term: SECOND * 10 }));
        assert_eq!(look(11, 31), None);
        assert!(look(12, 32).is_some());
    }

    #[test]
    fn failures_of_before_do_not_count_nor_those_of_one_who_takes_nothing() {
        let rules = Passive::default();
        let mut allowance = Allowance::new(&rules, 2, 0);
        let mut one = Ejection::new(rules, refused(100));
        assert_eq!(one.look(refused(102), true, SECOND, &mut allowance), None);
        assert_eq!(one.look(refused(110), false, SECOND, &mut allowance), None);
        assert_eq!(one.look(refused(112), true, SECOND, &mut allowance), None);
        assert!(one.look(refused(113), true, SECOND, &mut allowance).is_some());
    }

    /// Ejects again and again, each time `rest` after the return, and gives the terms.
    fn terms(rules: Passive, rest: Duration, times: usize) -> Vec<Duration> {
        let (mut one, mut allowance) = alone(rules);
        let (mut now, mut count) = (Duration::ZERO, 0);
        let terms = (0..times).map(|_| {
            count += 3;
            let ruling = one.look(refused(count), true, now, &mut allowance);
            let Some(Ruling::Ejected { term, .. }) = ruling else { panic!("{ruling:?}") };
            assert_eq!(one.look(refused(count), true, now + term - SECOND, &mut allowance), None);
            now += term;
            let ruling = one.look(refused(count), true, now, &mut allowance);
            assert_eq!(ruling, Some(Ruling::Returned { term }));
            now += rest;
            term
        });
        terms.collect()
    }

    #[test]
    fn each_repeat_lasts_twice_as_long_up_to_a_most_and_starts_anew_after_a_rest() {
        let rules = Passive { eject_max: SECOND * 60, ..Passive::default() };
        let secs = |terms: Vec<Duration>| terms.iter().map(Duration::as_secs).collect::<Vec<_>>();
        assert_eq!(secs(terms(rules, SECOND * 59, 5)), [10, 20, 40, 60, 60]);
        assert_eq!(secs(terms(rules, SECOND * 60, 3)), [10, 10, 10]);
    }

    #[test]
    fn a_pool_of_one_is_never_ejected_and_a_share_is_rounded_down() {
        let most = |backends, max_ejected| {
            let rules = Passive { max_ejected, ..Passive::default() };
            let mut allowance = Allowance::new(&rules, backends, 0);
            (0..backends).filter(|_| allowance.take()).count()
        };
        assert_eq!(
            [most(1, 100), most(1, 50), most(3, 50), most(4, 50), most(2, 100)],
            [0, 0, 1, 2, 2]
        );
        assert_eq!(most(9, 10), 0);
    }

    #[test]
    fn who_is_spared_is_told_once_and_ejected_when_there_is_room() {
        let rules = Passive::default();
        let mut full = Allowance::new(&rules, 2, 1);
        let mut one = Ejection::new(rules, Marks::default());
        let spared = Ruling::Spared { why: refused(3) };
        assert_eq!(one.look(refused(3), true, SECOND, &mut full), Some(spared));
        assert_eq!(one.look(refused(4), true, SECOND, &mut full), None);
        full.give_back();
        let ruling = one.look(refused(4), true, SECOND, &mut full);
        assert_eq!(ruling, Some(Ruling::Ejected { why: refused(4), term: SECOND * 10 }));
    }

    #[test]
    fn a_long_window_needs_no_more_room_than_a_short_one() {
        let rules = Passive { failures: u32::MAX, window: SECOND * 3600, ..Passive::default() };
        let (mut one, mut allowance) = alone(rules);
        for tick in 0..100_000 {
            one.look(refused(1).and(one.seen), true, SECOND * tick / 4, &mut allowance);
            assert!(one.recent.len() <= PARTS as usize + 2);
        }
    }

    proptest! {
        #[test]
        fn never_more_are_out_than_may_be_and_everybody_comes_back(
            backends in 1_usize..12,
            max_ejected in 0_u8..=100,
            failures in 1_u32..5,
            steps in prop::collection::vec((0_usize..12, 0_usize..6, 0_u64..30_000, 0_u8..8), 1..200),
        ) {
            let rules = Passive { failures, max_ejected, ..Passive::default() };
            let most = if backends > 1 { backends * usize::from(max_ejected) / 100 } else { 0 };
            let mut all: Vec<_> =
                (0..backends).map(|_| Ejection::new(rules, Marks::default())).collect();
            let mut counted = vec![Marks::default(); backends];
            let mut now = Duration::ZERO;
            let look = |all: &mut Vec<Ejection>, counted: &[Marks], may: &dyn Fn(usize) -> bool, now| {
                let out = all.iter().filter(|one| one.is_ejected()).count();
                let mut allowance = Allowance::new(&rules, backends, out);
                for (place, one) in all.iter_mut().enumerate() {
                    let was_out = one.is_ejected();
                    let ruling = one.look(counted[place], may(place), now, &mut allowance);
                    let is_told = match ruling {
                        Some(Ruling::Ejected { why, term }) => {
                            assert!(!was_out && may(place) && why.total() >= u64::from(failures));
                            assert!(term >= rules.eject_for && term <= rules.eject_max);
                            one.is_ejected()
                        }
                        Some(Ruling::Returned { .. }) => was_out && !one.is_ejected(),
                        Some(Ruling::Spared { .. }) | None => was_out == one.is_ejected(),
                    };
                    assert!(is_told);
                    assert!(one.is_ejected() || !was_out || ruling.is_some());
                }
            };
            for (place, count, wait, which) in steps {
                let place = place % backends;
                counted[place] = counted[place].and(refused(count));
                now += Duration::from_millis(wait);
                if which == 0 {
                    all[place].end(now);
                }
                look(&mut all, &counted, &|other| which != 1 || other != place, now);
                prop_assert!(all.iter().filter(|one| one.is_ejected()).count() <= most);
            }
            now += rules.eject_max;
            look(&mut all, &counted, &|_| false, now);
            prop_assert!(!all.iter().any(Ejection::is_ejected));
        }
    }
}
