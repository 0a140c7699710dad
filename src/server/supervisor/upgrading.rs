//! What the supervisor does for an upgrade: has another process take over, and goes on if it does not.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use crate::api;
use crate::server::command::{Command, Refusal};
use crate::server::supervisor::{Aside, Stopped, Supervisor, answer};
use crate::server::upgrade::farewell::{self, Heard};
use crate::server::{Server, Signals, Told};

/// Why nothing else is done.
const UPGRADING: &str = "an upgrade is under way: try again when it is over";

impl<A: Aside> Supervisor<A> {
    /// Takes in what the process before this one tells.
    pub(super) fn listen(&mut self, heard: Heard) {
        let Server { handle, before, .. } = &mut self.server;
        let draining = farewell::take_in(handle, before, heard);
        handle.draining.store(Arc::new(draining));
    }

    /// Has another process take over. While that one gets ready, everything is answered.
    pub(super) async fn upgrade(
        &mut self,
        signals: &mut Signals,
    ) -> Result<Result<api::Upgraded, Refusal>, Stopped> {
        if self.trial.is_some() {
            let why = "a reload waits to be confirmed, and a new process would read the new file: \
                       `evenkeel confirm` first";
            return Ok(Err(self.not_upgraded(Refusal::Conflict(why.to_owned()))));
        }
        let admin = match self.aside.bequest() {
            Ok(admin) => admin,
            Err(why) => return Ok(Err(self.not_upgraded(Refusal::Failed(why.to_string())))),
        };
        let Self { server, commands, waiting, .. } = self;
        let handed = {
            let mut handed = pin!(server.hand_over(admin));
            loop {
                tokio::select! {
                    handed = &mut handed => break Ok(handed),
                    told = signals.next() => match told {
                        Told::Stop => break Err(Stopped),
                        Told::Reload => tracing::error!("SIGHUP: {UPGRADING}"),
                        Told::Upgrade => tracing::error!("SIGUSR2: {UPGRADING}"),
                    },
                    Some(command) = commands.recv() => put_off(command, waiting),
                }
            }
        };
        match handed {
            Ok(Ok(succeeded)) => {
                self.aside.replaced(succeeded.upgraded.pid).await;
                let upgraded = succeeded.upgraded.clone();
                let api::Upgraded { pid, version, sessions } = &upgraded;
                tracing::info!(
                    pid,
                    version,
                    sessions,
                    "upgraded: another process serves, the sessions here go on until they end"
                );
                let (mine, reason) =
                    (std::process::id().to_string(), format!("it runs version {version}"));
                self.server.tell_of_upgrade(mine, pid.to_string(), reason);
                self.succeeded = Some(succeeded);
                Ok(Ok(upgraded))
            }
            Ok(Err(why)) => {
                self.server.resume().await;
                self.aside.kept();
                Ok(Err(self.not_upgraded(Refusal::Failed(why.to_string()))))
            }
            Err(Stopped) => {
                tracing::warn!("upgrade given up: the process is to stop");
                self.server.resume().await;
                Err(Stopped)
            }
        }
    }

    fn not_upgraded(&self, refusal: Refusal) -> Refusal {
        tracing::error!("upgrade failed, this process serves on: {refusal}");
        let mine = std::process::id().to_string();
        self.server.tell_of_upgrade(mine, "failed".to_owned(), refusal.to_string());
        refusal
    }
}

/// During an upgrade: refuses what cannot be meant for later.
fn put_off(command: Command, waiting: &mut VecDeque<Command>) {
    let conflict = || Refusal::Conflict(UPGRADING.to_owned());
    match command {
        Command::Reload(_, reply) => answer(reply, Err(conflict())),
        Command::Confirm(reply) => answer(reply, Err(conflict())),
        Command::Upgrade(reply) => answer(reply, Err(conflict())),
        plan @ Command::Plan(..) => waiting.push_back(plan),
    }
}
