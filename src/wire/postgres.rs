//! PostgreSQL's upgrade to TLS: a question of eight bytes, and an answer of one.

use super::client_hello::FIRST_BYTE;

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

/// What stands where others put their version in the question whether GSSAPI may encrypt.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
/// Bytes in a question, of either kind.
pub const REQUEST: usize = SSL_REQUEST.len();
/// Yes, to [`SSL_REQUEST`].
pub const WILLING: &[u8] = b"S";
/// No, to either.
pub const UNWILLING: &[u8] = b"N";
/// A fatal error, code 28000 (`invalid_authorization_specification`), as a server would send it.
pub const TLS_REQUIRED: &[u8] = b"E\0\0\0\x60SFATAL\0VFATAL\0C28000\0M\
    this listener requires TLS: connect with sslmode=require or stronger\0\0";

/// What a client begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It may become any of these.
    Incomplete,
    /// The question whether TLS may be spoken.
    SslRequest,
    /// The question whether GSSAPI may encrypt.
    GssRequest,
    /// TLS, unasked.
    Tls,
    /// A session in cleartext, a cancellation, or no PostgreSQL.
    Other,
}

/// What these first bytes are.
pub fn opening(bytes: &[u8]) -> Opening {
    match (bytes.first(), bytes.get(..REQUEST)) {
        (Some(&FIRST_BYTE), _) => Opening::Tls,
        // The first of a length: nothing that PostgreSQL begins with is longer than 16 MiB, or
        // shorter than a request.
        (None | Some(0), None) => Opening::Incomplete,
        (_, Some(request)) if *request == SSL_REQUEST => Opening::SslRequest,
        (_, Some(request)) if *request == GSS_REQUEST => Opening::GssRequest,
        _ => Opening::Other,
    }
}

/// True if it begins as a session in cleartext does: its length, and a version.
pub fn is_startup(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, _, _, 0, 3, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_is_known_at_the_first_byte_that_tells() {
        for (request, kind) in
            [(SSL_REQUEST, Opening::SslRequest), (GSS_REQUEST, Opening::GssRequest)]
        {
            for end in 0..REQUEST {
                assert_eq!(opening(&request[..end]), Opening::Incomplete);
            }
            assert_eq!(opening(&request), kind);
            assert_eq!(opening(&[&request[..], b"more"].concat()), kind);
        }
        assert_eq!(opening(b"\x16"), Opening::Tls);
        for other in [&b"G"[..], b"\x01", b"\0\0\0\x08\x04\xd2\x16\x2e", b"\0\0\0\x29\0\x03\0\0"] {
            assert_eq!(opening(other), Opening::Other, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_session_in_cleartext_is_told_from_a_cancellation_and_from_noise() {
        assert!(is_startup(b"\0\0\0\x29\0\x03\0\0user\0"));
        assert!(is_startup(b"\0\0\x01\x29\0\x03\0\x02"));
        for other in [&b""[..], b"\0\0\0\x29\0", b"\0\0\0\x10\x04\xd2\x16\x2e", b"GET / HTTP/1.1"] {
            assert!(!is_startup(other), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn the_error_says_how_long_it_is() {
        let length = u32::from_be_bytes(TLS_REQUIRED[1..5].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), TLS_REQUIRED.len() - 1);
    }
}
