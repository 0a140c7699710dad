//! What the program says: its own log on standard error, and one access line a session.
//!
//! A log is never waited for. Each destination has a thread of its own behind a bounded queue; a
//! full queue or a reader that has gone costs lines, which are counted, and never traffic.

mod access;
mod program;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config;
use crate::metric::Counter;
pub use access::AccessLog;
use writer::{Lost, Queue, Sink};

/// How long a thread that is about to panic waits for its last words to be written.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The open destinations of both logs.
#[derive(Debug)]
pub struct Log {
    program: Queue,
    access: Option<Queue>,
    lost: Lost,
    spec: config::Log,
}

/// Opens the destinations and makes the program log that of the whole process.
///
/// `EVENKEEL_LOG` overrides the level. Fails if a destination cannot be opened, or if the process
/// has a program log already.
pub fn start(spec: &config::Log) -> io::Result<Log> {
    let log = Log::open(spec)?;
    let (level, complaint) = program::level(spec.level, std::env::var("EVENKEEL_LOG").ok());
    let subscriber = program::subscriber(log.program.clone(), level, spec.format);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| io::Error::other("the program log was started before in this process"))?;
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    report_panics(log.program.clone());
    Ok(log)
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
        let access = match &spec.access {
            config::Access::Off => None,
            // Two threads on one stream would cut into each other's lines.
            config::Access::Stderr => Some(program.clone()),
            config::Access::Stdout => Some(Queue::start("stdout", Sink::stdout()?, lost.clone())?),
            config::Access::File(path) => {
                Some(Queue::start("access", Sink::file(path)?, lost.clone())?)
            }
        };
        Ok(Self { program, access, lost, spec: spec.clone() })
    }

    /// Where finished sessions are written; `None` if they are not.
    pub fn access(&self) -> Option<AccessLog> {
        self.access.clone().map(AccessLog::new)
    }

    /// Access lines lost so far, for the metric.
    pub fn access_dropped(&self) -> Arc<Counter> {
        Arc::clone(&self.lost.access)
    }

    /// Opens the access file anew, after a rotation has moved the old one away.
    pub fn reopen(&self) -> io::Result<()> {
        match (&self.spec.access, &self.access) {
            (config::Access::File(path), Some(queue)) => queue.replace(Sink::file(path)?),
            _ => Ok(()),
        }
    }

    /// Waits at most `patience` until everything said so far is written. False if it was not.
    pub fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let written = self.access.as_ref().is_none_or(|queue| queue.flush(patience));
        self.program.flush(until.saturating_duration_since(Instant::now())) && written
    }

    /// Program log lines lost so far.
    pub fn program_dropped(&self) -> u64 {
        self.lost.program.get()
    }
}
