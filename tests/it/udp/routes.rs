//! Routes of datagrams: by client, drawn by weight, and kept by a flow that must move.

use std::net::IpAddr;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::udp::{Client, Server};
use crate::harness::wait::{PATIENCE, eventually};

const NEAR: &str =
    "[[listener.l.route]]\nname = \"near\"\nclient = \"127.0.0.2\"\npool = \"near\"\n";

fn pool(name: &str, servers: &[Server]) -> String {
    let list: Vec<_> = servers.iter().map(|server| server.entry("")).collect();
    format!(
        "[pool.{name}]\nbackends = [{}]\nbalance = \"first\"\n\
         [pool.{name}.health]\nprobe = \"none\"\n",
        list.join(", ")
    )
}

fn before(keys: &str, routes: &str, pools: &[String]) -> Evenkeel {
    let pools = pools.concat();
    Evenkeel::start(&format!(
        "[listener.l]\nprotocol = \"udp\"\nbind = \"127.0.0.1:0\"\n{keys}\n{routes}\n{pools}"
    ))
}

fn from(source: [u8; 4], proxy: &Evenkeel) -> Client {
    Client::from(IpAddr::from(source), proxy.at())
}

#[test]
fn the_client_decides_and_who_no_route_takes_is_dropped_and_counted() {
    let servers = ["n", "d"].map(Server::named);
    let [near, other] = &servers;
    let pools = [pool("near", std::slice::from_ref(near)), pool("d", std::slice::from_ref(other))];
    let proxy = before("pool = \"d\"", NEAR, &pools);
    assert_eq!(from([127, 0, 0, 2], &proxy).ask("a"), "n:a");
    assert_eq!(from([127, 0, 0, 1], &proxy).ask("a"), "d:a");
    let led = |route| proxy.metrics().count("route_sessions_total", &[("route", route)]);
    assert_eq!((led("near"), led("default")), (1, 1));

    let proxy = before("", NEAR, &pools[..1]);
    let stranger = from([127, 0, 0, 1], &proxy);
    for _ in 0..3 {
        stranger.send("a");
    }
    eventually("each is counted", PATIENCE, || proxy.rejected("no-route") == 3);
    let lines = proxy.wait_access(3);
    assert!(lines.iter().all(|line| line["outcome"] == "no-route" && line["route"].is_null()));
    assert_eq!(from([127, 0, 0, 2], &proxy).ask("a"), "n:a");
    assert_eq!(proxy.flows(), 1);
}

#[test]
fn a_flow_that_must_move_stays_on_its_way() {
    let near = ["n0", "n1"].map(Server::named);
    let other = [Server::named("d")];
    let proxy = before("pool = \"d\"", NEAR, &[pool("near", &near), pool("d", &other)]);
    let client = from([127, 0, 0, 2], &proxy);
    assert_eq!(client.ask("a"), "n0:a");
    near[0].stop();
    client.insist("b", |answer| answer == "n1:b");
    near[1].stop();
    eventually("nobody is left on its way", PATIENCE, || {
        client.send("c");
        proxy.metrics().count("connect_failures_total", &[("backend", "n1")]) >= 1
    });
    assert_eq!(other[0].peers().len(), 0, "the listener's own pool is not its way");
    let line = &proxy.wait_access(1)[0];
    assert_eq!((&line["outcome"], &line["route"]), (&"moved".into(), &"near".into()));
}

#[test]
fn a_split_is_drawn_for_each_flow() {
    let servers = ["a", "b"].map(Server::named);
    let pools = [("a", &servers[0]), ("b", &servers[1])]
        .map(|(name, server)| pool(name, std::slice::from_ref(server)));
    let split = "[[listener.l.route]]\nsplit = [{ pool = \"a\", weight = 3 }, { pool = \"b\" }]\n";
    let proxy = before("", split, &pools);
    for _ in 0..200 {
        let client = Client::to(proxy.at());
        let first = client.ask("x");
        assert_eq!(client.ask("x"), first, "a flow stays where it is");
    }
    let a = servers[0].peers().len();
    // Six standard deviations.
    assert!((113..=187).contains(&a), "{a}");
}
