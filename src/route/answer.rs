//! Answers that a route gives by itself: `redirect` and `respond`.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use crate::config;
use crate::route::{Heading, Illegible};

/// Answers to which no body belongs (RFC 9110, 6.4.1).
const BARE: [StatusCode; 3] =
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];

/// `redirect`, made ready.
#[derive(Debug)]
pub struct Redirection {
    status: StatusCode,
    parts: Box<[Part]>,
    /// From the `#` on.
    fragment: Box<[Part]>,
    /// The query of the request is put behind it.
    keeps_query: bool,
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Host,
    Path,
    Query,
}

/// What stands for parts of a request.
const NAMED: [(&str, fn() -> Part); 3] =
    [("{host}", || Part::Host), ("{path}", || Part::Path), ("{query}", || Part::Query)];

impl Redirection {
    /// As the file says it.
    pub fn new(spec: &config::Redirect) -> Self {
        let (to, status) = match spec {
            config::Redirect::Https => ("https://{host}{path}", 308),
            config::Redirect::To { to, status } => (&**to, *status),
        };
        let (front, fragment) = to.find('#').map_or((to, ""), |at| to.split_at(at));
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::PERMANENT_REDIRECT),
            parts: parts(front),
            fragment: parts(fragment),
            keeps_query: !front.contains('?'),
        }
    }

    /// The answer to this request.
    ///
    /// # Errors
    /// It names no host, where one is needed.
    pub fn answer(&self, heading: &Heading<'_>) -> Result<Response<Bytes>, Illegible> {
        let mut location = String::with_capacity(128);
        push_all(&mut location, &self.parts, heading)?;
        if let Some(query) = heading.query.filter(|_| self.keeps_query) {
            location.push('?');
            push(&mut location, query);
        }
        push_all(&mut location, &self.fragment, heading)?;
        // Whatever is behind two slashes would be taken for a host, and the path is the client's.
        if location.starts_with("//") {
            location.insert_str(0, "/.");
        }
        let location = HeaderValue::try_from(location).map_err(|_| Illegible::Path)?;
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = self.status;
        answer.headers_mut().insert(LOCATION, location);
        Ok(answer)
    }
}

fn parts(text: &str) -> Box<[Part]> {
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        let places = NAMED.iter().filter_map(|(name, part)| Some((rest.find(name)?, name, part)));
        let first = places.min_by_key(|(at, ..)| *at);
        let (front, next) = first.map_or((rest, None), |(at, name, part)| {
            (rest.get(..at).unwrap_or_default(), Some((at + name.len(), part)))
        });
        if !front.is_empty() {
            parts.push(Part::Text(front.into()));
        }
        let Some((behind, part)) = next else { return parts.into() };
        parts.push(part());
        rest = rest.get(behind..).unwrap_or_default();
    }
}

fn push_all(out: &mut String, parts: &[Part], heading: &Heading<'_>) -> Result<(), Illegible> {
    for part in parts {
        match part {
            Part::Text(text) => push(out, text),
            Part::Host => push(out, heading.host.as_deref().ok_or(Illegible::NoHost)?),
            // What is asked of a whole server has no path to go on.
            Part::Path if !heading.sent_path.starts_with('/') => out.push('/'),
            Part::Path => push(out, &heading.sent_path),
            Part::Query => push(out, heading.query.unwrap_or_default()),
        }
    }
    Ok(())
}

/// Adds what may stand in a URI (RFC 3986, 2) as it is, and all else percent-encoded.
fn push(out: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {}
            _ if byte.is_ascii_graphic() => {
                out.push(char::from(byte));
                continue;
            }
            _ => {}
        }
        let digit = |half: u8| char::from(DIGITS.get(usize::from(half)).copied().unwrap_or(b'0'));
        out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
    }
}

/// `respond`, made ready.
#[derive(Debug)]
pub struct Fixed {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl Fixed {
    /// As the file says it.
    pub fn new(spec: &config::Respond) -> Self {
        let status = StatusCode::from_u16(spec.status).unwrap_or(StatusCode::OK);
        let body = match BARE.contains(&status) {
            true => Bytes::new(),
            false => Bytes::copy_from_slice(spec.body.as_bytes()),
        };
        let content_type = HeaderValue::from_str(&spec.content_type).ok();
        Self { status, content_type: content_type.filter(|_| !body.is_empty()), body }
    }

