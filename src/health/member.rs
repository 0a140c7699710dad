//! What a monitor knows of one backend, and how a turn changes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::addr::BackendAddr;
use crate::config::{self, AdminState, Policy};
use crate::health::attempt::{Course, Ending, Turn};
use crate::health::following::Following;
use crate::health::known::{Found, Known};
use crate::health::probe::{Answer, Miss};
use crate::pool::{
    self, Backend, Ejection, Health, Judge, Judged, LastProbe, Standing, Verdict, Warmth, Warmup,
};

/// One backend under watch.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) backend: Arc<Backend>,
    pub(super) course: Arc<Course>,
    /// The turn that is under way, and when it was due.
    pub(super) turn: Option<(AbortHandle, Duration)>,
    /// What is known of its name, if that is how the file calls its address.
    pub(super) following: Following,
    /// What traffic says of it.
    pub(super) ejection: Ejection,
    warmup: Warmup,
    warmth: Warmth,
    /// What the file says of it.
    pub(super) file: config::Member,
    admin: AdminState,
    weight: u16,
    judge: Judge,
    fresh: Judge,
    address: Option<SocketAddr>,
}

/// What a turn said.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something about the backend.
    Said(String),
    /// Something about us: we are short of descriptors, ports or memory.
    Short(String),
}

impl Member {
    pub(super) fn new(
        backend: Arc<Backend>,
        course: Arc<Course>,
        spec: &config::Pool,
        file: config::Member,
    ) -> Self {
        let fresh = Judge::new(spec.health.rise, spec.health.fall);
        let ejection = Ejection::new(spec.passive, backend.marks());
        let mut member = Self {
            course,
            turn: None,
            following: Following::default(),
            ejection,
            warmup: Warmup::new(slow_start(spec)),
            warmth: Warmth::FULL,
            admin: file.state,
            weight: file.weight,
            file,
            judge: fresh.clone(),
            fresh,
            address: match backend.address() {
                BackendAddr::Ip(address) => Some(*address),
                BackendAddr::Host(..) => None,
            },
            backend,
        };
        member.assume();
        member.warmup.observe(member.judged().standing, Duration::ZERO);
        member
    }

    /// Begins with what a process before this one knew.
    pub(super) fn recall(&mut self, known: &Known, now: Duration) {
        let (health, streak) = (Health::named(&known.health).unwrap_or_default(), known.streak);
        self.address = self.address.or(known.resolved);
        self.following.hurry(now);
        if AdminState::named(&known.file_state) == Some(self.file.state) {
            self.admin = AdminState::named(&known.state).unwrap_or(self.admin);
        }
        if known.file_weight == self.file.weight {
            self.weight = known.weight;
        }
        self.judge = self.fresh.clone();
        if self.admin != AdminState::Maintenance && health != Health::Unresolved {
            self.judge = self.fresh.told(health, streak);
        }
        if let Some((rest, term)) = known.ejection {
            self.ejection.resume(term, rest, now);
        }
        self.assume();
        self.warmup.observe(self.judged().standing, now);
        // That is no news.
        self.backend.judge(self.judged().standing);
    }

    /// What a process after this one begins with.
    pub(super) fn known(&self, now: Duration, is_of_file: bool) -> Known {
        let config::Member { max_sessions, backup, .. } = self.file;
        Known {
            name: self.backend.name().to_string(),
            address: self.backend.address().to_string(),
            resolved: self.address,
            health: self.judge.health().as_str().to_owned(),
            streak: self.judge.streak(),
            state: self.admin.as_str().to_owned(),
            weight: self.weight,
            file_state: self.file.state.as_str().to_owned(),
            file_weight: self.file.weight,
            ejection: self.ejection.rest(now),
            found: (!is_of_file).then_some(Found { max_sessions, backup }),
        }
    }

    /// Goes on under another file: `spec` for its pool, `file` for itself. A state or weight that the
    /// operator gave it holds until the file's own is another one.
    pub(super) fn adopt(&mut self, spec: &config::Pool, file: config::Member) {
        if file.state != self.file.state {
            self.set_admin(file.state);
        }
        if file.weight != self.file.weight {
            self.weight = file.weight;
        }
        self.file = file;
        let (rise, fall) = (spec.health.rise, spec.health.fall);
        self.judge.set_rules(rise, fall);
        self.fresh.set_rules(rise, fall);
        self.ejection.set_rules(spec.passive);
        self.warmup.set_over(slow_start(spec));
    }

    /// Its turns go this way from now on.
    pub(super) fn redirect(&mut self, course: Arc<Course>) {
        self.course = course;
        if !self.is_probed() {
            // Nobody will find out that it is back.
            self.judge = self.fresh.clone();
        }
        self.assume();
    }

