//! What a client says in HTTP/1, looked at byte by byte before a parser sees it (RFC 9112).
//!
//! Parsers take more than the RFC allows, and not all of them the same: what one takes for the end of
//! a request is for another one its middle. Here a request has one meaning or is refused. Nothing is
//! changed: what passes is what came.
//!
//! [`Screen`] looks at clients, [`doubt`] at what backends answer.

mod answers;
mod authority;
mod bytes;
mod chunks;
mod head;
mod refusal;
mod request_line;
mod upgrade;

pub use answers::doubt;
pub use refusal::{KINDS, Refusal};
pub use upgrade::asks_for_upgrade;

use chunks::Chunks;
use head::{Framing, Head, Request};

/// A head may be so long, its request line included.
pub const LONGEST_HEAD: usize = 64 * 1024;
/// A head may have so many fields, and the end of a chunked body as many.
pub const MOST_FIELDS: usize = 100;

/// Where a connection is in what its client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Between requests: nothing of the next one has come.
    Idle,
    /// In a head.
    Head,
    /// In a body.
    Body,
    /// Behind a request that asks for another protocol: what follows is not http until it is refused.
    Upgrade,
    /// Another protocol is spoken, and none of this module's business.
    Foreign,
    /// Behind a request that is the client's last on this connection: what follows is for nobody.
    Last,
}

/// Looks at what a client sends, in whatever pieces it comes. The pieces make no difference: neither
/// to what is handed on in all, nor to why the rest is not.
///
/// It keeps no bytes. Whoever reads from the client keeps what may not be handed on yet, and shows it
/// again, in front of what has come since:
///
/// ```
/// # use evenkeel::wire::http1::{Screen, Stage};
/// let mut screen = Screen::default();
/// let mut come = b"GET / HTTP/1.1\r\nHost: a".to_vec();
/// assert_eq!(screen.pass(&come), Ok(0), "a head is handed on whole, or not at all");
/// assert_eq!(screen.stage(), Stage::Head);
/// come.extend_from_slice(b"\r\n\r\nGET /");
/// let whole = screen.pass(&come).unwrap();
/// come.drain(..whole);
/// assert_eq!(come, b"GET /");
/// ```
///
/// So the parser behind it never sees the beginning of a head that is refused later, and answers
/// nothing by itself. At most [`LONGEST_HEAD`] bytes have to be kept to get on. Bodies are handed on
/// as they come, up to the first byte that is wrong.
#[derive(Debug, Default)]
pub struct Screen {
    place: Place,
}

/// Where it is, with what it has to know there.
#[derive(Debug)]
enum Place {
    Head(Head),
    Body {
        left: u64,
        after: After,
    },
    Chunks {
        chunks: Chunks,
        after: After,
    },
    Upgrade {
        is_last: bool,
    },
    Foreign,
    Last,
    /// Where it was refused.
    Refused(Stage, Refusal),
}

/// What comes behind a request.
#[derive(Debug, Clone, Copy)]
struct After {
    asks_for_upgrade: bool,
    is_last: bool,
}

impl Default for Place {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

impl From<After> for Place {
    fn from(after: After) -> Self {
        let After { asks_for_upgrade, is_last } = after;
        match (asks_for_upgrade, is_last) {
            (true, _) => Self::Upgrade { is_last },
            (false, true) => Self::Last,
            (false, false) => Self::default(),
        }
    }
}

impl From<Request> for Place {
    fn from(Request { framing, asks_for_upgrade, is_last }: Request) -> Self {
        let after = After { asks_for_upgrade, is_last };
        match framing {
            Framing::Length(0) => after.into(),
            Framing::Length(left) => Self::Body { left, after },
            Framing::Chunked => Self::Chunks { chunks: Chunks::default(), after },
        }
    }
}

impl Screen {
    /// Looks at what a client has sent: first the bytes that the last call did not hand on, then what
    /// has come since. Returns how many of them may be handed on now; fewer than all while a head is
    /// incomplete, and none where the client may not be heard ([`Stage::Upgrade`], [`Stage::Last`]).
    ///
    /// # Errors
    /// How many may be handed on, and why the next one never will be. It stays so.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, (usize, Refusal)> {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            match self.step(rest) {
                Ok(0) => return Ok(passed),
                Ok(more) => passed += more,
                Err((more, refusal)) => {
                    self.place = Place::Refused(self.stage(), refusal);
                    return Err((passed + more, refusal));
                }
            }
        }
    }

    /// Where it is; after a refusal, where it was refused.
    pub fn stage(&self) -> Stage {
        match &self.place {
            Place::Head(head) if !head.has_begun() => Stage::Idle,
            Place::Head(_) => Stage::Head,
            Place::Refused(stage, _) => *stage,
            Place::Body { .. } | Place::Chunks { .. } => Stage::Body,
            Place::Upgrade { .. } => Stage::Upgrade,
            Place::Foreign => Stage::Foreign,
            Place::Last => Stage::Last,
        }
    }

    /// The request that asked for another protocol (see [`asks_for_upgrade`]) got it: from here on
    /// everything passes.
    pub fn upgraded(&mut self) {
        self.place = Place::Foreign;
    }

    /// It did not get it, so that what follows is http. Anywhere else than behind such a request it
    /// changes nothing.
    pub fn refused(&mut self) {
        if let Place::Upgrade { is_last } = self.place {
            self.place = After { asks_for_upgrade: false, is_last }.into();
        }
    }

    /// How many bytes of `rest` may be handed on, up to the next place.
    fn step(&mut self, rest: &[u8]) -> Result<usize, (usize, Refusal)> {
        match &mut self.place {
            Place::Head(head) => {
                let Some((length, request)) = head.read(rest).map_err(|why| (0, why))? else {
                    return Ok(0);
                };
                self.place = request.into();
                Ok(length)
            }
            Place::Body { left, after } => {
                let length = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                *left -= length as u64;
                if *left == 0 {
                    self.place = (*after).into();
                }
                Ok(length)
            }
            Place::Chunks { chunks, after } => {
                let length = chunks.pass(rest)?;
                if chunks.is_over() {
                    self.place = (*after).into();
                }
                Ok(length)
            }
            Place::Foreign => Ok(rest.len()),
            Place::Upgrade { .. } | Place::Last => Ok(0),
            Place::Refused(_, refusal) => Err((0, *refusal)),
        }
    }
}

#[cfg(test)]
mod tests;
