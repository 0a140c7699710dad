//! gRPC end to end over HTTP/2: a client and a server of grpcio, and the health service as a probe.

use std::process::Command;

use super::{Front, Served, python, script};
use crate::harness::authority::Authority;
use crate::harness::process::{Finished, finish};
use crate::harness::wait::{PATIENCE, eventually};

const TWO: &str = "[pool.p.http]\nversion = \"2\"\n";

/// What the client wrote about calls through `at`, of which `ca` signed the certificate.
#[track_caller]
fn client(at: &str, ca: &str, words: &[&str]) -> Finished {
    let mut command = Command::new(python().unwrap());
    command.arg(script("grpc_client.py")).args([at, ca]).args(words);
    command.env_remove("http_proxy").env_remove("https_proxy");
    finish(&mut command, 3 * PATIENCE).expect_code(0)
}

const HELD: [&str; 9] = [
    "unary, with fields at both ends",
    "a stream down",
    "a stream up",
    "a conversation",
    "messages of 0 and of 4 MiB",
    "a failure, with its words and fields",
    "a call that nobody knows",
    "a deadline, which the server hears of",
    "many calls at once",
];

#[test]
fn every_kind_of_call_passes_with_and_without_tls_on_either_side() {
    let Some(clear) = Served::start("grpc_server.py", &[]) else { return };
    let theirs = Authority::new();
    let (cert, key) = theirs.write("grpc", &theirs.sign(&["127.0.0.1"]));
    let files = [cert.to_str().unwrap(), key.to_str().unwrap()];
    let Some(secure) = Served::start("grpc_server.py", &files) else { return };
    let tls = format!("{TWO}[pool.p.tls]\n{}\n", theirs.ca());
    for (server, pool) in [(&clear, TWO), (&secure, &tls)] {
        let front = Front::start(server.address(), "", pool);
        let ca = front.authority.ca_file();
        for (listener, ca) in [("l", "-"), ("s", ca.to_str().unwrap())] {
            let at = front.proxy.address(listener).to_string();
            let said = client(&at, ca, &["all"]).stdout;
            assert_eq!(said.lines().collect::<Vec<_>>(), HELD, "{listener}: {said}");
        }
        front.proxy.wait_idle();
        assert_eq!(front.proxy.metrics().count("rejected_total", &[]), 0);
    }
}

#[test]
fn the_health_service_says_which_server_is_up() {
    let Some(server) = Served::start("grpc_server.py", &[]) else { return };
    let authority = Authority::new();
    let (cert, key) = authority.write("grpc", &authority.sign(&["127.0.0.1"]));
    let files = [cert.to_str().unwrap(), key.to_str().unwrap()];
    let Some(secure) = Served::start("grpc_server.py", &files) else { return };
    let pace = "interval = \"100ms\"\ntimeout = \"10s\"\nrise = 1\nfall = 1\n";
    let probe = format!("probe = \"grpc\"\nservice = \"shop\"\n{pace}");
    let tls = format!("{TWO}[pool.p.tls]\n{}\n", authority.ca());
    let ca = authority.ca_file();
    for (server, pool, ca) in [(&server, TWO, "-"), (&secure, tls.as_str(), ca.to_str().unwrap())] {
        let front = Front::with_probe(server.address(), "", pool, &probe);
        let own = server.address().to_string();
        let says = |reason: &str| {
            eventually(reason, PATIENCE, || {
                front.proxy.backend("b")["last_probe"]["reason"] == reason
            });
        };
        says("grpc: the health service does not know the service \"shop\"");
        front.proxy.wait_health("b", "down");
        client(&own, ca, &["Serve", "shop=SERVING"]);
        front.proxy.wait_health("b", "up");
        says("grpc: serving");
        client(&own, ca, &["Serve", "shop=NOT_SERVING"]);
        front.proxy.wait_health("b", "down");
        says("grpc: not serving");
        // The whole server is another question.
        let whole =
            Front::with_probe(server.address(), "", pool, &format!("probe = \"grpc\"\n{pace}"));
        whole.proxy.wait_health("b", "up");
    }
}