    /// Ends what is under way.
    pub(super) fn stop(&mut self) {
        let lookup = self.following.stop();
        let turn = self.turn.take().map(|(turn, _)| turn);
        turn.into_iter().chain(lookup).for_each(|task| task.abort());
    }

    /// The file's entry as the pool's list has it.
    pub(super) fn entry(&self) -> pool::Member {
        pool::Member::new(Arc::clone(&self.backend), &self.file)
    }

    /// True if it is the backend that `other` means.
    pub(super) fn is(&self, other: &config::Member) -> bool {
        *self.backend.name() == other.name && *self.backend.address() == other.address
    }

    /// Without a probe, whoever has an address counts as up.
    fn assume(&mut self) {
        if self.address.is_some() && self.admin != AdminState::Maintenance && !self.is_probed() {
            self.judge.observe(Verdict::Up);
        }
    }

    /// Asks its backend to wake the monitor at the failure that will eject it, or have its name looked
    /// up.
    pub(super) fn arm(&self, now: Duration) {
        let totals = [self.ejection.alarm_at(), self.curious_at(now)];
        self.backend.alarm_at(totals.into_iter().flatten().min());
    }

    fn is_probed(&self) -> bool {
        self.course.is_probed()
    }

    /// True if it needs turns: somebody wants to use it, and there is something to find out.
    pub(super) fn wants_turns(&self) -> bool {
        let is_open = self.is_probed() || self.address.is_none();
        self.admin != AdminState::Maintenance && is_open
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(super) fn judged(&self) -> Judged {
        let ejected = self.ejection.is_ejected();
        let standing = Standing { health: self.judge.health(), admin: self.admin, ejected };
        Judged { standing, address: self.address, weight: self.weight, warmth: self.warmth }
    }

    /// What follows by itself from what has just changed: coming up from down ends an ejection, and
    /// whoever comes back warms up. True while it does.
    pub(super) fn settle(&mut self, before: Standing, now: Duration) -> bool {
        if !before.health.is_healthy() && self.judge.health().is_healthy() {
            self.ejection.end(now);
        }
        self.warmup.observe(self.judged().standing, now);
        self.warmth = self.warmup.warmth(now);
        self.warmup.is_warming()
    }

    /// Gives it another weight.
    pub(super) fn set_weight(&mut self, weight: u16) {
        self.weight = weight;
    }

    /// Obeys the operator. In maintenance nobody looks, so nothing stays known.
    pub(super) fn set_admin(&mut self, state: AdminState) {
        let was_hidden = self.admin == AdminState::Maintenance;
        self.admin = state;
        if was_hidden != (state == AdminState::Maintenance) {
            self.judge = self.fresh.clone();
            self.assume();
        }
    }

    /// Takes in what a turn found out.
    pub(super) fn take(&mut self, turn: Turn) -> Heard {
        self.address = turn.address.or(self.address);
        if self.address.is_some() && self.judge.health() == Health::Unresolved {
            self.judge.resolved(true);
        }
        match turn.ending {
            Ending::Followed => Heard::Said("its name has a new address".to_owned()),
            Ending::Unresolved(why) => {
                self.judge.resolved(false);
                Heard::Said(format!(
                    "{why}; give the name an address, or write an IP address in `backends`"
                ))
            }
            Ending::Unprobed => {
                self.assume();
                Heard::Said("not probed".to_owned())
            }
            Ending::Probed { said: Err(Miss::Short(why)), .. } => Heard::Short(why),
            Ending::Probed { said: Err(Miss::Failed(reason)), took } => {
                self.observe(Verdict::Failed, reason, took)
            }
            Ending::Probed { said: Ok(Answer { verdict, reason }), took } => {
                self.observe(verdict, reason, took)
            }
        }
    }

    fn observe(&mut self, verdict: Verdict, reason: String, took: Duration) -> Heard {
        let ok = verdict != Verdict::Failed;
        let stats = &self.backend.stats;
        let counter = if ok { &stats.probes_ok } else { &stats.probes_failed };
        counter.increment();
        stats.probe_duration.record(took);
        let at = Instant::now().into_std();
        stats.last_probe.store(Some(Arc::new(LastProbe { ok, reason: reason.clone(), took, at })));
        self.judge.observe(verdict);
        Heard::Said(reason)
    }
}

/// A table of hashes knows no rising weight: with it clients would move at each step.
fn slow_start(spec: &config::Pool) -> Duration {
    match spec.policy {
        Policy::ConsistentHash { .. } => Duration::ZERO,
        _ => spec.slow_start,
    }
}
