//! The one task of a pool that hears probes and operators, judges, and publishes the list.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::config::{self, AdminState};
use crate::event::Events;
use crate::health::StartError;
use crate::health::adoption::{Adoption, courses};
use crate::health::attempt::{Ending, Turn};
use crate::health::closing::Closings;
use crate::health::first_round::{FirstRound, at_start};
use crate::health::known::Known;
use crate::health::member::{Heard, Member};
use crate::health::monitor::{Command, Wish};
use crate::health::passive::Looks;
use crate::health::probe::Miss;
use crate::health::report::{Change, Shortage, Usability};
use crate::health::roster::Rosters;
use crate::health::schedule::Schedule;
use crate::net::Resolver;
use crate::pool::{Backend, Judged, Pool};
use crate::session::Bell;

/// Why a backend stands elsewhere that the file has another word for.
const FILE: &str = "reload";

/// From one look at the backends that have left to the next: whether they have sessions still.
const SWEEP: Duration = Duration::from_millis(250);

/// A pool under watch.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) pool: Arc<Pool>,
    /// Pools of the same name before other settings: sessions of then still wait in them.
    pub(super) earlier: Vec<Weak<Pool>>,
    pub(super) spec: config::Pool,
    /// Backends that were discovered, besides those of the file.
    pub(super) roster: Vec<config::Member>,
    pub(super) rosters: Rosters,
    /// What a process before this one knew of backends that are not members yet.
    pub(super) known: Vec<Known>,
    pub(super) resolver: Resolver,
    events: Events,
    pub(super) members: Vec<Member>,
    /// Backends that are members no more, and have sessions.
    pub(super) leaving: Vec<Arc<Backend>>,
    pub(super) looks: Looks,
    pub(super) schedule: Schedule,
    pub(super) started: Instant,
    pub(super) turns: JoinSet<(u64, Turn)>,
    commands: mpsc::Receiver<Command>,
    pub(super) first_round: FirstRound,
    shortage: Shortage,
    pub(super) closings: Closings,
    usability: Usability,
    is_retired: bool,
    is_done: Arc<AtomicBool>,
    trouble: Arc<Notify>,
    /// The list in force is no longer what is known.
    pub(super) is_outdated: bool,
    /// What is to be logged once the list is out.
    pub(super) changes: Vec<Change>,
    /// Who is to be told once the list is out.
    pub(super) obeyed: Vec<oneshot::Sender<()>>,
}

/// The ends of a monitor that its watch has.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) resolver: Resolver,
    pub(super) events: Events,
    pub(super) bell: Bell,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) first_round: watch::Sender<bool>,
    pub(super) is_done: Arc<AtomicBool>,
    /// Notified when a backend fails.
    pub(super) trouble: Arc<Notify>,
}

impl Watch {
    /// Publishes the first list: nobody is known yet, but for those that are not probed and those of
    /// whom a process before this one has told.
    pub(super) fn new(
        pool: Arc<Pool>,
        spec: &config::Pool,
        first_ordinal: usize,
        wires: Wires,
        known: &[Known],
    ) -> Result<Self, StartError> {
        let looks = Looks::new(spec.passive);
        let live = pool.members();
        let Wires { resolver, events, bell, commands, first_round: over, is_done, trouble } = wires;
        let courses = courses(spec, &spec.members, &resolver)?;
        let members = spec.members.iter().zip(&*live).zip(courses).map(|((file, live), course)| {
            let mut member = Member::new(Arc::clone(&live.backend), course, spec, file.clone());
            let address = file.address.to_string();
            let known = known.iter().find(|known| known.tells_of(&file.name, &address));
            known.into_iter().for_each(|known| member.recall(known, Duration::ZERO));
            member.backend.watched_by(looks.waker());
            member.arm(Duration::ZERO);
            member
        });
        let members: Vec<_> = members.collect();
        let (schedule, awaited) = at_start(spec.health.interval, first_ordinal, &members);
        let is_of_file = |known: &Known| {
            let is_it = |it: &config::Member| known.tells_of(&it.name, &it.address.to_string());
            spec.members.iter().any(is_it)
        };
        let mut watch = Self {
            pool,
            earlier: Vec::new(),
            spec: spec.clone(),
            roster: Vec::new(),
            rosters: Rosters::default(),
            known: known.iter().filter(|it| !is_of_file(it)).cloned().collect(),
            resolver,
            events,
            leaving: Vec::new(),
            looks,
            schedule,
            started: Instant::now(),
            turns: JoinSet::new(),
            commands,
            first_round: FirstRound::new(awaited, spec.health.timeout, over),
            shortage: Shortage::default(),
            closings: Closings::new(spec.close, bell),
            usability: Usability::default(),
            is_retired: false,
            is_done,
            trouble,
            is_outdated: true,
            changes: members.iter().filter_map(Change::at_start).collect(),
            obeyed: Vec::new(),
            members,
        };
        watch.report();
        Ok(watch)
    }

