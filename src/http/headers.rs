//! Header hygiene: what a proxy takes off a message and puts on it (RFC 9110, 7.6). Pure functions
//! over header maps, which are changed in place.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, EXPECT, Entry, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE,
};
use http::uri::Authority;

use crate::addr::{ClientAddr, Networks};

/// The name of the request, for logs on both sides.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const BACKEND: HeaderName = HeaderName::from_static("x-evenkeel-backend");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-evenkeel-attempts");

/// What a name is made of that a client may give its request.
const LONGEST_ID: usize = 128;

/// For one connection only, whether `Connection` names them or not. `Transfer-Encoding` is one of
/// them too, and belongs to the library that frames bodies; `Trailer` is none (RFC 9110, 6.6.2).
const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "upgrade",
];

/// What `Connection` names in vain: all that is meant for whoever answers, or for whoever asked.
/// Taking such a field away on a client's word would change what the request means, or who made it.
const END_TO_END: [&str; 21] = [
    "accept",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "forwarded",
    "host",
    "location",
    "origin",
    "range",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-request-id",
];

/// Where a request came in, for the backend to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// Who is at the other end of the connection.
    pub(super) peer: ClientAddr,
    /// What it connected to.
    pub(super) local: SocketAddr,
    /// It speaks TLS.
    pub(super) is_secure: bool,
    /// Its `X-Forwarded-*` is believed.
    pub(super) is_trusted: bool,
}

/// The client of a request that comes from `peer`: the last address in `X-Forwarded-For` that is not
/// trusted, as far as those who wrote it are. An entry that is no address ends the search: whoever is
/// before it is nobody's word.
pub(super) fn believed(headers: &HeaderMap, peer: ClientAddr, trusted: &Networks) -> ClientAddr {
    let mut client = peer;
    if !trusted.contain(peer.ip()) {
        return client;
    }
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
            let entry = std::str::from_utf8(entry).ok().map(str::trim);
            let Some(Ok(named)) = entry.map(str::parse::<ClientAddr>) else { return client };
            client = named;
            if !trusted.contain(client.ip()) {
                return client;
            }
        }
    }
    client
}

/// The name of a request: the one it came with if nobody can do harm with it, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| is_harmless(id.as_bytes()));
    given.cloned().unwrap_or_else(|| uuid(fastrand::u128(..)))
}

fn is_harmless(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(is_plain)
}

