//! The one task that obeys: signals, commands, and the clock where something was left open.
//!
//! Commands are obeyed one after the other. While one is at work a request to stop is still heard.

mod reloading;
mod trial;
mod upgrading;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::server::command::{Command, Refusal, Reply};
use crate::server::upgrade::Succeeded;
use crate::server::upgrade::farewell;
use crate::server::{AdminSocket, Handle, Server, Signals, Told};
use trial::Trial;

/// How often pools are looked at while a reload waits to be confirmed, and what is no longer used is
/// let go of.
const LOOK: Duration = Duration::from_millis(100);

/// What else has to follow a reload, a floor above.
pub trait Aside: Send + Debug {
    /// A reload has begun.
    fn reloading(&mut self);
    /// Another configuration is in force.
    fn reloaded(&mut self, config: &Config);
    /// A reload is over, whatever became of it.
    fn settled(&mut self, config: &Config);

    /// What another process needs to serve in place of this one, besides what the balancer has.
    ///
    /// # Errors
    /// Why no other process can.
    fn bequest(&self) -> io::Result<Option<AdminSocket>>;

    /// The process of this id serves: whatever could be taken for it is given up.
    fn replaced(&mut self, pid: u32) -> impl Future<Output = ()> + Send;

    /// No other process serves after all: whatever one may have taken is taken back.
    fn kept(&mut self);
}

/// A running balancer that obeys.
#[derive(Debug)]
pub struct Supervisor<A> {
    server: Server,
    commands: mpsc::Receiver<Command>,
    /// What was asked while something was under way.
    waiting: VecDeque<Command>,
    aside: A,
    trial: Option<Trial>,
    /// Another process serves.
    succeeded: Option<Succeeded>,
}

/// A stop came in between.
struct Stopped;

impl<A: Aside> Supervisor<A> {
    /// Of this balancer. `None`: it has a supervisor.
    pub fn new(server: Server, aside: A) -> Option<Self> {
        let commands = server.handle().commanded()?;
        let (waiting, trial, succeeded) = (VecDeque::new(), None, None);
        Some(Self { server, commands, waiting, aside, trial, succeeded })
    }

    /// What reports read.
    pub fn handle(&self) -> &Arc<Handle> {
        self.server.handle()
    }

    /// What follows it.
    pub fn aside(&self) -> &A {
        &self.aside
    }

    /// True if another process serves.
    pub fn is_replaced(&self) -> bool {
        self.succeeded.is_some()
    }

    /// Stops gracefully, at once if a stop is asked for again; or keeps the sessions that are left if
    /// another process serves. Returns when the last one has ended, with what was there aside.
    pub async fn resign(self, signals: &mut Signals) -> A {
        match self.succeeded {
            Some(succeeded) => self.server.drain(succeeded, self.commands, signals).await,
            None => self.server.stop(signals.stop()).await,
        }
        self.aside
    }

    /// Obeys until a stop is asked for, or another process serves.
    pub async fn run(&mut self, signals: &mut Signals) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let obeyed = tokio::select! {
                told = signals.next() => match told {
                    Told::Stop => Err(Stopped),
                    // What comes of these is in the log: nobody waits for an answer.
                    Told::Reload => self.reload(None, signals).await.map(drop),
                    Told::Upgrade => self.upgrade(signals).await.map(drop),
                },
                Some(command) = next(&mut self.waiting, &mut self.commands) => {
                    self.obey(command, signals).await
                }
                heard = farewell::hear(&mut self.server.before) => {
                    self.listen(heard);
                    Ok(())
                }
                _ = look.tick() => self.look(signals).await,
            };
            if obeyed.is_err() || self.is_replaced() {
                return;
            }
        }
    }

    async fn obey(&mut self, command: Command, signals: &mut Signals) -> Result<(), Stopped> {
        match command {
            Command::Reload(confirm, reply) => {
                let reloaded = self.reload(confirm, signals).await?;
                answer(reply, reloaded);
            }
            Command::Confirm(reply) => answer(reply, self.confirm()),
            Command::Plan(file, reply) => answer(reply, self.plan(&file)),
            Command::Upgrade(reply) => {
                let upgraded = self.upgrade(signals).await?;
                answer(reply, upgraded);
            }
        }
        Ok(())
    }
}

/// The next command: what has waited comes first.
async fn next(
    waiting: &mut VecDeque<Command>,
    commands: &mut mpsc::Receiver<Command>,
) -> Option<Command> {
    match waiting.pop_front() {
        Some(command) => Some(command),
        None => commands.recv().await,
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: Reply<T>, said: Result<T, Refusal>) {
    reply.send(said).ok();
}
