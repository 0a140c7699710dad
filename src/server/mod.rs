//! Ownership of everything that lives: sockets, pools, monitors, workers, and their order of life.
//!
//! `Bound` holds sockets that do not listen yet, so a start that fails has disturbed nobody;
//! `Server` is a running balancer.

pub mod activation;
mod automation;
pub mod changes;
mod command;
mod discovery;
mod inheritance;
mod ledger;
mod limits;
mod monitors;
mod notify;
mod privileges;
mod reload;
mod running;
mod signals;
mod snapshot;
mod sockets;
mod start;
mod supervisor;
mod upgrade;
mod views;
mod warnings;
mod workers;
mod world;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::acme;
use crate::health;
pub use crate::health::Steering;
pub use crate::listener::{Asked, Fate, Foretold};
use crate::net::BindError;
pub use crate::route::{Miss, Signpost};
use crate::tls;
pub use command::{Refusal, Reloads};
pub use discovery::DiscoveryView;
pub use inheritance::{Inheritance, Inherited};
pub use ledger::Ledger;
pub use limits::{descriptors_for, hard_limit_of_open_files, raise_open_files};
pub use notify::ServiceManager;
pub use privileges::{Account, PrivilegeError};
pub use running::Server;
pub use signals::{Signals, Told};
pub use snapshot::{Handle, ListenerView, Snapshot, SteerError};
pub use start::{Bound, Poised};
pub use supervisor::{Aside, Supervisor};
pub use upgrade::{AdminSocket, Known, Legacy, Line, Predecessor, Retreat, Suspended, Taken};
pub use warnings::{broken_promises, expired};
pub use workers::{clock_step, count as workers};

/// Why a balancer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One or more addresses could not be bound.
    #[error("{}", join(.0))]
    Bind(Vec<BindError>),
    /// A pool's health check cannot work.
    #[error(transparent)]
    Health(#[from] health::StartError),
    /// The files of `[listener.NAME.tls]` are of no use.
    #[error("[listener.{listener}.tls]: {why}")]
    ListenerTls {
        /// The listener.
        listener: Arc<str>,
        /// What is wrong.
        why: Box<tls::Error>,
    },
    /// Automatic certificates cannot be kept.
    #[error(transparent)]
    Acme(#[from] acme::Error),
    /// The files or names of `[pool.NAME.tls]` are of no use.
    #[error("[pool.{pool}.tls]: {why}")]
    Tls {
        /// The pool.
        pool: Arc<str>,
        /// What is wrong.
        why: Box<tls::Error>,
    },
    /// The secret of a pool's cookie cannot be read.
    #[error("[pool.{pool}.sticky] secret_file {}: {why}", file.display())]
    CookieSecret {
        /// The pool.
        pool: Arc<str>,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A thread or a listening socket was refused.
    #[error("cannot {what}: {why}")]
    Kernel {
        /// What was tried.
        what: String,
        /// Why not.
        why: io::Error,
    },
}

fn join(errors: &[BindError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
