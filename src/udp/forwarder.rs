//! One worker's share of a UDP listener, and the life of a datagram on one page.
//!
//! A single task serves the listening socket and the sockets of all its flows: a datagram comes in,
//! finds its flow or opens one, and is handed on at once or dropped and counted. Nothing is queued
//! here, and nobody is waited for.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use rustix::io::Errno;

use crate::addr::ClientAddr;
use crate::admission::{Dropped, Figures};
use crate::metric::Gauge;
use crate::net::{Destination, Intake, Outlet, Queue, Run, Socket, inode, merge_arrivals};
use crate::outcome::{Outcome, Rejection};
use crate::pool::Backend;
use crate::route::Flight;
use crate::session::{Desk, Direction, Roll};
use crate::udp::flow::{self, Course, Ends};
use crate::udp::opening::{self, Opening, Unopened};
use crate::udp::refusal::{Refusal, is_lost, why_dropped};
use crate::udp::table::{Key, Rules, Table, Tick};
use crate::udp::{Led, Proxy, Stage, Switch, Tools};

/// Batches taken from one socket in a row before others get their turn.
pub(super) const BATCHES: usize = 4;

/// A run of so many shows that somebody sends in bursts, which the kernel may then merge.
pub(super) const BURST: usize = 4;

/// One worker's share of a UDP listener.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) listener: Socket,
    bound: SocketAddr,
    /// Where its clients come in.
    desk: Arc<dyn Desk<Proxy>>,
    /// What is in force there, as of the latest look.
    pub(super) proxy: Arc<Proxy>,
    pub(super) tools: Tools,
    pub(super) switch: Rc<Switch>,
    stage: Stage,
    pub(super) table: Table<Course>,
    /// Flows whose sockets have something to say.
    pub(super) queue: Rc<Queue>,
    pub(super) outlet: Outlet,
    is_merging: bool,
    pub(super) roll: Roll,
    pub(super) now: Tick,
}

impl Forwarder {
    /// Takes over a bound socket.
    ///
    /// # Errors
    /// The process is out of descriptors or memory.
    pub fn new(
        fd: OwnedFd,
        desk: Arc<dyn Desk<Proxy>>,
        proxy: Arc<Proxy>,
        tools: Tools,
        switch: Rc<Switch>,
    ) -> io::Result<Self> {
        let listener = tools.reactor.watch_datagrams(fd)?;
        listener.share();
        switch.serve(inode(&listener)?);
        Ok(Self {
            bound: listener.local().ok_or(io::ErrorKind::AddrNotAvailable)?,
            listener,
            switch,
            stage: Stage::default(),
            table: Table::new(rules(&proxy)),
            queue: Rc::default(),
            outlet: Outlet::new()?,
            is_merging: false,
            roll: Roll::new(tools.bell.clone()),
            now: tools.clock.exact(),
            desk,
            proxy,
            tools,
        })
    }

    /// Follows what has been put in force since the latest look. Flows keep the limits they began
    /// with.
    fn catch_up(&mut self) {
        if let Some(newer) = self.desk.newer(&self.proxy) {
            self.table.set_rules(rules(&newer));
            self.proxy = newer;
        }
    }

    /// Serves until the switch is turned and the last flow has ended.
    pub async fn run(mut self) {
        let clock = Rc::clone(&self.tools.clock);
        let mut sweep = pin!(clock.sleep(self.tools.sweep));
        let mut intake = Intake::new();
        let mut ready = Vec::new();
        while !self.is_over() {
            let mut is_called = false;
            let is_due = poll_fn(|cx| {
                if self.desk.is_paused() {
                    // What comes stays in the sockets; the switch wakes when anything changes.
                    let is_cut = self.switch.poll_stage(cx) == Stage::Cut;
                    let has_turned = is_cut || self.switch.has_requests();
                    return if has_turned { Poll::Ready(false) } else { Poll::Pending };
                }
                let is_closed = self.desk.is_closed();
                let closed = if is_closed { Stage::Closing } else { Stage::Open };
                let stage = self.switch.poll_stage(cx).max(closed);
                let has_turned = std::mem::replace(&mut self.stage, stage) != stage;
                is_called |= self.roll.is_due(Instant::now);
                let is_due = sweep.as_mut().poll(cx).is_ready() || is_called;
                let has_work =
                    self.listener.poll_readable(cx).is_ready() | self.queue.poll(cx).is_ready();
                let has_work = has_work || self.switch.has_requests();
                if has_turned || is_due || has_work { Poll::Ready(is_due) } else { Poll::Pending }
            })
            .await;
            if self.switch.is_cut() {
                return self.end_all();
            }
            if self.desk.is_left() {
                break;
            }
            self.now = clock.exact();
            self.catch_up();
            self.answer();
            if self.desk.is_paused() {
                continue;
            }
            self.take_in(&mut intake);
            self.queue.take(&mut ready);
            for slot in ready.drain(..) {
                self.bring_back(slot, &mut intake);
            }
            if is_called {
                self.obey();
            }
            if is_due {
                self.sweep();
                sweep.set(clock.sleep(self.until_sweep()));
            }
            // There may be more at once, and the worker's other tasks have waited.
            tokio::task::yield_now().await;
        }
        self.leave();
    }

