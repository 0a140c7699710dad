//! A monitor's change to another list of backends, with or without other settings: made ready beside
//! the one that is in force, then taken over in one step.
//!
//! Who is new has had its first probe by then, so that nobody is sent to a backend that nobody knows,
//! and nobody has to wait for one that is known.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{self, AdminState};
use crate::health::StartError;
use crate::health::attempt::{Course, Turn};
use crate::health::known::Known;
use crate::health::member::{Heard, Member};
use crate::health::probe::Prober;
use crate::health::report::Change;
use crate::health::watch::Watch;
use crate::net::Resolver;
use crate::pool::{Backend, Health, Judged, Membership, Pool, Standing};

/// A monitor's next pool. Dropping it leaves everything as it is.
#[derive(Debug)]
pub struct Adoption {
    pub(super) pool: Arc<Pool>,
    pub(super) spec: config::Pool,
    pub(super) newcomers: Vec<Newcomer>,
    /// Those of them that were discovered.
    pub(super) roster: Vec<config::Member>,
    pub(super) resolver: Resolver,
}

/// One member of the next list.
#[derive(Debug)]
pub(super) struct Newcomer {
    file: config::Member,
    course: Arc<Course>,
    /// What its first probe said, if it was not known before.
    turn: Option<Turn>,
}

/// What a monitor has, as far as the next list depends on it.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What was discovered.
    pub(super) roster: Vec<config::Member>,
    /// All members.
    pub(super) members: Vec<config::Member>,
    /// Whom names are asked of.
    pub(super) resolver: Resolver,
    /// Of whom a process before has told, and who have not been found yet.
    pub(super) known: Vec<Known>,
}

impl View {
    fn has(&self, member: &config::Member) -> bool {
        let is_same =
            |known: &config::Member| known.name == member.name && known.address == member.address;
        let address = member.address.to_string();
        let is_known = |it: &Known| it.tells_of(&member.name, &address) && it.is_judged();
        self.members.iter().any(is_same) || self.known.iter().any(is_known)
    }
}

impl Adoption {
    /// Makes the change ready: to the members of `spec` and those of the `roster` whose names are not
    /// among them. Reads the files that the probes need, then sends one probe to each that `view` does
    /// not have.
    pub(super) async fn prepare(
        pool: Arc<Pool>,
        spec: config::Pool,
        roster: Vec<config::Member>,
        view: &View,
    ) -> Result<Self, StartError> {
        let mut newcomers = newcomers(&spec, &roster, &view.resolver)?;
        let is_new = |newcomer: &Newcomer| {
            newcomer.file.state != AdminState::Maintenance && !view.has(&newcomer.file)
        };
        let mut probes = JoinSet::new();
        for (place, newcomer) in newcomers.iter().enumerate().filter(|(_, new)| is_new(new)) {
            let course = Arc::clone(&newcomer.course);
            probes.spawn(async move { (place, course.run(None).await) });
        }
        while let Some(ended) = probes.join_next().await {
            // A probe that panicked says nothing: the monitor will ask again.
            let Ok((place, turn)) = ended else { continue };
            if let Some(newcomer) = newcomers.get_mut(place) {
                newcomer.turn = Some(turn);
            }
        }
        let resolver = view.resolver.clone();
        Ok(Self { pool, spec, newcomers, roster, resolver })
    }
}

impl Adoption {
    /// What was discovered while this was made ready goes before what had been discovered by then.
    /// True if there was such: whoever came meanwhile goes its old course for now.
    pub(super) fn catch_up(&mut self, roster: &[config::Member], members: &[Member]) -> bool {
        if self.spec.discover.is_none() || self.roster == roster {
            return false;
        }
        let (spec, stale) = (&self.spec, std::mem::take(&mut self.roster));
        let is_of_file = |name: &str| spec.members.iter().any(|member| *member.name == *name);
        let is_stale = |new: &Newcomer| stale.iter().any(|member| member.name == new.file.name);
        self.newcomers.retain(|new| is_of_file(&new.file.name) || !is_stale(new));
        let present = members.iter().filter(|member| {
            roster.iter().any(|found| member.is(found)) && !is_of_file(member.backend.name())
        });
        self.newcomers.extend(present.map(|member| Newcomer {
            file: member.file.clone(),
            course: Arc::clone(&member.course),
            turn: None,
        }));
        self.roster = roster.to_vec();
        true
    }
}

