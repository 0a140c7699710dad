//! Readiness of one worker's session sockets: an epoll set inside the runtime's own.
//!
//! The runtime's driver pays four more system calls a connection and a lock a wake-up for what
//! sessions do not need: being moved between threads. Here a socket is one `epoll_ctl` for its whole
//! life, edge-triggered both ways, and its state is a cell. The runtime waits on the set as on one
//! descriptor, so sessions stay ordinary tasks.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::Timespec;
use rustix::io::Errno;
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::net::Socket;

/// Events taken from the kernel at once.
const BATCH: usize = 256;

/// What a socket may be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// Reading, or accepting.
    Read,
    /// Writing, or the end of a connect.
    Write,
}

/// What the kernel has said about one socket and nobody has found otherwise since.
#[derive(Debug)]
pub(super) struct State {
    /// Tells it from those that had its slot before.
    generation: u32,
    readable: Cell<bool>,
    writable: Cell<bool>,
    /// The peer has sent FIN: after what is still to be read comes the end.
    ending: Cell<bool>,
    failed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// For a socket that one task serves together with many others.
    queued: Option<Queued>,
}

/// A socket's place in the queue of the task that serves it.
#[derive(Debug)]
struct Queued {
    queue: Rc<Queue>,
    tag: usize,
    is_in: Cell<bool>,
}

/// Sockets on which something happened, for a task that serves many of them.
#[derive(Debug, Default)]
pub struct Queue {
    tags: RefCell<Vec<usize>>,
    waker: RefCell<Option<Waker>>,
}

