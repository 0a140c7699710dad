//! An authority that looks whether a name is ours: it is answered ahead of all routes, since it looks
//! at port 80 of the name, where mostly a listener leads everybody else to https.

use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};

use crate::http::Proxy;
use crate::http::body::Download;
use crate::tls::Challenges;

/// The answer to a request for a token that is being looked for. An unknown token is a path as any
/// other, and what comes over TLS is not for us: the authority begins in cleartext.
pub(super) fn answer<B>(request: &Request<B>, proxy: &Proxy) -> Option<Response<Download>> {
    let is_cleartext = proxy.tls.is_none();
    is_cleartext.then(|| shown(request, &proxy.challenges)).flatten()
}

fn shown<B>(request: &Request<B>, challenges: &Challenges) -> Option<Response<Download>> {
    let words = challenges.tokens.answer(request.uri().path())?;
    if request.method() != Method::GET {
        return None;
    }
    let mut answer = Response::new(Download::Own(Full::new(words.into())));
    let kind = HeaderValue::from_static("application/octet-stream");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_of_a_known_token_is_answered_here() {
        let challenges = Challenges::default();
        challenges.tokens.show("token", "token.thumb");
        let is_answered = |method: Method, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            shown(&request, &challenges).is_some()
        };
        let path = "/.well-known/acme-challenge/token";
        assert!(is_answered(Method::GET, path));
        assert!(is_answered(Method::GET, &format!("http://a.test{path}?query")));
        assert!(!is_answered(Method::POST, path));
        assert!(!is_answered(Method::GET, "/.well-known/acme-challenge/other"));
        assert!(!is_answered(Method::GET, "/"));
    }
}
