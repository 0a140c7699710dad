//! What a client says in HTTP/2, counted frame by frame before a parser sees it (RFC 9113).
//!
//! Some frames cost the sender little and the receiver much. Who sends many of them and asks for
//! little else is shut out.

mod budget;
mod frame;
mod meter;

pub use budget::Flood;
pub use meter::Meter;

/// What an HTTP/2 connection begins with (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The last frame to a client that is shut out: GOAWAY, ENHANCE_YOUR_CALM (RFC 9113, 6.8 and 7).
pub const GO_AWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11];

#[cfg(test)]
mod tests;
