//! Whom a request is for: the name and port in `Host` and in an absolute target (RFC 3986, 3.2).

use std::net::Ipv6Addr;

use super::bytes::is_name;

/// A name and a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Authority<'a> {
    name: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `name`, `name:port`, `[address]` or `[address]:port`; `None` if it is nothing of these.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let split = match bytes.first()? {
            b'[' => bytes.iter().position(|byte| *byte == b']')? + 1,
            _ => bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len()),
        };
        let (name, rest) = bytes.split_at_checked(split)?;
        let is_sound = match name {
            [b'[', address @ .., b']'] => is_ipv6(address),
            _ => !name.is_empty() && name.iter().copied().all(is_name),
        };
        let port = match rest {
            [] | b":" => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return None,
        };
        is_sound.then_some(Self { name, port })
    }

    /// True if both name the same, where `usual` is the port of whoever names none.
    pub(super) fn is(&self, other: &Self, usual: u16) -> bool {
        let port = |side: &Self| side.port.unwrap_or(usual);
        self.name.eq_ignore_ascii_case(other.name) && port(self) == port(other)
    }
}

fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn port(digits: &[u8]) -> Option<u16> {
    let is_plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_plain)?.parse().ok()
}
