//! The PROXY header of those who connect for others.
//!
//! No more is read than the header, so whoever comes next finds the payload where the kernel has it.

use rustix::io::Errno;

use crate::addr::ClientAddr;
use crate::admission::Admission;
use crate::listener::handshake::Refused;
use crate::net::Socket;
use crate::outcome::Rejection;
use crate::upstream::Client;
use crate::wire::proxy_protocol::{Addresses, Decoded, Invalid, decode};

/// Room made for a header in one go: whoever claims a long one has to send it before it costs more.
const STEP: usize = 4096;

/// Reads the header, gives the client the addresses that it names, and lets it in or not by these.
pub(super) async fn introduce(client: &mut Client, admission: &Admission) -> Result<(), Refused> {
    match header(&client.socket).await {
        Ok(named) => {
            if let Some(Addresses { source, destination }) = named {
                client.address = ClientAddr::new(source);
                client.named = Some(destination);
            }
            admission.screen(client.address).map_err(Refused::AtTheDoor)
        }
        Err(broken) => {
            tracing::debug!(peer = %client.address, %broken, "no valid PROXY header");
            Err(Refused::Inside(Rejection::ProxyHeader))
        }
    }
}

/// What came instead of a header.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("it ended before it was complete")]
    Cut,
    #[error(transparent)]
    Failed(#[from] Errno),
}

/// Reads a header, and nothing of what is behind it.
async fn header(socket: &Socket) -> Result<Option<Addresses>, Broken> {
    let mut bytes = Vec::with_capacity(128);
    loop {
        let more = match decode(&bytes)? {
            Decoded::Header { addresses, .. } => return Ok(addresses),
            Decoded::Incomplete { more } => more.min(STEP),
        };
        if socket.recv_more(&mut bytes, more).await? == 0 {
            return Err(Broken::Cut);
        }
    }
}
