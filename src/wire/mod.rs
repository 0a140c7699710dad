//! Formats on the wire, as codecs over bytes: whoever has a socket reads and writes by them.

pub mod client_hello;
pub mod grpc_health;
pub mod http1;
pub mod http2;
pub mod postgres;
pub mod proxy_protocol;