    pub(super) async fn run(mut self) {
        loop {
            self.start_due();
            self.start_lookups();
            let wake = self.next_wake();
            tokio::select! {
                Some(ended) = self.turns.join_next_with_id() => self.ended(ended),
                Some(command) = self.commands.recv() => self.obey(command),
                prepared = self.rosters.prepared() => self.take_roster(prepared),
                () = self.looks.alarm() => {
                    self.looks.hurry();
                    self.trouble.notify_one();
                }
                () = wake => {}
            }
            // What else has ended meanwhile goes into the same list.
            while let Some(ended) = self.turns.try_join_next_with_id() {
                self.ended(ended);
            }
            self.look();
            self.first_round.lose_patience(self.started.elapsed(), &self.members);
            self.report();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Steer(wish) => self.steer(wish),
            Command::View(reply) => drop(reply.send(self.view())),
            Command::Known(reply) => {
                let now = self.started.elapsed();
                let is_of_file = |member: &Member| {
                    self.spec.members.iter().any(|file| *file.name == **member.backend.name())
                };
                let known = self.members.iter();
                let known = known.map(|member| member.known(now, is_of_file(member)));
                drop(reply.send(known.collect()));
            }
            Command::Adopt(adoption, done) => self.take_over(*adoption, done),
            Command::Retire(done) => {
                self.is_retired = true;
                self.rosters.clear();
                self.adopt(self.nothing(), FILE);
                self.obeyed.push(done);
            }
            Command::Roster(members, done) => self.seek_roster(members, done),
        }
    }

    fn take_over(&mut self, mut adoption: Adoption, done: oneshot::Sender<()>) {
        self.is_retired = false;
        if adoption.spec.discover.is_none() {
            self.rosters.clear();
        } else if adoption.catch_up(&self.roster, &self.members) {
            self.rosters.seek_again(&self.roster);
        }
        self.adopt(adoption, FILE);
        self.obeyed.push(done);
        self.renew_roster();
    }

    /// The pool without members.
    fn nothing(&self) -> Adoption {
        let (pool, spec) = (Arc::clone(&self.pool), self.spec.clone());
        let resolver = self.resolver.clone();
        Adoption { pool, spec, newcomers: Vec::new(), roster: Vec::new(), resolver }
    }

