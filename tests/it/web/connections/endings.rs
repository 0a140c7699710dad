//! How connections end: by the client's word, without one, and at a stop.

use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use super::{GET, answered, backend, hear, say, statuses};
use crate::harness::client::{connect, reset, try_connect};
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};
use crate::web::http2::start;

/// A backend that answers when it is told to, and says when a request has come.
fn waiting() -> (Server, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (come, comes) = mpsc::channel();
    let (go, goes) = mpsc::channel();
    let (come, goes) = (Mutex::new(come), Arc::new(Mutex::new(goes)));
    let server = backend(move |_| {
        come.lock().unwrap().send(()).ok();
        goes.lock().unwrap().recv_timeout(PATIENCE).ok();
    });
    (server, comes, go)
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answer() {
    let (server, comes, go) = waiting();
    let proxy = start(&server, "");
    let mut stream = say(&proxy, GET);
    stream.shutdown(Shutdown::Write).unwrap();
    comes.recv_timeout(PATIENCE).unwrap();
    go.send(()).unwrap();
    assert_eq!(statuses(&hear(&mut stream).unwrap()), ["200"]);
    proxy.wait_outcome("ok", 1);
}

#[test]
fn a_client_that_ends_its_side_and_gets_nothing_is_taken_for_gone() {
    let (server, comes, go) = waiting();
    let proxy = start(&server, "");
    let stream = say(&proxy, GET);
    comes.recv_timeout(PATIENCE).unwrap();
    drop(stream);
    // The answer is never sent.
    proxy.wait_outcome("client-reset", 1);
    proxy.wait_idle();
    drop(go);
}

#[test]
fn a_client_that_resets_ends_its_request_at_once() {
    let (server, comes, go) = waiting();
    let proxy = start(&server, "");
    let before = proxy.descriptors();
    for n in 1..=20 {
        let stream = say(&proxy, GET);
        comes.recv_timeout(PATIENCE).unwrap();
        reset(stream);
        proxy.wait_outcome("client-reset", n);
    }
    proxy.wait_idle();
    eventually("nothing is left open", PATIENCE, || proxy.descriptors() <= before);
    drop(go);
}

#[test]
fn at_a_stop_idle_connections_close_and_others_end_with_their_answer() {
    let (server, comes, go) = waiting();
    let mut proxy = start(&server, "");
    let mut idle = say(&proxy, GET);
    comes.recv_timeout(PATIENCE).unwrap();
    go.send(()).unwrap();
    answered(&mut idle);
    let mut busy = say(&proxy, GET);
    comes.recv_timeout(PATIENCE).unwrap();
    // Begun before the stop, said to its end after it.
    let mut begun = say(&proxy, &GET[..20]);
    let at = proxy.at();
    eventually("the beginning was read", PATIENCE, || {
        proxy.metrics().sum("http_connections_active", &[]) == 3.0
    });
    proxy.signal(Signal::TERM);
    assert_eq!(hear(&mut idle).as_deref(), Some(""), "closed without a word");
    eventually("nobody listens", PATIENCE, || try_connect(at).is_err());
    begun.write_all(&GET.as_bytes()[20..]).unwrap();
    go.send(()).unwrap();
    go.send(()).unwrap();
    for mut last in [busy.try_clone().unwrap(), begun] {
        let heard = hear(&mut last).unwrap().to_lowercase();
        assert!(heard.starts_with("http/1.1 200 "), "{heard}");
        assert!(heard.contains("\r\nconnection: close\r\n"), "{heard}");
    }
    busy.flush().unwrap();
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}

#[test]
fn at_the_end_of_a_stop_all_are_cut() {
    let (server, comes, go) = waiting();
    let file = format!(
        "[process]\nshutdown_timeout = \"1s\"\n[listener.l]\nbind = \"127.0.0.1:0\"\n\
         protocol = \"http\"\npool = \"p\"\n[pool.p]\nbackends = [{}]\n\
         [pool.p.health]\nprobe = \"none\"\n",
        server.entry("")
    );
    let mut proxy = crate::harness::evenkeel::Evenkeel::start(&file);
    let mut stream = say(&proxy, GET);
    comes.recv_timeout(PATIENCE).unwrap();
    let mut part = say(&proxy, "GET / HT");
    proxy.signal(Signal::TERM);
    // It is told, or cut.
    assert!(hear(&mut stream).is_none_or(|heard| statuses(&heard) == ["503"]));
    hear(&mut part);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    drop(go);
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    let mut warm = say(&proxy, GET);
    answered(&mut warm);
    drop(warm);
    proxy.wait_idle();
    let before = proxy.descriptors();
    for n in 0..200 {
        match n % 4 {
            0 => drop(connect(proxy.at())),
            1 => reset(say(&proxy, &GET[..n % GET.len()])),
            2 => drop(say(&proxy, GET)),
            _ => answered(&mut say(&proxy, GET)),
        }
    }
    eventually("all descriptors are free", Duration::from_secs(20), || {
        proxy.descriptors() <= before + 20
            && proxy.metrics().sum("http_connections_active", &[]) == 0.0
    });
    proxy.wait_idle();
}
