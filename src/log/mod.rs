//! What the program says: its own log on standard error, and one access line a session.
//!
//! A log is never waited for. Each destination has a thread of its own behind a bounded queue; a
//! full queue or a reader that has gone costs lines, which are counted, and never traffic.

mod access;
mod program;
mod writer;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::{self, Access, Level};
use crate::metric::Counter;
pub use access::AccessLog;
use access::Slot;
use program::Dial;
use writer::{Lost, Queue, Sink};

/// How long a thread that is about to panic waits for its last words to be written.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The open destinations of both logs.
#[derive(Debug)]
pub struct Log {
    program: Queue,
    access: Slot,
    lost: Lost,
    spec: ArcSwap<config::Log>,
    /// Turns the program log of the process; not there for a log within a test.
    dial: OnceLock<Dial>,
}

/// A log as a new file wants it: opened, and not in force yet. Dropping it changes nothing.
#[derive(Debug)]
pub struct Prepared {
    spec: config::Log,
    /// What the slot will lead to.
    queue: Option<Queue>,
    slot: Slot,
}

impl Prepared {
    /// Where sessions will be written; `None` if they will not be. Until it is applied, what is
    /// written there goes where it went before.
    pub fn access(&self) -> Option<AccessLog> {
        self.queue.is_some().then(|| AccessLog::new(&self.slot))
    }
}

/// Opens the destinations and makes the program log that of the whole process.
///
/// `EVENKEEL_LOG` overrides the level. Fails if a destination cannot be opened, or if the process
/// has a program log already.
pub fn start(spec: &config::Log) -> io::Result<Log> {
    let log = Log::open(spec)?;
    let (level, complaint) = level(spec.level);
    let (subscriber, dial) = program::subscriber(log.program.clone(), level, spec.format);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| io::Error::other("the program log was started before in this process"))?;
    log.dial.get_or_init(|| dial);
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    report_panics(log.program.clone());
    Ok(log)
}

fn level(file: Level) -> (Level, Option<String>) {
    program::level(file, std::env::var("EVENKEEL_LOG").ok())
}

/// The standard hook writes to standard error itself, and so would wait for whoever reads it.
fn report_panics(program: Queue) {
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("this is a bug in evenkeel: {panic}");
        program.flush(LAST_WORDS);
    }));
}

impl Log {
    /// Opens the destinations and leaves the process as it is: for servers within a test.
    pub fn open(spec: &config::Log) -> io::Result<Self> {
        let lost = Lost::default();
        let program = Queue::start("stderr", Sink::stderr()?, lost.clone())?;
        let log = Self {
            program,
            access: Slot::default(),
            lost,
            spec: ArcSwap::from_pointee(config::Log { access: Access::Off, ..spec.clone() }),
            dial: OnceLock::new(),
        };
        let prepared = log.prepare(spec)?;
        log.apply(prepared);
        Ok(log)
    }

    /// Opens what a new file wants. A file is opened anew even if it is the same one: rotation may
    /// have moved it away.
    ///
    /// # Errors
    /// A destination cannot be opened. Nothing has changed then, nor has it before [`Log::apply`].
    pub fn prepare(&self, spec: &config::Log) -> io::Result<Prepared> {
        let start = |name, sink| Queue::start(name, sink, self.lost.clone()).map(Some);
        let before = self.access.load_full();
        let queue = match &spec.access {
            Access::Off => None,
            // Two threads on one stream would cut into each other's lines.
            Access::Stderr => Some(self.program.clone()),
            Access::Stdout => match before {
                Some(queue) if self.spec.load().access == Access::Stdout => Some((*queue).clone()),
                _ => start("stdout", Sink::stdout()?)?,
            },
            Access::File(path) => start("access", Sink::file(path)?)?,
        };
        Ok(Prepared { spec: spec.clone(), queue, slot: Arc::clone(&self.access) })
    }

    /// Puts it in force: level, format, and where access lines go, also those of sessions that are
    /// there already. What was said before is still written where it belonged.
    pub fn apply(&self, prepared: Prepared) {
        let Prepared { spec, queue, .. } = prepared;
        self.access.store(queue.map(Arc::new));
        if let Some(dial) = self.dial.get() {
            dial.turn(level(spec.level).0, spec.format);
        }
        self.spec.store(Arc::new(spec));
    }

    /// Where finished sessions are written; `None` if they are not.
    pub fn access(&self) -> Option<AccessLog> {
        self.access.load().is_some().then(|| AccessLog::new(&self.access))
    }

    /// Access lines lost so far, for the metric.
    pub fn access_dropped(&self) -> Arc<Counter> {
        Arc::clone(&self.lost.access)
    }

    /// Opens the access file anew, after a rotation has moved the old one away.
    pub fn reopen(&self) -> io::Result<()> {
        let prepared = self.prepare(&self.spec.load_full())?;
        self.apply(prepared);
        Ok(())
    }

    /// Waits at most `patience` until everything said so far is written. False if it was not.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let written = self.access.load_full().is_none_or(|queue| queue.flush(patience));
        self.program.flush(until.saturating_duration_since(Instant::now())) && written
    }

    /// Program log lines lost so far.
    pub fn program_dropped(&self) -> u64 {
        self.lost.program.get()
    }
}
