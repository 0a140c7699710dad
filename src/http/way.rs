//! Where a request goes: to the pool that its route leads to, or to an answer of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Response, Uri};

use crate::http::{Destination, Lane, Proxy};
use crate::pool::Claim;
use crate::route::{Flight, Heading, Illegible, Way};

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Led {
    /// A backend is asked, for this path and query; `None` = for those that the client asked for. With
    /// what the request says of where it belongs.
    Onward(Way<Arc<Lane>>, Option<PathAndQuery>, Vec<Claim>),
    /// The route answers by itself.
    Answered(Way<Arc<Lane>>, Response<Bytes>),
    /// 429: its route has been gone too often; in so many seconds it may be gone again.
    Limited(Way<Arc<Lane>>, u64),
    /// 400: it asks for nothing that could be led anywhere.
    Illegible(Illegible),
    /// 404: no route takes it, and the listener has no pool.
    Nowhere,
}

/// Finds the way of a request and counts it there. `method` is the one that routes compare, `client`
/// the one that is believed; of the ways of a split the first whose pool has kept it is taken.
pub(super) fn lead(
    (method, uri, headers): (&str, &Uri, &HeaderMap),
    client: IpAddr,
    proxy: &Proxy,
) -> Led {
    let heading = match Heading::of(method, uri, headers) {
        Ok(heading) => heading,
        Err(why) => return Led::Illegible(why),
    };
    let flight = Flight { client, sni: None, alpn: &[], request: Some(&heading) };
    let way = proxy.routes.find(&flight, fastrand::u64(..), |lane| lane.has_kept(headers));
    let Some(way) = way.cloned() else { return Led::Nowhere };
    way.route.sessions.increment();
    let limit = way.to.limit.as_ref();
    if let Some(Err(wait)) = limit.map(|limit| limit.admit(client, headers, Instant::now())) {
        way.route.limited.increment();
        return Led::Limited(way, wait);
    }
    let answer = match &way.to.to {
        Destination::Pool(gateway) => {
            let target = way.to.treatment.target(&heading, uri.path());
            let claims = gateway.entrance.claims(&heading.path, headers);
            return Led::Onward(way, target, claims);
        }
        Destination::Redirect(elsewhere) => elsewhere.answer(&heading),
        Destination::Respond(fixed) => Ok(fixed.answer()),
    };
    match answer {
        Ok(mut answer) => {
            way.to.treatment.treat_answer(answer.headers_mut());
            Led::Answered(way, answer)
        }
        Err(why) => Led::Illegible(why),
    }
}
