//! The PROXY protocol, versions 1 and 2: whom a proxy in front speaks for, said ahead of the bytes.
//!
//! By the specification that HAProxy publishes (`proxy-protocol.txt`). What stands in a header is
//! believed, so one that breaks the specification anywhere is refused as a whole.

mod crc32c;
mod v1;
mod v2;

use std::net::SocketAddr;

pub use v1::{UNKNOWN, encode as encode_v1};
pub use v2::{LOCAL, encode as encode_v2};

/// The two ends of the connection that a proxy speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
}

/// What the first bytes of a stream are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// The beginning of a header.
    Incomplete {
        /// At least so many bytes of it are still to come, never 0: whoever reads no more than
        /// these takes nothing of what is behind the header.
        more: usize,
    },
    /// A whole header.
    Header {
        /// Whom it speaks for; `None` if it is the proxy itself, or nobody who could be named: then
        /// the addresses of the connection hold.
        addresses: Option<Addresses>,
        /// Its length in bytes.
        length: usize,
    },
}

/// What stands where a header should is none, for this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(&'static str);

/// Reads a header at the beginning of `bytes`, in either version.
///
/// # Errors
/// The bytes break the specification; said as early as they do.
pub fn decode(bytes: &[u8]) -> Result<Decoded, Invalid> {
    match bytes.first() {
        // The shortest header of all.
        None => Ok(Decoded::Incomplete { more: UNKNOWN.len() }),
        Some(b'P') => v1::decode(bytes),
        Some(b'\r') => v2::decode(bytes),
        Some(_) => Err(Invalid("it begins like neither version")),
    }
}

#[cfg(test)]
mod tests;
