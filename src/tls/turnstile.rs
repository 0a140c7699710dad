//! Lets the handshakes of a worker compute a few at a time, so that its sessions get their turn in
//! between: a handshake takes a thousand times as long as passing on a record.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Steps of handshakes that are computed before everybody else on the worker gets a turn.
const IN_A_ROW: usize = 4;

/// Where the handshakes of one worker pass, first come, first served.
#[derive(Debug, Default)]
pub struct Turnstile {
    inside: Cell<usize>,
    /// Numbers given out so far.
    last: Cell<u64>,
    /// Who waits, by number.
    line: RefCell<BTreeMap<u64, Waker>>,
}

impl Turnstile {
    /// Waits for a place; with it a step may be computed.
    pub(super) async fn enter(&self) -> Inside<'_> {
        self.last.set(self.last.get() + 1);
        let mut waiting = Waiting { turnstile: self, number: self.last.get(), is_in_line: false };
        poll_fn(|cx| waiting.poll(cx)).await
    }

    /// True if nobody with a lower number is to have what is free.
    fn has_place_for(&self, number: u64) -> bool {
        let free = IN_A_ROW.saturating_sub(self.inside.get());
        self.line.borrow().range(..number).take(free).count() < free
    }

    /// Wakes the first in the line if there is a place.
    fn call(&self) {
        if self.inside.get() < IN_A_ROW
            && let Some((_, first)) = self.line.borrow().first_key_value()
        {
            first.wake_by_ref();
        }
    }
}

/// Somebody in the line; dropping it is leaving the line.
struct Waiting<'a> {
    turnstile: &'a Turnstile,
    number: u64,
    is_in_line: bool,
}

impl<'a> Waiting<'a> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Inside<'a>> {
        let turnstile = self.turnstile;
        if !turnstile.has_place_for(self.number) {
            self.is_in_line = true;
            turnstile.line.borrow_mut().insert(self.number, cx.waker().clone());
            return Poll::Pending;
        }
        turnstile.inside.set(turnstile.inside.get() + 1);
        Poll::Ready(Inside { turnstile })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_in_line {
            self.turnstile.line.borrow_mut().remove(&self.number);
            // It may have been called and not have come, or there are more places than one.
            self.turnstile.call();
        }
    }
}

/// A place, given back on drop.
pub(super) struct Inside<'a> {
    turnstile: &'a Turnstile,
}

impl Inside<'_> {
    /// Gives the place back once everybody else on the worker has had a turn.
    pub(super) async fn leave(self) {
        tokio::task::yield_now().await;
        drop(self);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.turnstile.inside.set(self.turnstile.inside.get() - 1);
        self.turnstile.call();
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

    use super::*;

    /// What has happened, in order: the number of a step, or 0 for a session's turn.
    type Story = Rc<RefCell<Vec<usize>>>;

    fn step(turnstile: &Rc<Turnstile>, story: &Story, number: usize) -> JoinHandle<()> {
        let (turnstile, story) = (Rc::clone(turnstile), Rc::clone(story));
        spawn_local(async move {
            let inside = turnstile.enter().await;
            story.borrow_mut().push(number);
            inside.leave().await;
        })
    }

    #[tokio::test]
    async fn steps_go_in_order_and_others_get_their_turn_every_few_of_them() {
        let (turnstile, story) = (Rc::<Turnstile>::default(), Story::default());
        let scene = async {
            let steps: Vec<_> = (1..=40).map(|n| step(&turnstile, &story, n)).collect();
            let told = Rc::clone(&story);
            let session = spawn_local(async move {
                loop {
                    told.borrow_mut().push(0);
                    yield_now().await;
                }
            });
            for step in steps {
                step.await.unwrap();
            }
            session.abort();
        };
        LocalSet::new().run_until(scene).await;
        let story = story.borrow();
        let steps: Vec<_> = story.iter().copied().filter(|number| *number > 0).collect();
        assert_eq!(steps, (1..=40).collect::<Vec<_>>());
        let most = story.split(|number| *number == 0).map(<[_]>::len).max();
        assert!(most <= Some(IN_A_ROW), "{most:?} in a row: {story:?}");
        assert_eq!((turnstile.inside.get(), turnstile.line.borrow().len()), (0, 0));
    }

    #[tokio::test]
    async fn who_leaves_the_line_holds_nobody_up() {
        let (turnstile, story) = (Rc::<Turnstile>::default(), Story::default());
        let scene = async {
            let held: Vec<_> = {
                let enter = (0..IN_A_ROW).map(|_| turnstile.enter());
                let mut held = Vec::new();
                for inside in enter {
                    held.push(inside.await);
                }
                held
            };
            let gone: Vec<_> = (1..=6).map(|n| step(&turnstile, &story, n)).collect();
            let stays = step(&turnstile, &story, 7);
            yield_now().await;
            assert_eq!(turnstile.line.borrow().len(), 7);
            // The first is called, and gone before it comes.
            drop(held);
            gone.iter().for_each(JoinHandle::abort);
            stays.await.unwrap();
        };
        LocalSet::new().run_until(scene).await;
        assert_eq!(*story.borrow(), [7]);
        assert_eq!((turnstile.inside.get(), turnstile.line.borrow().len()), (0, 0));
    }
}
