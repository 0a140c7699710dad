//! Ownership of everything that lives.

mod snapshot;

pub use snapshot::{Handle, ListenerView, Snapshot};
