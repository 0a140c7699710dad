//! HTTP listeners, a file an area.

mod backends;
mod bodies;
mod headers;
mod connections;
mod http2;
mod kills;
mod recorder;
mod retries;
mod scenarios;
mod sticky;
mod upgrades;
