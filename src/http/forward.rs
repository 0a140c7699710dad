//! One request on one page: its route, a backend, the exchange, the answer.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::{Request, Response, StatusCode};

use crate::addr::ClientAddr;
use crate::http::answer;
use crate::http::backends::Link;
use crate::http::body::{Download, Served, Upload};
use crate::http::fetched::Fetched;
use crate::http::stream::Stream;
use crate::http::connection::Inflow;
use crate::http::{Connection, Destination, Lane};
use crate::outcome::{Outcome, Rejection, Unserved};
use crate::pool::Picked;
use crate::route::{Flight, Heading, Way};
use crate::session::Limits;
use crate::upstream::{Caller, Dialed, Gateway, Search, Unreached};

/// Serves a request: whatever comes of it, there is an answer.
pub(super) async fn serve(request: Request<Inflow>, on: Rc<Connection>) -> Served {
    let Some(way) = find(&request, &on) else {
        on.proxy.admission.figures.reject(Rejection::NoRoute);
        return Ok(answer::plain(StatusCode::NOT_FOUND));
    };
    way.route.sessions.increment();
    Ok(match &way.to.to {
        Destination::Pool(gateway) => forward(request, gateway, &on).await,
        Destination::Redirect(_) | Destination::Respond(_) => {
            answer::plain(StatusCode::NOT_IMPLEMENTED)
        }
    })
}

fn find(request: &Request<Inflow>, on: &Connection) -> Option<Way<Arc<Lane>>> {
    let heading = Heading {
        method: request.method().as_str(),
        host: request.uri().host(),
        path: request.uri().path(),
        query: request.uri().query(),
        headers: request.headers(),
    };
    let client = on.client.ip();
    let flight = Flight { client, sni: None, alpn: &[], request: Some(&heading) };
    on.proxy.routes.find(&flight, fastrand::u64(..)).cloned()
}

/// Has a backend answer the request.
async fn forward(
    request: Request<Inflow>,
    gateway: &Gateway,
    on: &Rc<Connection>,
) -> Response<Download> {
    let since = Instant::now();
    let mut request = request.map(Upload::Streaming);
    let tools = &on.tools;
    let asker = Asker { on };
    let mut search = Search::new(gateway, &asker, &tools.dialer);
    loop {
        let Picked { lease, pool } = match search.place().await {
            Ok(picked) => picked,
            Err(unreached) => return refuse(on, unreached),
        };
        let kept = tools.backends.take(lease.backend());
        let link = match kept {
            Some(link) => Some(link),
            None => match search.dial(pool, &lease).await {
                Some(dialed) => open(dialed, on).await,
                None => None,
            },
        };
        let Some(mut link) = link else {
            match search.go_on(lease).await {
                Ok(()) => continue,
                Err(unreached) => return refuse(on, unreached),
            }
        };
        match link.send(request).await {
            Ok(answer) => {
                let (tally, epoch) = (Arc::clone(lease.tally()), lease.epoch());
                let live = Some(tools.sessions.enter(tally, epoch, Limits::default()));
                let tools = Rc::clone(tools);
                return answer.map(|body| {
                    let link = Some(link);
                    Download::Fetched(Box::new(Fetched { body, link, live, lease, tools, since }))
                });
            }
            Err(mut failed) => match failed.take_message() {
                // It never left.
                Some(unsent) => request = unsent,
                None => {
                    lease.tally().end(Outcome::BackendReset, since.elapsed());
                    return answer::plain(StatusCode::BAD_GATEWAY);
                }
            },
        }
    }
}

async fn open(dialed: Dialed, on: &Connection) -> Option<Link> {
    let Dialed { socket, tls } = dialed;
    let (tls, ahead) = match tls {
        Some(secured) => (Some(Box::new(secured.session)), secured.ahead),
        None => (None, Vec::new()),
    };
    Link::open(Stream::new(Rc::new(socket), tls, ahead, &on.tools.scratch)).await.ok()
}

fn refuse(on: &Connection, unreached: Unreached) -> Response<Download> {
    if let Unserved::Rejected(why) = unreached.why {
        on.proxy.admission.figures.reject(why);
    }
    answer::plain(match unreached.why {
        Unserved::Rejected(Rejection::Refused) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    })
}

/// The client of a request, for those who look for a backend.
struct Asker<'a> {
    on: &'a Connection,
}

impl Caller for Asker<'_> {
    fn address(&self) -> ClientAddr {
        self.on.client
    }

    fn local(&self) -> SocketAddr {
        self.on.local
    }

    fn poll_hangup(&self, cx: &Context<'_>) -> Poll<()> {
        self.on.socket.as_ref().map_or(Poll::Pending, |socket| socket.poll_hangup(cx))
    }
}
