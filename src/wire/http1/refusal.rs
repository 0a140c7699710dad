//! Why a client is not listened to any longer, and what it is told.

/// Why a client is not listened to any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What it is answered: 400, 405, 431 or 505.
    pub status: u16,
    /// In words, for the log.
    pub why: &'static str,
    /// The word for it in metrics, one of [`KINDS`].
    pub kind: &'static str,
}

/// The words in [`Refusal::kind`].
pub const KINDS: [&str; 4] = [MALFORMED, FRAMING, HEADER_BOMB, UNSUPPORTED];

const MALFORMED: &str = "malformed";
const FRAMING: &str = "framing";
const HEADER_BOMB: &str = "header-bomb";
const UNSUPPORTED: &str = "unsupported";

/// It breaks the grammar.
pub(super) const fn malformed(why: &'static str) -> Refusal {
    Refusal { status: 400, why, kind: MALFORMED }
}

/// Two parsers could take it for two things: where it ends, or whom it is for.
pub(super) const fn ambiguous(why: &'static str) -> Refusal {
    Refusal { status: 400, why, kind: FRAMING }
}

/// It is more than a head may be.
pub(super) const fn excessive(why: &'static str) -> Refusal {
    Refusal { status: 431, why, kind: HEADER_BOMB }
}

/// It is well said, and not spoken here.
pub(super) const fn unsupported(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why, kind: UNSUPPORTED }
}
