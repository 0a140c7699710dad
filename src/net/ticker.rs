//! A steady tick from the kernel, through the worker's own epoll set.
//!
//! With it a worker's runtime needs no timers, which would read the clock at every wake-up.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::net::{Reactor, Socket};

/// A tick that comes again and again.
#[derive(Debug)]
pub struct Ticker(Socket);

impl Ticker {
    /// Ticks each `period` from now on.
    ///
    /// # Errors
    /// The process is out of descriptors or memory.
    pub fn new(reactor: &Rc<Reactor>, period: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let period = Timespec {
            tv_sec: i64::try_from(period.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(period.subsec_nanos()),
        };
        let every = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        Ok(Self(reactor.watch(timer)?))
    }

    /// Waits for the next tick; those missed meanwhile count as one.
    pub async fn tick(&self) {
        poll_fn(|cx| {
            loop {
                ready!(self.0.poll_readable(cx));
                match rustix::io::read(&self.0, &mut [0; 8]) {
                    Err(Errno::AGAIN) => self.0.clear_readable(),
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}
