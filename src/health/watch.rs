//! The one task of a pool that hears probes and operators, judges, and publishes the list.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::config::{self, AdminState};
use crate::event::Events;
use crate::health::StartError;
use crate::health::attempt::{Course, Ending, Turn};
use crate::health::closing::Closings;
use crate::health::member::{Heard, Member};
use crate::health::monitor::Wish;
use crate::health::passive::Looks;
use crate::health::probe::{Miss, Prober};
use crate::health::report::{Change, Shortage, Usability};
use crate::health::schedule::Schedule;
use crate::net::Resolver;
use crate::pool::{Judged, Pool};
use crate::session::Bell;

/// A pool under watch.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) pool: Arc<Pool>,
    events: Events,
    pub(super) members: Vec<Member>,
    pub(super) looks: Looks,
    schedule: Schedule,
    pub(super) started: Instant,
    turns: JoinSet<(usize, Turn)>,
    wishes: mpsc::Receiver<Wish>,
    first_round: FirstRound,
    shortage: Shortage,
    closings: Closings,
    usability: Usability,
    /// The list in force is no longer what is known.
    is_outdated: bool,
    /// What is to be logged once the list is out.
    changes: Vec<Change>,
    /// Who is to be told once the list is out.
    obeyed: Vec<oneshot::Sender<()>>,
}

/// What the start of the listeners waits for.
#[derive(Debug)]
struct FirstRound {
    awaited: BTreeSet<usize>,
    /// Until then a resolver may take its time; `None` once that has passed.
    patience: Option<Duration>,
    over: watch::Sender<bool>,
}