/// The members of the next list, none of them probed.
fn newcomers(
    spec: &config::Pool,
    roster: &[config::Member],
    resolver: &Resolver,
) -> Result<Vec<Newcomer>, StartError> {
    let mut members = spec.members.clone();
    for found in roster {
        // The file's own come first, and a name stands for one backend.
        if !members.iter().any(|known| known.name == found.name) {
            members.push(found.clone());
        }
    }
    let courses = courses(spec, &members, resolver)?;
    let newcomer = |(file, course)| Newcomer { file, course, turn: None };
    Ok(members.into_iter().zip(courses).map(newcomer).collect())
}

/// The courses of these members of a pool, in their order. Reads the files of
/// `[pool.NAME.health.tls]`.
pub(super) fn courses(
    spec: &config::Pool,
    members: &[config::Member],
    resolver: &Resolver,
) -> Result<Vec<Arc<Course>>, StartError> {
    let spec = config::Pool { members: members.to_vec(), ..spec.clone() };
    let mut probers = Prober::of_all(&spec)?.map(Vec::into_iter);
    let course = |member: &config::Member| {
        let prober = probers.as_mut().and_then(Iterator::next);
        Arc::new(Course::new(&spec, member, prober, resolver))
    };
    Ok(spec.members.iter().map(course).collect())
}

impl Watch {
    pub(super) fn view(&self) -> View {
        let members = self.members.iter().map(|member| member.file.clone()).collect();
        let (roster, known) = (self.roster.clone(), self.known.clone());
        View { roster, members, known, resolver: self.resolver.clone() }
    }

    /// Takes over the next list.
    pub(super) fn adopt(&mut self, adoption: Adoption, reason: &str) {
        let Adoption { pool, spec, newcomers, roster, resolver } = adoption;
        self.resolver = resolver;
        let has_new_settings = !is_alike(&self.spec, &spec);
        self.roster = roster;
        self.succeed(pool);
        self.closings.set_rules(spec.close);
        self.looks.set_rules(spec.passive, self.started.elapsed());
        self.schedule.pace(spec.health.interval, self.started.elapsed());
        self.spec = spec;
        let mut before = std::mem::take(&mut self.members);
        let mut changes = Vec::new();
        for newcomer in newcomers {
            let known = before.iter().position(|member| member.is(&newcomer.file));
            let (member, was) = match known.map(|place| before.swap_remove(place)) {
                Some(member) => self.keep(member, newcomer, has_new_settings),
                None => self.welcome(newcomer),
            };
            changes.push((member.backend.id(), was));
            self.members.push(member);
        }
        for gone in before {
            self.changes.push(Change::removed(&gone, reason.to_owned()));
            self.dismiss(gone);
        }
        for (id, (was, why)) in changes {
            self.note(id, was, why.unwrap_or_else(|| reason.to_owned()));
        }
        self.is_outdated = true;
    }

    /// From now on lists are published to this pool, and to the earlier ones while anybody has them.
    fn succeed(&mut self, pool: Arc<Pool>) {
        if Arc::ptr_eq(&self.pool, &pool) {
            return;
        }
        let earlier = std::mem::replace(&mut self.pool, pool);
        self.earlier.push(Arc::downgrade(&earlier));
    }

    /// A member that was one before.
    fn keep(&mut self, mut member: Member, new: Newcomer, is_anew: bool) -> (Member, Was) {
        let before = member.judged();
        let id = member.backend.id();
        let is_open = before.standing.admin != AdminState::Maintenance;
        member.adopt(&self.spec, new.file);
        if is_anew {
            member.stop();
            member.following.hurry(self.started.elapsed());
        }
        member.redirect(new.course);
        self.follow_admin(&mut member, before.standing.admin);
        if is_anew && is_open && member.wants_turns() {
            self.schedule.resume(id, self.started.elapsed());
        }
        (member, (before, None))
    }

