//! First flights of TLS: as real clients send them, made by hand, and cut into records.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore};

/// What a client of rustls sends first, with a post-quantum share: more than a segment holds.
pub(crate) fn real(name: &str, alpn: &[&str]) -> Vec<u8> {
    said_by(aws_lc_rs::default_provider(), name, alpn)
}

/// The same without the large share.
pub(crate) fn short(name: &str, alpn: &[&str]) -> Vec<u8> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() != NamedGroup::X25519MLKEM768);
    said_by(provider, name, alpn)
}

fn said_by(provider: CryptoProvider, name: &str, alpn: &[&str]) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    flight
}

/// The least that a ClientHello can be, with any bytes as the server name, or none.
pub(crate) fn by_hand(name: Option<&[u8]>) -> Vec<u8> {
    let extension = name.map(|name| {
        let names = list(&[&[0][..], &list(name)].concat());
        [&[0, 0][..], &list(&names)].concat()
    });
    let body = [&[3, 3][..], &[7; 32], &[0], &list(&[0x13, 1]), &[1, 0]].concat();
    let body = [body, list(&extension.unwrap_or_default())].concat();
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    records(&[&[1], &length[..], &body].concat(), 1 << 14)
}

/// The message of a flight of one record.
pub(crate) fn message(flight: &[u8]) -> &[u8] {
    &flight[5..]
}

/// A message in records of at most `size` bytes.
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &list(part)].concat()).collect()
}

fn list(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
