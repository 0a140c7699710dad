//! PostgreSQL's upgrade to TLS: a question of eight bytes, and an answer of one.

/// The question whether TLS may be spoken: its length, and a code where others put their version
/// (PostgreSQL documentation, "Message Formats", `SSLRequest`).
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What a server answers to [`SSL_REQUEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslAnswer {
    /// `S`: the next bytes are those of TLS.
    Willing,
    /// `N`: it goes on without.
    Unwilling,
    /// `E`, the beginning of an error message. What it says comes from nobody who has been verified.
    Error,
    /// Something that no PostgreSQL server says.
    Foreign,
}

impl From<u8> for SslAnswer {
    fn from(answer: u8) -> Self {
        match answer {
            b'S' => Self::Willing,
            b'N' => Self::Unwilling,
            b'E' => Self::Error,
            _ => Self::Foreign,
        }
    }
}

impl std::fmt::Display for SslAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Willing => "it speaks tls",
            Self::Unwilling => "it does not speak tls: it refused the SSLRequest",
            Self::Error => "it answered the SSLRequest with an error",
            Self::Foreign => "what answered the SSLRequest is no postgres server",
        })
    }
}
