//! A TLS client that blocks, and how it is made.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ConfigBuilder, HandshakeKind, StreamOwned,
    WantsVerifier,
};

use crate::harness::authority::{Authority, Signed};
use crate::harness::client::try_connect;

/// A connection whose handshake is complete.
pub(super) type Secured = StreamOwned<ClientConnection, TcpStream>;

fn builder(tls12: bool) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let versions = if tls12 { &[&TLS12][..] } else { &[&TLS13] };
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap()
}

/// Trusts the authority and speaks TLS 1.3 alone.
pub(super) fn modern(authority: &Authority) -> ClientConfig {
    builder(false).with_root_certificates(authority.roots()).with_no_client_auth()
}

/// Trusts the authority and speaks TLS 1.2 alone.
pub(super) fn old(authority: &Authority) -> ClientConfig {
    builder(true).with_root_certificates(authority.roots()).with_no_client_auth()
}

/// Both of them.
pub(super) fn both(authority: &Authority) -> [ClientConfig; 2] {
    [old(authority), modern(authority)]
}

/// As [`both`], showing a certificate.
pub(super) fn showing(authority: &Authority, own: &Signed) -> [ClientConfig; 2] {
    [true, false].map(|tls12| {
        let trusting = builder(tls12).with_root_certificates(authority.roots());
        trusting.with_client_auth_cert(own.chain(), own.key()).unwrap()
    })
}

/// The same with an empty memory of sessions.
pub(super) fn forgetful(config: &ClientConfig) -> ClientConfig {
    ClientConfig { resumption: Resumption::in_memory_sessions(16), ..config.clone() }
}

/// Connects and asks for `name`, up to the end of the handshake.
pub(super) fn shake(
    at: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<Secured> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut socket = try_connect(at)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// As [`shake`], and waits until an echoing backend has answered: only then is it sure that the
/// server is content.
pub(super) fn ask(at: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Secured> {
    let mut stream = shake(at, config, name)?;
    echo(&mut stream, b"hello")?;
    Ok(stream)
}

/// Sends a word to an echoing server and checks that it comes back.
pub(super) fn echo(stream: &mut Secured, word: &[u8]) -> io::Result<()> {
    stream.write_all(word)?;
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, word);
    Ok(())
}

/// Whether it went on with the secrets of an earlier session.
pub(super) fn is_resumed(stream: &Secured) -> bool {
    stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// The server's own certificate.
pub(super) fn shown(stream: &Secured) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

/// The alert that the server has ended the connection with, after which it must have said FIN.
#[track_caller]
pub(super) fn alert(failed: io::Result<Secured>) -> AlertDescription {
    let error = failed.err().expect("it was served");
    match error.get_ref().and_then(|why| why.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert, but: {error:?}"),
    }
}
