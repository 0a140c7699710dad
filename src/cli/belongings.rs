//! What belongs to the process and not to the balancer: its admin interface, its pid file, what the
//! service manager is told of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::count;
use super::pid_file::PidFile;
use crate::admin;
use crate::config::Config;
use crate::log::Log;
use crate::server::{AdminSocket, Aside, Handle, ServiceManager};

/// What belongs to the process and not to the balancer.
#[derive(Debug)]
pub(super) struct Belongings {
    /// The admin interface; ends with the balancer.
    pub(super) admin: JoinSet<()>,
    /// Its socket, to be handed on.
    pub(super) socket: Option<AdminSocket>,
    pub(super) token: Option<Arc<admin::Token>>,
    pub(super) pid_file: Option<PidFile>,
    pub(super) manager: ServiceManager,
    pub(super) handle: Arc<Handle>,
    /// Another process can be started in place of this one.
    pub(super) is_replaceable: bool,
}

impl Aside for Belongings {
    fn reloading(&mut self) {
        self.manager.reloading();
    }

    fn settled(&mut self, config: &Config) {
        self.manager.ready(&at_work(config));
    }

    fn reloaded(&mut self, config: &Config) {
        if let Some(Err(error)) = self.token.as_deref().map(admin::Token::read_again) {
            tracing::error!(%error, "cannot read admin.token_file, the old token holds");
        }
        if let Err(error) = self.move_pid_file(config.process.pid_file.as_ref()) {
            tracing::error!("{error:#}; the old one stays");
        }
    }

    fn bequest(&self) -> io::Result<Option<AdminSocket>> {
        if !self.is_replaceable {
            return Err(io::Error::other("a demo is not replaced: start it anew"));
        }
        let share = |socket: &AdminSocket| {
            let fd = socket.fd.try_clone()?;
            Ok(AdminSocket { address: socket.address.clone(), fd })
        };
        self.socket.as_ref().map(share).transpose()
    }

    async fn replaced(&mut self, pid: u32) {
        self.manager.main_pid(pid);
        self.socket = None;
        self.handle.retreat.ask().await;
        // It holds another id by now.
        self.pid_file = None;
    }

    fn kept(&mut self) {
        // The other process may have come as far as to write its own.
        if let Err(error) = self.write_pid() {
            tracing::error!("{error:#}");
        }
    }
}

impl Belongings {
    /// Opens the admin interface.
    pub(super) fn open_admin(&mut self, admin: Option<admin::Bound>, log: &Log) {
        let Some(admin) = admin else { return };
        let (handle, dropped) = (Arc::clone(&self.handle), log.access_dropped());
        self.admin.spawn(async move {
            if let Err(error) = admin.serve(handle, dropped).await {
                tracing::error!(%error, "the admin interface cannot serve");
            }
        });
    }

    /// Writes the pid file, which says that the balancer is ready.
    pub(super) fn write_pid(&self) -> anyhow::Result<()> {
        self.pid_file.as_ref().map_or(Ok(()), PidFile::write)
    }

    /// The process id stands in this file from now on.
    fn move_pid_file(&mut self, path: Option<&PathBuf>) -> anyhow::Result<()> {
        if self.pid_file.as_ref().map(PidFile::path) == path.map(PathBuf::as_path) {
            return Ok(());
        }
        let moved = path.cloned().map(PidFile::open).transpose()?;
        moved.as_ref().map_or(Ok(()), PidFile::write)?;
        self.pid_file = moved;
        Ok(())
    }
}

/// What serves, in one line.
pub(super) fn at_work(config: &Config) -> String {
    let (listeners, pools) = (config.listeners.len() as u64, config.pools.len() as u64);
    format!("serving: {}, {}", count(listeners, "listener"), count(pools, "pool"))
}
