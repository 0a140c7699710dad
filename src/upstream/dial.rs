//! One connect, with all that a backend is to hear before the client's bytes: bounded, and the reason
//! for its failure sorted into the closed list.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;

use crate::config::{HttpVersion, StartTls};
use crate::net::{Socket, connect_failure, is_exhaustion, is_own_shortage};
use crate::outcome::ConnectFailure;
use crate::pool::Lease;
use crate::session::Overdue;
use crate::tls::{self, Outbound, Unshaken};
use crate::upstream::{Dialer, Secured};
use crate::wire::postgres::{SSL_REQUEST, SslAnswer};

/// How long a connect rests when the process is short of something.
const SHORTAGE: Duration = Duration::from_millis(50);

/// A failed connect.
#[derive(Debug)]
pub(super) struct DialError {
    during: Stage,
    why: Why,
}

/// How far a connect has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connect,
    /// Waiting for what the process is short of: a time limit that runs out then is not the
    /// backend's fault.
    Short(Errno),
    Upgrade,
    Handshake,
}

#[derive(Debug)]
enum Why {
    Late,
    Kernel(Errno),
    /// The backend left during the exchange.
    Cut,
    /// It does not upgrade to TLS.
    NoUpgrade(SslAnswer),
    Tls(Box<rustls::Error>),
    /// It speaks TLS, and inside it something else than this version of http.
    Protocol {
        wanted: HttpVersion,
        agreed: Option<String>,
    },
    /// We could not even begin the handshake.
    Unprepared(Box<rustls::Error>),
}

impl DialError {
    /// The word for it in metrics.
    pub(super) fn reason(&self) -> ConnectFailure {
        match &self.why {
            Why::Late => ConnectFailure::Timeout,
            Why::Kernel(errno) => connect_failure(*errno),
            Why::Cut
            | Why::NoUpgrade(_)
            | Why::Tls(_)
            | Why::Protocol { .. }
            | Why::Unprepared(_) => ConnectFailure::Other,
        }
    }

    /// True if the time ran out.
    pub(super) fn is_late(&self) -> bool {
        matches!(self.why, Why::Late)
    }

    /// True if the connect came about and TLS did not: an operator has to do something about it.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.why, Why::Cut | Why::NoUpgrade(_) | Why::Tls(_) | Why::Protocol { .. })
    }

    /// How slow a connect this is worth when backends are compared: as slow as one may be, unless
    /// it is we who are short of something.
    pub(super) fn cost(&self, slowest: Duration) -> Option<Duration> {
        let is_ours = match self.why {
            Why::Kernel(errno) => is_own_shortage(errno),
            Why::Unprepared(_) => true,
            _ => false,
        };
        (!is_ours).then_some(slowest)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let during = match self.during {
            Stage::Connect | Stage::Short(_) => "",
            Stage::Upgrade => " after the SSLRequest",
            Stage::Handshake => " in the tls handshake",
        };
        match &self.why {
            Why::Kernel(errno) if is_own_shortage(*errno) => {
                write!(f, "short of resources: {errno}")
            }
            Why::Kernel(errno) => write!(f, "{errno}{during}"),
            Why::Late => write!(f, "timed out{during}"),
            Why::Cut => write!(f, "it closed the connection{during}"),
            Why::NoUpgrade(answer) => answer.fmt(f),
            Why::Tls(error) => f.write_str(&tls::in_words(error)),
            Why::Protocol { wanted, agreed } => {
                let agreed = agreed.as_deref().unwrap_or("no protocol");
                write!(f, "it does not speak HTTP/{}: it agreed on {agreed}", wanted.as_str())
            }
            Why::Unprepared(error) => write!(f, "cannot begin a tls handshake: {error}"),
        }
    }
}

impl From<Errno> for Why {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<Unshaken> for Why {
    fn from(unshaken: Unshaken) -> Self {
        match unshaken {
            Unshaken::Tls(error) => Self::Tls(error.into()),
            Unshaken::Cut => Self::Cut,
            Unshaken::Failed(errno) => Self::Kernel(errno),
        }
    }
}

/// The way to a backend.
pub(super) struct Way<'a> {
    /// Where it is, and its name.
    pub(super) lease: &'a Lease,
    pub(super) source: Option<IpAddr>,
    pub(super) keepalive: Option<Duration>,
    /// What the backend is sent first: without it, it is not connected.
    pub(super) header: Option<Vec<u8>>,
    /// The upgrade to TLS that it is asked for next.
    pub(super) upgrade: Option<StartTls>,
    /// How TLS is spoken to it, if it is.
    pub(super) outbound: Option<&'a Outbound>,
    /// What is spoken on the connection, if it is one for requests.
    pub(super) http: Option<HttpVersion>,
}

