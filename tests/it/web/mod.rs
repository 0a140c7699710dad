//! HTTP listeners, a file an area.

mod backends;
mod http2;
mod kills;
mod scenarios;
mod sticky;
