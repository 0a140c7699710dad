//! The first flight of TLS: which name a client asks for, before anybody answers (RFC 8446, 4.1.2).
//!
//! A ClientHello comes in any number of records, and these in any number of segments. Only the frames
//! of the records are looked at until all of it is there, and nothing is kept of the bytes: they go
//! on to the backend as they came.

mod message;

use std::borrow::Cow;
use std::ops::Range;

pub use message::host_name;

/// Room for a ClientHello, framing included. What is longer is none: real ones stay far below, even
/// with post-quantum key shares and a ticket.
pub const LONGEST: usize = 64 * 1024;

/// The first byte of every TLS connection: the type of a record that carries a handshake.
pub const FIRST_BYTE: u8 = 22;

/// What TLS says to whoever sends what cannot be read: a fatal alert (RFC 8446, 6.2).
pub const DECODE_ERROR: &[u8] = &[21, MAJOR_VERSION, 3, 0, 2, 2, 50];

/// The second: of all versions since SSL 3.
const MAJOR_VERSION: u8 = 3;
/// Bytes before the content of a record: type, version, length.
const RECORD_HEADER: usize = 5;
/// The longest content of a record in cleartext (RFC 8446, 5.1).
const RECORD: usize = 1 << 14;
/// Bytes before the body of a handshake message: type and length.
const MESSAGE_HEADER: usize = 4;
/// The type of a ClientHello among the handshake messages.
const CLIENT_HELLO: u8 = 1;

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

/// Reads a first flight as it grows: the header of each record once, and the message once it is
/// complete, however the bytes arrive.
#[derive(Debug, Default)]
pub struct Reader {
    /// Where the next record begins.
    next: usize,
    /// Bytes of the message in the records before it.
    known: usize,
    /// The first of them.
    head: [u8; MESSAGE_HEADER],
}

/// Why there is no ClientHello.
#[derive(Debug, Clone, Copy)]
enum Missing {
    Incomplete,
    Foreign,
}

impl Reader {
    /// `flight` is all that has come so far: the bytes of earlier calls, and more. It is never
    /// incomplete once there are [`LONGEST`] of them.
    pub fn read(&mut self, flight: &[u8]) -> Decoded {
        match self.advance(flight) {
            Ok(hello) => Decoded::Hello(hello),
            Err(Missing::Incomplete) => Decoded::Incomplete,
            Err(Missing::Foreign) => Decoded::Foreign,
        }
    }

    fn advance(&mut self, flight: &[u8]) -> Result<ClientHello, Missing> {
        loop {
            let record = record(flight, self.next)?;
            let come = flight.get(record.start..record.end.min(flight.len())).unwrap_or_default();
            let (head, known) = (self.head_with(come), self.known + come.len());
            let length = (known >= MESSAGE_HEADER).then(|| message_length(head));
            // It is our turn then: no other message may follow in the same record.
            let is_passed = |length| length > LONGEST || self.known + record.len() > length;
            let is_other = known > 0 && head.first() != Some(&CLIENT_HELLO);
            if is_other || length.is_some_and(is_passed) {
                return Err(Missing::Foreign);
            }
            if come.len() < record.len() {
                return Err(Missing::Incomplete);
            }
            (self.next, self.known, self.head) = (record.end, known, head);
            if length == Some(known) {
                let message = gather(flight, known)?;
                let body = message.get(MESSAGE_HEADER..).unwrap_or_default();
                return message::read(body).ok_or(Missing::Foreign);
            }
        }
    }

    /// The first bytes of the message, with those that `come` next.
    fn head_with(&self, come: &[u8]) -> [u8; MESSAGE_HEADER] {
        let mut head = self.head;
        for (place, byte) in head.iter_mut().skip(self.known).zip(come) {
            *place = *byte;
        }
        head
    }
}

/// Where the content of the record that begins at `at` is, or will be.
fn record(flight: &[u8], at: usize) -> Result<Range<usize>, Missing> {
    let start = at + RECORD_HEADER;
    let mut header = flight.get(at..).unwrap_or_default().iter();
    let is_fit = |byte: Option<&u8>, fit| byte.is_none_or(|byte| *byte == fit);
    let is_ours = is_fit(header.next(), FIRST_BYTE) && is_fit(header.next(), MAJOR_VERSION);
    if !is_ours || start > LONGEST {
        return Err(Missing::Foreign);
    }
    let Some(&[high, low]) = flight.get(start - 2..start) else { return Err(Missing::Incomplete) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let is_fit = (1..=RECORD).contains(&length) && start + length <= LONGEST;
    if is_fit { Ok(start..start + length) } else { Err(Missing::Foreign) }
}

/// The length of a handshake message, its header included.
fn message_length([_, high, middle, low]: [u8; MESSAGE_HEADER]) -> usize {
    let body = u32::from_be_bytes([0, high, middle, low]);
    usize::try_from(body).map_or(usize::MAX, |body| body.saturating_add(MESSAGE_HEADER))
}

/// The first `length` bytes of what the records carry. Nearly always it is one record.
fn gather(flight: &[u8], length: usize) -> Result<Cow<'_, [u8]>, Missing> {
    let mut carried = record(flight, 0)?;
    let mut message = Cow::Borrowed(flight.get(carried.clone()).unwrap_or_default());
    while message.len() < length {
        carried = record(flight, carried.end)?;
        message.to_mut().extend_from_slice(flight.get(carried.clone()).unwrap_or_default());
    }
    Ok(message)
}

#[cfg(test)]
mod tests;