/// A backend that may be sent the client's bytes.
#[derive(Debug)]
pub struct Dialed {
    /// The connection.
    pub socket: Socket,
    /// What is spoken over it, if it is TLS.
    pub tls: Option<Box<Secured>>,
}

/// Connects, sends the header, and comes to TLS where that is spoken, all of it within `limit`.
pub(super) async fn dial(
    dialer: &Dialer,
    way: &Way<'_>,
    limit: Duration,
) -> Result<Dialed, DialError> {
    let stage = Cell::new(Stage::Connect);
    let connect = async {
        let socket = patiently(dialer, way, &stage).await?;
        if let Some(header) = &way.header {
            socket.send_all(header).await?;
        }
        if way.upgrade.is_none() && way.outbound.is_none() {
            return Ok(Dialed { socket, tls: None });
        }
        // Boxed, so that those who connect plainly do not make room for it.
        Box::pin(secure(socket, way, &stage)).await
    };
    let dialed = dialer.clock.limit(limit, connect).await;
    let during = stage.get();
    match (dialed, during) {
        (Ok(connected), _) => connected.map_err(|why| DialError { during, why }),
        (Err(Overdue), Stage::Short(errno)) => Err(DialError { during, why: errno.into() }),
        (Err(Overdue), _) => Err(DialError { during, why: Why::Late }),
    }
}

/// Brings a connection to where the client's bytes may follow: after the upgrade, or inside TLS.
async fn secure(socket: Socket, way: &Way<'_>, stage: &Cell<Stage>) -> Result<Dialed, Why> {
    if let Some(StartTls::Postgres) = way.upgrade {
        stage.set(Stage::Upgrade);
        socket.send_all(&SSL_REQUEST).await?;
        // One byte and no more: whatever comes behind it in the clear must not pass for a part of
        // what is encrypted.
        let mut answer = [0];
        if poll_fn(|cx| socket.poll_recv(cx, &mut answer)).await? == 0 {
            return Err(Why::Cut);
        }
        match SslAnswer::from(answer[0]) {
            SslAnswer::Willing => {}
            other => return Err(Why::NoUpgrade(other)),
        }
    }
    let Some(outbound) = way.outbound else { return Ok(Dialed { socket, tls: None }) };
    stage.set(Stage::Handshake);
    let backend = way.lease.backend();
    let session = outbound
        .session(backend.id(), || backend.address().host(), way.http.is_some())
        .map_err(|error| Why::Unprepared(error.into()))?;
    let mut tls = Box::new(Secured { session, ahead: Vec::new() });
    tls.ahead = tls::shake(&socket, &mut tls.session).await?;
    if let Some(wanted) = way.http {
        agree(wanted, tls.session.alpn())?;
    }
    Ok(Dialed { socket, tls: Some(tls) })
}

/// Holds what was agreed on in the handshake against what is to be spoken. A server that knows nothing
/// of such agreements speaks HTTP/1.1, and nothing else can be taken for granted.
fn agree(wanted: HttpVersion, agreed: Option<&[u8]>) -> Result<(), Why> {
    if agreed == Some(wanted.alpn()) || (agreed.is_none() && wanted == HttpVersion::V1) {
        return Ok(());
    }
    let agreed = agreed.map(|protocol| String::from_utf8_lossy(protocol).into_owned());
    Err(Why::Protocol { wanted, agreed })
}

/// Connects, and while the process is out of descriptors or memory waits for some to come free: it
/// would be wrong to turn a client away for what the next moment brings.
async fn patiently(dialer: &Dialer, way: &Way<'_>, stage: &Cell<Stage>) -> Result<Socket, Errno> {
    loop {
        stage.set(Stage::Connect);
        match Socket::connect(&dialer.reactor, way.lease.address(), way.source, way.keepalive).await
        {
            Err(errno) if is_exhaustion(errno) => {
                stage.set(Stage::Short(errno));
                dialer.is_short.set(true);
                dialer.clock.sleep(SHORTAGE).await;
            }
            connected => return connected,
        }
    }
}