    /// A member that is new, or was one some time ago and still has sessions of then.
    fn welcome(&mut self, new: Newcomer) -> (Member, Was) {
        let is_it = |backend: &&Arc<Backend>| {
            *backend.name() == new.file.name && *backend.address() == new.file.address
        };
        let known = self.leaving.iter().find(is_it).map(Arc::clone);
        let fresh = || Backend::new(Arc::clone(&new.file.name), new.file.address.clone());
        let backend = known.clone().unwrap_or_else(|| Arc::new(fresh()));
        let id = backend.id();
        let mut member = Member::new(Arc::clone(&backend), new.course, &self.spec, new.file);
        let now = self.started.elapsed();
        let address = backend.address().to_string();
        let told = self.known.iter().position(|it| it.tells_of(backend.name(), &address));
        if let Some(told) = told {
            // Once: who leaves and comes back is new.
            member.recall(&self.known.swap_remove(told), now);
        }
        let before = Judged { standing: fresh_standing(&member), ..member.judged() };
        backend.watched_by(self.looks.waker());
        self.schedule.add(id);
        let why = match new.turn {
            Some(turn) => {
                member.following.found(turn.holds, now);
                match member.take(turn) {
                    Heard::Said(why) | Heard::Short(why) => why,
                }
            }
            None if told.is_some() => "known from the process before".to_owned(),
            None => "not probed".to_owned(),
        };
        if member.wants_turns() {
            match member.judged().standing.health {
                Health::Unknown => self.schedule.at_once(id, now),
                _ => self.schedule.resume(id, now),
            }
        }
        if known.is_some() {
            self.leaving.retain(|backend| backend.id() != id);
            backend.set_removed(false);
            let standing = member.judged().standing;
            self.closings.returned(&backend, standing, Instant::now().into_std());
        }
        (member, (before, Some(why)))
    }

    /// A member that is none any more.
    fn dismiss(&mut self, mut member: Member) {
        member.stop();
        let backend = member.backend;
        self.schedule.remove(backend.id());
        self.first_round.forget(backend.id());
        backend.alarm_at(None);
        backend.set_removed(true);
        self.closings.removed(&backend, Instant::now().into_std());
        self.leaving.push(backend);
    }

    /// Forgets those that have left and have no sessions any more. True if there were any.
    pub(super) fn see_off(&mut self) -> bool {
        let before = self.leaving.len();
        let closings = &mut self.closings;
        self.leaving.retain(|backend| {
            let has_sessions = backend.sessions() > 0;
            if !has_sessions {
                closings.forget(backend.id());
            }
            has_sessions
        });
        before != self.leaving.len()
    }

    pub(super) fn publish(&mut self) {
        let judged: Vec<_> = self.members.iter().map(Member::judged).collect();
        let membership = Membership {
            members: self.members.iter().map(Member::entry).collect(),
            leaving: self.leaving.iter().map(Arc::clone).collect(),
        };
        self.pool.renew(&membership, &judged);
        self.earlier.retain(|earlier| {
            let earlier = earlier.upgrade();
            earlier.iter().for_each(|pool| pool.renew(&membership, &judged));
            earlier.is_some()
        });
    }
}

/// Where a member stood before, and why it stands elsewhere, if it is not for the file.
type Was = (Judged, Option<String>);

/// As a member stands that nobody has probed.
fn fresh_standing(member: &Member) -> Standing {
    Standing { admin: member.judged().standing.admin, ..Standing::default() }
}

/// True if the turns of both are the same.
fn is_alike(one: &config::Pool, other: &config::Pool) -> bool {
    one.health == other.health
        && one.source == other.source
        && one.send_proxy_protocol == other.send_proxy_protocol
        && one.http == other.http
        && one.tls == other.tls
}

#[cfg(test)]
mod tests;