    /// True once its address is given up, or the process stops and no worker has a flow of this
    /// address. Before, it must not close its socket: the kernel would spread all clients anew over
    /// those that are left.
    fn is_over(&self) -> bool {
        let has_stopped = self.switch.stage() >= Stage::Closing && self.tools.flows.get() == 0;
        has_stopped || self.desk.is_left()
    }

    /// Takes what clients have sent.
    fn take_in(&mut self, intake: &mut Intake) {
        for _ in 0..BATCHES {
            match intake.receive(&self.outlet, &self.listener, Intake::MOST) {
                Ok(arrivals) => {
                    arrivals.runs().for_each(|run| self.forward(&run));
                    if arrivals.len() < Intake::MOST {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                // The socket has passed on what the network said of some reply; the client is gone.
                Err(_) => {}
            }
        }
    }

    /// From the client to its backend.
    fn forward(&mut self, run: &Run<'_>) {
        let count = run.count();
        self.figures().datagrams_in.add(count as u64);
        if count >= BURST && !self.is_merging {
            self.is_merging = true;
            merge_arrivals(&self.listener);
        }
        let key = Key { client: run.from, local: run.local };
        let flow = match self.table.find(&key) {
            Some(slot) => self.keep_or_move(slot),
            None => self.open(key, count),
        };
        match flow {
            Ok(slot) => self.hand_on(slot, run),
            Err(refused) => self.refuse(key, count, refused),
        }
    }

    /// The place of a flow that goes on: where it is, or on another backend if it must leave.
    fn keep_or_move(&mut self, slot: usize) -> Result<usize, Refusal> {
        match self.table.get(slot) {
            Some(flow) if flow.load.must_move() => self.move_on(slot),
            _ => Ok(slot),
        }
    }

    /// Opens a flow, in the place of a stale one if there is no room.
    fn open(&mut self, key: Key, count: usize) -> Result<usize, Refusal> {
        if self.stage != Stage::Open {
            self.figures().drop_datagrams(Dropped::Stopping, count as u64);
            return Err(Refusal::Counted);
        }
        let client = ClientAddr::new(key.client);
        let admission = &self.proxy.admission;
        let (place, slot) = match admission.admit(client) {
            Ok(place) => (Some(place), self.table.next_slot()),
            Err(Rejection::MaxSessions) => {
                let Some(stale) = self.table.stale(self.now) else {
                    if admission.screen(client).is_ok() {
                        admission.want_room();
                    }
                    return Err(Refusal::AtTheDoor(Rejection::MaxSessions));
                };
                admission.screen(client).map_err(Refusal::AtTheDoor)?;
                (None, stale)
            }
            Err(why) => return Err(Refusal::AtTheDoor(why)),
        };
        let way = self.find_way(client)?;
        let opened = match self.opening(&way, client, None).run(slot) {
            // Out of descriptors or ports below the cap: the same rule makes room.
            Err(Unopened::Short { .. }) if place.is_some() && self.give_up_stale() => {
                let slot = self.table.next_slot();
                self.opening(&way, client, None).run(slot)
            }
            opened => opened,
        };
        let mut course = opened.map_err(|unopened| Refusal::of(unopened, way))?;
        course.way.route.sessions.increment();
        if place.is_some() {
            course.place = place;
            self.load(Gauge::increment);
            return Ok(self.table.insert(self.now, key, course));
        }
        self.replace(slot, key, course, Outcome::Idle);
        Ok(slot)
    }

    /// Ends the flow that may have to make room, if there is one.
    fn give_up_stale(&mut self) -> bool {
        let stale = self.table.stale(self.now);
        if let Some(stale) = stale {
            self.end(stale, Outcome::Idle);
        }
        stale.is_some()
    }

    /// Moves a flow to another backend. It stays if there is only the one that it is on, or if all
    /// others are full and it need not go.
    fn move_on(&mut self, slot: usize) -> Result<usize, Refusal> {
        let Some(flow) = self.table.get(slot) else { return Ok(slot) };
        let may_stay = !flow.load.is_stranded();
        let (key, left) = (flow.key, Arc::clone(flow.load.lease.backend()));
        let way = flow.load.way.clone();
        match self.opening(&way, ClientAddr::new(key.client), Some(&left)).run(slot) {
            Ok(course) => self.replace(slot, key, course, Outcome::Moved),
            Err(Unopened::NowhereElse) => self.stay(slot),
            Err(Unopened::Failed { why: Rejection::QueueFull, .. }) if may_stay => self.stay(slot),
            Err(unopened) => return Err(Refusal::of(unopened, way)),
        }
        Ok(slot)
    }

    /// The backend gets another chance.
    fn stay(&mut self, slot: usize) {
        if let Some(flow) = self.table.get_mut(slot) {
            flow.load.is_refused = false;
        }
    }

    /// The way that a new flow of this client goes.
    pub(super) fn find_way(&self, client: ClientAddr) -> Result<Led, Refusal> {
        let flight = Flight { client: client.ip(), sni: None, alpn: &[], request: None };
        let way = self.proxy.routes.find(&flight, fastrand::u64(..), |_| false).cloned();
        way.ok_or(Refusal::Inside { way: None, why: Rejection::NoRoute, attempts: 0 })
    }

    fn opening<'a>(
        &'a self,
        way: &'a Led,
        client: ClientAddr,
        left: Option<&'a Arc<Backend>>,
    ) -> Opening<'a> {
        Opening { way, tools: &self.tools, queue: &self.queue, client, left }
    }

