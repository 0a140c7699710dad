//! Upgrades: another process takes over, and nobody notices.

mod draining;
mod failures;
mod handover;
mod storms;
