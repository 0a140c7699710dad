//! One request on one page: its route, a backend, the exchange, the answer.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{RETRY_AFTER, SET_COOKIE};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri};

use crate::addr::ClientAddr;
use crate::http::answer;
use crate::http::backends::Link;
use crate::http::body::{Download, Served, Upload};
use crate::http::fetched::Fetched;
use crate::http::stream::Stream;
use crate::http::way::{self, Led};
use crate::http::{Connection, Destination};
use crate::outcome::{Outcome, Rejection, Unserved};
use crate::pool::{Claim, Picked};
use crate::route::Treatment;
use crate::session::Limits;
use crate::upstream::{Caller, Dialed, Gateway, Search, Unreached};

/// Serves a request: whatever comes of it, there is an answer.
pub(super) async fn serve(request: Request<Incoming>, on: Rc<Connection>) -> Served {
    let parts = (request.method().as_str(), request.uri(), request.headers());
    let reject = |why| on.proxy.admission.figures.reject(why);
    Ok(match way::lead(parts, on.client.ip(), &on.proxy) {
        Led::Onward(way, target, claims) => match &way.to.to {
            Destination::Pool(gateway) => {
                let request = treated(request, target, &way.to.treatment);
                forward(request, gateway, &way.to.treatment, &claims, &on).await
            }
            Destination::Redirect(_) | Destination::Respond(_) => {
                answer::plain(StatusCode::NOT_FOUND)
            }
        },
        Led::Answered(_, answer) => answer.map(|body| Download::Own(Full::new(body))),
        Led::Limited(_, seconds) => {
            reject(Rejection::Rate);
            let mut answer = answer::plain(StatusCode::TOO_MANY_REQUESTS);
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            answer
        }
        Led::Illegible(_) => answer::plain(StatusCode::BAD_REQUEST),
        Led::Nowhere => {
            reject(Rejection::NoRoute);
            answer::plain(StatusCode::NOT_FOUND)
        }
    })
}

/// The request as its route lets it go on.
fn treated<B>(
    mut request: Request<B>,
    target: Option<PathAndQuery>,
    treatment: &Treatment,
) -> Request<B> {
    if let Some(target) = target {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(target);
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
    treatment.treat_request(request.headers_mut());
    request
}

/// Has a backend answer the request.
async fn forward(
    request: Request<Incoming>,
    gateway: &Gateway,
    treatment: &Treatment,
    claims: &[Claim],
    on: &Rc<Connection>,
) -> Response<Download> {
    let since = Instant::now();
    let mut request = request.map(Upload::Streaming);
    let tools = &on.tools;
    let asker = Asker { on, claims };
    let mut search = Search::new(gateway, &asker, &tools.dialer);
    loop {
        let Picked { lease, pool, cookie } = match search.place().await {
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
            Ok(mut answer) => {
                if let Some(cookie) = cookie {
                    answer.headers_mut().append(SET_COOKIE, cookie.clone());
                }
                treatment.treat_answer(answer.headers_mut());
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
    claims: &'a [Claim],
}

impl Caller for Asker<'_> {
    fn address(&self) -> ClientAddr {
        self.on.client
    }

    fn local(&self) -> SocketAddr {
        self.on.local
    }

    fn claims(&self) -> &[Claim] {
        self.claims
    }

    fn poll_hangup(&self, cx: &Context<'_>) -> Poll<()> {
        self.on.socket.as_ref().map_or(Poll::Pending, |socket| socket.poll_hangup(cx))
    }
}
