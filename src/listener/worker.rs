//! One worker: a thread with a runtime of its own, its sockets, its sessions.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_local;

use crate::addr::ClientAddr;
use crate::listener::crew::{Accepted, Crew, Door};
use crate::listener::frontend::Admitted;
use crate::listener::running::{Busy, Running, converse, relay};
use crate::listener::{Gate, Post, Proxy, accept};
use crate::metric::Gauge;
use crate::net::{Reactor, Ticker};
use crate::outcome::Outcome;
use crate::relay::Lent;
use crate::session::{Clock, Table};
use crate::tcp::Tools;
use crate::tls::Turnstile;
use crate::upstream::{Client, Dialer};
use crate::{http, udp};

/// What the supervisor tells a worker.
#[derive(Debug)]
pub enum Order {
    /// Serve this listening socket.
    Listen {
        /// Where it is.
        post: Arc<Post>,
        /// The socket.
        socket: OwnedFd,
        /// Told once it is served, or why it cannot be.
        served: oneshot::Sender<io::Result<()>>,
    },
    /// Look at the gates of all posts: some have been turned.
    Heed(oneshot::Sender<()>),
    /// Look around this often from now on.
    Pace(Pace),
    /// Tell the kernel's numbers of the datagram sockets that you serve.
    Sockets(oneshot::Sender<Vec<u64>>),
    /// Ask this of whoever serves the datagram socket of this number.
    Ask(u64, udp::Request),
    /// Take what waits in the queues, close the listening sockets, end with the last session.
    Close,
    /// End the sessions that are still there.
    Cut,
}

/// How often a worker looks at its clock and its sessions.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The step of the clock that limits connects.
    pub tick: Duration,
    /// How often limits of sessions are checked and bytes counted; at most a second.
    pub sweep: Duration,
}

impl Pace {
    /// Has the next tick come with a limit that lies before it: limits that follow each other, as
    /// those of one client's attempts, must not each be a step late. No more often than ten times a
    /// step, however many wait.
    fn be_on_time(&self, clock: &Clock, ticker: &Ticker) {
        if let Some(limit) = clock.next_limit().filter(|limit| *limit < self.tick) {
            ticker.tick_after(limit.max(self.tick / 10));
        }
    }
}

/// What a worker is made of; made anywhere, used on its own thread.
#[derive(Debug)]
pub struct Plan {
    /// Its place in the crew, from 0.
    pub index: usize,
    /// All workers.
    pub crew: Arc<Crew>,
    /// Where others hand connections to it.
    pub door: Door,
    /// How often it looks around.
    pub pace: Pace,
    /// Descriptors from this number on are left to sessions.
    pub ceiling: u64,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    index: usize,
    crew: Arc<Crew>,
    pub(super) tools: Tools,
    pub(super) http: Rc<http::Tools>,
    /// Where handshakes with clients pass.
    pub(super) turnstile: Turnstile,
    closing: Rc<Cell<bool>>,
    acceptors: RefCell<Vec<Waker>>,
    /// One for each datagram socket.
    switches: RefCell<Vec<Rc<udp::Switch>>>,
    pace: Cell<Pace>,
    /// Accept loops, the door, and sessions that have not ended.
    pub(super) busy: Cell<usize>,
    pub(super) quiet: Notify,
}

/// Runs a worker to its end on the calling thread, as `orders` say.
///
/// # Errors
/// The runtime or the epoll set cannot be made.
pub fn run(plan: Plan, orders: mpsc::Receiver<Order>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let reactor = Reactor::new()?;
        let worker = Rc::new(Worker::new(&plan, &reactor));
        spawn_local(async move {
            if let Err(error) = reactor.run().await {
                tracing::error!(%error, "a worker can no longer wait for its sockets");
            }
        });
        let ticker = Ticker::new(&worker.tools.dialer.reactor, plan.pace.tick)?;
        spawn_local(look_around(Rc::clone(&worker), ticker));
        spawn_local(take_handed(Busy::new(&worker), plan.door));
        worker.obey(orders).await;
        Ok(())
    })
}

