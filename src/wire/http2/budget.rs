//! How many frames of which kind a client may send.

use super::frame::{Header, Kind, PEEK, increment};

/// For so many milliseconds frames are counted together.
const SPAN: u64 = 10_000;

/// So many streams may be reset in a span, and as many more as requests were answered in it: clients
/// that change their mind have some of their requests answered, too.
const RESETS: u64 = 100;
/// So many PING frames in a span. Some clients send one with whatever they receive, to measure.
const PINGS: u64 = 1000;
/// So many WINDOW_UPDATE frames that open little.
const UPDATES: u64 = 1000;
/// One more of these two for so many bytes that were sent to the client.
const SENT_EACH: u64 = 16;
/// A window that is opened by so much is well worth a frame.
const WORTHY: u32 = 4096;
/// So many SETTINGS frames. One or two are usual, and the answer to ours.
const SETTINGS: u64 = 32;
/// So many PRIORITY frames, and the next number more with each request.
const PRIORITIES: u64 = 100;
const PRIORITIES_EACH: u64 = 10;
/// So many frames of types that nobody knows, which some clients send so that all get used to them.
const UNKNOWN: u64 = 100;
/// So many frames of DATA without data in the life of a connection. The parser takes as many.
const EMPTY: u64 = 100;
/// So many CONTINUATION frames with another one behind. The parser takes as many, when a head may be
/// 64 KiB and a frame 16.
const CONTINUATIONS: u64 = 5;

/// What a client sends too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Streams that are opened to be reset.
    RapidReset,
    /// CONTINUATION frames of one head.
    Continuation,
    /// PING frames.
    Ping,
    /// SETTINGS frames.
    Settings,
    /// PRIORITY frames.
    Priority,
    /// WINDOW_UPDATE frames that open little.
    WindowUpdate,
    /// DATA frames without data.
    EmptyData,
    /// Frames of types that nobody knows.
    UnknownFrame,
}

impl Flood {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RapidReset,
        Self::Continuation,
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::WindowUpdate,
        Self::EmptyData,
        Self::UnknownFrame,
    ];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid-reset",
            Self::Continuation => "continuation",
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::Priority => "priority",
            Self::WindowUpdate => "window-update",
            Self::EmptyData => "empty-data",
            Self::UnknownFrame => "unknown-frame",
        }
    }
}

/// What has been counted in a span.
#[derive(Debug, Default)]
struct Counts {
    opened: u64,
    answered: u64,
    sent: u64,
    resets: u64,
    pings: u64,
    updates: u64,
    settings: u64,
    priorities: u64,
    unknown: u64,
}

/// What a client has sent, and may.
#[derive(Debug, Default)]
pub(super) struct Budget {
    since: u64,
    counts: Counts,
    /// In the life of the connection.
    empty: u64,
    /// In the head that has not ended.
    continuations: u64,
}

impl Budget {
    /// A request has been answered.
    pub(super) fn answered(&mut self) {
        self.counts.answered += 1;
    }

    /// So many bytes went to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.counts.sent += bytes as u64;
    }

    /// Begins another span when one is over.
    pub(super) fn advance(&mut self, now: u64) {
        if now.saturating_sub(self.since) >= SPAN {
            (self.since, self.counts) = (now, Counts::default());
        }
    }

    /// Counts a frame.
    pub(super) fn take(&mut self, header: Header, peeked: [u8; PEEK]) -> Result<(), Flood> {
        let counts = &mut self.counts;
        let for_sent = counts.sent / SENT_EACH;
        match header.kind {
            Kind::Data if header.is_empty_data(peeked) => {
                up_to(&mut self.empty, EMPTY, Flood::EmptyData)
            }
            Kind::Headers => {
                counts.opened += 1;
                self.continuations = 0;
                Ok(())
            }
            Kind::Continuation if header.ends_head() => {
                self.continuations = 0;
                Ok(())
            }
            Kind::Continuation => {
                up_to(&mut self.continuations, CONTINUATIONS, Flood::Continuation)
            }
            Kind::Reset => counts.reset(),
            // It is answered with a reset of ours.
            Kind::WindowUpdate if increment(peeked) == 0 => counts.reset(),
            Kind::WindowUpdate if increment(peeked) < WORTHY => {
                up_to(&mut counts.updates, UPDATES + for_sent, Flood::WindowUpdate)
            }
            Kind::Ping => up_to(&mut counts.pings, PINGS + for_sent, Flood::Ping),
            Kind::Settings => up_to(&mut counts.settings, SETTINGS, Flood::Settings),
            Kind::Priority => {
                let most = PRIORITIES + PRIORITIES_EACH * counts.opened;
                up_to(&mut counts.priorities, most, Flood::Priority)
            }
            Kind::Unknown => up_to(&mut counts.unknown, UNKNOWN, Flood::UnknownFrame),
            Kind::Data | Kind::WindowUpdate | Kind::GoAway => Ok(()),
        }
    }
}

impl Counts {
    fn reset(&mut self) -> Result<(), Flood> {
        up_to(&mut self.resets, RESETS + self.answered, Flood::RapidReset)
    }
}

/// Counts one more, where there may be so many.
fn up_to(count: &mut u64, most: u64, flood: Flood) -> Result<(), Flood> {
    *count += 1;
    if *count > most { Err(flood) } else { Ok(()) }
}
