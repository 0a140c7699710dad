//! Evenkeel: a load balancer for TCP that says how it fails before it does.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )
)]

pub mod addr;
pub mod admin;
pub mod api;
pub mod cli;
pub mod config;
pub mod health;
pub mod listener;
pub mod log;
pub mod metric;
pub mod net;
pub mod outcome;
pub mod pool;
pub mod record;
pub mod relay;
pub mod server;
pub mod session;
pub mod tcp;
pub mod tls;
pub mod upstream;
