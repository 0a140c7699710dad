//! Formats on the wire, as codecs over bytes: whoever has a socket reads and writes by them.

pub mod proxy_protocol;
