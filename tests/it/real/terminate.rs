//! OpenSSL, curl, GnuTLS, Redis and MQTT clients of a listener that ends TLS in front of servers that
//! speak none.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::installed;
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http::answer;
use crate::harness::process::{Finished, Owned, finish};
use crate::harness::seat::Seat;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

const NAME: &str = "db.example";

/// A balancer that ends TLS for [`NAME`] in front of this server, with more keys for `tls`.
fn before(backend: &str, tls: &str) -> (Authority, Evenkeel) {
    let authority = Authority::new();
    let (cert, key) = authority.write("db", &authority.sign(&[NAME, "localhost"]));
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[listener.l.tls]\n\
         certificates = [{{ cert = \"{}\", key = \"{}\" }}]\n{tls}\n\
         [pool.p]\nbackends = [{backend}]\n[pool.p.health]\nprobe = \"none\"\n",
        cert.display(),
        key.display()
    ));
    (authority, proxy)
}

fn web_server() -> Server {
    Server::http("web", |_| answer(200, "served"))
}

/// OpenSSL's client asks for a page and waits for its end, with more arguments.
fn s_client(authority: &Authority, port: u16, arguments: &[&str]) -> Finished {
    let script = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -ign_eof \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", "-connect", &format!("127.0.0.1:{port}")]);
    command.args(["-servername", NAME, "-verify_return_error", "-verify_hostname", NAME]);
    command.arg("-CAfile").arg(authority.ca_file()).args(arguments);
    finish(&mut command, PATIENCE)
}

#[test]
fn openssl_is_served_in_both_versions_and_resumes_in_both() {
    if installed("openssl", &[]).is_none() {
        return;
    }
    let backend = web_server();
    let (authority, proxy) = before(&backend.entry(""), "");
    for (version, line) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let kept = proxy.dir().join(format!("session{version}"));
        let kept = kept.to_str().unwrap();
        let port = proxy.at().port();
        let first = s_client(&authority, port, &[version, "-sess_out", kept]).expect_code(0);
        assert!(first.stdout.contains(&format!("New, {line}")), "{}", first.text());
        assert!(first.stdout.contains("served"), "{}", first.text());
        let again = s_client(&authority, port, &[version, "-sess_in", kept]).expect_code(0);
        assert!(again.stdout.contains(&format!("Reused, {line}")), "{}", again.text());
        assert!(again.stdout.contains("served"), "{}", again.text());
    }
    assert_eq!(proxy.metrics().count("tls_resumed_total", &[("listener", "l")]), 2);
}

#[test]
fn openssl_is_told_when_it_speaks_too_old_a_version() {
    if installed("openssl", &[]).is_none() {
        return;
    }
    let backend = web_server();
    let (authority, proxy) = before(&backend.entry(""), "");
    for version in ["-tls1", "-tls1_1"] {
        let old = [version, "-cipher", "DEFAULT@SECLEVEL=0"];
        let refused = s_client(&authority, proxy.at().port(), &old);
        assert_ne!(refused.code, Some(0), "{}", refused.text());
        assert!(refused.stderr.contains("alert"), "{}", refused.text());
    }
    let strict = before(&backend.entry(""), "min_version = \"1.3\"");
    let refused = s_client(&strict.0, strict.1.at().port(), &["-tls1_2"]);
    assert!(refused.stderr.contains("alert protocol version"), "{}", refused.text());
    assert_eq!(backend.accepted(), 0);
}

#[test]
fn curl_believes_the_certificate_and_gets_its_page() {
    if installed("curl", &[]).is_none() {
        return;
    }
    let backend = web_server();
    let (authority, proxy) = before(&backend.entry(""), "alpn = [\"http/1.1\"]");
    let port = proxy.at().port();
    for most in ["1.2", "1.3"] {
        let mut command = Command::new("curl");
        command.args(["-sS", "--tls-max", most, "--cacert"]).arg(authority.ca_file());
        command.args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")]);
        command.arg(format!("https://{NAME}:{port}/"));
        assert_eq!(finish(&mut command, PATIENCE).expect_code(0).stdout, "served");
    }
    let lines = proxy.wait_access(2);
    assert!(lines.iter().all(|line| line["alpn"] == "http/1.1"), "{lines:?}");
}

