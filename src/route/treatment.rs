//! What a route does to the requests and answers that pass it: their paths and headers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config;
use crate::route::{Heading, onward};

/// The treatment that a route gives, made ready.
#[derive(Debug, Default)]
pub struct Treatment {
    strip_prefix: Option<Arc<str>>,
    add_prefix: Option<Arc<str>>,
    requests: Changes,
    answers: Changes,
    /// Bound of a whole request.
    pub request_timeout: Option<Duration>,
    /// Bytes of a body.
    pub max_body: Option<u64>,
}

/// What is done to headers.
#[derive(Debug, Default)]
struct Changes {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
}

impl Treatment {
    /// As the file says it.
    pub fn new(spec: &config::Treatment) -> Self {
        let prefix = |given: &Option<Arc<str>>| {
            let bare = given.as_deref().unwrap_or_default().trim_end_matches('/');
            (!bare.is_empty()).then(|| Arc::from(bare))
        };
        Self {
            strip_prefix: prefix(&spec.strip_prefix),
            add_prefix: prefix(&spec.add_prefix),
            requests: Changes::new(&spec.remove_request_headers, &spec.set_request_headers),
            answers: Changes::new(&spec.remove_response_headers, &spec.set_response_headers),
            request_timeout: spec.request_timeout,
            max_body: spec.max_body,
        }
    }

    /// The path that a backend is asked for.
    pub fn path<'a>(&self, heading: &'a Heading<'_>) -> Cow<'a, str> {
        let path = &*heading.sent_path;
        if !path.starts_with('/') {
            return Cow::Borrowed(path);
        }
        let strip = self.strip_prefix.as_deref();
        let bare = strip.and_then(|prefix| onward::behind(path, prefix)).unwrap_or(path);
        let bare = if bare.is_empty() { "/" } else { bare };
        match &self.add_prefix {
            Some(prefix) => Cow::Owned(format!("{prefix}{bare}")),
            None => Cow::Borrowed(bare),
        }
    }

    /// Path and query that a backend is asked for; `None` = those that were sent, `asked`.
    pub fn target(&self, heading: &Heading<'_>, asked: &str) -> Option<PathAndQuery> {
        let path = self.path(heading);
        if *path == *asked {
            return None;
        }
        match heading.query {
            Some(query) => format!("{path}?{query}").try_into().ok(),
            None => path.into_owned().try_into().ok(),
        }
    }

    /// Changes the headers of a request that goes on.
    pub fn treat_request(&self, headers: &mut HeaderMap) {
        self.requests.make(headers);
    }

    /// Changes the headers of an answer: of a backend, or of the route itself.
    pub fn treat_answer(&self, headers: &mut HeaderMap) {
        self.answers.make(headers);
    }
}

impl Changes {
    fn new(remove: &[Arc<str>], set: &[(Arc<str>, Arc<str>)]) -> Self {
        let name = |name: &Arc<str>| HeaderName::from_bytes(name.as_bytes()).ok();
        let line = |(key, value): &(Arc<str>, Arc<str>)| {
            Some((name(key)?, HeaderValue::from_str(value).ok()?))
        };
        Self {
            remove: remove.iter().filter_map(name).collect(),
            set: set.iter().filter_map(line).collect(),
        }
    }

    fn make(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn treated(strip: Option<&str>, add: Option<&str>, uri: &'static str) -> Option<String> {
        let (strip_prefix, add_prefix) = (strip.map(Arc::from), add.map(Arc::from));
        let spec = config::Treatment { strip_prefix, add_prefix, ..config::Treatment::default() };
        let (uri, headers) = (Uri::from_static(uri), HeaderMap::new());
        let heading = Heading::of("GET", &uri, &headers).unwrap();
        Treatment::new(&spec).target(&heading, uri.path()).map(|target| target.to_string())
    }

    #[test]
    fn prefixes_go_and_come_on_segment_borders() {
        for (strip, add, uri, target) in [
            (None, None, "/a/b?c", None),
            (None, None, "/a/./b?c=%7E", Some("/a/b?c=%7E")),
            (None, None, "/%61/../%62", Some("/%62")),
            (Some("/api"), None, "/api", Some("/")),
            (Some("/api"), None, "/api?x", Some("/?x")),
            (Some("/api"), None, "/api/v1/%7Ex", Some("/v1/%7Ex")),
            (Some("/api"), None, "/%61pi//x", Some("//x")),
            (Some("/api"), None, "/x/../api/y", Some("/y")),
            (Some("/api"), None, "/apix", None),
            (Some("/api"), None, "/x/api", None),
            (Some("/api/"), None, "/api/x", Some("/x")),
            (None, Some("/v2"), "/x?y", Some("/v2/x?y")),
            (Some("/api"), Some("/v2"), "/api/x", Some("/v2/x")),
            (Some("/api"), Some("/v2"), "/api", Some("/v2/")),
            (Some("/api"), Some("/api"), "/api/x", None),
            (None, Some("/v2"), "*", None),
        ] {
            assert_eq!(treated(strip, add, uri).as_deref(), target, "{strip:?} {add:?} {uri}");
        }
    }

    #[test]
    fn headers_are_removed_and_then_set_whatever_was_there() {
        let spec = config::Treatment {
            remove_request_headers: vec!["x-gone".into()],
            set_request_headers: vec![("x-set".into(), "1".into())],
            remove_response_headers: vec!["server".into()],
            set_response_headers: vec![("x-frame-options".into(), "DENY".into())],
            ..config::Treatment::default()
        };
        let treatment = Treatment::new(&spec);
        let mut headers = HeaderMap::new();
        for name in ["x-gone", "x-gone", "x-set", "x-set", "server", "x-kept"] {
            headers.append(name, "0".parse().unwrap());
        }
        let mut answer = headers.clone();
        let lines = |headers: &HeaderMap| {
            let mut lines: Vec<_> =
                headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            lines.sort();
            lines.join(" ")
        };
        treatment.treat_request(&mut headers);
        assert_eq!(lines(&headers), r#"server="0" x-kept="0" x-set="1""#);
        treatment.treat_answer(&mut answer);
        let expected =
            r#"x-frame-options="DENY" x-gone="0" x-gone="0" x-kept="0" x-set="0" x-set="0""#;
        assert_eq!(lines(&answer), expected);
    }
}