/// A UUID of version 4 (RFC 9562, 5.4).
fn uuid(chance: u128) -> HeaderValue {
    let bits = (chance & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    let places = text.iter_mut().enumerate().filter(|(at, _)| ![8, 13, 18, 23].contains(at));
    for ((_, place), nibble) in places.zip((0..32).rev()) {
        let digit = (bits >> (4 * nibble)) & 0xf;
        *place = b"0123456789abcdef".get(digit as usize).copied().unwrap_or(b'0');
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
}

/// Makes the headers of a request those that a backend gets. `upgrade` is what it asks to change to,
/// if that is passed on.
pub(super) fn of_request(
    headers: &mut HeaderMap,
    authority: Option<&Authority>,
    origin: &Origin,
    id: &HeaderValue,
    upgrade: Option<HeaderValue>,
) {
    let found = look(headers);
    if found.connection {
        drop_named(headers);
    }
    if found.hop_by_hop {
        drop_hop_by_hop(headers);
    }
    if found.te {
        keep_trailers(headers);
    }
    if found.expect {
        // It is answered when the body is asked for.
        headers.remove(EXPECT);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    set_host(headers, authority, origin.local);
    if found.forwarded && !origin.is_trusted {
        drop_forwarded(headers);
    }
    tell_origin(headers, origin);
    headers.insert(REQUEST_ID, id.clone());
}

/// Makes the headers of a backend's answer those that a client gets.
pub(super) fn of_answer(headers: &mut HeaderMap, id: &HeaderValue, is_upgrade: bool) {
    let found = look(headers);
    let upgrade = headers.get(UPGRADE).filter(|_| is_upgrade).cloned();
    if found.connection {
        drop_named(headers);
    }
    if found.hop_by_hop {
        drop_hop_by_hop(headers);
    }
    if found.te {
        headers.remove(TE);
    }
    if found.transfer_encoding {
        headers.remove(http::header::TRANSFER_ENCODING);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    headers.insert(REQUEST_ID, id.clone());
}

/// Says who answered, and after how many attempts.
pub(super) fn debug(headers: &mut HeaderMap, pool: &str, backend: &str, attempts: u32) {
    if let Ok(name) = HeaderValue::try_from(format!("{pool}/{backend}")) {
        headers.insert(BACKEND, name);
    }
    headers.insert(ATTEMPTS, attempts.into());
}

/// What a map holds that has to be looked after.
#[derive(Debug, Default)]
struct Found {
    connection: bool,
    hop_by_hop: bool,
    te: bool,
    expect: bool,
    transfer_encoding: bool,
    /// `Forwarded`, or any `X-Forwarded-*`.
    forwarded: bool,
}

/// One look at every name is cheaper than asking for each that may be there.
fn look(headers: &HeaderMap) -> Found {
    let mut found = Found::default();
    for name in headers.keys() {
        match name.as_str() {
            "connection" => (found.connection, found.hop_by_hop) = (true, true),
            "te" => found.te = true,
            "expect" => found.expect = true,
            "transfer-encoding" => found.transfer_encoding = true,
            name if is_forwarded(name) => found.forwarded = true,
            name => found.hop_by_hop |= HOP_BY_HOP.contains(&name),
        }
    }
    found
}

fn is_forwarded(name: &str) -> bool {
    name == "forwarded" || name.starts_with("x-forwarded-")
}

/// Removes what `Connection` names, unless it is not for a connection to name.
fn drop_named(headers: &mut HeaderMap) {
    // Nobody names many, and most only `close` or `keep-alive`, which are looked after anyhow.
    let mut named: Vec<HeaderName> = Vec::new();
    for line in headers.get_all(CONNECTION) {
        for option in line.as_bytes().split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            let is_usual = [&b"close"[..], b"keep-alive", b"upgrade", b"te"]
                .iter()
                .any(|usual| option.eq_ignore_ascii_case(usual));
            let Ok(name) = HeaderName::from_bytes(option) else { continue };
            let is_bound = END_TO_END.contains(&name.as_str()) || is_forwarded(name.as_str());
            if !is_usual && !is_bound {
                named.push(name);
            }
        }
    }
    for name in named {
        headers.remove(name);
    }
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    // Belongs to an upgrade to HTTP/2 that is never passed on (RFC 7540, 3.2.1).
    headers.remove("http2-settings");
}

/// Of all that `TE` can say, that trailers are understood is passed on: gRPC asks for it.
fn keep_trailers(headers: &mut HeaderMap) {
    let takes_trailers = headers.get_all(TE).iter().any(|line| {
        let mut codings = line.as_bytes().split(|byte| *byte == b',');
        codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// The target of a request names its host before `Host` does (RFC 9112, 3.2.2).
fn set_host(headers: &mut HeaderMap, authority: Option<&Authority>, local: SocketAddr) {
    let Entry::Vacant(vacant) = headers.entry(HOST) else {
        if let Some(named) = authority.and_then(|named| HeaderValue::from_str(named.as_str()).ok())
        {
            headers.insert(HOST, named);
        }
        return;
    };
    // An HTTP/1.0 client need not say whom it means: then it means where it came.
    let host = match authority {
        Some(authority) => HeaderValue::from_str(authority.as_str()),
        None => HeaderValue::try_from(local.to_string()),
    };
    if let Ok(host) = host {
        vacant.insert(host);
    }
}

fn drop_forwarded(headers: &mut HeaderMap) {
    let names = headers.keys().filter(|name| is_forwarded(name.as_str()));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
    headers.remove(FORWARDED);
}

fn tell_origin(headers: &mut HeaderMap, origin: &Origin) {
    if let Some(chain) = chain(headers, origin.peer.ip()) {
        headers.insert(FORWARDED_FOR, chain);
    }
    let proto = if origin.is_secure { "https" } else { "http" };
    headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static(proto));
    if !headers.contains_key(FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
    headers.entry(FORWARDED_PORT).or_insert_with(|| port(origin.local.port()));
}

fn port(port: u16) -> HeaderValue {
    match port {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        other => other.into(),
    }
}

/// All that `X-Forwarded-For` says so far, in one line, with `ip` at the end.
fn chain(headers: &HeaderMap, ip: IpAddr) -> Option<HeaderValue> {
    let mut chain = String::with_capacity(64);
    for line in headers.get_all(FORWARDED_FOR) {
        chain.push_str(line.to_str().unwrap_or("unknown"));
        chain.push_str(", ");
    }
    write!(chain, "{ip}").ok()?;
    HeaderValue::try_from(chain).ok()
}
