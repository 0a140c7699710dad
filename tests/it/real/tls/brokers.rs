//! Redis and MQTT: raw protocols whose servers here know no TLS.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{authority, ca, ending};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::process::{Owned, finish};
use crate::harness::seat::Seat;
use crate::harness::wait::{PATIENCE, eventually};
use crate::real::{installed, redis};

const NAME: &str = "raw.example";

#[test]
fn redis_clients_speak_tls_with_a_redis_that_does_not() {
    let (Some(cli), Some(benchmark)) =
        (installed("redis-cli", &[]), installed("redis-benchmark", &[]))
    else {
        return;
    };
    let Some(server) = redis::start() else { return };
    let authority = authority();
    let proxy = Evenkeel::start(&ending(&authority, NAME, "", server.seat.address()));
    let client = |program| {
        let mut command = Command::new(program);
        command.args(["-p", &proxy.at().port().to_string(), "--tls", "--sni", NAME, "--cacert"]);
        command.arg(ca(&authority));
        command
    };
    let said = finish(client(&cli).args(["SET", "word", "kept"]), PATIENCE).expect_code(0);
    assert_eq!(said.stdout, "OK\n");
    assert_eq!(finish(client(&cli).args(["GET", "word"]), PATIENCE).stdout, "kept\n");
    let mut load = client(&benchmark);
    load.args(["-n", "10000", "-c", "20", "-t", "ping,set,get,lrange_100", "-P", "4", "-q"]);
    let run = finish(&mut load, Duration::from_secs(90)).expect_code(0);
    assert!(!run.text().to_lowercase().contains("error"), "{}", run.text());
    proxy.wait_idle();
    assert_eq!(proxy.metrics().count("rejected_total", &[]), 0);
}

/// A broker of a test's own.
fn mosquitto() -> Option<(Seat, TempDir, Owned)> {
    let program = installed("mosquitto", &[])?;
    let (seat, dir) = (Seat::take(), TempDir::new().unwrap());
    let file = dir.path().join("mosquitto.conf");
    let lines = format!("listener {} 127.0.0.1\nallow_anonymous true\n", seat.port());
    fs::write(&file, lines).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let broker = Owned(command.spawn().unwrap());
    eventually("the broker listens", PATIENCE, || {
        std::net::TcpStream::connect(seat.address()).is_ok()
    });
    Some((seat, dir, broker))
}

#[test]
fn mqtt_messages_go_to_and_from_a_broker_that_speaks_no_tls() {
    let (Some(publish), Some(subscribe)) =
        (installed("mosquitto_pub", &[]), installed("mosquitto_sub", &[]))
    else {
        return;
    };
    let Some((seat, _dir, _broker)) = mosquitto() else { return };
    let authority = authority();
    let proxy = Evenkeel::start(&ending(&authority, NAME, "", seat.address()));
    let run = |program, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &proxy.at().port().to_string(), "--cafile"]);
        command.arg(ca(&authority)).args(["-t", "state", "-q", "1"]).args(words);
        finish(&mut command, PATIENCE).expect_code(0)
    };
    // Kept by the broker, so that whoever asks later gets it.
    run(&publish, &["-r", "-m", "all is well"]);
    assert_eq!(run(&subscribe, &["-C", "1"]).stdout, "all is well\n");
    proxy.wait_outcome("ok", 2);
}
