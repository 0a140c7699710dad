//! A process that another one has taken over from: it keeps its sessions until the last has ended, and
//! goes on telling what it counts.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::api::DrainingProcess;
use crate::server::command::{Command, Refusal};
use crate::server::upgrade::Succeeded;
use crate::server::upgrade::handover::{Message, Predecessor, Successor};
use crate::server::{Handle, Ledger, Server, Signals, Told};

/// How often it tells what it has counted.
const REPORTS: Duration = Duration::from_secs(1);

/// How long that process may take to hear it. Past this it stands still, and is told nothing more: a stop
/// must not wait for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The line to the process that serves now.
#[derive(Debug)]
struct Heir {
    successor: Successor,
    /// What it has been told.
    told: Ledger,
    /// It listens no more.
    is_gone: bool,
}

/// Why the wait for the last session is over.
enum Over {
    /// It has ended.
    Ended,
    /// Too much time has passed.
    TimedOut,
    /// Somebody wants it to be over.
    Told,
}

impl Heir {
    /// Tells what has been counted since, and who drains.
    async fn report(&mut self, handle: &Handle, draining: Vec<DrainingProcess>) {
        if self.is_gone {
            return;
        }
        let now = handle.ledger();
        let figures = now.since(&self.told);
        let report = Message::Report { figures, draining };
        match timeout(PATIENCE, self.successor.say(&report, &[])).await {
            Ok(Ok(())) => self.told = now,
            Ok(Err(_)) | Err(_) => self.is_gone = true,
        }
    }

    /// Waits until it wants this process to stop.
    async fn stop(&mut self) {
        while !self.is_gone {
            match self.successor.answer().await {
                Ok(Message::Stop) => return,
                Ok(_) => {}
                Err(why) => {
                    self.is_gone = true;
                    tracing::warn!("{why}; the sessions here go on");
                }
            }
        }
        std::future::pending().await
    }
}

impl Server {
    /// Keeps the sessions that are left until the last has ended, `upgrade_timeout` has passed or a
    /// stop is asked for, here or by the process that serves. Does not end before the processes
    /// before this one have: what they count goes through here.
    pub(in crate::server) async fn drain(
        mut self,
        Succeeded { successor, told, .. }: Succeeded,
        mut commands: tokio::sync::mpsc::Receiver<Command>,
        signals: &mut Signals,
    ) {
        let left = self.leave().await;
        let mut before = self.before.take();
        let handle = std::sync::Arc::clone(&self.handle);
        let mut heir = Heir { successor, told, is_gone: false };
        let limit = handle.snapshot().config.process.upgrade_timeout;
        let mut elder = handle.draining.load().to_vec();
        let over = {
            let mut ended = std::pin::pin!(self.all_ended());
            let mut late = std::pin::pin!(wait(limit));
            let mut report = interval(REPORTS);
            report.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = &mut ended => break Over::Ended,
                    () = &mut late => break Over::TimedOut,
                    told = signals.next() => match told {
                        Told::Stop => break Over::Told,
                        Told::Reload | Told::Upgrade => {
                            tracing::info!("another process serves: signal it instead");
                        }
                    },
                    Some(command) = commands.recv() => refuse(command),
                    () = heir.stop() => break Over::Told,
                    heard = hear(&mut before) => elder = take_in(&handle, &mut before, heard),
                    _ = report.tick() => heir.report(&handle, everybody(&handle, &elder)).await,
                }
            }
        };
        match over {
            Over::Ended => {}
            Over::TimedOut => {
                let sessions = handle.sessions();
                tracing::info!(
                    sessions,
                    "upgrade_timeout has passed, ending the sessions that are left"
                );
                self.cut().await;
            }
            Over::Told => {
                if let Some(before) = &before {
                    before.stop().await;
                }
                self.hush(&left).await;
                let hurry = async {
                    tokio::select! { () = signals.stop() => {}, () = heir.stop() => {} }
                };
                self.wait_and_cut(hurry).await;
            }
        }
        // What was counted last, and what those before this one still count.
        heir.report(&handle, elder.clone()).await;
        while let Some(known) = &before {
            tracing::debug!(pid = known.pid(), "waiting for the process before");
            tokio::select! {
                told = signals.next() => if told == Told::Stop { return },
                heard = hear(&mut before) => elder = take_in(&handle, &mut before, heard),
            }
            heir.report(&handle, elder.clone()).await;
        }
    }

    async fn all_ended(&mut self) {
        for worker in &mut self.workers {
            worker.ended().await;
        }
    }
}

/// This process, and those before it.
fn everybody(handle: &Handle, elder: &[DrainingProcess]) -> Vec<DrainingProcess> {
    let mine = DrainingProcess { pid: std::process::id(), sessions: handle.sessions() };
    [&[mine], elder].concat()
}

/// What the process before has counted, and who drains there.
pub(in crate::server) type Heard = Option<(Ledger, Vec<DrainingProcess>)>;

/// Waits for a word of the process before; for ever if there is none.
pub(in crate::server) async fn hear(before: &mut Option<Predecessor>) -> Heard {
    match before {
        Some(before) => before.report().await,
        None => std::future::pending().await,
    }
}

/// Takes in what it has counted; gives who drains there, nobody once it has ended.
pub(in crate::server) fn take_in(
    handle: &Handle,
    before: &mut Option<Predecessor>,
    heard: Heard,
) -> Vec<DrainingProcess> {
    let Some((figures, draining)) = heard else {
        if let Some(ended) = before.take() {
            tracing::info!(pid = ended.pid(), "the process before this one has ended");
        }
        return Vec::new();
    };
    handle.enter(figures);
    draining
}

fn refuse(command: Command) {
    let why = || Refusal::Unready("draining, and another one serves");
    match command {
        Command::Reload(_, reply) => drop(reply.send(Err(why()))),
        Command::Confirm(reply) => drop(reply.send(Err(why()))),
        Command::Plan(_, reply) => drop(reply.send(Err(why()))),
        Command::Upgrade(reply) => drop(reply.send(Err(why()))),
    }
}

async fn wait(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}