impl Watch {
    /// Publishes the first list: nobody is known yet, but for those that are not probed.
    pub(super) fn new(
        pool: Arc<Pool>,
        spec: &config::Pool,
        first_ordinal: usize,
        resolver: &Resolver,
        (events, bell): (Events, Bell),
        wishes: mpsc::Receiver<Wish>,
        over: watch::Sender<bool>,
    ) -> Result<Self, StartError> {
        let mut probers = Prober::of_all(spec)?.map(Vec::into_iter);
        let looks = Looks::new(spec.passive);
        let members: Vec<_> = spec
            .members
            .iter()
            .zip(pool.members())
            .map(|(member, live)| {
                let prober = probers.as_mut().and_then(Iterator::next);
                let course = Course::new(spec, member, prober, resolver);
                let wanted = (live.state, live.weight);
                let member = Member::new(Arc::clone(&live.backend), course, spec, wanted);
                member.backend.watched_by(looks.waker());
                member.arm();
                member
            })
            .collect();
        let mut schedule = Schedule::new(members.len(), spec.health.interval, first_ordinal);
        let wanting = members.iter().enumerate().filter(|(_, member)| member.wants_turns());
        let awaited: BTreeSet<_> = wanting.map(|(index, _)| index).collect();
        awaited.iter().for_each(|index| schedule.at_once(*index, Duration::ZERO));
        let mut watch = Self {
            pool,
            events,
            looks,
            schedule,
            started: Instant::now(),
            turns: JoinSet::new(),
            wishes,
            first_round: FirstRound { awaited, patience: Some(spec.health.timeout), over },
            shortage: Shortage::default(),
            closings: Closings::new(spec.close, bell, members.len()),
            usability: Usability::default(),
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
            let wake = self.next_wake();
            tokio::select! {
                Some(ended) = self.turns.join_next_with_id() => self.ended(ended),
                Some(wish) = self.wishes.recv() => self.obey(wish),
                () = self.looks.alarm() => self.looks.hurry(),
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

    fn next_wake(&self) -> impl Future<Output = ()> + use<> {
        let next = [self.schedule.next(), self.first_round.deadline(), self.looks.next()];
        let next = next.into_iter().flatten().min();
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
        while let Some((index, due)) = self.schedule.take_due(now) {
            let Some(member) = self.members.get_mut(index) else { continue };
            let (course, known) = (Arc::clone(&member.course), member.address());
            let turn = self.turns.spawn(async move { (index, course.run(known).await) });
            member.turn = Some((turn, due));
        }
    }

    fn ended(&mut self, ended: Result<(Id, (usize, Turn)), JoinError>) {
        match ended {
            Ok((id, (index, turn))) => self.take(index, id, turn),
            // Aborted by us, and forgotten already.
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.broke(error.id()),
        }
    }

    /// A turn panicked: that is a bug of ours and says nothing about the backend.
    fn broke(&mut self, id: Id) {
        let is_its =
            |member: &Member| member.turn.as_ref().is_some_and(|(turn, _)| turn.id() == id);
        if let Some(index) = self.members.iter().position(is_its) {
            let miss = Miss::Short("the probe panicked, please report it".to_owned());
            let ending = Ending::Probed { said: Err(miss), took: Duration::ZERO };
            self.take(index, id, Turn { address: None, ending });
        }
    }

    fn take(&mut self, index: usize, id: Id, turn: Turn) {
        let Some(member) = self.members.get_mut(index) else { return };
        let has_failed = matches!(turn.ending, Ending::Probed { said: Err(Miss::Failed(_)), .. });
        if member.following.as_ref().is_some_and(|task| task.id() == id) {
            member.following = None;
        } else if let Some((_, due)) = member.turn.take_if(|(turn, _)| turn.id() == id) {
            self.first_round.awaited.remove(&index);
            self.schedule.ended(index, due, self.started.elapsed());
        } else {
            // Of before a maintenance.
            return;
        }
        let before = member.judged();
        match member.take(turn) {
            Heard::Short(why) => self.shortage.log(&self.pool, &member.backend, &why),
            Heard::Said(reason) => self.note(index, before, reason),
        }
        self.settle(index, has_failed);
    }

    /// What follows for the member's next turns.
    fn settle(&mut self, index: usize, has_failed: bool) {
        let Some(member) = self.members.get_mut(index) else { return };
        if !member.wants_turns() {
            self.schedule.forget(index);
        }
        let is_free = has_failed && member.course.is_named() && member.following.is_none();
        if let Some(known) = member.address().filter(|_| is_free) {
            let course = Arc::clone(&member.course);
            let task = self.turns.spawn(async move { (index, course.follow(known).await) });
            member.following = Some(task);
        }
    }

    fn obey(&mut self, wish: Wish) {
        let Wish { member: index, steering, done } = wish;
        let Some(member) = self.members.get_mut(index) else { return };
        let before = member.judged();
        let state = steering.state.unwrap_or(before.standing.admin);
        member.set_admin(state);
        member.set_weight(steering.weight.unwrap_or(before.weight));
        if steering.state == Some(AdminState::Ready) {
            member.ejection.end(self.started.elapsed());
        }
        let is_hidden = state == AdminState::Maintenance;
        if is_hidden {
            self.schedule.forget(index);
            self.first_round.awaited.remove(&index);
            let lookup = member.following.take();
            for task in member.turn.take().map(|(turn, _)| turn).into_iter().chain(lookup) {
                task.abort();
            }
        } else if before.standing.admin == AdminState::Maintenance && member.wants_turns() {
            self.schedule.at_once(index, self.started.elapsed());
        }
        self.note(index, before, "operator".to_owned());
        self.obeyed.push(done);
    }

    /// A member may stand elsewhere than `before`: what follows, what is to be told, what is to be
    /// published.
    pub(super) fn note(&mut self, index: usize, before: Judged, reason: String) {
        let now = self.started.elapsed();
        let Some(member) = self.members.get_mut(index) else { return };
        if member.settle(before.standing, now) {
            self.looks.want(now);
        }
        member.arm();
        let after = member.judged();
        if after.weight != before.weight {
            self.changes.push(Change::of_weight(member, before.weight, reason.clone()));
        }
        if after.standing != before.standing {
            self.closings.note(index, before.standing, after.standing, Instant::now().into_std());
            self.changes.push(Change::new(member, before.standing, reason));
        }
        self.is_outdated |= after != before;
    }

    /// Publishes if there is news, then tells of it.
    fn report(&mut self) {
        if std::mem::take(&mut self.is_outdated) {
            let judged: Vec<_> = self.members.iter().map(Member::judged).collect();
            self.pool.publish(&judged);
        }
        self.closings.carry_out(&self.pool, Instant::now().into_std());
        for change in self.changes.drain(..) {
            change.tell(&self.pool, &self.events);
        }
        let is_first_round = !self.first_round.awaited.is_empty();
        if !is_first_round {
            self.usability.tell(&self.pool, &self.members, &self.events);
        }
        for done in self.obeyed.drain(..) {
            // Whoever does not wait for the answer need not have it.
            done.send(()).ok();
        }
        if !is_first_round {
            self.first_round.over.send_if_modified(|over| !std::mem::replace(over, true));
        }
    }
}

impl FirstRound {
    /// When patience ends, while somebody is awaited.
    fn deadline(&self) -> Option<Duration> {
        self.patience.filter(|_| !self.awaited.is_empty())
    }

    /// Past the deadline only those are awaited whose probes end by themselves in this instant.
    fn lose_patience(&mut self, now: Duration, members: &[Member]) {
        if self.patience.take_if(|patience| *patience <= now).is_some() {
            let is_prompt =
                |index: &usize| members.get(*index).is_some_and(|m| !m.course.may_look_up());
            self.awaited.retain(is_prompt);
        }
    }
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
        let live = Arc::new(Pool::new(&spec, |_| None));
        let (_wishes, wished) = mpsc::channel(1);
        let (over, _first_round) = watch::channel(false);
        let heard = (Events::default(), Bell::default());
        let Watch { members, mut first_round, .. } =
            Watch::new(live, &spec, 0, &Resolver::default(), heard, wished, over).unwrap();
        assert_eq!(first_round.deadline(), Some(LONG));
        first_round.lose_patience(LONG - Duration::from_millis(1), &members);
        assert_eq!(first_round.awaited, [0, 1].into());
        first_round.lose_patience(LONG, &members);
        assert_eq!(first_round.awaited, [0].into());
        // Or the task would wake without end.
        assert_eq!(first_round.deadline(), None);
    }
}
