//! HTTP listeners, a file an area.

mod http2;
mod kills;
mod routes;
mod scenarios;
