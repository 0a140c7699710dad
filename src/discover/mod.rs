//! Backends that are looked up: by address records, by SRV records, or in a file.
//!
//! It only finds out who they are; what is made of that is the business of the pool's monitor. What
//! fails or is empty changes nothing: whoever was found before is found still.

mod file;
mod pace;
mod records;
mod task;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::config::{Discover, DiscoverSource, Member};
use crate::metric::Counter;
use crate::net::Resolver;
use task::Task;

/// Looks up the backends of one pool, again and again. Dropping it ends that at once.
#[derive(Debug)]
pub struct Discovery {
    _task: JoinSet<()>,
    spec: Spec,
    found: watch::Receiver<Option<Arc<[Member]>>>,
    asked: watch::Receiver<bool>,
    hurry: Arc<Notify>,
    figures: Arc<Figures>,
}

/// What is looked up, and for whom.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The name of the pool.
    pub pool: Arc<str>,
    /// Where its backends are looked up.
    pub discover: Discover,
    /// Cap on sessions of those that have none of their own.
    pub max_sessions: u32,
    /// Whom names are asked of.
    pub resolver: Resolver,
}

/// What is counted and known of one pool's look-ups; goes on when they are set up anew.
#[derive(Debug, Default)]
pub struct Figures {
    /// Look-ups that failed, or found nothing.
    pub failures: Counter,
    state: ArcSwap<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    found_at: Option<Instant>,
    trouble: Option<Arc<str>>,
}

impl Figures {
    /// For how long the last good answer has been known; `None` if there was none yet.
    pub fn age(&self) -> Option<Duration> {
        self.state.load().found_at.map(|at| at.elapsed())
    }

    /// Why the last look-up failed; `None` if it did not.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.state.load().trouble.clone()
    }

    fn succeeded(&self) {
        self.state.store(Arc::new(State { found_at: Some(Instant::now()), trouble: None }));
    }

    fn failed(&self, why: &str) {
        self.failures.increment();
        let found_at = self.state.load().found_at;
        self.state.store(Arc::new(State { found_at, trouble: Some(Arc::from(why)) }));
    }
}

impl Discovery {
    /// Begins to look up. What is known of `before`, the look-ups of the same pool until now, goes on.
    ///
    /// Must be called inside a tokio runtime, on which it stays.
    pub fn start(spec: Spec, before: Option<&Self>) -> Self {
        let figures = before.map(|it| Arc::clone(&it.figures)).unwrap_or_default();
        let known = before.and_then(|it| it.found.borrow().clone());
        Self::begin(spec, known, figures)
    }

    /// Begins to look up where another process has found these; they hold until there is an answer.
    ///
    /// Must be called inside a tokio runtime, on which it stays.
    pub fn resume(spec: Spec, known: Vec<Member>) -> Self {
        let known = (!known.is_empty()).then(|| known.into());
        Self::begin(spec, known, Arc::default())
    }

    fn begin(spec: Spec, known: Option<Arc<[Member]>>, figures: Arc<Figures>) -> Self {
        let (tell, found) = watch::channel(known);
        let (answered, asked) = watch::channel(false);
        let hurry = Arc::<Notify>::default();
        let task =
            Task::new(spec.clone(), tell, answered, Arc::clone(&hurry), Arc::clone(&figures));
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run());
        Self { _task: tasks, spec, found, asked, hurry, figures }
    }

    /// What is looked up.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// True if there is nothing to set up anew for `spec`.
    pub fn fits(&self, spec: &Spec) -> bool {
        let ours = &self.spec;
        ours.pool == spec.pool
            && ours.discover == spec.discover
            && ours.max_sessions == spec.max_sessions
            && ours.resolver.is_like(&spec.resolver)
    }

    /// Waits until the first look-up has ended, well or not: 5 s at most, for a file as long as it
    /// takes to read it.
    pub async fn first_answer(&self) {
        // An error means that the task is gone, and nothing will ever come.
        self.asked.clone().wait_for(|asked| *asked).await.ok();
    }

    /// The backends found last, all of them, and word of each change; `None` until there were some.
    pub fn found(&self) -> watch::Receiver<Option<Arc<[Member]>>> {
        self.found.clone()
    }

    /// To be notified when something has failed: then it is looked up at once, though once a second at
    /// most.
    pub fn hurrier(&self) -> Arc<Notify> {
        Arc::clone(&self.hurry)
    }

    /// What is counted and known.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }
}

/// Where backends are looked up, as log and status say it.
pub fn source(source: &DiscoverSource) -> String {
    match source {
        DiscoverSource::Dns(host, port) => format!("dns {host}:{port}"),
        DiscoverSource::Srv(name) => format!("srv {name}"),
        DiscoverSource::File(path) => format!("file {}", path.display()),
    }
}

#[cfg(test)]
mod tests;
