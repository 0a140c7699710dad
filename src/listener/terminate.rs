//! TLS that ends here: the handshake with a client whose ClientHello has come, and what is counted
//! of it.

use std::time::Instant;

use crate::config::TlsVersion;
use crate::listener::handshake::Refused;
use crate::outcome::Rejection;
use crate::tls::{self, Handshaken, Inbound, Session, Turnstile, Unshaken, is_challenge};
use crate::upstream::Client;

/// True if the client is an authority that only wants to see that a name is ours.
pub(super) fn wants_proof(client: &Client) -> bool {
    client.hello.as_deref().is_some_and(|hello| is_challenge(&hello.alpn))
}

/// Speaks TLS with the client from now on: what was read ahead goes into the handshake, and what is
/// ahead afterwards is decrypted.
pub(super) async fn terminate(
    client: &mut Client,
    inbound: &Inbound,
    turnstile: &Turnstile,
) -> Result<(), Refused> {
    let ahead = shake(client, inbound, inbound.session(), turnstile).await?;
    client.ahead = ahead;
    Ok(())
}

/// Shows an authority what it looks for. That is all that it came for.
pub(super) async fn prove(
    client: &mut Client,
    inbound: &Inbound,
    turnstile: &Turnstile,
) -> Refused {
    if let Err(refused) = shake(client, inbound, inbound.challenge(), turnstile).await {
        return refused;
    }
    let goodbye = client.tls.take().map(|mut session| {
        // Where it cannot be said, the end of the connection says it.
        session.end().ok();
        session.due
    });
    Refused::Satisfied(goodbye.unwrap_or_default())
}

/// Runs the handshake to its end, counts it, and gives what the client sent with the last of it.
async fn shake(
    client: &mut Client,
    inbound: &Inbound,
    session: Result<Session, rustls::Error>,
    turnstile: &Turnstile,
) -> Result<Vec<u8>, Refused> {
    let mut count = Count::begin(inbound);
    let unfit = |why: &Unshaken| {
        tracing::debug!(client = %client.address, %why, "no TLS session");
    };
    let mut session = session.map_err(|why| {
        unfit(&why.into());
        Refused::Inside(Rejection::Tls)
    })?;
    session.held = std::mem::take(&mut client.ahead);
    let accepted = tls::accept(&client.socket, &mut session, turnstile).await;
    count.version = session.version();
    let accepted = match accepted {
        Ok(plain) => {
            count.succeed(session.is_resumed());
            Ok(plain)
        }
        Err(why) => {
            unfit(&why);
            count.how = Handshaken::Failed;
            Err(match why {
                Unshaken::Tls(_) => {
                    Refused::Told(Rejection::Tls, std::mem::take(&mut session.due).into())
                }
                Unshaken::Cut | Unshaken::Failed(_) => Refused::Inside(Rejection::Tls),
            })
        }
    };
    client.tls = Some(Box::new(session));
    accepted
}

/// A handshake, counted when it ends. One that is given up before has taken too long.
struct Count<'a> {
    inbound: &'a Inbound,
    since: Instant,
    version: Option<TlsVersion>,
    how: Handshaken,
}

impl<'a> Count<'a> {
    fn begin(inbound: &'a Inbound) -> Self {
        inbound.figures.active.increment();
        Self { inbound, since: Instant::now(), version: None, how: Handshaken::Timeout }
    }

    fn succeed(&mut self, is_resumed: bool) {
        self.how = Handshaken::Ok;
        self.inbound.figures.shaken(self.version, is_resumed, self.since.elapsed());
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        let figures = &self.inbound.figures;
        figures.active.decrement();
        if self.how != Handshaken::Ok {
            figures.count(self.version, self.how);
        }
    }
}
