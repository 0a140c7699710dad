//! HTTP listeners, a file an area.

mod kills;
mod scenarios;
