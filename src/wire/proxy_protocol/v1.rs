//! Version 1: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Decoded, Invalid};

/// The longest line, its end included.
const LONGEST: usize = 107;

/// The line that names nobody, in its shortest form.
pub const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";

const END: &[u8] = b"\r\n";

/// How a line begins, and what it goes on with.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Tcp4,
    Tcp6,
    Unknown,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Tcp4, Self::Tcp6, Self::Unknown];

    fn begin(self) -> &'static [u8] {
        match self {
            Self::Tcp4 => b"PROXY TCP4 ",
            Self::Tcp6 => b"PROXY TCP6 ",
            Self::Unknown => b"PROXY UNKNOWN",
        }
    }

    /// The least length of each field behind the beginning.
    fn fields(self) -> &'static [usize] {
        match self {
            Self::Tcp4 => const { &["0.0.0.0".len(), "0.0.0.0".len(), 1, 1] },
            Self::Tcp6 => const { &["::".len(), "::".len(), 1, 1] },
            Self::Unknown => &[0],
        }
    }

    /// The least length of a line of this kind.
    fn shortest(self) -> usize {
        self.begin().len() + least(self.fields())
    }

    fn may_hold(self, byte: u8) -> bool {
        match self {
            Self::Tcp4 => byte.is_ascii_digit() || b". ".contains(&byte),
            // An IPv4 address that is mapped into IPv6 is written with dots.
            Self::Tcp6 => byte.is_ascii_hexdigit() || b":. ".contains(&byte),
            Self::Unknown => true,
        }
    }
}

/// The least length of these fields, one space between two, and the end.
fn least(fields: &[usize]) -> usize {
    fields.iter().sum::<usize>() + fields.len().saturating_sub(1) + END.len()
}

/// Reads a line at the beginning of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Invalid> {
    let most = bytes.get(..LONGEST).unwrap_or(bytes);
    if let Some(end) = most.windows(END.len()).position(|here| here == END) {
        let line = most.get(..end).unwrap_or_default();
        return Ok(Decoded::Header { addresses: read(line)?, length: end + END.len() });
    }
    let more = missing(most)?;
    if most.len() + more > LONGEST {
        return Err(Invalid("the line is longer than 107 bytes"));
    }
    Ok(Decoded::Incomplete { more })
}

/// How much is missing at least of a line that has not ended.
fn missing(begun: &[u8]) -> Result<usize, Invalid> {
    let known =
        Kind::ALL.into_iter().find_map(|kind| Some((kind, begun.strip_prefix(kind.begin())?)));
    let Some((kind, rest)) = known else {
        let possible = Kind::ALL.into_iter().filter(|kind| kind.begin().starts_with(begun));
        let shortest = possible.map(Kind::shortest).min();
        return shortest.map(|shortest| shortest - begun.len()).ok_or(STRANGE);
    };
    let (rest, is_ending) = rest.strip_suffix(b"\r").map_or((rest, false), |rest| (rest, true));
    if let Kind::Unknown = kind {
        let more = if is_ending { 1 } else { END.len() };
        return if is_word(rest) { Ok(more) } else { Err(STRANGE) };
    }
    if !rest.iter().all(|byte| kind.may_hold(*byte)) {
        return Err(Invalid("the line holds what no address and no port does"));
    }
    let written = rest.split(|byte| *byte == b' ');
    let (last, here) = written.enumerate().last().map_or((0, 0), |(at, field)| (at, field.len()));
    let open = kind.fields().get(last..).filter(|open| !open.is_empty());
    let (open, own) = open.and_then(|open| Some((open, *open.first()?))).ok_or(FIELDS)?;
    let more = least(open) - own.min(here);
    if !is_ending {
        return Ok(more);
    }
    if more == END.len() { Ok(1) } else { Err(FIELDS) }
}

const STRANGE: Invalid = Invalid("the line begins with none of PROXY TCP4, TCP6 and UNKNOWN");
const FIELDS: Invalid = Invalid("the line has not two addresses and two ports");

/// Reads a whole line without its end.
fn read(line: &[u8]) -> Result<Option<Addresses>, Invalid> {
    if line.strip_prefix(Kind::Unknown.begin()).is_some_and(is_word) {
        return Ok(None);
    }
    let (kind, rest) = [Kind::Tcp4, Kind::Tcp6]
        .into_iter()
        .find_map(|kind| Some((kind, line.strip_prefix(kind.begin())?)))
        .ok_or(STRANGE)?;
    let rest = std::str::from_utf8(rest).map_err(|_| FIELDS)?;
    let fields: Vec<_> = rest.split(' ').collect();
    let [source, destination, source_port, destination_port] = *fields else { return Err(FIELDS) };
    let end = |ip: &str, port: &str| Ok(SocketAddr::new(address(kind, ip)?, self::port(port)?));
    let source = end(source, source_port)?;
    Ok(Some(Addresses { source, destination: end(destination, destination_port)? }))
}

/// True if the word before has ended.
fn is_word(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b' '))
}

fn address(kind: Kind, text: &str) -> Result<IpAddr, Invalid> {
    let parsed = match kind {
        Kind::Tcp4 => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        _ => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
    };
    parsed.ok_or(Invalid("an address is none of the family that the line names"))
}

fn port(text: &str) -> Result<u16, Invalid> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_canonical = is_plain && (text == "0" || !text.starts_with('0'));
    let port = text.parse().ok().filter(|_| is_canonical);
    port.ok_or(Invalid("a port is no plain number up to 65535"))
}

/// The line that names these ends; if they are of different families, which no line can hold, the
/// one that names nobody.
pub fn encode(addresses: &Addresses) -> Vec<u8> {
    let Addresses { source, destination } = addresses;
    let kind = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return UNKNOWN.to_owned(),
    };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {kind} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}
