//! Connections that rest between two requests.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{file, links};
use crate::harness::client::read_line;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, pace};
use crate::harness::whoami::{Browser, answering, get, serve, who, whoami};

#[test]
fn requests_of_many_clients_go_over_one_connection() {
    let servers = [whoami("one")];
    let proxy = Evenkeel::start(&format!("[process]\nthreads = 1\n{}", file(&servers, "")));
    for _ in 0..20 {
        assert_eq!(who(&mut Browser::open(proxy.at())), "one");
    }
    let mut browser = Browser::open(proxy.at());
    (0..20).for_each(|_| assert_eq!(who(&mut browser), "one"));
    assert_eq!(servers[0].accepted(), 1);
    eventually("it rests", PATIENCE, || links(&proxy, "idle") == 1 && links(&proxy, "active") == 0);
}

/// Answers once `all` requests are there.
fn together(name: &str, all: usize) -> Server {
    let state = Arc::new((Mutex::new(0), Condvar::new()));
    answering(name, move |_| {
        let (come, changed) = &*state;
        *come.lock().unwrap() += 1;
        changed.notify_all();
        drop(changed.wait_while(come.lock().unwrap(), |come| *come < all).unwrap());
        String::from("x")
    })
}

#[test]
fn no_more_connections_rest_than_keepalive_says_over_all_workers() {
    for (keepalive, rest) in [("2", 2), ("0", 0)] {
        let servers = [together("one", 8)];
        let keys = format!("http = {{ keepalive = {keepalive} }}");
        let file = format!("[process]\nthreads = 2\n{}", file(&servers, &keys));
        let proxy = Evenkeel::start(&file);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(who(&mut Browser::open(proxy.at())), "x"));
            }
        });
        assert_eq!(servers[0].accepted(), 8);
        eventually("the others are closed", PATIENCE, || servers[0].open() == rest);
        let rest = rest as u64;
        eventually("it is told", PATIENCE, || {
            links(&proxy, "idle") == rest && links(&proxy, "active") == 0
        });
    }
}

#[test]
fn a_connection_that_has_rested_too_long_is_closed_and_until_then_it_is_used() {
    let servers = [whoami("one")];
    let keys = "http = { keepalive_timeout = \"1s\" }";
    let proxy = Evenkeel::start(&file(&servers, keys));
    let mut browser = Browser::open(proxy.at());
    assert_eq!(who(&mut browser), "one");
    eventually("it is closed", PATIENCE, || servers[0].open() == 0);
    assert_eq!(links(&proxy, "idle") + links(&proxy, "active"), 0);
    assert_eq!(who(&mut browser), "one");
    assert_eq!(servers[0].accepted(), 2);
}

#[test]
fn a_backend_that_is_taken_out_loses_its_connections() {
    let servers = [whoami("one")];
    let proxy = Evenkeel::start(&file(&servers, ""));
    let mut browser = Browser::open(proxy.at());
    assert_eq!(who(&mut browser), "one");
    assert_eq!(servers[0].open(), 1);
    proxy.patch("one", "{\"state\": \"maintenance\"}");
    eventually("it is closed", PATIENCE, || servers[0].open() == 0);
    proxy.patch("one", "{\"state\": \"ready\"}");
    assert_eq!(who(&mut browser), "one");
}

#[test]
fn a_stop_does_not_wait_for_connections_that_rest() {
    let servers = [whoami("one")];
    let mut proxy = Evenkeel::start(&file(&servers, ""));
    assert_eq!(who(&mut Browser::open(proxy.at())), "one");
    eventually("it rests", PATIENCE, || links(&proxy, "idle") == 1);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(Duration::from_secs(20)), Some(0));
}

/// Answers one request, and does `then` with the connection.
fn once(
    name: &str,
    then: impl Fn(TcpStream) + Send + Sync + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Server::new(name, move |mut stream| {
        let head = http::read_head(&mut stream);
        if head.is_empty() {
            return;
        }
        count.fetch_add(1, Ordering::SeqCst);
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
        then(stream);
    });
    (server, asked)
}

