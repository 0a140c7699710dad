//! How a session ends, why a client is turned away, how one abuses HTTP: closed lists.
//!
//! The words are the ones in metrics labels and the access log, so they are public surface.

/// How a session that had a backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Both sides ended.
    Ok,
    /// The client reset the connection.
    ClientReset,
    /// The backend reset the connection.
    BackendReset,
    /// No byte either way for `idle_timeout`.
    Idle,
    /// `max_lifetime` was reached.
    Lifetime,
    /// An HTTP request took longer than `request_timeout`.
    RequestTimeout,
    /// The backend went down and `close.down` said so.
    Down,
    /// The backend lost its role.
    Role,
    /// The backend was drained and `close.drain` said so.
    Drain,
    /// The backend went into maintenance.
    Maintenance,
    /// The backend was removed and `close.removed` said so.
    Removed,
    /// A UDP flow went on with another backend.
    Moved,
    /// The process stopped and `shutdown_timeout` ran out.
    Shutdown,
    /// Something of ours failed.
    Error,
}

impl Outcome {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 14] = [
        Self::Ok,
        Self::ClientReset,
        Self::BackendReset,
        Self::Idle,
        Self::Lifetime,
        Self::RequestTimeout,
        Self::Down,
        Self::Role,
        Self::Drain,
        Self::Maintenance,
        Self::Removed,
        Self::Moved,
        Self::Shutdown,
        Self::Error,
    ];

    /// The word in labels and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientReset => "client-reset",
            Self::BackendReset => "backend-reset",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::RequestTimeout => "request-timeout",
            Self::Down => "down",
            Self::Role => "role",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
            Self::Removed => "removed",
            Self::Moved => "moved",
            Self::Shutdown => "shutdown",
            Self::Error => "error",
        }
    }
}

/// Why a client never reached a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// No backend may take anything.
    NoBackend,
    /// Every attempt to connect failed.
    Refused,
    /// Every backend is at its cap and there is no room to wait.
    QueueFull,
    /// The wait for a place was too long.
    QueueTimeout,
    /// The listener or the process is at its cap.
    MaxSessions,
    /// `allow` or `deny` said no.
    Denied,
    /// The client opens sessions too fast.
    Rate,
    /// The PROXY header was missing or broken.
    ProxyHeader,
    /// What must come before the first routed byte did not come in time.
    HandshakeTimeout,
    /// TLS failed.
    Tls,
    /// No route takes it and there is no default.
    NoRoute,
    /// Not exactly one backend claims to be the writer.
    SingleWriter,
    /// A request that cannot be served as it is, whoever is asked.
    BadRequest,
}

impl Rejection {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 13] = [
        Self::NoBackend,
        Self::Refused,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::MaxSessions,
        Self::Denied,
        Self::Rate,
        Self::ProxyHeader,
        Self::HandshakeTimeout,
        Self::Tls,
        Self::NoRoute,
        Self::SingleWriter,
        Self::BadRequest,
    ];

    /// The word in labels and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoBackend => "no-backend",
            Self::Refused => "refused",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::MaxSessions => "max-sessions",
            Self::Denied => "denied",
            Self::Rate => "rate",
            Self::ProxyHeader => "proxy-header",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::Tls => "tls",
            Self::NoRoute => "no-route",
            Self::SingleWriter => "single-writer",
            Self::BadRequest => "bad-request",
        }
    }
}

/// Why a client that was let in never reached a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unserved {
    /// It was turned away.
    Rejected(Rejection),
    /// It left while it waited for a place.
    ClientGone,
}

impl Unserved {
    /// The word in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected(why) => why.as_str(),
            Self::ClientGone => "client-gone",
        }
    }
}

impl From<Rejection> for Unserved {
    fn from(why: Rejection) -> Self {
        Self::Rejected(why)
    }
}

/// Why a backend failed a request that may have reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestFailure {
    /// No head of an answer within `response_timeout`.
    Timeout,
    /// It ended the connection before the head of an answer, or sent something that is none.
    Reset,
    /// It answered 502, 503 or 504.
    BackendError,
}

impl RequestFailure {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 3] = [Self::Timeout, Self::Reset, Self::BackendError];

    /// The word in labels and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::BackendError => "backend-error",
        }
    }
}

/// Why a connect to a backend failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectFailure {
    /// Nothing listens there.
    Refused,
    /// No answer within `connect_timeout`.
    Timeout,
    /// The backend reset it.
    Reset,
    /// No way to the host or network.
    Unreachable,
    /// Anything else, our own shortages among it.
    Other,
}

impl ConnectFailure {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 5] =
        [Self::Refused, Self::Timeout, Self::Reset, Self::Unreachable, Self::Other];

    /// The word in labels and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Other => "other",
        }
    }
}

/// What a client of HTTP does that costs others more than itself, or that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Abuse {
    /// What it says breaks the grammar.
    Malformed,
    /// A request could be taken to end elsewhere, or to be for another host.
    Framing,
    /// A head is longer, or has more fields, than a head may.
    HeaderBomb,
    /// A version or method that is not spoken here.
    Unsupported,
    /// HTTP/2 that its library refuses.
    Protocol,
    /// A head is not complete in time.
    SlowHead,
    /// A body stands still.
    SlowBody,
    /// What is sent to it is not taken.
    SlowRead,
    /// Streams are opened to be reset.
    RapidReset,
    /// More CONTINUATION frames than a head needs.
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

impl Abuse {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::Framing,
        Self::HeaderBomb,
        Self::Unsupported,
        Self::Protocol,
        Self::SlowHead,
        Self::SlowBody,
        Self::SlowRead,
        Self::RapidReset,
        Self::Continuation,
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::WindowUpdate,
        Self::EmptyData,
        Self::UnknownFrame,
    ];

    /// The word in labels and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Framing => "framing",
            Self::HeaderBomb => "header-bomb",
            Self::Unsupported => "unsupported",
            Self::Protocol => "protocol",
            Self::SlowHead => "slow-head",
            Self::SlowBody => "slow-body",
            Self::SlowRead => "slow-read",
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

    /// The one of this word: whoever reads the wire has the word alone.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|abuse| abuse.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{http1, http2};

    #[test]
    fn every_word_of_the_wire_is_in_the_list() {
        let floods = http2::Flood::ALL.map(http2::Flood::as_str);
        for word in http1::KINDS.iter().chain(&floods) {
            assert_eq!(Abuse::of(word).map(Abuse::as_str), Some(*word));
        }
    }

    #[test]
    fn no_two_are_called_the_same() {
        for (index, abuse) in Abuse::ALL.into_iter().enumerate() {
            assert_eq!(abuse as usize, index);
            assert_eq!(Abuse::of(abuse.as_str()), Some(abuse));
        }
    }
}
