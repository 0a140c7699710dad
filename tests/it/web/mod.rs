//! HTTP listeners, a file an area.

mod accounts;
mod backends;
mod balancing;
mod http2;
mod kills;
mod scenarios;
mod sticky;
