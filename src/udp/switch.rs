//! What a worker tells its forwarders.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

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
