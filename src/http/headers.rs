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
        let entries = line.as_bytes().rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        // An empty element of a list says nothing (RFC 9110, 5.6.1).
        for entry in entries.filter(|entry| !entry.is_empty()) {
            let named = std::str::from_utf8(entry).ok().and_then(|entry| entry.parse().ok());
            let Some(named) = named else { return client };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: HeaderValue = HeaderValue::from_static("id");

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            map.append::<HeaderName>(name, value);
        }
        map
    }

    fn lines(map: &HeaderMap) -> Vec<String> {
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    fn client(text: &str) -> ClientAddr {
        text.parse().unwrap()
    }

    fn trusted() -> Networks {
        Networks::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    fn origin(peer: &str) -> Origin {
        let peer = client(peer);
        let is_trusted = trusted().contain(peer.ip());
        Origin { peer, local: ([192, 0, 2, 1], 443).into(), is_secure: true, is_trusted }
    }

    /// A request with these lines as a backend gets it, without what is always added.
    fn passed(peer: &str, sent: &[(&str, &str)]) -> Vec<String> {
        let mut headers = map(sent);
        of_request(&mut headers, None, &origin(peer), &ID, None);
        headers.remove(REQUEST_ID);
        lines(&headers)
    }

    const OURS: [&str; 5] = [
        "host: a",
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-proto: https",
        "x-forwarded-host: a",
        "x-forwarded-port: 443",
    ];

    #[test]
    fn what_is_for_one_connection_ends_with_it() {
        let sent = [
            ("host", "a"),
            ("connection", "close, X-Foo,keep-alive"),
            ("connection", " x-bar ,, bad name"),
            ("x-foo", "1"),
            ("x-bar", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("expect", "100-continue"),
            ("te", "gzip, Trailers;q=1, deflate"),
        ];
        assert_eq!(passed("192.0.2.7", &sent), OURS);
        let kept =
            passed("192.0.2.7", &[("host", "a"), ("te", "gzip"), ("te", "deflate, Trailers")]);
        assert!(kept.contains(&"te: trailers".to_owned()), "{kept:?}");
    }

    #[test]
    fn a_connection_cannot_take_away_what_is_for_others() {
        let sent = [
            ("host", "a"),
            ("connection", "host, content-length, cookie, authorization, x-forwarded-for"),
            ("content-length", "5"),
            ("cookie", "a=b"),
            ("authorization", "Basic x"),
        ];
        let left = passed("192.0.2.7", &sent);
        for line in ["host: a", "content-length: 5", "cookie: a=b", "authorization: Basic x"] {
            assert!(left.contains(&line.to_owned()), "{left:?}");
        }
        assert!(left.contains(&"x-forwarded-for: 192.0.2.7".to_owned()), "{left:?}");
    }

    #[test]
    fn what_strangers_say_of_where_they_come_from_is_replaced() {
        let sent = [
            ("host", "a"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-prefix", "/admin"),
            ("forwarded", "for=1.1.1.1"),
        ];
        assert_eq!(passed("192.0.2.7", &sent), OURS);
    }

    #[test]
    fn what_a_trusted_proxy_says_is_added_to() {
        let sent = [
            ("host", "a"),
            ("x-forwarded-for", "1.1.1.1, 10.0.0.9"),
            ("x-forwarded-for", "fd00::1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-prefix", "/p"),
            ("forwarded", "for=1.1.1.1"),
        ];
        let expected = [
            "host: a",
            "x-forwarded-for: 1.1.1.1, 10.0.0.9, fd00::1, 10.1.2.3",
            "x-forwarded-proto: http",
            "x-forwarded-prefix: /p",
            "forwarded: for=1.1.1.1",
            "x-forwarded-host: a",
            "x-forwarded-port: 443",
        ];
        assert_eq!(passed("10.1.2.3", &sent), expected);
    }

    #[test]
    fn the_client_is_the_last_that_is_not_trusted() {
        for (peer, said, expected) in [
            ("192.0.2.7:5", &["1.1.1.1"][..], "192.0.2.7:5"),
            ("10.0.0.1:5", &[], "10.0.0.1:5"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2, 10.0.0.2,, "], "2.2.2.2"),
            ("10.0.0.1", &["1.1.1.1, 2.2.2.2", "10.0.0.2"], "2.2.2.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["1.1.1.1, x"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::1]:80, fd00::2"], "[2001:db8::1]:80"),
            ("10.0.0.1", &["::ffff:1.1.1.1"], "1.1.1.1"),
        ] {
            let headers =
                map(&said.iter().map(|line| ("x-forwarded-for", *line)).collect::<Vec<_>>());
            assert_eq!(believed(&headers, client(peer), &trusted()), client(expected), "{said:?}");
        }
    }

    #[test]
    fn a_request_keeps_a_name_that_does_no_harm() {
        for (given, is_kept) in [
            ("abc-1_2.3:4/5+6=7@8", true),
            (&"x".repeat(128), true),
            (&"x".repeat(129), false),
            ("", false),
            ("a b", false),
            ("<script>", false),
            ("a,b", false),
        ] {
            let id = request_id(&map(&[("x-request-id", given)]));
            assert_eq!(id == given, is_kept, "{given}");
        }
        let made = request_id(&HeaderMap::new());
        assert_ne!(made, request_id(&HeaderMap::new()));
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            "01234567-89ab-4def-8123-456789abcdef"
        );
    }

    #[test]
    fn the_target_names_the_host_before_the_host_does() {
        let authority = "b:81".parse::<Authority>().unwrap();
        for (sent, named, host) in [
            (&[("host", "a")][..], None, "a"),
            (&[("host", "a")], Some(&authority), "b:81"),
            (&[], Some(&authority), "b:81"),
            (&[], None, "192.0.2.1:443"),
        ] {
            let mut headers = map(sent);
            of_request(&mut headers, named, &origin("192.0.2.7"), &ID, None);
            let hosts: Vec<_> = headers.get_all(HOST).iter().collect();
            assert_eq!(hosts, [host]);
            assert_eq!(headers["x-forwarded-host"], host);
        }
    }

    #[test]
    fn an_upgrade_goes_through_where_it_is_one() {
        let mut headers =
            map(&[("host", "a"), ("connection", "keep-alive, Upgrade"), ("upgrade", "x")]);
        let protocol = Some(HeaderValue::from_static("websocket"));
        of_request(&mut headers, None, &origin("192.0.2.7"), &ID, protocol);
        assert_eq!(
            (&headers[CONNECTION], &headers[UPGRADE]),
            (&"upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
        let sent = [("connection", "upgrade, x-hop"), ("upgrade", "websocket"), ("x-hop", "1")];
        let mut answer = map(&sent);
        of_answer(&mut answer, &ID, true);
        let expected = ["connection: upgrade", "upgrade: websocket", "x-request-id: id"];
        assert_eq!(lines(&answer), expected);
        let mut answer = map(&sent);
        of_answer(&mut answer, &ID, false);
        assert_eq!(lines(&answer), ["x-request-id: id"]);
    }

    #[test]
    fn an_answer_keeps_what_is_meant_for_the_client() {
        let mut answer = map(&[
            ("date", "x"),
            ("server", "nginx"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("connection", "close, content-length, set-cookie, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("trailer", "x-t"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("x-request-id", "theirs"),
        ]);
        of_answer(&mut answer, &ID, false);
        let mut left = lines(&answer);
        left.sort();
        let expected = [
            "content-length: 3",
            "date: x",
            "server: nginx",
            "set-cookie: a=b",
            "set-cookie: c=d",
            "trailer: x-t",
            "x-request-id: id",
        ];
        assert_eq!(left, expected);
    }

    fn field() -> impl Strategy<Value = (String, String)> {
        let name = prop_oneof![
            prop::sample::select(vec![
                "connection",
                "te",
                "expect",
                "upgrade",
                "keep-alive",
                "forwarded",
                "host",
                "x-forwarded-for",
                "x-forwarded-host",
                "content-length",
                "x-request-id",
                "cookie",
            ])
            .prop_map(str::to_owned),
            "x-[a-c]",
        ];
        let value = prop_oneof![
            prop::collection::vec(
                prop::sample::select(vec![
                    "close",
                    "x-a",
                    "X-B",
                    "te",
                    "host",
                    "trailers",
                    "1.1.1.1",
                    "10.0.0.2",
                    "",
                    "content-length",
                    "x-forwarded-for",
                    "websocket",
                ]),
                0..4
            )
            .prop_map(|options| options.join(", ")),
            "[ -~]{0,12}",
        ];
        (name, value)
    }

    proptest! {
        #[test]
        fn whatever_is_sent_a_backend_hears_nothing_of_the_connection_and_the_truth_of_the_client(
            fields in prop::collection::vec(field(), 0..12),
            peer in prop::sample::select(vec!["192.0.2.7", "10.0.0.1"]),
        ) {
            let fields: Vec<_> = fields.iter().map(|(n, v)| (&**n, v.trim())).collect();
            let sent = map(&fields);
            let mut headers = sent.clone();
            of_request(&mut headers, None, &origin(peer), &ID, None);
            for name in HOP_BY_HOP.iter().chain(&["expect"]) {
                prop_assert!(!headers.contains_key(*name), "{}", name);
            }
            let chain = headers.get_all(FORWARDED_FOR).iter().collect::<Vec<_>>();
            prop_assert_eq!(chain.len(), 1);
            prop_assert!(chain[0].to_str().unwrap().ends_with(peer));
            prop_assert_eq!(headers.get_all(REQUEST_ID).iter().collect::<Vec<_>>(), [ID]);
            prop_assert!(headers.get(TE).is_none_or(|te| te == "trailers"));
            prop_assert_eq!(headers.get_all("content-length").iter().count(),
                sent.get_all("content-length").iter().count());
            if peer == "192.0.2.7" {
                prop_assert_eq!(chain[0], peer);
                prop_assert!(!headers.contains_key(FORWARDED));
            }
            // What has been cleaned is clean.
            let mut again = headers.clone();
            of_answer(&mut again, &ID, false);
            again.remove(TE);
            headers.remove(TE);
            prop_assert_eq!(again, headers);
        }
    }
}
