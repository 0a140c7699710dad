//! The one task that hears of changes, looks at the files, judges, and replaces.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use crate::certificates::expiry::{Left, Reminder, day};
use crate::certificates::pair::{Reading, read};
use crate::certificates::report::Reporter;
use crate::certificates::verdict::{Fingerprint, Found, Judge, Verdict};
use crate::config::Identity;
use crate::event::Events;
use crate::lookout::{Debounce, Lookout};
use crate::tls::{Certificates, Certified, Figures, Inbound, Source};

/// All files are looked at so often, whatever was heard.
pub(super) const POLL: Duration = Duration::from_secs(30);

/// A listener with what it shows.
#[derive(Debug)]
struct Shown {
    reporter: Reporter,
    certificates: Arc<Certificates>,
    figures: Arc<Figures>,
    /// One for each slot.
    reminders: Vec<Reminder>,
}

/// A certificate and its key, and who shows it: the same files may serve many listeners.
#[derive(Debug)]
struct Pair {
    identity: Identity,
    /// Listener and slot.
    places: Vec<(usize, usize)>,
    judge: Judge,
    seen: Option<Fingerprint>,
}

/// All certificates under watch.
#[derive(Debug)]
pub(super) struct Watch {
    shown: Vec<Shown>,
    pairs: Vec<Pair>,
    changed: Arc<Notify>,
    /// `None` before the first look, and while somebody looks.
    pub(super) lookout: Option<Lookout>,
    debounce: Debounce,
    next_poll: Instant,
    hasher: RandomState,
}

impl Watch {
    pub(super) fn new(shown: &[(Arc<str>, Arc<Inbound>)], events: &Events) -> Self {
        let mut places: HashMap<Identity, Vec<(usize, usize)>> = HashMap::new();
        for (listener, (_, inbound)) in shown.iter().enumerate() {
            for (slot, certified) in inbound.certificates.list().iter().enumerate() {
                if let Source::Files(identity) = &certified.source {
                    places.entry(identity.clone()).or_default().push((listener, slot));
                }
            }
        }
        let pair =
            |(identity, places)| Pair { identity, places, judge: Judge::default(), seen: None };
        let listener = |(name, inbound): &(Arc<str>, Arc<Inbound>)| Shown {
            reporter: Reporter { listener: Arc::clone(name), events: events.clone() },
            reminders: inbound.certificates.list().iter().map(|_| Reminder::default()).collect(),
            certificates: Arc::clone(&inbound.certificates),
            figures: Arc::clone(&inbound.figures),
        };
        Self {
            shown: shown.iter().map(listener).collect(),
            pairs: places.into_iter().map(pair).collect(),
            changed: Arc::new(Notify::new()),
            lookout: None,
            debounce: Debounce::default(),
            next_poll: Instant::now(),
            hasher: RandomState::new(),
        }
    }

    /// Looks at once, since the files may have changed after they were loaded, and then whenever
    /// there is a reason.
    pub(super) async fn run(mut self) {
        loop {
            let changed = Arc::clone(&self.changed);
            tokio::select! {
                () = changed.notified() => self.debounce.hear(Instant::now()),
                () = sleep_until(self.next_look()) => {
                    self.look().await;
                    self.remind();
                }
            }
        }
    }

    fn next_look(&self) -> Instant {
        let judges = self.pairs.iter().filter_map(|pair| pair.judge.due());
        judges.chain(self.debounce.due()).fold(self.next_poll, Instant::min)
    }

