//! What a route asks of an http request.

use http::HeaderMap;

use crate::config::{Field, Matchers, NamePattern, PathPattern};
use crate::route::Miss;

/// The head of a request, as far as routes look at it.
#[derive(Debug, Clone, Copy)]
pub struct Heading<'a> {
    /// As it was sent.
    pub method: &'a str,
    /// In lower case, without port and dot at the end; `None` = none was named.
    pub host: Option<&'a str>,
    /// Without dot segments and with unreserved characters decoded.
    pub path: &'a str,
    /// What stands behind the `?`, as it was sent.
    pub query: Option<&'a str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

/// What is asked for; an empty list asks for nothing.
#[derive(Debug)]
#[expect(dead_code, reason = "methods, headers and queries come next")]
pub(super) struct Wanted {
    host: Box<[NamePattern]>,
    path: Box<[PathPattern]>,
    method: Box<[String]>,
    header: Box<[Field]>,
    query: Box<[Field]>,
}

impl Wanted {
    /// `None` = any request will do.
    pub(super) fn of(spec: &Matchers) -> Option<Self> {
        let Matchers { host, path, method, header, query, sni: _, alpn: _, client: _ } = spec;
        let is_any = host.is_empty()
            && path.is_empty()
            && method.is_empty()
            && header.is_empty()
            && query.is_empty();
        (!is_any).then(|| Self {
            host: host.clone().into(),
            path: path.clone().into(),
            method: method.clone().into(),
            header: header.clone().into(),
            query: query.clone().into(),
        })
    }

    /// What keeps the request from the route.
    pub(super) fn miss(&self, request: Option<&Heading<'_>>) -> Option<Miss> {
        let Some(request) = request else { return Some(Miss::Host) };
        let named = |name| self.host.iter().any(|pattern| pattern.matches(name));
        if !self.host.is_empty() && !request.host.is_some_and(named) {
            return Some(Miss::Host);
        }
        if !self.path.is_empty() && !self.path.iter().any(|pattern| takes(pattern, request.path)) {
            return Some(Miss::Path);
        }
        None
    }
}

fn takes(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(exact) => **exact == *path,
        PathPattern::Under(prefix) => path
            .strip_prefix(&**prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}