impl Queue {
    /// Ready while somebody is in it. All calls must come from one task.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.tags.borrow().is_empty() {
            return Poll::Ready(());
        }
        self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }

    /// Moves all tags into `taken`, which is empty. Who is served must be told by
    /// [`Socket::leave_queue`] before it is, or it will not come again.
    pub fn take(&self, taken: &mut Vec<usize>) {
        std::mem::swap(&mut *self.tags.borrow_mut(), taken);
    }

    fn push(&self, tag: usize) {
        self.tags.borrow_mut().push(tag);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl State {
    fn new(generation: u32, queued: Option<(Rc<Queue>, usize)>) -> Self {
        let queued = queued.map(|(queue, tag)| Queued { queue, tag, is_in: Cell::new(false) });
        Self {
            queued,
            generation,
            readable: Cell::new(false),
            writable: Cell::new(false),
            ending: Cell::new(false),
            failed: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    fn on_event(&self, flags: EventFlags) {
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            self.readable.set(true);
        }
        if broken || flags.contains(EventFlags::OUT) {
            self.writable.set(true);
        }
        if broken || flags.contains(EventFlags::RDHUP) {
            self.ending.set(true);
        }
        if flags.contains(EventFlags::ERR) {
            self.failed.set(true);
        }
        if self.queued.is_some() {
            self.enqueue();
        } else if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Puts the socket into its queue, unless it is there.
    pub(super) fn enqueue(&self) {
        if let Some(Queued { queue, tag, is_in }) = &self.queued
            && !is_in.replace(true)
        {
            queue.push(*tag);
        }
    }

    /// It was taken out of its queue.
    pub(super) fn leave_queue(&self) {
        if let Some(queued) = &self.queued {
            queued.is_in.set(false);
        }
    }

    /// Ready if a call of this kind may do something; else the task is woken when that changes.
    pub(super) fn poll(&self, ready: Ready, cx: &Context<'_>) -> Poll<()> {
        if self.flag(ready).get() {
            return Poll::Ready(());
        }
        self.wake_with(cx);
        Poll::Pending
    }

    /// Ready once the peer has sent FIN or the connection broke, whether or not there is something
    /// to read before that.
    pub(super) fn poll_ending(&self, cx: &Context<'_>) -> Poll<()> {
        if self.ending.get() {
            return Poll::Ready(());
        }
        self.wake_with(cx);
        Poll::Pending
    }

    fn wake_with(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn flag(&self, ready: Ready) -> &Cell<bool> {
        match ready {
            Ready::Read => &self.readable,
            Ready::Write => &self.writable,
        }
    }

    /// A call of this kind found nothing to do.
    pub(super) fn clear(&self, ready: Ready) {
        self.flag(ready).set(false);
    }

    /// A read took less than it could: the socket is drained, unless the end is still to come.
    pub(super) fn drained(&self) {
        if !self.ending.get() {
            self.readable.set(false);
        }
    }

    /// Nothing to read, no end, no error.
    pub(super) fn is_quiet(&self) -> bool {
        !self.readable.get() && !self.ending.get() && !self.failed.get()
    }

    /// The task that waited last is not woken.
    pub(super) fn forget_waker(&self) {
        self.waker.replace(None);
    }

    /// The kernel has reported an error that nobody has fetched.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }
}

/// The epoll set of one worker.
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
    sockets: RefCell<Slab<Rc<State>>>,
    generation: Cell<u32>,
}

impl Reactor {
    /// An empty set.
    ///
    /// # Errors
    /// The process is out of descriptors or memory.
    pub fn new() -> io::Result<Rc<Self>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Rc::new(Self { epoll, sockets: RefCell::default(), generation: Cell::new(0) }))
    }

    /// Watches a non-blocking socket, which closes and leaves the set on drop.
    ///
    /// # Errors
    /// The kernel is out of memory or watches.
    pub fn watch(self: &Rc<Self>, fd: OwnedFd) -> io::Result<Socket> {
        self.watch_as(fd, EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP, None)
    }

    /// Watches a datagram socket for what comes in, and whatever the kernel reports of it.
    ///
    /// Not for room to send: there each datagram that leaves would make an event.
    ///
    /// # Errors
    /// The kernel is out of memory or watches.
    pub fn watch_datagrams(self: &Rc<Self>, fd: OwnedFd) -> io::Result<Socket> {
        self.watch_as(fd, EventFlags::IN, None)
    }

    /// Like [`Reactor::watch_datagrams`], for a socket that has nobody waiting for it alone: when
    /// something happens, `tag` is put into `queue`.
    ///
    /// # Errors
    /// The kernel is out of memory or watches.
    pub fn watch_queued(
        self: &Rc<Self>,
        fd: OwnedFd,
        queue: &Rc<Queue>,
        tag: usize,
    ) -> io::Result<Socket> {
        self.watch_as(fd, EventFlags::IN, Some((Rc::clone(queue), tag)))
    }

    fn watch_as(
        self: &Rc<Self>,
        fd: OwnedFd,
        interest: EventFlags,
        queued: Option<(Rc<Queue>, usize)>,
    ) -> io::Result<Socket> {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let state = Rc::new(State::new(generation, queued));
        let key = self.sockets.borrow_mut().insert(Rc::clone(&state));
        let data = EventData::new_u64(token(key, generation));
        if let Err(error) = epoll::add(&self.epoll, &fd, data, interest | EventFlags::ET) {
            self.forget(key);
            return Err(error.into());
        }
        Ok(Socket::new(fd, state, key, Rc::clone(self)))
    }

    /// Takes a descriptor out of the set that others have open under another one: closing it would not.
    pub(super) fn leave(&self, fd: &OwnedFd) {
        // It is there, or somebody has closed the set.
        epoll::delete(&self.epoll, fd).ok();
    }

    /// Closing the descriptor takes it out of the set, and its slot may then be used again.
    pub(super) fn forget(&self, key: usize) {
        self.sockets.borrow_mut().remove(key);
    }

    /// Wakes sessions as their sockets get ready, for as long as it is polled.
    ///
    /// # Errors
    /// The runtime cannot watch the set, or the kernel refuses to wait on it.
    pub async fn run(&self) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the borrow keeps the set open here"
        )]
        let set = AsyncFd::with_interest(self.epoll.as_fd(), Interest::READABLE)?;
        let mut events = Vec::with_capacity(BATCH);
        loop {
            let mut ready = poll_fn(|cx| set.poll_read_ready(cx)).await?;
            while self.dispatch(&mut events)? >= BATCH {
                tokio::task::yield_now().await;
            }
            // Edge-triggered here too: what comes after the last wait makes a new edge.
            ready.clear_ready();
        }
    }

    fn dispatch(&self, events: &mut Vec<Event>) -> io::Result<usize> {
        events.clear();
        let buffer = rustix::buffer::spare_capacity(events);
        let count = match epoll::wait(&self.epoll, buffer, Some(&Timespec::default())) {
            // The set would be left unread and never make another edge: as if it were full.
            Err(Errno::INTR) => return Ok(BATCH),
            count => count?,
        };
        let sockets = self.sockets.borrow();
        for event in &*events {
            let (key, generation) = of_token(event.data.u64());
            // A child between fork and exec keeps a closed socket in the set for a moment: what it
            // reports is not for whoever has the slot now.
            if let Some(state) = sockets.get(key).filter(|state| state.generation == generation) {
                state.on_event(event.flags);
            }
        }
        Ok(count)
    }
}

/// What the kernel gives back with each event: generation above, slot below.
fn token(key: usize, generation: u32) -> u64 {
    u64::from(generation) << 32 | (key as u64 & u64::from(u32::MAX))
}

fn of_token(token: u64) -> (usize, u32) {
    ((token & u64::from(u32::MAX)) as usize, (token >> 32) as u32)
}