#[test]
fn a_backend_that_closes_what_it_might_keep_is_asked_again_without_anybody_noticing() {
    let (server, asked) = once("one", drop);
    let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), ""));
    let mut browser = Browser::open(proxy.at());
    for round in 1..=100 {
        let told = browser.ask(&get("/", "")).unwrap();
        assert_eq!((told.status, &*told.body), (200, "ok"));
        assert!(asked.load(Ordering::SeqCst) >= round);
    }
}

#[test]
fn a_request_that_must_not_be_repeated_never_is() {
    let (server, asked) = once("one", |stream| {
        // So that it is closed at about the time at which the next request comes.
        pace(Instant::now() + Duration::from_micros(300));
        drop(stream);
    });
    let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), ""));
    let mut browser = Browser::open(proxy.at());
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    let mut served = 0;
    for _ in 0..200 {
        let told = browser.ask(post).unwrap();
        assert!([200, 502].contains(&told.status), "{told:?}");
        served += usize::from(told.status == 200);
    }
    // What reached the backend was answered by it, and so each client has its one answer.
    assert_eq!(asked.load(Ordering::SeqCst), served);
}

#[test]
fn what_comes_behind_an_answer_is_nobodys_answer() {
    const STRAY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen";
    for is_late in [false, true] {
        let (server, asked) = once("one", move |mut stream| {
            if is_late {
                pace(Instant::now() + Duration::from_millis(20));
            }
            drop(stream.write_all(STRAY));
            // Open until the other side closes it.
            drop(std::io::copy(&mut stream, &mut std::io::sink()));
        });
        let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), ""));
        let mut browser = Browser::open(proxy.at());
        assert_eq!(browser.ask(&get("/", "")).unwrap().body, "ok");
        eventually("it is closed", PATIENCE, || server.open() == 0);
        assert_eq!(browser.ask(&get("/", "")).unwrap().body, "ok");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn with_a_proxy_header_a_connection_serves_one_client_and_ends_with_it() {
    let server = Server::new("one", |mut stream| {
        let header = read_line(&mut stream).unwrap_or_default();
        let from = header.split(' ').nth(4).unwrap_or_default().to_owned();
        drop(serve(stream, |_| from.clone()));
    });
    let file = file(std::slice::from_ref(&server), "send_proxy_protocol = \"v1\"");
    let proxy = Evenkeel::start(&format!("[process]\nthreads = 1\n{file}"));
    let mut clients = [(); 3].map(|()| Browser::open(proxy.at()));
    for _ in 0..5 {
        for client in &mut clients {
            assert_eq!(who(client), client.local().port().to_string());
        }
    }
    assert_eq!((server.accepted(), server.open()), (3, 3));
    let [first, second, third] = clients;
    drop(first);
    eventually("one is closed", PATIENCE, || server.open() == 2);
    drop((second, third));
    eventually("all are closed", PATIENCE, || server.open() == 0);
    eventually("it is told", PATIENCE, || links(&proxy, "idle") + links(&proxy, "active") == 0);
}

#[test]
fn without_descriptors_those_that_rest_are_given_up() {
    const REST: usize = 40;
    const CLIENTS: usize = 80;
    let servers = [together("one", REST)];
    let file = file(&servers, "");
    let limits = "[process]\nthreads = 1\nmax_sessions = 100\n";
    let wrapper = ["prlimit", "--nofile=128"];
    let proxy = Evenkeel::start_under(&wrapper, &format!("{limits}{file}"));
    thread::scope(|scope| {
        for _ in 0..REST {
            scope.spawn(|| assert_eq!(who(&mut Browser::open(proxy.at())), "x"));
        }
    });
    eventually("they rest", PATIENCE, || links(&proxy, "idle") == REST as u64);
    // There is room for the clients or for what rests.
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Browser::open(proxy.at())).collect();
    for client in &mut clients {
        assert_eq!(who(client), "x");
    }
    assert!(servers[0].open() < REST);
}
