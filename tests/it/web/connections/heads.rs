//! Heads, in pieces and in rows; what is refused, and what is answered before that.

use std::io::Write;

use super::{GET, abuse, answered, backend, hear, say, statuses};
use crate::harness::client::connect;
use crate::harness::http::read_head;
use crate::harness::wait::{PATIENCE, eventually};
use crate::web::http2::start;

#[test]
fn a_head_may_come_in_any_pieces_and_requests_in_a_row() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    let mut stream = connect(proxy.at());
    stream.set_nodelay(true).unwrap();
    for byte in GET.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    answered(&mut stream);
    // Requests that begin in one segment and end in another.
    let row = GET.repeat(5);
    for piece in row.as_bytes().chunks(33) {
        stream.write_all(piece).unwrap();
    }
    (0..5).for_each(|_| answered(&mut stream));
}

#[test]
fn requests_ahead_of_a_refused_one_are_answered_first() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    let refused = "GET / HTTP/1.1\r\nhost : a.example\r\n\r\n";
    let mut stream = say(&proxy, [GET, GET, refused, GET].concat());
    let heard = hear(&mut stream).unwrap();
    assert_eq!(statuses(&heard), ["200", "200", "400"]);
    assert!(heard.to_lowercase().contains("\r\nconnection: close\r\n"));
    assert_eq!(proxy.outcomes("ok"), 2);
    assert!(abuse(&proxy, "framing") + abuse(&proxy, "malformed") == 1);
    let lines = proxy.wait_access(1);
    assert!(lines.iter().any(|line| line["protocol"] == "http" && line["backend"].is_null()));
}

#[test]
fn the_last_words_arrive_though_much_is_unread() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    for _ in 0..20 {
        let mut stream = connect(proxy.at());
        let flood = ["GET / HTTP/1.1\r\nhost : a\r\n\r\n".to_owned(), "x".repeat(300_000)].concat();
        // It may well be refused in the middle of this.
        drop(stream.write_all(flood.as_bytes()));
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 400 "));
    }
}

#[test]
fn a_head_beyond_its_bounds_is_431() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(65_000));
    let mut stream = say(&proxy, &long);
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "), "63 KiB are not too long");
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
    let longer = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(66_000));
    for refused in [many, longer] {
        let mut stream = say(&proxy, &refused);
        assert_eq!(statuses(&hear(&mut stream).unwrap()), ["431"]);
    }
    assert_eq!(abuse(&proxy, "header-bomb"), 2);
}

#[test]
fn a_broken_chunk_is_400_and_breaks_the_request_off_at_the_backend() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut stream = say(&proxy, format!("{head}5\r\nhello\r\nZZ\r\n"));
    assert_eq!(statuses(&hear(&mut stream).unwrap()), ["400"]);
    eventually("the backend has been left", PATIENCE, || server.open() == 0);
    proxy.wait_idle();
}

#[test]
fn an_answer_of_ours_comes_in_the_form_that_is_wanted() {
    let gone = backend(|_| {});
    gone.stop();
    let proxy = start(&gone, "");
    let ask = |method: &str, accept: &str| {
        let fields =
            format!("host: a\r\nconnection: close\r\nx-request-id: r-1\r\naccept: {accept}");
        hear(&mut say(&proxy, format!("{method} / HTTP/1.1\r\n{fields}\r\n\r\n"))).unwrap()
    };
    let json = ask("GET", "application/json");
    let (head, body) = json.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["status"], &body["error"]), (&502.into(), &"bad gateway".into()));
    assert!(body["request_id"].is_string(), "{body}");
    let text = ask("GET", "text/html, application/json;q=0.1");
    assert!(text.contains("\r\n\r\n502 Bad Gateway\n"), "{text}");
    assert!(ask("HEAD", "*/*").ends_with("\r\n\r\n"), "a HEAD has no body");
}