/// Serves what others hand over, until the worker closes and nothing is left in the door.
async fn take_handed(busy: Busy, mut door: Door) {
    let worker = &busy.worker;
    let mut next = |cx: &mut Context<'_>| {
        if worker.poll_closing(cx).is_ready() {
            // Others may still accept: they keep what they would have handed over.
            door.0.close();
        }
        door.0.poll_recv(cx)
    };
    while let Some(accepted) = poll_fn(&mut next).await {
        worker.serve(accepted);
    }
}

/// Moves the clock and sweeps the sessions for as long as the worker lives.
async fn look_around(worker: Rc<Worker>, mut ticker: Ticker) {
    let mut swept = Instant::now();
    let mut heard = 0;
    let mut pace = worker.pace.get();
    loop {
        ticker.tick().await;
        let paced = worker.pace.get();
        if paced.tick != std::mem::replace(&mut pace, paced).tick {
            ticker.set_period(pace.tick);
        }
        let sessions = &worker.tools.sessions;
        sessions.clock().catch_up();
        sessions.expire();
        pace.be_on_time(sessions.clock(), &ticker);
        if worker.tools.dialer.is_short.take() {
            worker.release();
        }
        sessions.obey(Instant::now());
        let rung = worker.crew.bell().count();
        if std::mem::replace(&mut heard, rung) != rung {
            worker.switches.borrow().iter().for_each(|switch| switch.nudge());
        }
        if swept.elapsed() >= pace.sweep {
            swept = Instant::now();
            sessions.sweep();
            worker.http.sweep();
        }
    }
}

impl Worker {
    fn new(plan: &Plan, reactor: &Rc<Reactor>) -> Self {
        let (index, pace, ceiling) = (plan.index, Cell::new(plan.pace), plan.ceiling);
        let crew = Arc::clone(&plan.crew);
        let sessions = Rc::new(Table::starting(crew.bell().clone()));
        let clock = Rc::clone(sessions.clock());
        let dialer = Dialer { reactor: Rc::clone(reactor), clock, is_short: Rc::default() };
        let lent = Rc::new(Lent::new(ceiling));
        let closing = Rc::new(Cell::new(false));
        let http = http::Tools::new(
            dialer.clone(),
            Rc::clone(&lent),
            Rc::clone(&sessions),
            Rc::clone(&closing),
        );
        Self {
            index,
            crew,
            tools: Tools { dialer, lent, sessions },
            http: Rc::new(http),
            turnstile: Turnstile::default(),
            closing,
            acceptors: RefCell::default(),
            switches: RefCell::default(),
            pace,
            busy: Cell::new(0),
            quiet: Notify::new(),
        }
    }

