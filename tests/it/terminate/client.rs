//! A TLS client that blocks, and how it is made.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue, WebPkiServerVerifier, danger,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ConfigBuilder, DigitallySignedStruct,
    HandshakeKind, NamedGroup, SignatureScheme, StreamOwned, WantsVerifier,
};

use crate::harness::authority::{Authority, Signed};
use crate::harness::client::try_connect;

/// A connection whose handshake is complete.
pub(crate) type Secured = StreamOwned<ClientConnection, TcpStream>;

fn builder(tls12: bool) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let versions = if tls12 { &[&TLS12][..] } else { &[&TLS13] };
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap()
}

/// Trusts the authority and speaks TLS 1.3 alone.
pub(crate) fn modern(authority: &Authority) -> ClientConfig {
    builder(false).with_root_certificates(authority.roots()).with_no_client_auth()
}

/// Trusts the authority and speaks TLS 1.2 alone.
pub(crate) fn old(authority: &Authority) -> ClientConfig {
    builder(true).with_root_certificates(authority.roots()).with_no_client_auth()
}

/// Both of them.
pub(crate) fn both(authority: &Authority) -> [ClientConfig; 2] {
    [old(authority), modern(authority)]
}

/// As [`both`], showing a certificate.
pub(crate) fn showing(authority: &Authority, own: &Signed) -> [ClientConfig; 2] {
    [true, false].map(|tls12| {
        let trusting = builder(tls12).with_root_certificates(authority.roots());
        trusting.with_client_auth_cert(own.chain(), own.key()).unwrap()
    })
}

/// The same with a memory of sessions of its own.
pub(crate) fn forgetful(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(16);
    Arc::new(config)
}

/// The same for one that takes all names of a server for one, and offers its tickets to each.
pub(crate) fn confused(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    let store = Confused(ClientSessionMemoryCache::new(16));
    config.resumption = Resumption::store(Arc::new(store));
    Arc::new(config)
}

#[derive(Debug)]
struct Confused(ClientSessionMemoryCache);

fn one() -> ServerName<'static> {
    ServerName::try_from("one.example").unwrap()
}

impl ClientSessionStore for Confused {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(one(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&one())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one())
    }
}

/// The same for one that knows no signatures but these.
pub(crate) fn liking(authority: &Authority, scheme: SignatureScheme) -> ClientConfig {
    let inner = WebPkiServerVerifier::builder_with_provider(
        authority.roots(),
        Arc::new(aws_lc_rs::default_provider()),
    );
    let picky = Picky { inner: inner.build().unwrap(), scheme };
    let builder = builder(false).dangerous().with_custom_certificate_verifier(Arc::new(picky));
    builder.with_no_client_auth()
}

/// Verifies as usual, and says that it knows but one kind of signature.
#[derive(Debug)]
struct Picky {
    inner: Arc<WebPkiServerVerifier>,
    scheme: SignatureScheme,
}

impl danger::ServerCertVerifier for Picky {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<danger::ServerCertVerified, rustls::Error> {
        self.inner.verify_server_cert(own, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<danger::HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![self.scheme]
    }
}

/// The same, offering these application protocols.
pub(crate) fn offering(config: &ClientConfig, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// The first flight of a client that asks for `name`, as bytes.
pub(crate) fn hello(config: &Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut flight = Vec::new();
    connection.write_tls(&mut flight).unwrap();
    flight
}

/// Connects and asks for `name`, up to the end of the handshake as the client sees it.
pub(crate) fn shake(at: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Secured> {
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
pub(crate) fn ask(at: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Secured> {
    let mut stream = shake(at, config, name)?;
    echo(&mut stream, b"hello")?;
    Ok(stream)
}

/// Sends a word to an echoing server and checks that it comes back.
pub(crate) fn echo(stream: &mut Secured, word: &[u8]) -> io::Result<()> {
    stream.write_all(word)?;
    stream.flush()?;
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, word);
    Ok(())
}

/// Whether it went on with the secrets of an earlier session.
pub(crate) fn is_resumed(stream: &Secured) -> bool {
    stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// The server's own certificate.
pub(crate) fn shown(stream: &Secured) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

/// The alert by which the server has said no.
#[track_caller]
pub(crate) fn alert(failed: io::Result<Secured>) -> AlertDescription {
    let Err(error) = failed else { panic!("it was served") };
    match error.get_ref().and_then(|why| why.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert, but: {error:?}"),
    }
}
