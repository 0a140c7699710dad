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
pub struct Ticker {
    timer: Socket,
    period: Timespec,
}

impl Ticker {
    /// Ticks each `period` from now on.
    ///
    /// # Errors
    /// The process is out of descriptors or memory.
    pub fn new(reactor: &Rc<Reactor>, period: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let period = timespec(period);
        let every = Itimerspec { it_interval: period, it_value: period };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        Ok(Self { timer: reactor.watch(timer)?, period })
    }

    /// Ticks each `period` from now on.
    pub fn set_period(&mut self, period: Duration) {
        self.period = timespec(period);
        self.tick_after(period);
    }

    /// Ticks next after `pause`, which must not be zero, and then each period from there.
    pub fn tick_after(&self, pause: Duration) {
        let once = Itimerspec { it_interval: self.period, it_value: timespec(pause) };
        // A timer that stays as it was ticks too, only later.
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).ok();
    }

    /// Waits for the next tick; those missed meanwhile count as one.
    pub async fn tick(&self) {
        poll_fn(|cx| {
            loop {
                ready!(self.timer.poll_readable(cx));
                match rustix::io::read(&self.timer, &mut [0; 8]) {
                    Err(Errno::AGAIN) => self.timer.clear_readable(),
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}