    /// The answer.
    pub fn answer(&self) -> Response<Bytes> {
        let mut answer = Response::new(self.body.clone());
        *answer.status_mut() = self.status;
        if let Some(kind) = &self.content_type {
            answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Uri};
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Redirect, Respond};

    fn located(to: Option<&str>, host: Option<&str>, uri: &Uri) -> Result<String, Illegible> {
        let spec = match to {
            None => Redirect::Https,
            Some(to) => Redirect::To { to: to.into(), status: 302 },
        };
        let mut headers = HeaderMap::new();
        headers.extend(host.map(|host| (http::header::HOST, host.parse().unwrap())));
        let heading = Heading::of("GET", uri, &headers)?;
        let answer = Redirection::new(&spec).answer(&heading)?;
        assert_eq!(answer.status(), if to.is_some() { 302 } else { 308 });
        Ok(answer.headers()[LOCATION].to_str().unwrap().to_owned())
    }

    #[test]
    fn https_is_the_same_url_without_a_port() {
        for (host, uri, location) in [
            ("a.example:8080", "/x/y?z=1&w", "https://a.example/x/y?z=1&w"),
            ("A.Example.", "/%7Ex/../y%2Fz", "https://a.example/y%2Fz"),
            ("[::1]:80", "/", "https://[::1]/"),
            ("a", "/?", "https://a/?"),
            ("a", "//b", "https://a//b"),
            ("a", "*", "https://a/"),
        ] {
            let found = located(None, Some(host), &uri.parse().unwrap());
            assert_eq!(found.as_deref(), Ok(location), "{host} {uri}");
        }
        for host in [None, Some("")] {
            assert_eq!(located(None, host, &Uri::from_static("/")), Err(Illegible::NoHost));
        }
    }

    #[test]
    fn a_place_is_made_of_parts_of_the_request() {
        for (to, uri, location) in [
            ("https://new.example{path}", "/a?b=1", "https://new.example/a?b=1"),
            ("https://new.example/", "/a?b=1", "https://new.example/?b=1"),
            ("https://new.example/?", "/a?b=1", "https://new.example/?"),
            ("https://{host}/x{path}?from={host}&{query}", "/a?b=1", "https://h/x/a?from=h&b=1"),
            ("/search?{query}", "/a", "/search?"),
            ("/new{path}#top{path}", "/a?b", "/new/a?b#top/a"),
            ("/{x}{path", "/", "/%7Bx%7D%7Bpath"),
            ("{path}", "//evil.example/", "/.//evil.example/"),
            ("/{path}", "/evil.example", "/.//evil.example"),
        ] {
            let found = located(Some(to), Some("h:81"), &uri.parse().unwrap());
            assert_eq!(found.as_deref(), Ok(location), "{to} {uri}");
        }
    }

    #[test]
    fn a_fixed_answer_has_a_type_with_its_body() {
        for (status, body, sent) in [(503, "closed", "closed"), (200, "", ""), (204, "no", "")] {
            let content_type = "text/html".into();
            let answer = Fixed::new(&Respond { status, body: body.into(), content_type }).answer();
            assert_eq!((answer.status().as_u16(), &answer.body()[..]), (status, sent.as_bytes()));
            let kind = answer.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes());
            assert_eq!(kind, (!sent.is_empty()).then_some(&b"text/html"[..]));
        }
    }

    proptest! {
        #[test]
        fn a_place_is_one_line_of_a_uri_and_on_the_host_that_was_meant(
            path in "(/|\\.|%0[aAdD]|[@:\\\\<\"ä]){0,12}",
            query in "(%0[aAdD]|[?/&{}|äb]){0,8}",
        ) {
            if let Ok(uri) = format!("/{path}?{query}").parse::<Uri>() {
                if let Ok(location) = located(Some("{path}"), Some("h"), &uri) {
                    prop_assert!(location.bytes().all(|byte| byte.is_ascii_graphic()));
                    prop_assert!(location.starts_with('/') && !location.starts_with("//"));
                }
                if let Ok(location) = located(None, Some("h"), &uri) {
                    prop_assert!(location.starts_with("https://h/"));
                }
            }
        }
    }
}
