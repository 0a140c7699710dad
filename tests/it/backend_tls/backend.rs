//! A backend that speaks TLS, greets with its name and echoes; it tells what it saw of each handshake.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use rustls::server::WebPkiClientVerifier;
use rustls::{
    HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use crate::harness::authority::Signed;
use crate::harness::servers::Server;
use crate::harness::wait::PATIENCE;

/// What a backend saw of one connection.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What came ahead of the handshake.
    pub(super) ahead: Vec<u8>,
    /// The name that was asked for.
    pub(super) sni: Option<String>,
    pub(super) version: Option<ProtocolVersion>,
    pub(super) resumed: bool,
    /// The client showed a certificate.
    pub(super) identified: bool,
}

pub(super) struct Backend {
    pub(super) server: Server,
    seen: Receiver<Seen>,
}

/// What a backend does before its handshake; gives what it read.
pub(super) type Prelude = fn(&mut TcpStream) -> io::Result<Vec<u8>>;

/// A backend that is still to be started.
pub(super) struct Plan<'a> {
    pub(super) name: &'a str,
    pub(super) signed: &'a Signed,
    pub(super) versions: &'a [&'static SupportedProtocolVersion],
    /// Whom it believes who its clients are; `None` = it does not ask.
    pub(super) clients: Option<Arc<RootCertStore>>,
    pub(super) prelude: Prelude,
}

impl<'a> Plan<'a> {
    pub(super) fn new(name: &'a str, signed: &'a Signed) -> Self {
        Self {
            name,
            signed,
            versions: rustls::ALL_VERSIONS,
            clients: None,
            prelude: |_| Ok(Vec::new()),
        }
    }

    fn config(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(self.versions).unwrap();
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(roots) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots.clone(), provider)
                    .build()
                    .unwrap(),
            ),
        };
        builder.with_single_cert(self.signed.chain(), self.signed.key()).unwrap()
    }

    pub(super) fn start(self) -> Backend {
        let (config, prelude) = (Arc::new(self.config()), self.prelude);
        let (tell, seen) = mpsc::channel();
        let greeting = format!("{}\n", self.name);
        let server = Server::new(self.name, move |mut stream| {
            let Ok(ahead) = prelude(&mut stream) else { return };
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            while connection.is_handshaking() {
                if connection.complete_io(&mut stream).is_err() {
                    return;
                }
            }
            drop(tell.send(Seen {
                ahead,
                sni: connection.server_name().map(str::to_owned),
                version: connection.protocol_version(),
                resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
                identified: connection.peer_certificates().is_some(),
            }));
            let mut stream = StreamOwned::new(connection, stream);
            if stream.write_all(greeting.as_bytes()).is_ok() && serve(&mut stream).is_ok() {
                stream.conn.send_close_notify();
                drop(stream.flush());
            }
        });
        Backend { server, seen }
    }
}

impl Backend {
    /// A backend that anybody may speak to.
    pub(super) fn start(name: &str, signed: &Signed) -> Self {
        Plan::new(name, signed).start()
    }

    pub(super) fn entry(&self) -> String {
        self.server.entry("")
    }

    /// What it saw of the next connection that came to the end of its handshake.
    #[track_caller]
    pub(super) fn seen(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("a handshake")
    }
}

fn serve(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..len])?;
    }
}
