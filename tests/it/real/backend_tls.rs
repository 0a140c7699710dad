//! Real servers that speak TLS, behind listeners that do not, or that pass it on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::nginx::Nginx;
use super::postgres::Postgres;
use super::{installed, redis};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http::get;
use crate::harness::process::{Finished, finish};
use crate::harness::wait::PATIENCE;

/// An authority, and a certificate of it for `db.example` that everybody on this machine may read.
fn certificate() -> (Authority, PathBuf, PathBuf) {
    let authority = Authority::new();
    let (cert, key) = authority.write("server", &authority.sign(&["db.example"]));
    let readable = |path: &Path, mode| {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    readable(cert.parent().unwrap(), 0o755);
    readable(&cert, 0o644);
    readable(&key, 0o644);
    (authority, cert, key)
}

/// One backend `s` that is spoken to as these lines of `[pool.p.tls]` say.
fn pool(address: std::net::SocketAddr, tls: &str) -> String {
    format!(
        "[pool.p]\nbackends = [{{ address = \"{address}\", name = \"s\" }}]\n\
         connect_timeout = \"5s\"\n[pool.p.health]\nprobe = \"tls\"\ninterval = \"100ms\"\n\
         timeout = \"10s\"\n[pool.p.tls]\nserver_name = \"db.example\"\n{tls}\n"
    )
}

const LISTENER: &str = "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n";

#[track_caller]
fn is_up(proxy: &Evenkeel) {
    let backend = proxy.backend("s");
    let reason = backend["last_probe"]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("tls handshake ok, TLS 1.3, certificate valid until"), "{backend}");
}

/// What the server says of the connection that asks.
const ABOUT_TLS: &str = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()";

fn ask(client: &mut Command) -> Finished {
    finish(client.args(["-A", "-t", "-d", "postgres", "-c", ABOUT_TLS]), PATIENCE)
}

#[test]
fn a_plain_client_reaches_a_postgres_that_is_spoken_tls_to() {
    let (authority, cert, key) = certificate();
    let Some(server) = Postgres::create_with_tls(&cert, &key) else { return };
    let upgrade = format!("{}\nstarttls = \"postgres\"", authority.ca());
    let proxy = Evenkeel::start(&format!("{LISTENER}{}", pool(server.seat.address(), &upgrade)));
    is_up(&proxy);
    let port = proxy.at().port();
    let said = ask(&mut server.client("psql", port)).expect_code(0);
    assert_eq!(said.stdout.trim(), "t|TLSv1.3");
    let mut bench = server.client("pgbench", port);
    bench.args(["-n", "-S", "-C", "-c", "4", "-j", "2", "-t", "20", "postgres"]);
    finish(&mut bench, Duration::from_secs(60)).expect_code(0);
    proxy.wait_idle();
    assert_eq!(proxy.metrics().count("rejected_total", &[]), 0);

    // Without the upgrade it is asked for TLS at once, which this server does not know.
    let proxy =
        Evenkeel::start(&format!("{LISTENER}{}", pool(server.seat.address(), &authority.ca())));
    assert_eq!(proxy.backend("s")["health"], "down");
}

#[test]
fn a_client_that_verifies_reaches_a_postgres_through_a_listener_that_passes_tls_on() {
    let (authority, cert, key) = certificate();
    let Some(server) = Postgres::create_with_tls(&cert, &key) else { return };
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\n[listener.l.tls]\nstarttls = \"postgres\"\n\
         [[listener.l.route]]\nsni = \"db.example\"\npool = \"p\"\n\
         [pool.p]\nbackends = [{{ address = \"{}\", name = \"s\" }}]\nconnect_timeout = \"5s\"\n",
        server.seat.address()
    ));
    let client = |name: &str| {
        let mut client = server.client("psql", proxy.at().port());
        client.args(["-h", name]);
        client.env("PGHOSTADDR", "127.0.0.1").env("PGSSLMODE", "verify-full");
        client.env("PGSSLROOTCERT", authority.ca_file());
        client
    };
    let said = ask(&mut client("db.example")).expect_code(0);
    assert_eq!(said.stdout.trim(), "t|TLSv1.3");
    assert_ne!(ask(&mut client("else.example")).code, Some(0));
    assert_eq!(proxy.rejected("no-route"), 1);
}

#[test]
fn plain_clients_reach_a_redis_that_wants_certificates() {
    let Some(benchmark) = installed("redis-benchmark", &[]) else { return };
    let (authority, cert, key) = certificate();
    let own = authority.ca_file();
    let listen = |command: &mut Command, port: &str| {
        command.args(["--port", "0", "--tls-port", port, "--tls-auth-clients", "yes"]);
        command.arg("--tls-cert-file").arg(&cert).arg("--tls-key-file").arg(&key);
        command.arg("--tls-ca-cert-file").arg(&own);
    };
    let Some(server) = redis::start_with(listen) else { return };
    let shown =
        format!("{}\ncert = \"{}\"\nkey = \"{}\"", authority.ca(), cert.display(), key.display());
    let proxy = Evenkeel::start(&format!("{LISTENER}{}", pool(server.seat.address(), &shown)));
    is_up(&proxy);
    let mut command = Command::new(benchmark);
    command.args(["-p", &proxy.at().port().to_string(), "-n", "5000", "-c", "10"]);
    command.args(["-t", "ping,set,get", "-P", "4", "-q"]);
    let run = finish(&mut command, Duration::from_secs(90)).expect_code(0);
    assert!(!run.text().to_lowercase().contains("error"), "{}", run.text());
    proxy.wait_idle();

    let nobody = pool(server.seat.address(), &authority.ca());
    let proxy = Evenkeel::start(&format!("{LISTENER}{nobody}"));
    let backend = proxy.backend("s");
    assert_eq!(backend["health"], "down", "it turns away whoever shows none: {backend}");
}

#[test]
fn nginx_sees_one_handshake_and_resumptions_behind_it() {
    let (authority, cert, key) = certificate();
    let words = format!(
        "ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {}; \
         location /tls {{ return 200 \"$ssl_protocol $ssl_session_reused $ssl_server_name\"; }}",
        cert.display(),
        key.display()
    );
    let Some(server) = Nginx::serving("n", &words, "ssl") else { return };
    let proxy = Evenkeel::start(&format!("{LISTENER}{}", pool(server.address(), &authority.ca())));
    is_up(&proxy);
    for reused in [".", "r", "r"] {
        let answer = get(proxy.at(), "/tls");
        assert_eq!(answer.body, format!("TLSv1.3 {reused} db.example"));
    }
}
