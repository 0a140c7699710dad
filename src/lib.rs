//! Evenkeel: a load balancer for TCP and UDP that says how it fails before it does.
//!
//! This is the code map; `docs/architecture.md` has the ways through it, `docs/decisions/` the
//! reasons. A module imports only from lower floors, which `tests/architecture.rs` enforces.
//!
//! | floor | module | what it is for |
//! | --- | --- | --- |
//! | 0 | [`addr`] | addresses by role, paths in one form |
//! | 0 | [`metric`] | counters that the data path may touch |
//! | 0 | [`outcome`] | closed lists: how sessions end, why clients are turned away |
//! | 0 | [`wire`] | formats on the wire: the PROXY protocol, the ClientHello of TLS |
//! | 1 | [`api`] | the JSON of the admin interface, for both ends of it |
//! | 1 | [`config`] | the file: text to checked values, and back |
//! | 1 | [`event`] | changes of state, for those who watch |
//! | 1 | [`lookout`] | hears of changes to files, whatever way they come about |
//! | 1 | [`net`] | sockets, and a worker's own epoll set |
//! | 1 | [`record`] | the line that a session leaves |
//! | 1 | [`session`] | a worker's live sessions, their limits, its clock |
//! | 2 | [`admission`] | who is let in, and what is counted of those who are not |
//! | 2 | [`log`] | program log and access log, which nobody waits for |
//! | 2 | [`pool`] | backends, the list of those that may be picked, policies |
//! | 2 | [`route`] | which way a session or a request goes |
//! | 2 | [`tls`] | TLS sessions, their settings, certificates and keys |
//! | 3 | [`relay`] | bytes both ways |
//! | 3 | [`upstream`] | reaching a backend: pick, dial, try elsewhere |
//! | 4 | [`acme`] | certificates that are asked for and renewed by themselves |
//! | 4 | [`certificates`] | certificate files under watch, and when they end |
//! | 4 | [`discover`] | backends that are looked up |
//! | 4 | [`health`] | a monitor a pool, which alone says who may be picked |
//! | 4 | [`http`] | a request on one page |
//! | 4 | [`tcp`] | one session on one page |
//! | 4 | [`udp`] | flows: the life of a datagram on one page |
//! | 5 | [`listener`] | accepting, admission, PROXY headers, workers |
//! | 6 | [`server`] | the order of life of all of it |
//! | 7 | [`admin`] | status, readiness, metrics, events and dry runs over HTTP; an operator's wishes |
//! | 8 | [`cli`] | the commands |
//!
//! To find one's way: [`tcp::serve`] is a session from its pick to its record,
//! [`pool::Entrance::pick`] the pick, [`relay::run`] the bytes, [`server::Bound`] the start,
//! [`config::load`] the file. The library is there for the binary, its tests, benchmarks and
//! fuzzers; it promises nobody a stable interface.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )
)]

pub mod acme;
pub mod addr;
pub mod admin;
pub mod admission;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod config;
pub mod discover;
pub mod event;
pub mod health;
pub mod http;
pub mod listener;
pub mod log;
pub mod lookout;
pub mod metric;
pub mod net;
pub mod outcome;
pub mod pool;
pub mod record;
pub mod relay;
pub mod route;
pub mod server;
pub mod session;
pub mod tcp;
pub mod tls;
pub mod udp;
pub mod upstream;
pub mod wire;
