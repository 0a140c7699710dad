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
pub mod config;
