//! What the probes over UDP share: one question on a connected socket, asked a second time half way,
//! as a lost datagram is nobody's failure.

use std::io;
use std::net::SocketAddr;

use tokio::time::{Instant, sleep_until};

use crate::health::probe::{Miss, Peer, shortage};
use crate::net;

/// More than any datagram holds.
const LARGEST: usize = 64 * 1024;

/// Sends `question` and gives each datagram that comes back to `judge`, until that has an answer.
/// Without one it goes on: whoever asks bounds it, by `until`.
pub(super) async fn converse<T>(
    peer: Peer,
    until: Instant,
    question: &[u8],
    mut judge: impl FnMut(&[u8]) -> Option<T>,
) -> Result<T, Miss> {
    let failed = |error| why_lost(peer.address, &error);
    let socket = net::connect_datagram(peer.address, peer.source).await.map_err(failed)?;
    let half = until.saturating_duration_since(Instant::now()) / 2;
    let mut again = std::pin::pin!(sleep_until(until - half));
    let mut is_repeated = false;
    socket.send(question).await.map_err(failed)?;
    let mut heard = vec![0; LARGEST];
    loop {
        tokio::select! {
            length = socket.recv(&mut heard) => {
                let length = length.map_err(failed)?;
                if let Some(answer) = heard.get(..length).and_then(&mut judge) {
                    return Ok(answer);
                }
            }
            () = &mut again, if !is_repeated => {
                is_repeated = true;
                socket.send(question).await.map_err(failed)?;
            }
        }
    }
}

fn why_lost(address: SocketAddr, error: &io::Error) -> Miss {
    shortage(error).unwrap_or_else(|| {
        Miss::Failed(match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("{address} says that nobody listens on the port")
            }
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                format!("no way to {address}: {error}")
            }
            _ => format!("cannot ask {address}: {error}"),
        })
    })
}
