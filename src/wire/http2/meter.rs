//! Frames as they come, in whatever pieces.

use super::PREFACE;
use super::budget::{Budget, Flood};
use super::frame::{HEADER, Header, PEEK};

/// Looks at all that a client sends on an HTTP/2 connection, its preface included, and says when it is
/// enough. It keeps counts and the header of one frame, no payload, and changes nothing.
///
/// It does not judge whether the frames are sound: the parser behind does. What that one counts for
/// itself (streams that are reset before they are seen, CONTINUATION frames, empty frames) is counted
/// here as strictly or more so, so that it is known what a connection ends for.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes of the preface that have come.
    preface: usize,
    header: [u8; HEADER],
    /// Bytes of it that have come.
    known: usize,
    /// Bytes of the payload that have not come.
    left: usize,
    peeked: [u8; PEEK],
    /// Bytes in there.
    seen: usize,
    budget: Budget,
}

impl Meter {
    /// Counts what has come by `now`, in milliseconds since whenever.
    ///
    /// # Errors
    /// What there is too much of: these bytes should not be handed on, and nothing after them.
    pub fn pass(&mut self, mut bytes: &[u8], now: u64) -> Result<(), Flood> {
        self.budget.advance(now);
        let begin = (PREFACE.len() - self.preface).min(bytes.len());
        self.preface += begin;
        bytes = bytes.get(begin..).unwrap_or_default();
        while !bytes.is_empty() {
            let taken = if self.known < HEADER { self.head(bytes)? } else { self.payload(bytes)? };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// A request has been answered to its end.
    pub fn answered(&mut self) {
        self.budget.answered();
    }

    /// So many bytes have been sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.budget.sent(bytes);
    }

    /// Takes bytes of a header; returns how many.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, Flood> {
        let taken = fill(&mut self.header, &mut self.known, bytes);
        if self.known == HEADER {
            let header = Header::read(self.header);
            (self.left, self.peeked, self.seen) = (header.length, [0; PEEK], 0);
            if header.peek() == 0 {
                self.budget.take(header, self.peeked)?;
            }
            self.end_if_over();
        }
        Ok(taken)
    }

    /// Takes bytes of a payload; returns how many.
    fn payload(&mut self, bytes: &[u8]) -> Result<usize, Flood> {
        let bytes = bytes.get(..self.left).unwrap_or(bytes);
        let header = Header::read(self.header);
        let wanted = header.peek();
        if self.seen < wanted {
            let room = self.peeked.get_mut(..wanted).unwrap_or_default();
            fill(room, &mut self.seen, bytes);
            if self.seen == wanted {
                self.budget.take(header, self.peeked)?;
            }
        }
        self.left -= bytes.len();
        self.end_if_over();
        Ok(bytes.len())
    }

    fn end_if_over(&mut self) {
        if self.left == 0 {
            self.known = 0;
        }
    }
}

/// Fills room of which `known` bytes are taken; returns how many bytes went there.
fn fill(room: &mut [u8], known: &mut usize, bytes: &[u8]) -> usize {
    let free = room.get_mut(*known..).unwrap_or_default();
    let length = free.len().min(bytes.len());
    for (place, byte) in free.iter_mut().zip(bytes) {
        *place = *byte;
    }
    *known += length;
    length
}
