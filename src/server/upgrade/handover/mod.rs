//! An upgrade, as two processes make it: [`Successor`] is the new one as the old one sees it,
//! [`Predecessor`] the old one as the new one does.
//!
//! They talk over a pair of sockets, of which one end is the new one's standard input: no path, no
//! race, nobody else. See `docs/decisions/0034-an-upgrade-is-a-conversation-of-two-processes.md`.

mod channel;
mod estate;
mod message;
mod predecessor;
mod successor;

pub(super) use channel::BATCH;
pub(super) use channel::Broken;
pub(super) use estate::Estate;
pub use estate::{AdminSocket, Known};
pub(super) use message::{Home, Message, Whose};
pub use predecessor::{Legacy, Line, Predecessor, Suspended};
pub(super) use successor::{Failed, Successor};

/// Set for a process that is started to take over.
pub(super) const UPGRADE: &str = "EVENKEEL_UPGRADE";