    /// Puts a flow where another was, which ends; its place goes over to the new one.
    fn replace(&mut self, slot: usize, key: Key, course: Course, outcome: Outcome) {
        let Some(mut old) = self.table.replace(slot, self.now, key, course) else { return };
        if let Some(flow) = self.table.get_mut(slot) {
            flow.load.place = old.load.place.take();
        }
        old.load.end(&self.proxy, self.ends(old.key), outcome);
    }

    /// Sends a run to the flow's backend, or what is left of it to another one when the network
    /// says that nobody is there.
    fn hand_on(&mut self, slot: usize, run: &Run<'_>) {
        let mut skip = 0;
        let attempts = |course: &Course| course.way.to.pool().connecting.retry.attempts.max(2);
        let Some(most) = self.table.get(slot).map(|flow| attempts(&flow.load)) else { return };
        for _ in 0..most {
            let Some(flow) = self.table.get_mut(slot) else { return };
            let (course, key) = (&mut flow.load, flow.key);
            let to = course.lease.address();
            let whither = Destination { to, is_connected: true, from: None };
            let sent = self.outlet.send(&course.socket, whither, run, skip);
            course.moved(Direction::In, sent.bytes, self.now);
            skip += sent.datagrams;
            self.table.on_datagrams(slot, self.now, sent.datagrams as u64);
            let Some(errno) = sent.error else { return };
            let left = run.count() - skip;
            if !is_lost(errno) {
                return self
                    .figures()
                    .drop_datagrams(why_dropped(errno, Dropped::BackendFull), left as u64);
            }
            self.lose(slot, errno);
            if let Err(refused) = self.move_on(slot) {
                return self.refuse(key, left, refused);
            }
        }
        let Some(flow) = self.table.get(slot) else { return };
        let (way, attempts) = (Some(flow.load.way.clone()), flow.load.attempts);
        let refused = Refusal::Inside { way, why: Rejection::Refused, attempts };
        self.refuse(flow.key, run.count() - skip, refused);
    }

    /// The network says that a flow's backend cannot be reached: a failure of the backend, and the
    /// flow's next datagram goes elsewhere.
    pub(super) fn lose(&mut self, slot: usize, errno: Errno) {
        if let Some(flow) = self.table.get_mut(slot) {
            let slowest = flow.load.way.to.pool().connecting.timeout;
            flow.load.is_refused = true;
            opening::failed(&flow.load.lease, errno, slowest, self.now);
        }
    }

    /// Counts datagrams that go nowhere, and leaves a line for each that was let in.
    fn refuse(&self, key: Key, count: usize, refused: Refusal) {
        match refused {
            Refusal::Counted => {}
            Refusal::AtTheDoor(why) => self.figures().reject_all(why, count as u64),
            Refusal::Inside { way, why, attempts } => {
                self.figures().reject_all(why, count as u64);
                for _ in 0..count {
                    let (ends, way) = (self.ends(key), way.as_ref());
                    flow::refused(&self.proxy, ends, way, why.as_str(), attempts);
                }
            }
        }
    }

    pub(super) fn ends(&self, key: Key) -> Ends {
        let local =
            SocketAddr::new(key.local.unwrap_or_else(|| self.bound.ip()), self.bound.port());
        Ends { client: ClientAddr::new(key.client), local }
    }

    fn figures(&self) -> &Figures {
        &self.proxy.admission.figures
    }

    pub(super) fn load(&self, change: fn(&Gauge)) {
        change(&self.tools.flows);
        let (loads, index) = &self.tools.loads;
        if let Some(load) = loads.get(*index) {
            change(load);
        }
    }
}

fn rules(proxy: &Proxy) -> Rules {
    let idle = proxy.idle_timeout.map(|idle| idle.as_millis() as Tick);
    Rules { idle, responses: proxy.responses }
}