    async fn look(&mut self) {
        self.debounce.looked();
        self.next_poll = Instant::now() + POLL;
        if self.pairs.is_empty() {
            return;
        }
        let changed = Arc::clone(&self.changed);
        let lookout = self
            .lookout
            .take()
            .unwrap_or_else(|| Lookout::new(changed, ("certificate files", POLL)));
        // Whoever is in doubt is read again: what is wrong is said as it is then.
        let ask = |pair: &Pair| {
            let seen = pair.seen.filter(|_| pair.judge.due().is_none());
            (pair.identity.clone(), seen)
        };
        let asked: Vec<_> = self.pairs.iter().map(ask).collect();
        let hasher = self.hasher.clone();
        match spawn_blocking(move || look(lookout, &asked, &hasher)).await {
            Ok((lookout, readings)) => {
                self.lookout = Some(lookout);
                let now = (Instant::now(), SystemTime::now());
                for (pair, reading) in self.pairs.iter_mut().zip(readings) {
                    if let Some(reading) = reading {
                        pair.take(reading, &self.shown, now);
                    }
                }
            }
            // Else the runtime is about to end.
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "looking at certificate files broke off, please report it");
            }
            Err(_) => {}
        }
    }

    /// Speaks of certificates that end, whatever they came from.
    fn remind(&mut self) {
        let (now, today) = (Instant::now(), SystemTime::now());
        for shown in &mut self.shown {
            let list = shown.certificates.list();
            for (certified, reminder) in list.iter().zip(&mut shown.reminders) {
                let left = Left::of(certified, today);
                if reminder.is_due(left, certified.not_after, now) {
                    shown.reporter.ends(certified, left);
                }
            }
        }
    }
}

/// The part that may block: first the ways to the files are watched, so that no change is missed
/// that comes after the reading.
fn look(
    mut lookout: Lookout,
    asked: &[(Identity, Option<Fingerprint>)],
    hasher: &RandomState,
) -> (Lookout, Vec<Option<Reading>>) {
    let files = asked.iter().flat_map(|(pair, _)| [pair.cert.clone(), pair.key.clone()]);
    lookout.aim(&files.collect::<Vec<_>>());
    let readings = asked.iter().map(|(pair, seen)| read(pair, *seen, hasher)).collect();
    (lookout, readings)
}

impl Pair {
    fn take(&mut self, reading: Reading, shown: &[Shown], (now, today): (Instant, SystemTime)) {
        let Reading { fingerprint, held } = reading;
        self.seen = Some(fingerprint);
        let held = held.and_then(|certified| self.not_past(certified, shown, today));
        let found = match &held {
            Err(_) => Found::Unusable(fingerprint),
            Ok(new) if self.in_force(shown).all(|(_, _, old)| is_same(&old, new)) => Found::Same,
            Ok(_) => Found::Other,
        };
        let verdict = self.judge.take(found, now);
        for (shown, slot, old) in self.in_force(shown) {
            match (verdict, &held) {
                (Verdict::Replace, Ok(new)) if !is_same(&old, new) => {
                    shown.certificates.replace(slot, new.clone());
                    shown.figures.replaced.increment();
                    shown.reporter.replaced(&old, new);
                }
                (Verdict::Refuse, Err(why)) => {
                    shown.figures.refused.increment();
                    shown.reporter.refused(&old, why);
                }
                (Verdict::Restored, _) => shown.reporter.restored(&old),
                _ => {}
            }
        }
    }

    /// Who shows it, in which slot, and what that holds.
    fn in_force<'a>(
        &'a self,
        shown: &'a [Shown],
    ) -> impl Iterator<Item = (&'a Shown, usize, Arc<Certified>)> + 'a {
        self.places.iter().filter_map(|(listener, slot)| {
            let shown = shown.get(*listener)?;
            Some((shown, *slot, shown.certificates.list().get(*slot).cloned()?))
        })
    }

    /// A certificate that has expired does not take the place of one that has not: clients would
    /// refuse it.
    fn not_past(
        &self,
        new: Certified,
        shown: &[Shown],
        today: SystemTime,
    ) -> Result<Certified, String> {
        let is_better = |(_, _, old): (_, _, Arc<Certified>)| old.not_after > today;
        if new.not_after > today || !self.in_force(shown).any(is_better) {
            return Ok(new);
        }
        let (source, day) = (&new.source, day(new.not_after));
        Err(format!("{source} expired on {day}; put a certificate there that is still valid"))
    }
}

/// True if both show the same certificates; then their keys are the same too.
fn is_same(one: &Certified, other: &Certified) -> bool {
    one.key.cert == other.key.cert
}
