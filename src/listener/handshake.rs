//! What comes before the first routed byte: a PROXY header, an upgrade to TLS, the first flight, and
//! what follows from these. One time limit holds for all of it.

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::Networks;
use crate::admission::Admission;
use crate::config::{self, AcceptProxy, StartTls};
use crate::listener::behind::Behind;
use crate::listener::first_flight::{self, FirstFlight};
use crate::listener::introduction::introduce;
use crate::listener::terminate::{prove, terminate, wants_proof};
use crate::net::Socket;
use crate::outcome::{Rejection, Unserved};
use crate::session::{Clock, Overdue};
use crate::tls::Turnstile;
use crate::upstream::Client;
use crate::wire::client_hello;

/// How long a client that was told why it is turned away may take to read that.
const PARTING: Duration = Duration::from_secs(1);
/// Bytes in one read of what is thrown away, and how many reads that is worth.
const DISCARD: (usize, usize) = (4096, 64);

/// What a listener wants to hear before it leads a client anywhere.
#[derive(Debug)]
pub struct Handshake {
    /// Who must send a PROXY header.
    introduced: Introduced,
    /// Bound of all of it, from the accept.
    timeout: Duration,
    /// Where a client goes depends on what it says first.
    is_read: bool,
    /// Who does not speak TLS goes to the plain pool, if there is one.
    is_secure: bool,
    /// The upgrade that is answered.
    starttls: Option<StartTls>,
}

#[derive(Debug)]
enum Introduced {
    Nobody,
    Everybody,
    From(Networks),
}

/// What one client has to say first.
#[derive(Debug)]
pub(super) struct Greeting {
    handshake: Arc<Handshake>,
    /// It is a PROXY header, before all else.
    pub(super) is_introduced: bool,
}

/// Why a client is led nowhere.
#[derive(Debug)]
pub(super) enum Refused {
    /// By what it is: it leaves no line.
    AtTheDoor(Rejection),
    /// By what it says.
    Inside(Rejection),
    /// The same, and it is told so: the connection ends after these words, with a FIN.
    Told(Rejection, Cow<'static, [u8]>),
    /// It has what it came for, after these words: nothing is counted, and it leaves no line.
    Satisfied(Vec<u8>),
    /// It has left without a word.
    Gone,
}

impl Handshake {
    /// As the file says it.
    pub fn new(spec: &config::Listener) -> Self {
        let introduced = match &spec.accept_proxy_protocol {
            AcceptProxy::Off => Introduced::Nobody,
            AcceptProxy::All => Introduced::Everybody,
            AcceptProxy::From(networks) => Introduced::From(Networks::new(networks)),
        };
        Self {
            introduced,
            timeout: spec.handshake_timeout,
            is_read: spec.needs_hello(),
            is_secure: spec.tls.is_some(),
            starttls: spec.tls.as_ref().and_then(|tls| tls.starttls),
        }
    }

    /// What whoever connects from here has to say first; `None` if it is taken as it comes.
    pub(super) fn greeting(self: &Arc<Self>, ip: IpAddr) -> Option<Greeting> {
        let is_introduced = match &self.introduced {
            Introduced::Nobody => false,
            Introduced::Everybody => true,
            Introduced::From(networks) => networks.contain(ip),
        };
        let is_awaited = is_introduced || self.is_read;
        is_awaited.then(|| Greeting { handshake: Arc::clone(self), is_introduced })
    }
}

/// Hears what the client has to say first, and finds its way. `None` = it has been turned away.
pub(super) async fn greet<B: Behind>(
    client: &mut Client,
    greeting: &Greeting,
    behind: &B,
    admission: &Admission,
    clock: &Rc<Clock>,
    turnstile: &Turnstile,
) -> Option<B::Way> {
    let left = greeting.handshake.timeout.saturating_sub(client.since.elapsed());
    let hear = hear(client, greeting, behind, admission, turnstile);
    let refused = match clock.limit(left, hear).await {
        Ok(Ok(way)) => return Some(way),
        Ok(Err(refused)) => refused,
        Err(Overdue) => Refused::Inside(Rejection::HandshakeTimeout),
    };
    turn_away(client, behind, admission, &refused);
    let words = match refused {
        Refused::Told(_, words) => words,
        Refused::Satisfied(words) => words.into(),
        Refused::AtTheDoor(_) | Refused::Inside(_) | Refused::Gone => return None,
    };
    clock.limit(PARTING, part(&client.socket, &words)).await.ok();
    None
}

async fn hear<B: Behind>(
    client: &mut Client,
    greeting: &Greeting,
    behind: &B,
    admission: &Admission,
    turnstile: &Turnstile,
) -> Result<B::Way, Refused> {
    let handshake = &greeting.handshake;
    if greeting.is_introduced {
        introduce(client, admission).await?;
    }
    if let Some(starttls) = handshake.starttls {
        first_flight::upgrade(client, starttls).await?;
    }
    if handshake.is_read {
        let first = first_flight::read(client).await?;
        if handshake.is_secure && first != FirstFlight::Hello {
            return insecure(client, first, behind);
        }
    }
    let Some(inbound) = behind.tls() else { return behind.find(client) };
    if wants_proof(client) {
        return Err(prove(client, inbound, turnstile).await);
    }
    let way = behind.find(client)?;
    terminate(client, inbound, turnstile).await?;
    Ok(way)
}

/// Where a client goes that does not speak the TLS that is asked of it.
fn insecure<B: Behind>(client: &Client, first: FirstFlight, behind: &B) -> Result<B::Way, Refused> {
    let words = match first {
        FirstFlight::Broken => client_hello::DECODE_ERROR,
        // It has been promised.
        _ if client.starttls.is_some() => b"",
        _ if let Some(plain) = behind.plain() => return Ok(plain),
        _ => behind.tls_required(client),
    };
    tracing::debug!(listener = &**behind.listener(), client = %client.address, ?first, "no TLS");
    let is_told = !words.is_empty();
    Err(if is_told {
        Refused::Told(Rejection::Tls, words.into())
    } else {
        Refused::Inside(Rejection::Tls)
    })
}

/// The way that the client goes, by what is known of it. `None` = it has been turned away.
pub(super) fn lead<B: Behind>(
    client: &mut Client,
    behind: &B,
    admission: &Admission,
) -> Option<B::Way> {
    match behind.find(client) {
        Ok(way) => Some(way),
        Err(refused) => {
            turn_away(client, behind, admission, &refused);
            None
        }
    }
}

/// Counts it, and leaves its line.
fn turn_away(client: &Client, behind: &impl Behind, admission: &Admission, refused: &Refused) {
    let why = match refused {
        Refused::Satisfied(_) => return,
        Refused::Gone => return behind.refuse(client, Unserved::ClientGone),
        Refused::AtTheDoor(why) | Refused::Inside(why) | Refused::Told(why, _) => *why,
    };
    admission.figures.reject(why);
    if !matches!(refused, Refused::Told(..)) {
        client.socket.reset_on_close();
    }
    if !matches!(refused, Refused::AtTheDoor(_)) {
        behind.refuse(client, why.into());
    }
}

/// Says the last words, ends, and reads on until the client has ended too: a close while something
/// is unread would be a reset, which could overtake the words.
async fn part(socket: &Socket, words: &[u8]) {
    if socket.send_all(words).await.is_err() {
        return;
    }
    socket.end_writing();
    let (room, reads) = DISCARD;
    let mut room = vec![0; room];
    for _ in 0..reads {
        if !poll_fn(|cx| socket.poll_recv(cx, &mut room)).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
}
