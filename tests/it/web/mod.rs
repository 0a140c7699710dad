//! HTTP listeners, a file an area.

mod backends;
mod connections;
mod http2;
mod kills;
mod scenarios;
mod sticky;
