//! `probe = "tls"`: a handshake as sessions have it, never resumed, so that each looks at the
//! certificate anew.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{ClientTls, Member, StartTls};
use crate::health::probe::{Answer, Miss, Peer, connect, why_broken};
use crate::tls;
use crate::wire::postgres::{SSL_REQUEST, SslAnswer};

/// One backend's handshake, ready to be begun.
#[derive(Debug)]
pub(in crate::health) struct Handshake {
    upgrade: Option<StartTls>,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Handshake {
    /// `config` was made from `spec`.
    pub(super) fn new(
        member: &Member,
        spec: &ClientTls,
        config: &Arc<ClientConfig>,
    ) -> Result<Self, tls::Error> {
        let name = tls::server_name(spec.server_name.as_deref(), &member.address.host())?;
        Ok(Self { upgrade: spec.starttls, config: Arc::clone(config), name })
    }

    pub(super) async fn ask(&self, peer: Peer, until: Instant) -> Result<Answer, Miss> {
        let mut stream = connect(peer).await?;
        if let Some(StartTls::Postgres) = self.upgrade {
            upgrade(&mut stream).await?;
        }
        let stream = self.shake(stream).await?;
        let seen = seen(&stream);
        let refusal = timeout_at(until, refusal(stream)).await;
        match refusal.ok().flatten() {
            None => Ok(Answer::up(seen)),
            Some(why) => Err(Miss::Failed(why)),
        }
    }

    /// The handshake itself.
    pub(super) async fn shake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Miss> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let shaken = connector.connect(self.name.clone(), stream).await;
        shaken.map_err(|error| Miss::Failed(why_not_shaken(&error)))
    }
}

async fn upgrade(stream: &mut TcpStream) -> Result<(), Miss> {
    let asked = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    let answer = asked.await.map_err(|error| {
        Miss::Failed(match error.kind() {
            io::ErrorKind::UnexpectedEof => "closed after the SSLRequest".to_owned(),
            _ => why_broken(&error),
        })
    })?;
    match SslAnswer::from(answer) {
        SslAnswer::Willing => Ok(()),
        other => Err(Miss::Failed(other.to_string())),
    }
}

/// What a handshake has shown.
fn seen(stream: &TlsStream<TcpStream>) -> String {
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => ", TLS 1.2",
        Some(ProtocolVersion::TLSv1_3) => ", TLS 1.3",
        _ => "",
    };
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let until = certificate.and_then(|certificate| tls::valid_until(certificate));
    let until = until.and_then(|until| Timestamp::try_from(until).ok());
    let until = until.map(|until| format!(", certificate valid until {until}"));
    format!("tls handshake ok{version}{}", until.unwrap_or_default())
}

/// Ends the connection and hears the backend out. In TLS 1.3 it looks at a client's certificate when
/// the handshake is over for us: without waiting, one that turns everybody away would pass for up.
async fn refusal(mut stream: TlsStream<TcpStream>) -> Option<String> {
    stream.shutdown().await.ok();
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest).await {
            Ok(0) => return None,
            Ok(_) => {}
            // It may end as it likes, but for saying no.
            Err(error) => return tls::why_refused(&error),
        }
    }
}

fn why_not_shaken(error: &io::Error) -> String {
    let refused = tls::why_refused(error);
    refused.unwrap_or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof => "tls: closed during the handshake".to_owned(),
        _ => format!("tls: {}", why_broken(error)),
    })
}
