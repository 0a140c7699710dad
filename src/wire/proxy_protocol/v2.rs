//! Version 2: binary, with room for further facts behind the addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use super::{Addresses, Decoded, Invalid};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length of the rest.
const FIXED: usize = 16;

/// The header of a connection that a proxy makes for itself, such as a health check.
pub const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// What the bytes behind the fixed part are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Nothing that concerns us, in a form that nobody has to know.
    Skipped,
    /// Addresses of IPv4 or IPv6, then facts.
    Internet { width: usize, is_tcp: bool },
    /// Addresses of unix sockets, then facts.
    Unix,
}

impl Shape {
    fn of(command: u8, family: u8) -> Result<Self, Invalid> {
        match (command >> 4, command & 0xf) {
            (2, 0) => return Ok(Self::Skipped),
            (2, 1) => {}
            (2, _) => return Err(Invalid("the command is neither LOCAL nor PROXY")),
            _ => return Err(Invalid("the version behind the signature is not 2")),
        }
        let is_tcp = family & 0xf == 1;
        match (family >> 4, family & 0xf) {
            (4.., _) => Err(Invalid("the address family is none of version 2")),
            (_, 3..) => Err(Invalid("the transport protocol is none of version 2")),
            (0, _) | (_, 0) => Ok(Self::Skipped),
            (1, _) => Ok(Self::Internet { width: 4, is_tcp }),
            (2, _) => Ok(Self::Internet { width: 16, is_tcp }),
            _ => Ok(Self::Unix),
        }
    }

    /// Length of the addresses.
    fn addresses(self) -> usize {
        match self {
            Self::Skipped => 0,
            Self::Internet { width, .. } => 2 * width + 4,
            Self::Unix => 2 * 108,
        }
    }
}

/// Reads a header at the beginning of `bytes`.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Invalid> {
    if !bytes.iter().zip(SIGNATURE).all(|(seen, expected)| seen == expected) {
        return Err(Invalid("the signature of version 2 is broken"));
    }
    // Each byte is judged as soon as it is there. Of LOCAL the family does not matter.
    let behind = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let shape = match *behind {
        [] => None,
        [command] => Some(Shape::of(command, 0)?),
        [command, family, ..] => Some(Shape::of(command, family)?),
    };
    let (Some(shape), &[_, _, high, low, ref rest @ ..]) = (shape, behind) else {
        return Ok(Decoded::Incomplete { more: FIXED - bytes.len() });
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < shape.addresses() {
        return Err(Invalid("it is shorter than the addresses of its family"));
    }
    let Some(block) = rest.get(..length) else {
        return Ok(Decoded::Incomplete { more: length - rest.len() });
    };
    let length = FIXED + length;
    let header = bytes.get(..length).unwrap_or_default();
    let addresses = if shape == Shape::Skipped { None } else { read(shape, header, block)? };
    Ok(Decoded::Header { addresses, length })
}

fn read(shape: Shape, header: &[u8], block: &[u8]) -> Result<Option<Addresses>, Invalid> {
    let (addresses, facts) = block.split_at_checked(shape.addresses()).ok_or(TORN)?;
    check(header, facts)?;
    Ok(match shape {
        Shape::Internet { width, is_tcp: true } => ends(width, addresses),
        // What we have is a TCP connection: these are not its ends.
        _ => None,
    })
}

/// `None` never happens: the length is right.
fn ends(width: usize, addresses: &[u8]) -> Option<Addresses> {
    let (source, rest) = addresses.split_at_checked(width)?;
    let (destination, ports) = rest.split_at_checked(width)?;
    let &[source_high, source_low, high, low] = ports else { return None };
    let source_port = u16::from_be_bytes([source_high, source_low]);
    Some(Addresses {
        source: SocketAddr::new(ip(source)?, source_port),
        destination: SocketAddr::new(ip(destination)?, u16::from_be_bytes([high, low])),
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

/// Types of facts (TLVs) whose form the specification bounds.
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;

/// What stands before the facts about TLS: what holds of the client, and whether it was verified.
const SSL_FIXED: usize = 5;

const TORN: Invalid = Invalid("its facts (TLVs) do not end where it does");

/// The facts have to be whole, and a checksum among them the right one; else nobody needs them.
fn check(header: &[u8], facts: &[u8]) -> Result<(), Invalid> {
    let mut rest = facts;
    while !rest.is_empty() {
        let (kind, value, behind) = fact(rest)?;
        match kind {
            CRC32C => check_sum(header, value, value.len() + behind.len())?,
            UNIQUE_ID if value.len() > 128 => {
                return Err(Invalid("its unique id is longer than 128 bytes"));
            }
            SSL => {
                let mut inner = value.get(SSL_FIXED..).ok_or(TORN)?;
                while !inner.is_empty() {
                    (_, _, inner) = fact(inner)?;
                }
            }
            _ => {}
        }
        rest = behind;
    }
    Ok(())
}

/// Type and value of the first fact, and what is behind it.
fn fact(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), Invalid> {
    let &[kind, high, low, ref rest @ ..] = bytes else { return Err(TORN) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, behind) = rest.split_at_checked(length).ok_or(TORN)?;
    Ok((kind, value, behind))
}

/// The checksum, which begins so many bytes before the end, is over the whole header with zeros in
/// its own place.
fn check_sum(header: &[u8], value: &[u8], from_end: usize) -> Result<(), Invalid> {
    let wrong = Invalid("its checksum is wrong");
    let said = <[u8; 4]>::try_from(value).map_err(|_| wrong)?;
    let (before, rest) = header.split_at_checked(header.len() - from_end).ok_or(wrong)?;
    let behind = rest.get(said.len()..).unwrap_or_default();
    let zeros = [0; 4];
    let bytes = before.iter().chain(&zeros).chain(behind).copied();
    if crc32c(bytes) == u32::from_be_bytes(said) { Ok(()) } else { Err(wrong) }
}

/// The header that names these ends. If they are of different families, both are of IPv6, an IPv4
/// one mapped into it.
pub fn encode(addresses: &Addresses) -> Vec<u8> {
    let Addresses { source, destination } = addresses;
    let mut header = SIGNATURE.to_vec();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend_from_slice(&[0x21, TCP4, 0, 12]);
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&to.octets());
        }
        (from, to) => {
            header.extend_from_slice(&[0x21, TCP6, 0, 36]);
            header.extend_from_slice(&mapped(from).octets());
            header.extend_from_slice(&mapped(to).octets());
        }
    }
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
