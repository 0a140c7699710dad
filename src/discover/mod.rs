//! Backends that are looked up: by address records, by SRV records, or in a file.
//!
//! It only finds out who they are; what is made of that is the business of the pool's monitor.
