//! How a session ends, and why a client is turned away: two closed lists.
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
