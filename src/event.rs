//! Changes of state as they happen: what the log says once, for those who watch.
//!
//! Whoever publishes never waits. A watcher that is too slow loses the oldest events and is told how
//! many; the traffic that caused them is not held up.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::broadcast;

/// Events that a watcher may be behind.
const BEHIND: usize = 1024;

/// Events that are kept for those who come later.
pub const KEPT: usize = 100;

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A backend's state.
    Backend {
        /// Its pool's name.
        pool: Arc<str>,
        /// Its name.
        backend: Arc<str>,
    },
    /// A listener opened or closed.
    Listener {
        /// Its name.
        listener: Arc<str>,
    },
    /// A pool can be used again, or no longer.
    Pool {
        /// Its name.
        pool: Arc<str>,
    },
    /// The file was read again, or refused.
    Reload,
    /// Another process took over, or failed to.
    Upgrade,
    /// A certificate was replaced or refused, or comes to its end.
    Certificate {
        /// The listener that shows it.
        listener: Arc<str>,
        /// What it is called: its first host name, as a rule.
        name: Arc<str>,
    },
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub time: SystemTime,
    /// What changed.
    pub subject: Subject,
    /// What it was: a word of the status report, or `weight 1`.
    pub from: Cow<'static, str>,
    /// What it is now.
    pub to: Cow<'static, str>,
    /// Why, in words.
    pub reason: String,
}

/// Where events go; clones are the same place.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Arc<Event>>,
    recent: Arc<Mutex<VecDeque<Arc<Event>>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::channel(BEHIND).0, recent: Arc::default() }
    }
}

impl Events {
    /// Tells all watchers.
    pub fn publish(&self, event: Event) {
        let event = Arc::new(event);
        // Under the lock, so that a watcher gets each event once: as a recent one or as a new one.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == KEPT {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&event));
        // Nobody may be watching.
        self.sender.send(event).ok();
    }

    /// Watches from now on; first come the latest `recent` events of before, at most [`KEPT`].
    pub fn watch(&self, recent: usize) -> Watcher {
        let kept = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.iter().skip(kept.len().saturating_sub(recent)).cloned().collect();
        Watcher { before, receiver: self.sender.subscribe() }
    }
}

/// Somebody who watches.
#[derive(Debug)]
pub struct Watcher {
    before: VecDeque<Arc<Event>>,
    receiver: broadcast::Receiver<Arc<Event>>,
}

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The next event.
    Event(Arc<Event>),
    /// So many were lost, because the watcher was too slow.
    Lost(u64),
}

impl Watcher {
    /// The next event; `None` once nobody can publish any more. May be cancelled.
    pub async fn next(&mut self) -> Option<Heard> {
        if let Some(event) = self.before.pop_front() {
            return Some(Heard::Event(event));
        }
        match self.receiver.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Heard::Lost(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        let subject = Subject::Pool { pool: "db".into() };
        let reason = number.to_string();
        Event {
            time: SystemTime::UNIX_EPOCH,
            subject,
            from: "up".into(),
            to: "down".into(),
            reason,
        }
    }

    fn reason(heard: Option<Heard>) -> String {
        match heard {
            Some(Heard::Event(event)) => event.reason.clone(),
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_watcher_gets_what_was_and_then_what_comes() {
        let events = Events::default();
        (0..KEPT + 5).for_each(|number| events.publish(event(number)));
        let mut watcher = events.watch(2);
        events.publish(event(1000));
        for expected in [KEPT + 3, KEPT + 4, 1000] {
            assert_eq!(reason(watcher.next().await), expected.to_string());
        }
        drop(events);
        assert_eq!(watcher.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_how_many_it_missed() {
        let events = Events::default();
        let mut watcher = events.watch(0);
        (0..BEHIND + 3).for_each(|number| events.publish(event(number)));
        assert_eq!(watcher.next().await, Some(Heard::Lost(3)));
        assert_eq!(reason(watcher.next().await), "3");
    }
}
