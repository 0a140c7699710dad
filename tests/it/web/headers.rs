//! What backends and clients hear of each other, and of us.

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files;
use crate::harness::http;
use crate::web::recorder::{Recorder, answer};

fn start(backend: &Recorder, listener: &str) -> Evenkeel {
    let listener = format!("protocol = \"http\"\n{listener}");
    let backends = format!("[{}]", backend.server.entry(""));
    Evenkeel::start(&files::unprobed(&backends, &listener, ""))
}

#[test]
fn a_backend_hears_of_the_client_and_nothing_of_its_connection() {
    let backend = Recorder::new("b", |_| answer(200, "connection: x-hop\r\nx-hop: 1\r\n", "ok"));
    let evenkeel = start(&backend, "");
    let fields = [
        "connection: x-mine, authorization",
        "x-mine: 1",
        "keep-alive: timeout=5",
        "authorization: Basic x",
        "upgrade: h2c",
        "te: gzip",
        "x-forwarded-for: 9.9.9.9",
        "x-forwarded-proto: gopher",
        "forwarded: for=9.9.9.9",
        "x-request-id: <script>",
    ];
    let told = http::send(evenkeel.at(), "GET", "/a/../b?c=d", &fields, "");
    assert_eq!((told.status, &*told.body), (200, "ok"));
    let seen = &backend.seen()[0];
    assert!(seen.head.starts_with("GET /b?c=d HTTP/1.1\r\n"), "{}", seen.head);
    for gone in ["connection", "x-mine", "keep-alive", "upgrade", "te", "forwarded"] {
        assert_eq!(seen.all(gone), [""; 0], "{gone}");
    }
    let address = evenkeel.at();
    assert_eq!(seen.all("host"), [address.to_string()]);
    assert_eq!(seen.all("authorization"), ["Basic x"]);
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), [address.to_string()]);
    assert_eq!(seen.all("x-forwarded-port"), [address.port().to_string()]);
    // Its name was not one that may be written down, and both sides know the new one.
    let id = seen.all("x-request-id")[0].to_owned();
    assert_eq!((id.len(), told.header("x-request-id")), (36, Some(&*id)));
    assert_eq!((told.header("x-hop"), told.header("x-evenkeel-backend")), (None, None));
    assert_eq!(evenkeel.wait_access(1)[0]["request_id"], *id);
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    let backend = Recorder::new("b", |_| answer(200, "", "ok"));
    let evenkeel = start(&backend, "trusted_proxies = [\"127.0.0.0/8\"]\ndebug_headers = true");
    let fields = [
        "x-forwarded-for: 9.9.9.9, 192.0.2.7",
        "x-forwarded-for: 127.0.0.9",
        "x-forwarded-proto: https",
        "x-request-id: from-afar",
    ];
    let told = http::send(evenkeel.at(), "GET", "/", &fields, "");
    assert_eq!(told.header("x-evenkeel-backend"), Some("p/b"));
    assert_eq!(told.header("x-evenkeel-attempts"), Some("1"));
    assert_eq!(told.header("x-request-id"), Some("from-afar"));
    let seen = &backend.seen()[0];
    assert_eq!(seen.all("x-forwarded-for"), ["9.9.9.9, 192.0.2.7, 127.0.0.9, 127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    let client = evenkeel.wait_access(1)[0]["client"].as_str().unwrap().to_owned();
    assert!(client.starts_with("192.0.2.7"), "{client}");
}

#[test]
fn our_own_answers_name_the_request_too() {
    let backend = Recorder::new("b", |_| answer(200, "", "ok"));
    let evenkeel = start(&backend, "");
    let told = http::send(evenkeel.at(), "GET", "/../..", &["x-request-id: mine"], "");
    assert_eq!((told.status, told.header("x-request-id")), (400, Some("mine")));
    assert!(backend.seen().is_empty());
}
