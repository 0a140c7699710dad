//! `discover.file`: a list that is written while the balancer runs.

use std::fs;
use std::path::Path;

use super::{discovery, said, wait_up, whom};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

const FILE: &str = "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\n\
                    discover = { file = \"backends.json\" }\n[pool.p.health]\ninterval = \"100ms\"\n";

fn list(dir: &Path, servers: &[&Server]) {
    let all: Vec<_> = servers.iter().map(|it| it.address().to_string()).collect();
    put(dir, &serde_json::to_string(&all).unwrap());
}

fn put(dir: &Path, text: &str) {
    fs::write(dir.join("new"), text).unwrap();
    fs::rename(dir.join("new"), dir.join("backends.json")).unwrap();
}

#[test]
fn a_file_that_comes_later_is_followed_and_a_broken_one_is_told_of_once() {
    let servers = Server::alike(3);
    let proxy = Evenkeel::start(FILE);
    assert_eq!(said(&proxy, "cannot be looked up"), 1);
    list(proxy.dir(), &[&servers[0], &servers[1]]);
    wait_up(&proxy, &[&servers[0], &servers[1]]);
    list(proxy.dir(), &[&servers[1], &servers[2]]);
    wait_up(&proxy, &[&servers[1], &servers[2]]);
    put(proxy.dir(), "[\"127.1.0.1:1\", {\"adress\": \"127.1.0.2:1\"}]");
    eventually("it is refused", PATIENCE, || {
        let error = discovery(&proxy)["error"].clone();
        error.as_str().is_some_and(|why| why.contains("did you mean \"address\""))
    });
    assert_eq!(said(&proxy, "cannot be looked up"), 2);
    wait_up(&proxy, &[&servers[1], &servers[2]]);
    assert!(whom(&proxy).starts_with("127.1.0."));
    list(proxy.dir(), &[&servers[0]]);
    wait_up(&proxy, &[&servers[0]]);
    eventually("it is over", PATIENCE, || discovery(&proxy)["error"].is_null());
}
