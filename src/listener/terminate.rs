//! TLS that ends here: the handshake with a client, what is counted of it, and a last word to who
//! fails.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::TlsVersion;
use crate::outcome::Rejection;
use crate::session::{Clock, Overdue};
use crate::tcp::{self, Client, Proxy};
use crate::tls::{self, Handshaken, Inbound, Session, Turnstile, Unshaken};

/// How long a client that was refused may take to hear why.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What a handshake needs of its worker.
pub(super) struct Means<'a> {
    pub(super) clock: &'a Rc<Clock>,
    pub(super) turnstile: &'a Turnstile,
    /// How long it may take.
    pub(super) left: Duration,
}

/// Speaks TLS with the client from now on: what was read ahead goes into the handshake, and what is
/// ahead afterwards is decrypted.
///
/// # Errors
/// Why there is no session. The client is still to be told so: see [`part`].
pub(super) async fn terminate(
    client: &mut Client,
    inbound: &Inbound,
    proxy: &Proxy,
    means: Means<'_>,
) -> Result<(), Rejection> {
    let shaken = shake(client, inbound, inbound.session(), means).await;
    let why = match shaken {
        Ok(()) => return Ok(()),
        Err(Refused::Overdue) => {
            tcp::refuse(client, proxy, Rejection::HandshakeTimeout);
            return Err(Rejection::HandshakeTimeout);
        }
        Err(Refused::Unshaken(why)) => why,
    };
    tracing::debug!(listener = &*proxy.listener, peer = %client.address, %why,
        "no TLS session with the client");
    tcp::decline(client, proxy, Rejection::Tls);
    Err(Rejection::Tls)
}

/// Shows an authority what it looks for. That is all it came for: it is no session.
pub(super) async fn prove(
    client: &mut Client,
    inbound: &Inbound,
    proxy: &Proxy,
    means: Means<'_>,
) -> Result<(), Rejection> {
    match shake(client, inbound, inbound.challenge(), means).await {
        Ok(()) => {
            let ended = client.tls.as_deref_mut().map(Session::end);
            tracing::debug!(listener = &*proxy.listener, peer = %client.address, ?ended,
                "an authority was shown the proof of a name");
            Ok(())
        }
        Err(Refused::Overdue) => Err(Rejection::HandshakeTimeout),
        Err(Refused::Unshaken(why)) => {
            tracing::debug!(listener = &*proxy.listener, peer = %client.address, %why,
                "there is no proof for the name that an authority asks for");
            Err(Rejection::Tls)
        }
    }
}

/// Lets the client hear the last word, if there is one, so that it is no reset that it sees.
pub(super) async fn part(client: &mut Client, clock: &Rc<Clock>) {
    if let Some(session) = client.tls.as_deref_mut() {
        let parting = Box::pin(tls::part(&client.socket, session));
        clock.limit(LAST_WORD, parting).await.ok();
    }
}

/// Why there is no TLS session.
enum Refused {
    Overdue,
    Unshaken(Unshaken),
}

async fn shake(
    client: &mut Client,
    inbound: &Inbound,
    session: Result<Session, rustls::Error>,
    means: Means<'_>,
) -> Result<(), Refused> {
    let mut counted = Counted::new(inbound);
    let mut session = Box::new(session.map_err(|error| Refused::Unshaken(error.into()))?);
    session.held = std::mem::take(&mut client.ahead);
    let accepting = tls::accept(&client.socket, &mut session, means.turnstile);
    let accepted = means.clock.limit(means.left, accepting).await;
    counted.version = session.version();
    let accepted = match accepted {
        Ok(Ok(plain)) => {
            counted.succeeded(session.is_resumed());
            client.ahead = plain;
            Ok(())
        }
        Ok(Err(why)) => {
            counted.how = Some(Handshaken::Failed);
            Err(Refused::Unshaken(why))
        }
        Err(Overdue) => Err(Refused::Overdue),
    };
    client.tls = Some(session);
    accepted
}

/// A handshake that is counted when it ends; one that is not ended has taken too long.
struct Counted<'a> {
    inbound: &'a Inbound,
    since: Instant,
    version: Option<TlsVersion>,
    how: Option<Handshaken>,
}

impl<'a> Counted<'a> {
    fn new(inbound: &'a Inbound) -> Self {
        inbound.figures.active.increment();
        Self { inbound, since: Instant::now(), version: None, how: None }
    }

    fn succeeded(&mut self, is_resumed: bool) {
        self.how = Some(Handshaken::Ok);
        self.inbound.figures.shaken(self.version, is_resumed, self.since.elapsed());
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let figures = &self.inbound.figures;
        figures.active.decrement();
        match self.how {
            Some(Handshaken::Ok) => {}
            how => figures.count(self.version, how.unwrap_or(Handshaken::Timeout)),
        }
    }
}
