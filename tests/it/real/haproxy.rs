//! HAProxy in front of the balancer and behind it: both speak the PROXY protocol the same way.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::installed;
use crate::harness::client::{close, hold, ping};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{file, unprobed};
use crate::harness::http::get;
use crate::harness::process::Owned;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

struct Haproxy {
    seat: Seat,
    server: Owned,
    _dir: TempDir,
}

impl Haproxy {
    /// With one section that holds these lines, in which `{address}` is its own.
    fn start(lines: &str) -> Option<Self> {
        let program = installed("haproxy", &[])?;
        let (dir, seat) = (TempDir::new().unwrap(), Seat::take());
        let lines = lines.replace("{address}", &seat.address().to_string());
        let config = format!(
            "global\n    maxconn 200\ndefaults\n    timeout connect 20s\n    timeout client 20s\n    \
             timeout server 20s\n    timeout check 20s\nlisten l\n{lines}\n"
        );
        let path = dir.path().join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-db").arg("-q").arg("-f").arg(path);
        let server = Owned(command.stdout(Stdio::null()).spawn().unwrap());
        let listens = || std::net::TcpStream::connect(seat.address()).is_ok();
        eventually("HAProxy listens", PATIENCE, listens);
        Some(Self { seat, server, _dir: dir })
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.server.signal(Signal::TERM);
        self.server.exit("HAProxy ends", PATIENCE);
    }
}

#[test]
fn its_headers_are_read_in_both_versions_and_with_all_that_it_adds() {
    let server = Server::greet("s");
    let list = entries(std::slice::from_ref(&server));
    let keys = "accept_proxy_protocol = [\"127.0.0.1\"]";
    for send in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,authority",
        "send-proxy-v2-ssl-cn",
    ] {
        let proxy = Evenkeel::start(&unprobed(&list, keys, ""));
        let line =
            format!("    mode tcp\n    bind {{address}}\n    server s {} {send}", proxy.at());
        let Some(front) = Haproxy::start(&line) else { return };
        let mut held = hold(front.seat.address());
        let client = held.stream.local_addr().unwrap();
        assert_eq!(held.backend, "s");
        ping(&mut held.stream, "hello");
        close(held.stream);
        // The connect that saw it listen may have come through as well.
        let whole = |line: &serde_json::Value| line["client"] == client.to_string();
        eventually("its line", PATIENCE, || proxy.access().iter().any(whole));
        let line = proxy.access().into_iter().find(whole).unwrap();
        assert_eq!(line["local"], front.seat.address().to_string(), "{send}");
        assert_eq!((&line["bytes_in"], &line["outcome"]), (&5.into(), &"ok".into()), "{send}");
        assert_eq!(proxy.rejected("proxy-header"), 0, "{send}");
    }
}

#[test]
fn its_health_checks_are_taken_as_its_own() {
    let server = Server::greet("s");
    let list = entries(std::slice::from_ref(&server));
    let proxy = Evenkeel::start(&unprobed(&list, "accept_proxy_protocol = true", ""));
    let check = "check inter 50ms send-proxy-v2";
    let line = format!("    mode tcp\n    bind {{address}}\n    server s {} {check}", proxy.at());
    let Some(_front) = Haproxy::start(&line) else { return };
    let lines = proxy.wait_access(4);
    assert!(lines.iter().all(|line| line["outcome"] != "proxy-header"), "{lines:?}");
}

#[test]
fn it_reads_ours_in_both_versions() {
    let said = "%[src]:%[src_port] %[dst]:%[dst_port]";
    let lines = format!(
        "    mode http\n    bind {{address}} accept-proxy\n    \
         http-request return status 200 content-type text/plain lf-string \"{said}\""
    );
    let Some(back) = Haproxy::start(&lines) else { return };
    let list = format!("[{{ address = \"{}\", name = \"h\" }}]", back.seat.address());
    for version in ["v1", "v2"] {
        let send = format!("send_proxy_protocol = \"{version}\"");
        let proxy = Evenkeel::start(&(file(&list, "", &send) + "probe = \"http\"\n"));
        proxy.wait_health("h", "up");
        let said = get(proxy.at(), "/").body;
        let line = proxy.wait_access(1).remove(0);
        let (client, local) = (line["client"].as_str().unwrap(), line["local"].as_str().unwrap());
        assert_eq!(said, format!("{client} {local}"), "{version}");
    }
}
