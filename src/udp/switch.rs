//! What a worker tells its forwarders.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use crate::udp::transfer::Request;

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Stage {
    /// Flows come and go.
    #[default]
    Open,
    /// No new flows; those there are go on.
    Closing,
    /// All flows end.
    Cut,
}

/// Turned by the worker, watched by the forwarder; it only goes forward. Whether its address is still
/// served is another question, which the forwarder asks at its desk.
#[derive(Debug, Default)]
pub struct Switch {
    stage: Cell<Stage>,
    /// The kernel's number of the forwarder's socket: the same in every process that has it.
    socket: Cell<u64>,
    requests: RefCell<Vec<Request>>,
    waker: RefCell<Option<Waker>>,
}

impl Switch {
    /// No new flows from now on.
    pub fn close(&self) {
        self.turn(Stage::Closing);
    }

    /// All flows end now.
    pub fn cut(&self) {
        self.turn(Stage::Cut);
    }

    /// The kernel's number of the socket that the forwarder serves.
    pub fn socket(&self) -> u64 {
        self.socket.get()
    }

    pub(super) fn serve(&self, socket: u64) {
        self.socket.set(socket);
    }

    /// Asks the forwarder for flows, or to take some.
    pub fn ask(&self, request: Request) {
        self.requests.borrow_mut().push(request);
        self.nudge();
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.requests.borrow().is_empty()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.take()
    }

    fn turn(&self, stage: Stage) {
        self.stage.set(self.stage.get().max(stage));
        self.nudge();
    }

    /// Has the forwarder look around: something has changed.
    pub fn nudge(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.stage.get() == Stage::Cut
    }

    /// Where it stands; all calls must come from one task, which is woken when that changes.
    pub(super) fn poll_stage(&self, cx: &Context<'_>) -> Stage {
        self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        self.stage()
    }

    /// Where it stands.
    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }
}
