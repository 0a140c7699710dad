//! What a route asks of an http request.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::addr::normal_path;
use crate::config::{Field, Matchers, NamePattern, PathPattern};
use crate::route::{Miss, host, onward, query};

/// The head of a request, as far as routes look at it.
#[derive(Debug, Clone)]
pub struct Heading<'a> {
    /// As it was sent.
    pub method: &'a str,
    /// In lower case, without port and dot at the end, an IPv6 address in brackets; `None` = none was
    /// named.
    pub host: Option<Cow<'a, str>>,
    /// Without dot segments and with unreserved characters decoded: what is compared.
    pub path: Cow<'a, str>,
    /// Without dot segments, and else as it was sent: what goes on.
    pub sent_path: Cow<'a, str>,
    /// What stands behind the `?`, as it was sent.
    pub query: Option<&'a str>,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

/// Why a request goes nowhere: it is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegible {
    /// It names a host that is none.
    #[error("the host is not valid")]
    Host,
    /// It names none, where one is needed.
    #[error("the host is missing")]
    NoHost,
    /// It names two hosts.
    #[error("the host is named twice, and not the same")]
    TwoHosts,
    /// Its path is none, or leads above the root.
    #[error("the path is not valid")]
    Path,
}

impl<'a> Heading<'a> {
    /// Of a request; `method` is what routes compare. Usually nothing is copied.
    ///
    /// The host is that of the URI (`:authority`, or the absolute form), else that of the header.
    ///
    /// # Errors
    /// The request is not one that could be led anywhere.
    pub fn of(method: &'a str, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Self, Illegible> {
        let path = uri.path();
        let (path, sent_path) = match path {
            // The whole server is meant (RFC 9110, 9.3.7).
            "*" => (Cow::Borrowed(path), Cow::Borrowed(path)),
            _ => match normal_path(path).ok_or(Illegible::Path)? {
                Cow::Borrowed(path) => (Cow::Borrowed(path), Cow::Borrowed(path)),
                normal => (normal, onward::without_dots(path).ok_or(Illegible::Path)?),
            },
        };
        let host = named_host(uri, headers)?;
        Ok(Self { method, host, path, sent_path, query: uri.query(), headers })
    }
}

fn named_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<Cow<'a, str>>, Illegible> {
    let header = headers.get(HOST).map(HeaderValue::to_str).transpose();
    let header = header.map_err(|_| Illegible::Host)?;
    match (uri.authority().map(http::uri::Authority::as_str), header) {
        (Some(authority), Some(header)) if !host::is_same(authority, header) => {
            Err(Illegible::TwoHosts)
        }
        (Some(authority), _) | (None, Some(authority)) => host::of(authority),
        (None, None) => Ok(None),
    }
}

/// What is asked for; an empty list asks for nothing.
#[derive(Debug)]
pub(super) struct Wanted {
    host: Box<[NamePattern]>,
    path: Box<[PathPattern]>,
    method: Box<[String]>,
    header: Box<[Line]>,
    query: Box<[Field]>,
}

/// A header that is asked for.
#[derive(Debug)]
struct Line {
    /// `None` = no header can have this name.
    name: Option<HeaderName>,
    /// Any of them; empty = it only has to be there.
    values: Vec<Arc<str>>,
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
            host: host.iter().map(in_one_form).collect(),
            path: path.clone().into(),
            method: method.clone().into(),
            header: header.iter().map(Line::of).collect(),
            query: query.clone().into(),
        })
    }

    /// The hosts that it asks for; empty = any, and none.
    pub(super) fn hosts(&self) -> &[NamePattern] {
        &self.host
    }

    /// What keeps the request from the route.
    pub(super) fn miss(&self, request: Option<&Heading<'_>>) -> Option<Miss> {
        let Some(request) = request else { return Some(Miss::Host) };
        let named = |name: &str| self.host.iter().any(|pattern| pattern.matches(name));
        if !self.host.is_empty() && !request.host.as_deref().is_some_and(named) {
            return Some(Miss::Host);
        }
        let leads_to = |pattern: &PathPattern| takes(pattern, &request.path);
        if !self.path.is_empty() && !self.path.iter().any(leads_to) {
            return Some(Miss::Path);
        }
        if !self.method.is_empty() && !self.method.iter().any(|method| *method == request.method) {
            return Some(Miss::Method);
        }
        if !self.header.iter().all(|line| line.is_in(request.headers)) {
            return Some(Miss::Header);
        }
        let query = request.query.unwrap_or_default();
        let asked = |field: &Field| query::has(query, &field.name, &field.values);
        (!self.query.iter().all(asked)).then_some(Miss::Query)
    }
}

impl Line {
    fn of(field: &Field) -> Self {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok();
        Self { name, values: field.values.clone() }
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let Some(name) = &self.name else { return false };
        let is_wanted = |line: &HeaderValue| {
            self.values.iter().any(|value| line.as_bytes() == value.as_bytes())
        };
        match self.values.is_empty() {
            true => headers.contains_key(name),
            false => headers.get_all(name).iter().any(is_wanted),
        }
    }
}

/// The same pattern, its name written as those of requests are.
fn in_one_form(pattern: &NamePattern) -> NamePattern {
    match pattern {
        NamePattern::Any => NamePattern::Any,
        NamePattern::Below(parent) => NamePattern::Below(host::of_pattern(parent).into()),
        NamePattern::Exact(name) => NamePattern::Exact(host::of_pattern(name).into()),
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
