//! The first line of a request: method, target, version (RFC 9112, 3).

use std::ops::Range;

use super::authority::Authority;
use super::bytes::{is_path, is_query, is_token};
use super::refusal::{Refusal, malformed, unsupported};

const PARTS: Refusal = malformed("the request line has not three parts with one space between two");
const METHOD: Refusal = malformed("the method is no token");
const TARGET: Refusal = malformed("the target is neither a path nor an address of http");
const TARGET_BYTE: Refusal = malformed("the target holds what no target holds");
const ASTERISK: Refusal = malformed("the target * is for OPTIONS alone");
const VERSION: Refusal = malformed("the request line does not end with a version of http");
const OTHER_VERSION: Refusal = unsupported(505, "the version is neither HTTP/1.1 nor HTTP/1.0");
const CONNECT: Refusal = unsupported(405, "CONNECT is for forward proxies");

/// What is known of a request line once it has been found sound.
#[derive(Debug, Clone)]
pub(super) struct RequestLine {
    pub(super) is_http11: bool,
    /// Where the authority of an absolute target is in the line, and the usual port of its scheme.
    pub(super) authority: Option<(Range<usize>, u16)>,
}

/// True if a request line may begin so.
pub(super) fn may_begin(byte: u8) -> bool {
    is_token(byte)
}

impl RequestLine {
    /// Reads a line without its end.
    pub(super) fn read(line: &[u8]) -> Result<Self, Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PARTS);
        };
        if target.is_empty() {
            return Err(PARTS);
        }
        if method.is_empty() || !method.iter().copied().all(is_token) {
            return Err(METHOD);
        }
        let is_http11 = is_http11(version)?;
        if method == b"CONNECT" {
            return Err(CONNECT);
        }
        match target {
            b"*" if method == b"OPTIONS" => Ok(Self { is_http11, authority: None }),
            b"*" => Err(ASTERISK),
            [b'/', ..] => {
                check_path(target)?;
                Ok(Self { is_http11, authority: None })
            }
            _ => {
                let (authority, usual) = absolute(target)?;
                let start = method.len() + 1 + authority.start;
                let authority = start..start + authority.len();
                Ok(Self { is_http11, authority: Some((authority, usual)) })
            }
        }
    }
}

fn is_http11(version: &[u8]) -> Result<bool, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(OTHER_VERSION),
        _ => Err(VERSION),
    }
}

/// Where the authority of an absolute target is in it, and the usual port of its scheme.
fn absolute(target: &[u8]) -> Result<(Range<usize>, u16), Refusal> {
    let schemes: [(&[u8], u16); 2] = [(b"http://", 80), (b"https://", 443)];
    let (start, usual) = schemes
        .into_iter()
        .find(|(scheme, _)| {
            target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        })
        .map(|(scheme, usual)| (scheme.len(), usual))
        .ok_or(TARGET)?;
    let rest = target.get(start..).unwrap_or_default();
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let (authority, path) = rest.split_at_checked(length.unwrap_or(rest.len())).ok_or(TARGET)?;
    Authority::read(authority).ok_or(TARGET)?;
    check_path(path)?;
    Ok((start..start + authority.len(), usual))
}

/// `path` is a path, a query, both, or nothing.
fn check_path(path: &[u8]) -> Result<(), Refusal> {
    let query = path.iter().position(|byte| *byte == b'?').unwrap_or(path.len());
    let (path, query) = path.split_at_checked(query).unwrap_or_default();
    let mut query = query.iter().copied();
    let is_sound = path.iter().copied().all(is_path) && query.all(is_query);
    if is_sound { Ok(()) } else { Err(TARGET_BYTE) }
}
