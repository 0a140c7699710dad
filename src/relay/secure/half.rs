//! One direction of a secure relay: read, open, seal, write; the end is passed on as an end.

use std::task::{Context, Poll, ready};

use rustix::io::Errno;

use crate::relay::direction::Broken;
use crate::relay::secure::Buffers;
use crate::relay::secure::end::{End, Fault, Next};
use crate::session::Live;

/// Reads before the other sessions of the worker get their turn: a batch takes four times as long
/// here as where nothing is opened or sealed.
const TURNS: usize = 2;

/// How far a direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// More may come.
    Open,
    /// The source has ended, which the sink has not been told.
    Ended,
    /// The sink is being told.
    Telling,
    /// All is written, the end too.
    Done,
    /// The source has failed; the sink must still get what came before that.
    Failing(Fault),
}

/// The state of one direction.
#[derive(Debug)]
pub(super) struct Half {
    stage: Stage,
    /// It could have gone on, but others had to have their turn.
    yielded: bool,
}

/// What broke a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) broken: Broken,
    pub(super) fault: Fault,
}

impl Failure {
    pub(super) fn sink(_: Errno) -> Self {
        Self::unwritten(Fault::Reset)
    }

    fn unwritten(fault: Fault) -> Self {
        Self { broken: Broken::Sink, fault }
    }

    fn source(fault: Fault) -> Self {
        Self { broken: Broken::Source, fault }
    }
}

impl Half {
    /// A direction of whose source this is known.
    pub(super) fn new(has_ended: bool) -> Self {
        let stage = if has_ended { Stage::Ended } else { Stage::Open };
        Self { stage, yielded: false }
    }

    /// True once everything up to the source's end has been written.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// True if its source has failed.
    pub(super) fn is_failing(&self) -> bool {
        matches!(self.stage, Stage::Failing(_))
    }

    /// True if it waits for a socket: for something to read, or for room to write.
    pub(super) fn is_stuck(&self) -> bool {
        !self.yielded && !self.is_done()
    }

    /// Moves what can be moved. Ready once the source has ended and the sink knows.
    pub(super) fn poll(
        &mut self,
        cx: &Context<'_>,
        (from, to): (&mut End<'_>, &mut End<'_>),
        live: &Live,
        buffers: &mut Buffers,
    ) -> Poll<Result<(), Failure>> {
        self.yielded = false;
        let mut turns = 0;
        loop {
            ready!(to.poll_flush(cx, live)).map_err(Failure::sink)?;
            match self.stage {
                Stage::Open if turns == TURNS => break,
                Stage::Open => ready!(self.poll_batch(cx, (from, to), live, buffers))?,
                Stage::Ended => {
                    to.say_last();
                    self.stage = Stage::Telling;
                }
                Stage::Telling | Stage::Done => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Ok(()));
                }
                Stage::Failing(Fault::Reset) => {
                    return Poll::Ready(Err(Failure::source(Fault::Reset)));
                }
                Stage::Failing(fault) => {
                    // A reset would throw away what is still with the kernel.
                    ready!(to.poll_sent(cx));
                    return Poll::Ready(Err(Failure::source(fault)));
                }
            }
            turns += 1;
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read and what comes of it. Nothing is held back.
    fn poll_batch(
        &mut self,
        cx: &Context<'_>,
        (from, to): (&mut End<'_>, &mut End<'_>),
        live: &Live,
        buffers: &mut Buffers,
    ) -> Poll<Result<(), Failure>> {
        let Buffers { incoming, plain, outgoing } = buffers;
        let (payload, next) = ready!(from.poll_read(cx, incoming, plain));
        self.stage = match next {
            Next::More => Stage::Open,
            Next::End => Stage::Ended,
            Next::Fault(fault) => Stage::Failing(fault),
        };
        if !payload.is_empty() {
            to.write(cx, payload, outgoing, live).map_err(Failure::unwritten)?;
        }
        Poll::Ready(Ok(()))
    }
}
