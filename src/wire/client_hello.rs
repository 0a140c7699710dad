//! The first flight of TLS: which name a client asks for, before anybody answers (RFC 8446, 4.1.2).
//!
//! Nothing is decided here and nothing is kept of the bytes but what was asked for.

/// Room for a ClientHello, framing included. What is longer is none: real ones stay far below, even
/// with post-quantum key shares and a ticket.
pub const LONGEST: usize = 64 * 1024;

/// What a client asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// In lower case and without a dot at the end; `None` if there is none, or one that cannot be a
    /// host name, as an address.
    pub server_name: Option<String>,
    /// The application protocols offered, in order.
    pub alpn: Vec<Vec<u8>>,
}

/// What a first flight is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A whole ClientHello.
    Hello(ClientHello),
    /// It may become one.
    Incomplete,
    /// No TLS, or broken.
    Foreign,
}

/// Reads a first flight as it grows, each byte once.
#[derive(Debug, Default)]
pub struct Reader {}

impl Reader {
    /// `flight` is all that has come so far: the bytes of earlier calls, and more.
    pub fn read(&mut self, flight: &[u8]) -> Decoded {
        if flight.is_empty() { Decoded::Incomplete } else { Decoded::Foreign }
    }
}