#[test]
fn gnutls_is_served_in_both_versions_and_resumes_in_both() {
    if installed("gnutls-cli", &[]).is_none() {
        return;
    }
    let backend = Server::echo("b");
    let (authority, proxy) = before(&backend.entry(""), "");
    for version in ["1.2", "1.3"] {
        let mut command = Command::new("gnutls-cli");
        command.args(["--resume", "--waitresumption", "--sni-hostname", NAME]);
        command.args(["--verify-hostname", NAME, "--port", &proxy.at().port().to_string()]);
        command.arg("--priority").arg(format!("NORMAL:-VERS-ALL:+VERS-TLS{version}"));
        command.arg("--x509cafile").arg(authority.ca_file()).arg("127.0.0.1");
        let run = finish(&mut command, PATIENCE).expect_code(0);
        assert!(run.stdout.contains("This is a resumed session"), "{}", run.text());
        let labels = [("listener", "l"), ("version", version)];
        assert_eq!(proxy.metrics().count("tls_resumed_total", &labels), 1, "{version}");
    }
    proxy.wait_idle();
    proxy.wait_outcome("ok", 4);
}

fn started(command: &mut Command, seat: &Seat) -> Owned {
    let server = Owned(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let listens = || std::net::TcpStream::connect(seat.address()).is_ok();
    eventually("the server listens", PATIENCE, listens);
    server
}

#[test]
fn redis_cli_speaks_tls_to_a_redis_that_does_not() {
    let (Some(server), Some(client)) =
        (installed("redis-server", &[]), installed("redis-cli", &[]))
    else {
        return;
    };
    let seat = Seat::take();
    let mut command = Command::new(server);
    command.args(["--port", &seat.port().to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no"]);
    let _redis = started(&mut command, &seat);
    let (authority, proxy) = before(&format!("\"{}\"", seat.address()), "");
    let ask = |words: &[&str]| {
        let mut command = Command::new(&client);
        command.args(["--tls", "-h", "127.0.0.1", "-p", &proxy.at().port().to_string()]);
        command.args(["--sni", NAME, "--cacert"]).arg(authority.ca_file()).args(words);
        finish(&mut command, PATIENCE).expect_code(0).stdout
    };
    assert_eq!(ask(&["SET", "key", "value"]).trim(), "OK");
    assert_eq!(ask(&["GET", "key"]).trim(), "value");
    // It leaves without a word of TLS, so these ends are no orderly ones.
    eventually("both sessions end", PATIENCE, || proxy.metrics().count("sessions_total", &[]) == 2);
}

/// An MQTT client that believes the authority, with more arguments.
fn mqtt(program: &Path, authority: &Authority, port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "localhost", "-p", &port.to_string(), "-t", "depth", "--cafile"]);
    command.arg(authority.ca_file()).args(arguments);
    command
}

#[test]
fn mqtt_messages_pass_from_one_tls_client_to_another() {
    let (Some(broker), Some(publish), Some(subscribe)) = (
        installed("mosquitto", &[]),
        installed("mosquitto_pub", &[]),
        installed("mosquitto_sub", &[]),
    ) else {
        return;
    };
    let seat = Seat::take();
    let mut command = Command::new(broker);
    let _broker = started(command.args(["-p", &seat.port().to_string()]), &seat);
    let (authority, proxy) = before(&format!("\"{}\"", seat.address()), "");
    let port = proxy.at().port();
    // Kept by the broker, so that it does not matter who comes first.
    let said = mqtt(&publish, &authority, port, &["-m", "three fathoms", "-r"]);
    finish(&mut { said }, Duration::from_secs(60)).expect_code(0);
    let heard = mqtt(&subscribe, &authority, port, &["-C", "1"]);
    let heard = finish(&mut { heard }, Duration::from_secs(60)).expect_code(0);
    assert_eq!(heard.stdout.trim(), "three fathoms");
}
