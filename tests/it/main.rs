//! The integration tests: the real binary, seen from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod harness;

mod access;
mod admin;
mod backend_tls;
mod balance;
mod bench_of_servers;
mod certificates;
mod close;
mod commands;
mod config_errors;
mod config_tls;
mod death;
mod endings;
mod events;
mod explain;
mod faults;
mod hash;
mod health;
mod least;
mod limits;
mod names;
mod networks;
mod operate;
mod passive;
mod privileges;
mod probe_tls;
mod proxy_protocol;
mod queue;
mod real;
mod relay;
mod route;
mod signals;
mod sni;
mod sticky;
mod terminate;
mod tiers;
mod top;
mod udp;
mod ways_in;
mod web;
