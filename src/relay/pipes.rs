//! Pipes for splice(2), lent to the directions that move much and given back when they pause.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// Wanted capacity. Measured: 64 KiB saves half of what 256 KiB saves, more than that gains little
/// and an unprivileged user may only have 64 MiB of pipes in all.
const CAPACITY: usize = 256 * 1024;

/// Pipes a worker may have open; a direction that gets none goes on copying.
const MOST: usize = 64;

/// The pipes of one worker.
#[derive(Debug)]
pub struct Pipes {
    spare: RefCell<Vec<Ends>>,
    open: Cell<usize>,
    /// No pipe has a descriptor as high as this: what is above is for sessions.
    ceiling: u64,
}

#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
    capacity: usize,
}

impl Pipes {
    pub(super) fn new(ceiling: u64) -> Self {
        Self { spare: RefCell::default(), open: Cell::new(0), ceiling }
    }

    /// An empty pipe, or none if descriptors, memory or the limit forbid it.
    pub(super) fn lend(self: &Rc<Self>) -> Option<Pipe> {
        let spare = self.spare.borrow_mut().pop();
        let ends = spare.or_else(|| self.open_one())?;
        Some(Pipe { ends: Some(ends), held: 0, owner: Rc::clone(self) })
    }

    /// Closes the pipes that nobody has: their descriptors are needed elsewhere.
    pub(super) fn release(&self) {
        let spare = self.spare.take();
        self.open.set(self.open.get().saturating_sub(spare.len()));
    }

    fn open_one(&self) -> Option<Ends> {
        if self.open.get() >= MOST {
            return None;
        }
        let (out, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        // The kernel gives the lowest free number, so a high one says that few are left.
        let highest = into.as_raw_fd().max(out.as_raw_fd());
        if u64::try_from(highest).is_ok_and(|highest| highest >= self.ceiling) {
            return None;
        }
        // Beyond the user's allowance the kernel refuses: then the default size serves.
        let wanted = fcntl_setpipe_size(&into, CAPACITY);
        let capacity = wanted.or_else(|_| fcntl_getpipe_size(&into)).ok()?;
        self.open.set(self.open.get() + 1);
        Some(Ends { out, into, capacity })
    }
}

/// A lent pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    /// `Some` until drop.
    ends: Option<Ends>,
    held: usize,
    owner: Rc<Pipes>,
}

impl Pipe {
    /// The end to fill and how much it takes; `None` never happens before drop.
    pub(super) fn entry(&self) -> Option<(&OwnedFd, usize)> {
        self.ends.as_ref().map(|ends| (&ends.into, ends.capacity))
    }

    /// The end to drain.
    pub(super) fn exit(&self) -> Option<&OwnedFd> {
        self.ends.as_ref().map(|ends| &ends.out)
    }

    /// Bytes inside.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn filled(&mut self, n: usize) {
        self.held += n;
    }

    pub(super) fn drained(&mut self, n: usize) {
        self.held = self.held.saturating_sub(n);
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        if self.held == 0 {
            self.owner.spare.borrow_mut().push(ends);
        } else {
            // One client's bytes must never turn up in another's stream: it is closed, not kept.
            self.owner.open.set(self.owner.open.get().saturating_sub(1));
        }
    }
}
