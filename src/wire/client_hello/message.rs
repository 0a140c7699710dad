//! What stands in a ClientHello (RFC 8446, 4.1.2), as far as it is asked for.
//!
//! Whatever decides where a client goes is read as strictly as the backend will read it: a name that
//! two programs could read in two ways is none. What decides nothing is stepped over.

use std::net::Ipv4Addr;

use super::ClientHello;

/// The extension of server names (RFC 6066, 3).
const SERVER_NAME: u16 = 0;
/// The extension of application protocols (RFC 7301, 3.1).
const ALPN: u16 = 16;
/// A server name that is a host name, the only type there is.
const HOST_NAME: u8 = 0;

/// The longest host name, and the longest label in it (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Reads the body of a ClientHello; `None` = it is broken.
pub(super) fn read(body: &[u8]) -> Option<ClientHello> {
    let mut body = Bytes(body);
    let (_version, _random) = (body.take(2)?, body.take(32)?);
    let session = body.short_list()?;
    let (suites, compressions) = (body.list()?, body.short_list()?);
    let is_sound = session.0.len() <= 32
        && !suites.is_empty()
        && suites.0.len().is_multiple_of(2)
        && !compressions.is_empty();
    if !is_sound {
        return None;
    }
    // Before TLS 1.2 there was a time without extensions.
    let extensions = if body.is_empty() { Bytes(&[]) } else { body.list()? };
    if body.is_empty() { asked_for(extensions) } else { None }
}

fn asked_for(mut extensions: Bytes<'_>) -> Option<ClientHello> {
    let (mut name, mut alpn) = (None, None);
    while !extensions.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.list()?;
        // The same twice: each side might believe another one.
        let is_first = match kind {
            SERVER_NAME => name.replace(server_name(content)?).is_none(),
            ALPN => alpn.replace(protocols(content)?).is_none(),
            _ => true,
        };
        if !is_first {
            return None;
        }
    }
    Some(ClientHello { server_name: name.flatten(), alpn: alpn.unwrap_or_default() })
}

/// The host name of the extension; `Some(None)` if it is no host name.
fn server_name(mut content: Bytes<'_>) -> Option<Option<String>> {
    let mut names = content.list()?;
    if names.is_empty() || !content.is_empty() {
        return None;
    }
    let mut found = None;
    // How long a name of an unknown type is, nobody knows: nothing behind it can be read.
    while let Some(HOST_NAME) = names.byte() {
        let name = names.list()?;
        if name.is_empty() || found.replace(host_name(name.0)).is_some() {
            return None;
        }
    }
    Some(found.flatten())
}

/// A host name as it is compared: in lower case and without a dot at the end. `None` = these bytes are
/// none, or an address.
pub fn host_name(name: &[u8]) -> Option<String> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let is_fit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label =
        |label: &[u8]| (1..=LONGEST_LABEL).contains(&label.len()) && label.iter().all(is_fit);
    if name.len() > LONGEST_NAME || !name.split(|byte| *byte == b'.').all(is_label) {
        return None;
    }
    let name = String::from_utf8(name.to_ascii_lowercase()).ok()?;
    // An address is no host name. Those of IPv6 have colons, and are out by these.
    name.parse::<Ipv4Addr>().is_err().then_some(name)
}

fn protocols(mut content: Bytes<'_>) -> Option<Vec<Vec<u8>>> {
    let mut names = content.list()?;
    if names.is_empty() || !content.is_empty() {
        return None;
    }
    let mut protocols = Vec::new();
    while !names.is_empty() {
        let name = names.short_list()?;
        if name.is_empty() {
            return None;
        }
        protocols.push(name.0.to_vec());
    }
    Some(protocols)
}

/// Bytes that are taken from the front; `None` where there are too few.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// Bytes behind their number, which takes two.
    fn list(&mut self) -> Option<Self> {
        let length = self.number()?;
        self.take(usize::from(length)).map(Self)
    }

    /// Bytes behind their number, which takes one.
    fn short_list(&mut self) -> Option<Self> {
        let length = self.byte()?;
        self.take(usize::from(length)).map(Self)
    }
}
