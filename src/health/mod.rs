//! Health, by probes and by traffic: one monitor a pool, which alone says who may be picked.

mod adoption;
mod attempt;
mod closing;
mod first_round;
#[cfg(test)]
mod fixture;
mod following;
mod known;
mod member;
mod monitor;
mod passive;
mod probe;
mod report;
mod roster;
mod schedule;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

pub use adoption::Adoption;
pub use known::{Found, Known};
pub use monitor::{Monitor, Operator, Steering};

use crate::tls;

/// Why a pool cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The files or names of `[pool.NAME.health.tls]` are of no use.
    #[error("[pool.{pool}.health.tls]: {why}")]
    Tls {
        /// The pool.
        pool: Arc<str>,
        /// What is wrong.
        why: Box<tls::Error>,
    },
    /// A part of the http request cannot be sent.
    #[error(
        "[pool.{pool}.health] {key}: {value:?} cannot be sent ({why}); see RFC 9110 for what can"
    )]
    Request {
        /// The pool.
        pool: Arc<str>,
        /// The key in the file.
        key: &'static str,
        /// Its value, or the header's name.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}