    fn next_wake(&self) -> impl Future<Output = ()> + use<> {
        let lookup = self.next_lookup();
        let next = [self.schedule.next(), self.first_round.deadline(), self.looks.next(), lookup];
        let sweep = (!self.leaving.is_empty()).then(|| self.started.elapsed() + SWEEP);
        let next = next.into_iter().flatten().chain(sweep).min();
        let next = next.map(|age| self.started + age);
        let next = next.into_iter().chain(self.closings.next().map(Instant::from_std)).min();
        async move {
            match next {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        }
    }

    fn start_due(&mut self) {
        let now = self.started.elapsed();
        while let Some((id, due)) = self.schedule.take_due(now) {
            let Some(member) = find(&mut self.members, id) else { continue };
            let (course, known) = (Arc::clone(&member.course), member.address());
            let turn = self.turns.spawn(async move { (id, course.run(known).await) });
            member.turn = Some((turn, due));
        }
    }

    fn ended(&mut self, ended: Result<(Id, (u64, Turn)), JoinError>) {
        match ended {
            Ok((task, (id, turn))) => self.take(id, task, turn),
            // Aborted by us, and forgotten already.
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.broke(error.id()),
        }
    }

    /// A turn panicked: that is a bug of ours and says nothing about the backend.
    fn broke(&mut self, task: Id) {
        let is_its =
            |member: &Member| member.turn.as_ref().is_some_and(|(turn, _)| turn.id() == task);
        if let Some(id) = self.members.iter().find(|it| is_its(it)).map(|it| it.backend.id()) {
            let miss = Miss::Short("the probe panicked, please report it".to_owned());
            let ending = Ending::Probed { said: Err(miss), took: Duration::ZERO };
            self.take(id, task, Turn { address: None, holds: None, ending });
        }
    }

    fn take(&mut self, id: u64, task: Id, turn: Turn) {
        let Some(member) = find(&mut self.members, id) else { return };
        let has_failed = matches!(turn.ending, Ending::Probed { said: Err(Miss::Failed(_)), .. });
        if member.following.is_over(task) {
            // No turn: the next one is due as before.
        } else if let Some((_, due)) = member.turn.take_if(|(turn, _)| turn.id() == task) {
            self.first_round.forget(id);
            self.schedule.ended(id, due, self.started.elapsed());
        } else {
            // Of before a maintenance, or before other settings.
            return;
        }
        let (before, holds) = (member.judged(), turn.holds);
        match member.take(turn) {
            Heard::Short(why) => self.shortage.log(&self.pool, &member.backend, &why),
            Heard::Said(reason) => self.note(id, before, reason),
        }
        self.settle_address(id, before, holds);
        self.settle(id, has_failed);
    }

    /// What follows for the member's next turns.
    fn settle(&mut self, id: u64, has_failed: bool) {
        if has_failed {
            self.trouble.notify_one();
        }
        let Some(member) = find(&mut self.members, id) else { return };
        if !member.wants_turns() {
            self.schedule.forget(id);
        }
        if has_failed && member.course.is_named() {
            member.following.hurry(self.started.elapsed());
        }
    }

    fn steer(&mut self, wish: Wish) {
        let Wish { backend, steering, done } = wish;
        let named = |member: &Member| **member.backend.name() == *backend;
        let Some(place) = self.members.iter().position(named) else { return };
        let mut member = self.members.swap_remove(place);
        let (id, before) = (member.backend.id(), member.judged());
        member.set_admin(steering.state.unwrap_or(before.standing.admin));
        member.set_weight(steering.weight.unwrap_or(before.weight));
        if steering.state == Some(AdminState::Ready) {
            member.ejection.end(self.started.elapsed());
        }
        self.follow_admin(&mut member, before.standing.admin);
        self.members.push(member);
        let last = self.members.len() - 1;
        self.members.swap(place, last);
        self.note(id, before, "operator".to_owned());
        self.obeyed.push(done);
    }

    /// What follows for a member's turns from what is wanted of it, which was something else `before`.
    pub(super) fn follow_admin(&mut self, member: &mut Member, before: AdminState) {
        let id = member.backend.id();
        if member.judged().standing.admin == AdminState::Maintenance {
            self.schedule.forget(id);
            self.first_round.forget(id);
            member.stop();
        } else if before == AdminState::Maintenance && member.wants_turns() {
            self.schedule.at_once(id, self.started.elapsed());
            member.following.hurry(self.started.elapsed());
        }
    }

    /// A member may stand elsewhere than `before`: what follows, what is to be told, what is to be
    /// published.
    pub(super) fn note(&mut self, id: u64, before: Judged, reason: String) {
        let now = self.started.elapsed();
        let Some(member) = find(&mut self.members, id) else { return };
        if member.settle(before.standing, now) {
            self.looks.want(now);
        }
        member.arm(now);
        let after = member.judged();
        if after.weight != before.weight {
            self.changes.push(Change::of_weight(member, before.weight, reason.clone()));
        }
        if after.standing != before.standing {
            let at = Instant::now().into_std();
            self.closings.note(&member.backend, before.standing, after.standing, at);
            self.changes.push(Change::new(member, before.standing, reason));
        }
        self.is_outdated |= after != before;
    }

    /// Publishes if there is news, then tells of it.
    fn report(&mut self) {
        if std::mem::take(&mut self.is_outdated) {
            self.publish();
        }
        // Only now is nobody sent to those that have left.
        if self.see_off() {
            self.publish();
        }
        let is_over = self.is_retired && self.members.is_empty() && self.leaving.is_empty();
        self.is_done.store(is_over, Ordering::Release);
        self.closings.carry_out(&self.pool, Instant::now().into_std());
        for change in self.changes.drain(..) {
            change.tell(&self.pool, &self.events);
        }
        let is_first_round = self.first_round.is_on();
        if !is_first_round {
            self.usability.tell(&self.pool, &self.members, &self.events);
        }
        for done in self.obeyed.drain(..) {
            // Whoever does not wait for the answer need not have it.
            done.send(()).ok();
        }
        if !is_first_round {
            self.first_round.end();
        }
    }
}

/// The member with this backend.
pub(super) fn find(members: &mut [Member], id: u64) -> Option<&mut Member> {
    members.iter_mut().find(|member| member.backend.id() == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::BackendAddr;
    use crate::config::Probe;
    use crate::health::fixture::{LONG, pool};

    #[test]
    fn a_slow_resolver_is_waited_for_one_timeout_and_a_probe_until_it_ends() {
        let addresses = [
            BackendAddr::Ip("127.0.0.1:1".parse().unwrap()),
            BackendAddr::Host("slow.example".into(), 1),
        ];
        let spec = pool(addresses, Probe::Tcp);
        let live = Arc::new(Pool::new(&spec, None));
        let (_commands, commands) = mpsc::channel(1);
        let (over, _first_round) = watch::channel(false);
        let (events, bell, is_done) = (Events::default(), Bell::default(), Arc::default());
        let resolver = Resolver::default();
        let trouble = Arc::default();
        let wires = Wires { resolver, events, bell, commands, first_round: over, is_done, trouble };
        let Watch { members, mut first_round, .. } =
            Watch::new(live, &spec, 0, wires, &[]).unwrap();
        let ids: Vec<_> = members.iter().map(|member| member.backend.id()).collect();
        assert_eq!(first_round.deadline(), Some(LONG));
        first_round.lose_patience(LONG - Duration::from_millis(1), &members);
        assert_eq!(first_round.awaited(), ids);
        first_round.lose_patience(LONG, &members);
        assert_eq!(first_round.awaited(), ids[..1]);
        // Or the task would wake without end.
        assert_eq!(first_round.deadline(), None);
    }
}
