//! The frames of HTTP/2, as far as it takes to count them (RFC 9113, 4.1 and 6).

/// Bytes before the payload: length, type, flags, stream.
pub(super) const HEADER: usize = 9;
/// So much of a payload is looked at.
pub(super) const PEEK: usize = 4;

const ENDS_STREAM: u8 = 0x1;
const ENDS_HEAD: u8 = 0x4;
const IS_PADDED: u8 = 0x8;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    Unknown,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) length: usize,
    flags: u8,
}

impl Header {
    pub(super) fn read([high, middle, low, kind, flags, ..]: [u8; HEADER]) -> Self {
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            // A server gets 16, PRIORITY_UPDATE, for the same purpose (RFC 9218, 7.1).
            2 | 16 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Unknown,
        };
        Self { kind, length, flags }
    }

    /// How much of the payload tells what the frame costs.
    pub(super) fn peek(&self) -> usize {
        let wanted = match self.kind {
            Kind::WindowUpdate => PEEK,
            Kind::Data if self.flags & IS_PADDED != 0 => 1,
            _ => 0,
        };
        wanted.min(self.length)
    }

    /// DATA that neither brings anything nor ends anything, its padding not counted.
    pub(super) fn is_empty_data(&self, [padding, ..]: [u8; PEEK]) -> bool {
        let padding = match self.flags & IS_PADDED {
            0 => 0,
            _ => usize::from(padding) + 1,
        };
        self.kind == Kind::Data && self.flags & ENDS_STREAM == 0 && self.length <= padding
    }

    pub(super) fn ends_head(&self) -> bool {
        self.flags & ENDS_HEAD != 0
    }
}

/// By how much a WINDOW_UPDATE opens a window.
pub(super) fn increment(peeked: [u8; PEEK]) -> u32 {
    u32::from_be_bytes(peeked) & (u32::MAX >> 1)
}
