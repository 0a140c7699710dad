//! What a client says first, where its way depends on it: an upgrade to TLS, and the ClientHello.
//!
//! All that is read here stays in [`Client::ahead`], for whoever comes next: a backend gets every
//! byte as it came.

use crate::config::StartTls;
use crate::listener::handshake::Refused;
use crate::outcome::Rejection;
use crate::upstream::Client;
use crate::wire::client_hello::{self, Decoded, LONGEST, Reader};
use crate::wire::postgres::{self, Opening};

/// What one read takes at most, so that who sends little costs little.
const STEP: usize = 4096;

/// What a client begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstFlight {
    /// A ClientHello, which is known now.
    Hello,
    /// TLS that nobody could make sense of.
    Broken,
    /// Something else.
    Plain,
}

/// Answers the upgrade that `starttls` has, if the client asks for it.
pub(super) async fn upgrade(client: &mut Client, starttls: StartTls) -> Result<(), Refused> {
    let StartTls::Postgres = starttls;
    client.spoken = Some(starttls);
    // Encryption by GSSAPI may be asked for as well, and before it, but each only once.
    let mut answered = false;
    loop {
        match postgres::opening(&client.ahead) {
            Opening::Incomplete => more(client).await?,
            Opening::Tls | Opening::Other => return Ok(()),
            // What was sent on ahead of the answer could come from somebody else, to be believed
            // as if it had been encrypted.
            _ if client.ahead.len() > postgres::REQUEST => return Err(cut(client, "it went on")),
            Opening::SslRequest => {
                say(client, postgres::WILLING).await?;
                client.starttls = Some(StartTls::Postgres);
                return Ok(());
            }
            Opening::GssRequest if answered => return Err(cut(client, "it asks again")),
            Opening::GssRequest => {
                say(client, postgres::UNWILLING).await?;
                answered = true;
            }
        }
    }
}

/// Reads until it is known what the client begins with.
pub(super) async fn read(client: &mut Client) -> Result<FirstFlight, Refused> {
    let mut reader = Reader::default();
    loop {
        match reader.read(&client.ahead) {
            Decoded::Incomplete => more(client).await?,
            Decoded::Hello(hello) => {
                client.hello = Some(Box::new(hello));
                return Ok(FirstFlight::Hello);
            }
            Decoded::Foreign if client.ahead.first() == Some(&client_hello::FIRST_BYTE) => {
                return Ok(FirstFlight::Broken);
            }
            Decoded::Foreign => return Ok(FirstFlight::Plain),
        }
    }
}

/// Reads at least one byte more.
async fn more(client: &mut Client) -> Result<(), Refused> {
    let known = client.ahead.len();
    let most = STEP.min(LONGEST.saturating_sub(known));
    match client.socket.recv_more(&mut client.ahead, most).await {
        Ok(read) if read > 0 => Ok(()),
        // Whoever only looks whether somebody listens has asked for nothing.
        _ if known == 0 && client.starttls.is_none() => Err(Refused::Gone),
        Ok(_) => Err(cut(client, "it ended before it was complete")),
        Err(errno) => Err(cut(client, &errno.to_string())),
    }
}

/// Answers a request, which is done with.
async fn say(client: &mut Client, answer: &[u8]) -> Result<(), Refused> {
    client.ahead.clear();
    let sent = client.socket.send_all(answer).await;
    sent.map_err(|errno| cut(client, &errno.to_string()))
}

fn cut(client: &Client, why: &str) -> Refused {
    tracing::debug!(client = %client.address, why, "no valid first flight");
    Refused::Inside(Rejection::Tls)
}
