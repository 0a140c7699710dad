//! One TCP connect, bounded, with the reason for its failure sorted into the closed list.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;

use crate::net::{Socket, connect_failure, is_exhaustion, is_own_shortage};
use crate::outcome::ConnectFailure;
use crate::session::Overdue;
use crate::upstream::Dialer;

/// How long a connect rests when the process is short of something.
const SHORTAGE: Duration = Duration::from_millis(50);

/// A failed connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialError {
    /// The word for it in metrics.
    pub reason: ConnectFailure,
    /// What the kernel said; `None` if the time ran out.
    pub errno: Option<Errno>,
}

impl DialError {
    /// How slow a connect this is worth when backends are compared: as slow as one may be, unless
    /// it is we who are short of something.
    pub(super) fn cost(&self, slowest: Duration) -> Option<Duration> {
        (!self.errno.is_some_and(is_own_shortage)).then_some(slowest)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Some(errno) if is_own_shortage(errno) => write!(f, "short of resources: {errno}"),
            Some(errno) => errno.fmt(f),
            None => f.write_str("timed out"),
        }
    }
}

/// The way to a backend.
pub(super) struct Way {
    pub(super) to: SocketAddr,
    pub(super) source: Option<IpAddr>,
    pub(super) keepalive: Option<Duration>,
    /// What the backend is sent first: without it, it is not connected.
    pub(super) header: Option<Vec<u8>>,
}

/// Connects, and sends the header, within `limit`.
pub(super) async fn dial(dialer: &Dialer, way: &Way, limit: Duration) -> Result<Socket, DialError> {
    let short = Cell::new(None);
    let connect = async {
        let socket = patiently(dialer, way, &short).await?;
        if let Some(header) = &way.header {
            send(&socket, header).await?;
        }
        Ok(socket)
    };
    match dialer.clock.limit(limit, connect).await {
        Ok(connected) => connected
            .map_err(|errno| DialError { reason: connect_failure(errno), errno: Some(errno) }),
        Err(Overdue) if short.get().is_some() => {
            Err(DialError { reason: ConnectFailure::Other, errno: short.get() })
        }
        Err(Overdue) => Err(DialError { reason: ConnectFailure::Timeout, errno: None }),
    }
}

/// A new connection has room for a header, but nothing promises it.
async fn send(socket: &Socket, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let sent = poll_fn(|cx| socket.poll_send(cx, bytes)).await?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Connects, and while the process is out of descriptors or memory waits for some to come free: it
/// would be wrong to turn a client away for what the next moment brings. `short` tells what it waits
/// for: a time limit that runs out then is not the backend's fault.
async fn patiently(
    dialer: &Dialer,
    way: &Way,
    short: &Cell<Option<Errno>>,
) -> Result<Socket, Errno> {
    loop {
        short.set(None);
        match Socket::connect(&dialer.reactor, way.to, way.source, way.keepalive).await {
            Err(errno) if is_exhaustion(errno) => {
                short.set(Some(errno));
                dialer.clock.sleep(SHORTAGE).await;
            }
            connected => return connected,
        }
    }
}