    /// Follows orders until it is closed and the last session has ended.
    async fn obey(self: &Rc<Self>, mut orders: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Listen { post, socket, served }) => {
                        served.send(self.listen(post, socket)).ok();
                    }
                    Some(Order::Heed(heeded)) => {
                        self.heed();
                        heeded.send(()).ok();
                    }
                    Some(Order::Sockets(told)) => drop(told.send(self.datagram_sockets())),
                    Some(Order::Ask(socket, request)) => self.ask(socket, request),
                    Some(Order::Pace(pace)) => self.pace.set(pace),
                    Some(Order::Close) => self.close(),
                    Some(Order::Cut) | None => self.cut(),
                },
                () = self.quiet.notified() => {}
            }
            if self.closing.get() && self.busy.get() == 0 {
                return;
            }
        }
    }

    fn listen(self: &Rc<Self>, post: Arc<Post>, fd: OwnedFd) -> io::Result<()> {
        match post.listener().proxy() {
            Proxy::Tcp(_) | Proxy::Http(_) => self.accept(post, fd),
            Proxy::Udp(proxy) => self.forward(post, proxy, fd),
        }
    }

    fn forward(
        self: &Rc<Self>,
        post: Arc<Post>,
        proxy: &Arc<udp::Proxy>,
        fd: OwnedFd,
    ) -> io::Result<()> {
        let tools = udp::Tools {
            reactor: Rc::clone(&self.tools.dialer.reactor),
            clock: Rc::clone(self.clock()),
            loads: (Arc::clone(self.crew.loads()), self.index),
            flows: Arc::clone(post.flows()),
            sweep: self.pace.get().sweep,
            bell: self.crew.bell().clone(),
        };
        let switch = Rc::new(udp::Switch::default());
        let (desk, proxy) = (Arc::clone(&post), Arc::clone(proxy));
        let forwarder = udp::Forwarder::new(fd, desk, proxy, tools, Rc::clone(&switch))?;
        self.switches.borrow_mut().push(Rc::clone(&switch));
        let (worker, attendance) = (Rc::clone(self), post.attend());
        self.spawn(async move {
            forwarder.run().await;
            worker.switches.borrow_mut().retain(|known| !Rc::ptr_eq(known, &switch));
            drop(attendance);
        });
        Ok(())
    }

    fn accept(self: &Rc<Self>, post: Arc<Post>, fd: OwnedFd) -> io::Result<()> {
        let socket = self.tools.dialer.reactor.watch(fd)?;
        socket.share();
        self.spawn(accept::run(Rc::clone(self), post, socket));
        Ok(())
    }

    /// Starts something that must end before the worker does.
    fn spawn(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        let busy = Busy::new(self);
        spawn_local(async move {
            work.await;
            drop(busy);
        });
    }

    fn close(&self) {
        self.closing.set(true);
        self.switches.borrow().iter().for_each(|switch| switch.close());
        self.http.close();
        self.heed();
    }

    /// The kernel's numbers of the datagram sockets that it serves.
    fn datagram_sockets(&self) -> Vec<u64> {
        self.switches.borrow().iter().map(|switch| switch.socket()).collect()
    }

    /// Passes a request on to whoever serves the socket. Without anybody it is dropped, which whoever
    /// asked sees.
    fn ask(&self, socket: u64, request: udp::Request) {
        let switches = self.switches.borrow();
        if let Some(switch) = switches.iter().find(|switch| switch.socket() == socket) {
            switch.ask(request);
        }
    }

    /// Has everybody look at the gates who waits behind one.
    fn heed(&self) {
        self.acceptors.take().into_iter().for_each(Waker::wake);
        self.switches.borrow().iter().for_each(|switch| switch.nudge());
        self.clock().rouse();
    }

    fn cut(&self) {
        self.close();
        self.switches.borrow().iter().for_each(|switch| switch.cut());
        self.tools.sessions.end_all(Outcome::Shutdown);
    }

    /// True once sessions are ended instead of waited for.
    pub(super) fn is_cut(&self) -> bool {
        self.tools.sessions.is_over()
    }

    /// What becomes of those who come to a post; whoever asks is woken when that changes.
    pub(super) fn gate(&self, post: &Post, cx: &Context<'_>) -> Gate {
        let is_closing = self.poll_closing(cx).is_ready();
        match post.gate() {
            Gate::Open if is_closing => Gate::Closed,
            gate => gate,
        }
    }

    /// Ready once the worker takes no more connections.
    pub(super) fn poll_closing(&self, cx: &Context<'_>) -> Poll<()> {
        if self.closing.get() {
            return Poll::Ready(());
        }
        let mut acceptors = self.acceptors.borrow_mut();
        if !acceptors.iter().any(|known| known.will_wake(cx.waker())) {
            acceptors.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Serves a connection, or hands it to a worker that has far fewer.
    pub(super) fn take(self: &Rc<Self>, accepted: Accepted) {
        if let Some(own) = self.crew.hand_over(self.index, accepted) {
            self.serve(own);
        }
    }

    fn serve(self: &Rc<Self>, accepted: Accepted) {
        let Accepted { fd, from, since, admitted } = accepted;
        let Admitted { permit, proxy, greeting } = admitted;
        let socket = match self.tools.dialer.reactor.watch(fd) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(listener = &*permit.listener().name, %error, "cannot watch a client");
                return;
            }
        };
        let client = Client::accepted(socket, ClientAddr::new(from), since);
        let running = Running::new(self, permit);
        match proxy {
            Proxy::Tcp(proxy) => drop(spawn_local(relay(running, client, proxy, greeting))),
            Proxy::Http(proxy) => drop(spawn_local(converse(running, client, proxy, greeting))),
            // Connections come from sockets that listen for them.
            Proxy::Udp(_) => {}
        }
    }

    /// Gives up what no session uses just now.
    pub(super) fn release(&self) {
        self.tools.lent.release();
        self.http.release();
    }

    pub(super) fn clock(&self) -> &Rc<Clock> {
        self.tools.sessions.clock()
    }

    pub(super) fn load(&self) -> Option<&Gauge> {
        self.crew.load(self.index)
    }
}
