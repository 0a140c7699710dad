//! What the tests stand on: the balancer as a child process, clients, servers with vices, waiting.
//!
//! Nothing here knows a test, and nothing here calls into the library: the balancer is seen only
//! through its sockets, its files and its exit code.

pub(crate) mod anybody;
pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod dns;
pub(crate) mod evenkeel;
pub(crate) mod files;
pub(crate) mod hello;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod metrics;
pub(crate) mod namespace;
pub(crate) mod pattern;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod reloads;
pub(crate) mod seat;
pub(crate) mod servers;
pub(crate) mod storm;
pub(crate) mod udp;
pub(crate) mod upgrades;
pub(crate) mod wait;
pub(crate) mod whoami;
