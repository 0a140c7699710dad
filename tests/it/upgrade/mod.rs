//! Upgrades: another process takes over, and nobody notices.

mod storms;
