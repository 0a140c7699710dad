//! HTTP listeners, a file an area.

mod accounts;
mod backends;
mod balancing;
mod bodies;
mod connections;
mod headers;
mod http2;
mod kills;
mod recorder;
mod retries;
mod scenarios;
mod sticky;
mod streams;
mod upgrades;
