//! What a dry run asks for: the hello or the request that does not exist.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::admin::answer::Refusal;
use crate::admin::path;
use crate::server;

/// What a query says of it.
pub(super) struct Asked {
    sni: Option<String>,
    alpn: Vec<Vec<u8>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    /// Reads a query: `sni`, `alpn`, `host`, `path`, `method`, and `header` as often as it is needed.
    pub(super) fn read(query: Option<&str>) -> Result<Self, Refusal> {
        let given = |key| path::value(query, key).filter(|value| !value.is_empty());
        let method = given("method").unwrap_or_else(|| "GET".to_owned());
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| bad("method", &method, "a method, such as GET"))?;
        let target = given("path").unwrap_or_else(|| "/".to_owned());
        let uri = target.parse::<Uri>().ok().filter(|uri| uri.authority().is_none());
        let uri = uri.ok_or_else(|| bad("path", &target, "a path, as in /api/v1?page=2"))?;
        let mut headers = HeaderMap::new();
        if let Some(host) = given("host") {
            let value = HeaderValue::from_str(&host);
            headers.insert(HOST, value.map_err(|_| bad("host", &host, "a name"))?);
        }
        for line in path::values(query, "header") {
            let (name, value) = header(&line)
                .ok_or_else(|| bad("header", &line, "a name and a value, as in x-canary: 1"))?;
            headers.append(name, value);
        }
        Ok(Self { sni: given("sni"), alpn: protocols(given("alpn")), method, uri, headers })
    }

    pub(super) fn as_ref(&self) -> server::Asked<'_> {
        server::Asked {
            sni: self.sni.as_deref(),
            alpn: &self.alpn,
            method: self.method.as_str(),
            uri: &self.uri,
            headers: &self.headers,
        }
    }
}

fn bad(key: &str, text: &str, wanted: &str) -> Refusal {
    Refusal::bad(format!("`{key}` is {text:?}; it is {wanted}"))
}

/// The application protocols that a query names, with commas between them.
fn protocols(given: Option<String>) -> Vec<Vec<u8>> {
    let given = given.unwrap_or_default();
    let names = given.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| name.as_bytes().to_vec()).collect()
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_from_a_query() {
        let query =
            "host=a.example%3A80&path=/x%3Fy%3D1&method=PUT&header=x-a%3A%201&header=X-A%3a2";
        let asked = Asked::read(Some(query)).ok().unwrap();
        let values: Vec<_> = asked.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(asked.headers[HOST], "a.example:80");
        let (uri, method) = (asked.uri.to_string(), asked.method.as_str());
        assert_eq!((&*uri, method), ("/x?y=1", "PUT"));
        let nothing = Asked::read(None).ok().unwrap();
        assert_eq!((nothing.uri.path(), nothing.method.as_str()), ("/", "GET"));
        for wrong in ["path=x%20y", "path=http://a/", "method=a%20b", "header=x", "header=a%0a:1"] {
            assert!(Asked::read(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
