//! Pools that are gone from the file, and pools that come back: nobody is lost between the two.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::client::{close, connect, hold, read_line, try_connect};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::hello;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::whoami::{Browser, get, whoami};

/// One listener `l` on the pool of that name, which is not probed.
fn file(pool: &str, servers: &[Server]) -> String {
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"{pool}\"\n[pool.{pool}]\nbackends = {}\n\
         [pool.{pool}.health]\nprobe = \"none\"\n",
        entries(servers)
    )
}

#[test]
fn a_pool_of_another_name_in_the_place_of_one_costs_no_connection() {
    let servers = [Server::greet("a")];
    let proxy = Evenkeel::start(&file("p", &servers));
    let (at, is_over) = (proxy.at(), AtomicBool::new(false));
    let visit = || {
        let (mut served, mut lost) = (0, Vec::new());
        while !is_over.load(Ordering::Relaxed) {
            match try_connect(at).and_then(|mut stream| read_line(&mut stream)) {
                Ok(name) if name == "a" => served += 1,
                said => lost.push(format!("{said:?}")),
            }
        }
        (served, lost)
    };
    let told = thread::scope(|scope| {
        let visitors: Vec<_> = (0..4).map(|_| scope.spawn(visit)).collect();
        (0..40).for_each(|step| drop(proxy.reload(&file(&format!("p{step}"), &servers))));
        is_over.store(true, Ordering::Relaxed);
        visitors.into_iter().map(|visitor| visitor.join().unwrap()).collect::<Vec<_>>()
    });
    let lost: Vec<_> = told.iter().flat_map(|(_, lost)| lost).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(told.iter().all(|(served, _): &(i32, _)| *served > 0), "{told:?}");
}

#[test]
fn who_waits_in_a_pool_that_came_back_is_called_when_a_session_of_before_ends() {
    let servers = [Server::greet("a")];
    let capped = || {
        let keys = "max_sessions = 1\nqueue = { size = 9, timeout = \"20m\" }\n[pool.p.health]";
        file("p", &servers).replace("[pool.p.health]", keys)
    };
    let proxy = Evenkeel::start(&capped());
    let held = hold(proxy.at());
    proxy.reload(&file("other", &servers));
    proxy.reload(&capped());
    let mut waiting = connect(proxy.at());
    let is_queued = || proxy.metrics().count("queue_length", &[("pool", "p")]) == 1;
    eventually("it waits for a place", PATIENCE, is_queued);
    close(held.stream);
    assert_eq!(read_line(&mut waiting).unwrap(), "a");
}

#[test]
fn who_says_only_after_a_reload_where_it_goes_is_led_by_the_new_file() {
    let servers = ["a", "b"].map(Server::greet);
    let led = |step: usize| {
        let one = std::slice::from_ref(&servers[step]);
        let route = "[[listener.l.route]]\nsni = \"db.test\"\npool = ";
        file(&format!("p{step}"), one).replacen("pool = ", route, 1)
    };
    let proxy = Evenkeel::start(&led(0));
    let mut silent = connect(proxy.at());
    // It has been let in: another one has come and gone behind it.
    let flight = hello::by_hand(Some(b"db.test"));
    let mut other = connect(proxy.at());
    other.write_all(&flight).unwrap();
    assert_eq!(read_line(&mut other).unwrap(), "a");
    proxy.reload(&led(1));
    silent.write_all(&flight).unwrap();
    assert_eq!(read_line(&mut silent).unwrap(), "b");
}

#[test]
fn an_address_may_become_a_part_of_itself_and_the_other_way_round() {
    let servers = [Server::greet("a")];
    let seat = Seat::take();
    let port = seat.port();
    drop(seat);
    let at = |ip: &str| file("p", &servers).replacen("127.0.0.1:0", &format!("{ip}:{port}"), 1);
    let proxy = Evenkeel::start(&at("127.0.0.1"));
    let held = hold(proxy.at());
    for ip in ["0.0.0.0", "127.0.0.1", "0.0.0.0"] {
        proxy.reload(&at(ip));
        let bound = proxy.status()["listeners"][0]["addresses"].clone();
        assert_eq!(bound, serde_json::json!([format!("{ip}:{port}")]));
        assert_eq!(hold(([127, 0, 0, 1], port).into()).backend, "a");
    }
    close(held.stream);
}

#[test]
fn a_connection_of_requests_ends_where_they_are_not_taken_any_more() {
    let servers = [whoami("a")];
    let seat = Seat::take();
    let at = seat.address();
    drop(seat);
    let speaking = |protocol: &str| {
        let bind = format!("{at}\"\nprotocol = \"{protocol}");
        file("p", &servers).replacen("127.0.0.1:0", &bind, 1)
    };
    let proxy = Evenkeel::start(&speaking("http"));
    let mut browser = Browser::open(at);
    assert!(!browser.ask(&get("/", "")).unwrap().is_last);
    proxy.reload(&speaking("tcp"));
    let told = browser.ask(&get("/", "")).unwrap();
    assert_eq!((told.status, told.is_last), (200, true));
}
