//! Flows over reloads: they stay with their backend and their port, unless the backend goes.

use crate::harness::evenkeel::Evenkeel;
use crate::harness::storm::telling;
use crate::harness::udp::{Client, Server};
use crate::harness::wait::{PATIENCE, eventually, throughout};

/// A udp listener `l` on pool `p`, which has these keys beside its backends.
fn file(list: &str, listener: &str, pool: &str) -> String {
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"p\"\n{listener}\n\
         [pool.p]\nbackends = [{list}]\n{pool}\n"
    )
}

fn list(servers: &[&Server]) -> String {
    servers.iter().map(|server| server.entry("")).collect::<Vec<_>>().join(", ")
}

/// Who answers, and the port that it was asked from.
fn bound(client: &Client) -> (String, String) {
    let told = client.ask("word");
    let words: Vec<_> = told.split(' ').map(str::to_owned).collect();
    (words[0].clone(), words[1].clone())
}

#[test]
fn flows_keep_their_backend_and_their_port() {
    let servers = ["a", "b", "c"].map(telling);
    let [a, b, c] = &servers;
    let proxy = Evenkeel::start(&file(&list(&[a, b]), "", "balance = \"round-robin\""));
    let clients: Vec<_> = (0..20).map(|_| Client::to(proxy.at())).collect();
    let before: Vec<_> = clients.iter().map(bound).collect();
    for (what, toml) in [
        ("nothing", file(&list(&[a, b]), "", "balance = \"round-robin\"")),
        ("a backend is added", file(&list(&[a, b, c]), "", "balance = \"round-robin\"")),
        ("the order", file(&list(&[c, b, a]), "", "balance = \"round-robin\"")),
        ("the policy", file(&list(&[a, b, c]), "", "balance = \"consistent-hash\"")),
        ("a time", file(&list(&[a, b]), "idle_timeout = \"5m\"", "balance = \"random\"")),
    ] {
        proxy.reload(&toml);
        let after: Vec<_> = clients.iter().map(bound).collect();
        assert_eq!(after, before, "{what}");
    }
    assert_eq!((proxy.flows(), proxy.outcomes("moved")), (20, 0));
    assert_eq!(c.peers().len(), 0);
    assert_eq!(a.peers().len() + b.peers().len(), 20);
}

#[test]
fn an_answer_that_comes_after_the_reload_reaches_its_client() {
    let server = Server::mute("a");
    let proxy = Evenkeel::start(&file(&list(&[&server]), "", ""));
    let client = Client::to(proxy.at());
    client.send("question");
    eventually("it has come", PATIENCE, || server.datagrams() == 1);
    proxy.reload(&file(&list(&[&server]), "idle_timeout = \"5m\"", "balance = \"random\""));
    server.say("answer", server.peers()[0]);
    assert_eq!(client.receive(), b"answer");
}

#[test]
fn flows_of_a_backend_that_goes_move_and_no_other_does() {
    let servers = ["a", "b"].map(telling);
    let [a, b] = &servers;
    let proxy = Evenkeel::start(&file(&list(&[a, b]), "", "balance = \"round-robin\""));
    let clients: Vec<_> = (0..20).map(|_| Client::to(proxy.at())).collect();
    let before: Vec<_> = clients.iter().map(bound).collect();
    let gone = before.iter().filter(|(name, _)| name == "a").count();
    assert_eq!(gone, 10);
    proxy.reload(&file(&list(&[b]), "", "balance = \"round-robin\""));
    for (client, before) in clients.iter().zip(&before) {
        let after = bound(client);
        assert_eq!(after.0, "b");
        assert!(before.0 == "a" || after == *before, "{before:?} became {after:?}");
    }
    proxy.wait_outcome("moved", 10);
    assert_eq!(proxy.flows(), 20);
    // What comes back gets new flows, and takes none.
    proxy.reload(&file(&list(&[a, b]), "", "balance = \"round-robin\""));
    assert!(clients.iter().all(|client| bound(client).0 == "b"));
    assert_eq!((proxy.flows(), proxy.wait_access(10).len()), (20, 10));
}

#[test]
fn flows_go_on_under_the_time_that_they_began_with() {
    let server = telling("a");
    let file = |idle: &str| file(&list(&[&server]), &format!("idle_timeout = \"{idle}\""), "");
    let proxy = Evenkeel::start(&file("1h"));
    let old = Client::to(proxy.at());
    let before = bound(&old);
    proxy.reload(&file("300ms"));
    let new = Client::to(proxy.at());
    bound(&new);
    proxy.wait_outcome("idle", 1);
    throughout("the old one is there", std::time::Duration::from_secs(1), || proxy.flows() == 1);
    assert_eq!(bound(&old), before);
}
