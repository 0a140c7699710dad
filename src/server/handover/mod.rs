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

pub use estate::AdminSocket;
pub use predecessor::{Legacy, Line, Predecessor, Suspended, Unheard};

/// Set for a process that is started to take over.
pub const UPGRADE: &str = "EVENKEEL_UPGRADE";
