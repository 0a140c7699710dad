//! Redis behind the balancer, and `redis-benchmark` through it.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::installed;
use crate::harness::client::connect;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::process::{Owned, finish};
use crate::harness::seat::Seat;
use crate::harness::wait::{PATIENCE, eventually};

pub(super) struct Redis {
    pub(super) seat: Seat,
    _server: Owned,
}

fn start() -> Option<Redis> {
    start_with(|command, port| {
        command.args(["--port", port]);
    })
}

/// With its own words for the port.
pub(super) fn start_with(listen: impl FnOnce(&mut Command, &str)) -> Option<Redis> {
    let program = installed("redis-server", &[])?;
    let seat = Seat::take();
    let mut command = Command::new(program);
    listen(&mut command, &seat.port().to_string());
    command.args(["--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no"]);
    let server = Owned(command.stdout(Stdio::null()).spawn().unwrap());
    eventually("redis listens", PATIENCE, || std::net::TcpStream::connect(seat.address()).is_ok());
    Some(Redis { seat, _server: server })
}

fn pool_of(servers: &[Redis]) -> Evenkeel {
    let list: Vec<_> = servers
        .iter()
        .enumerate()
        .map(|(i, server)| {
            format!("{{ address = \"{}\", name = \"redis{i}\" }}", server.seat.address())
        })
        .collect();
    Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = [{}]\n\
         [pool.p.health]\nprobe = \"send-expect\"\nsend = \"PING\\r\\n\"\nexpect = \"+PONG\"\n\
         interval = \"100ms\"\ntimeout = \"10s\"\n",
        list.join(", ")
    ))
}

#[test]
fn redis_benchmark_runs_through_without_an_error() {
    let Some(benchmark) = installed("redis-benchmark", &[]) else { return };
    let (Some(one), Some(two)) = (start(), start()) else { return };
    let servers = [one, two];
    let proxy = pool_of(&servers);
    let mut command = Command::new(benchmark);
    command.args(["-p", &proxy.at().port().to_string(), "-n", "30000", "-c", "40"]);
    command.args(["-t", "ping,set,get,lrange_100", "-P", "4", "-q"]);
    let run = finish(&mut command, Duration::from_secs(90)).expect_code(0);
    assert!(!run.text().to_lowercase().contains("error"), "{}", run.text());
    proxy.wait_idle();
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    for backend in ["redis0", "redis1"] {
        assert!(metrics.count("sessions_total", &[("backend", backend)]) >= 80, "{backend}");
    }
}

#[test]
fn large_values_come_back_as_they_went() {
    use std::io::{Read, Write};
    let Some(server) = start() else { return };
    let proxy = pool_of(std::slice::from_ref(&server));
    let value: Vec<u8> = (0..5_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect();
    let mut stream = connect(proxy.at());
    write!(stream, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).unwrap();
    stream.write_all(&value).unwrap();
    stream.write_all(b"\r\n").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").unwrap();
    let mut head = [0; 10];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"$5000000\r\n");
    let mut back = vec![0; value.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == value, "the value differs");
}
