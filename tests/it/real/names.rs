//! Names of a zone that nsd serves, asked through unbound: the records change, the servers die.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::installed;
use crate::harness::client::{End, end_of, hold, who};
use crate::harness::evenkeel::{Evenkeel, by_name};
use crate::harness::process::{Owned, finish};
use crate::harness::servers::Server;
use crate::harness::udp::Seat;
use crate::harness::wait::{PATIENCE, eventually, throughout};

/// More addresses than a datagram has room for.
const MANY: usize = 120;

/// A name server in a folder of its own, at a port of its own.
struct NameServer {
    program: PathBuf,
    dig: PathBuf,
    dir: TempDir,
    /// One of its own, so that nobody else takes the port, for either transport.
    ip: Ipv4Addr,
    port: u16,
    server: Option<Owned>,
    serial: AtomicU32,
}

impl NameServer {
    /// Not running yet; `number` tells it from others of this test.
    fn new(program: &str, number: u8) -> Option<Self> {
        let (program, dig) = (installed(program, &[])?, installed("dig", &[])?);
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, 100 + number, high, low);
        let port = Seat::on(ip.into()).port();
        let (dir, serial) = (TempDir::new().unwrap(), AtomicU32::default());
        Some(Self { program, dig, dir, ip, port, server: None, serial })
    }

    /// Starts it, and waits until it answers for `name`.
    fn start(&mut self, text: &str, name: &str) {
        let file = self.dir.path().join("conf");
        fs::write(&file, text).unwrap();
        let log = self.dir.path().join("log");
        let start = |program: &Path| {
            let log = File::options().create(true).append(true).open(&log).unwrap();
            let mut command = Command::new(program);
            command.arg("-d").arg("-c").arg(&file).stdout(Stdio::null()).stderr(log);
            Owned(command.spawn().unwrap())
        };
        let mut server = start(&self.program);
        let until = Instant::now() + PATIENCE;
        while !self.dig(name, "SOA").contains("admin") {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < until, "it does not answer, and says:\n{}", said());
            // Children of one that was killed may hold its address for a moment longer.
            if server.0.try_wait().unwrap().is_some() {
                server = start(&self.program);
            }
        }
        self.server = Some(server);
    }

    fn dig(&self, name: &str, kind: &str) -> String {
        let mut ask = Command::new(&self.dig);
        let (at, port) = (format!("@{}", self.ip), self.port.to_string());
        ask.args([&at, "-p", &port, "+short", "+tries=1", "+time=1"]);
        finish(ask.args([name, kind]), PATIENCE).stdout
    }

    /// Writes the zone `example` anew.
    fn write(&self, records: &str) {
        let serial = self.serial.fetch_add(1, Ordering::SeqCst) + 1;
        let zone = format!(
            "$ORIGIN example.\n$TTL 1\n@ SOA ns admin {serial} 1 1 1 1\n@ NS ns\nns A 127.0.0.1\n{records}\n"
        );
        fs::write(self.dir.path().join("zone"), zone).unwrap();
    }

    /// Has it serve other records, and waits until it does.
    fn serve(&self, records: &str) {
        self.write(records);
        self.server.as_ref().unwrap().signal(Signal::HUP);
        let serial = format!(" {} ", self.serial.load(Ordering::SeqCst));
        eventually("the zone is loaded", PATIENCE, || self.dig("example", "SOA").contains(&serial));
    }

    fn kill(&mut self) {
        self.server = None;
    }
}

fn nsd(server: &NameServer) -> String {
    let (dir, ip, port) = (server.dir.path().display(), server.ip, server.port);
    format!(
        "server:\n ip-address: {ip}@{port}\n port: {port}\n do-ip6: no\n username: \"\"\n\
         \x20chroot: \"\"\n zonesdir: \"{dir}\"\n pidfile: \"{dir}/pid\"\n zonelistfile: \"{dir}/list\"\n\
         \x20xfrdfile: \"{dir}/xfrd\"\n database: \"\"\n server-count: 1\n\
         remote-control:\n control-enable: no\nzone:\n name: example\n zonefile: zone\n"
    )
}

/// It asks `behind` for the zone, keeps answers for their TTL, and is asked over TCP for long ones.
fn unbound(server: &NameServer, behind: &NameServer) -> String {
    let (dir, ip, port) = (server.dir.path().display(), server.ip, server.port);
    let (behind, behind_port) = (behind.ip, behind.port);
    format!(
        "server:\n interface: {ip}@{port}\n port: {port}\n do-ip6: no\n chroot: \"\"\n\
         \x20username: \"\"\n directory: \"{dir}\"\n pidfile: \"{dir}/pid\"\n use-syslog: no\n\
         \x20logfile: \"\"\n num-threads: 1\n module-config: \"iterator\"\n so-rcvbuf: 0\n\
         \x20do-not-query-localhost: no\n infra-host-ttl: 1\n infra-keep-probing: yes\n\
         \x20cache-max-negative-ttl: 1\n\
         stub-zone:\n name: \"example\"\n stub-addr: {behind}@{behind_port}\n\
         remote-control:\n control-enable: no\n"
    )
}

fn names(proxy: &Evenkeel, pool: &str) -> Vec<String> {
    let status = proxy.status();
    let pool = by_name(&status["pools"], pool);
    let all = pool["backends"].as_array().unwrap().iter();
    let up = all.filter(|backend| backend["health"] == "up");
    let mut names: Vec<_> = up.map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[track_caller]
fn wait_names(proxy: &Evenkeel, pool: &str, expected: &[String]) {
    eventually(&format!("{pool} has {expected:?}"), PATIENCE, || names(proxy, pool) == expected);
}

fn error(proxy: &Evenkeel, pool: &str) -> Value {
    by_name(&proxy.status()["pools"], pool)["discover"]["error"].clone()
}

#[track_caller]
fn wait_trouble(proxy: &Evenkeel) {
    eventually("the look-up fails", PATIENCE, || !error(proxy, "p").is_null());
}

#[test]
fn a_zone_is_followed_through_everything_that_happens_to_it() {
    let Some(mut zone) = NameServer::new("nsd", 1) else { return };
    let Some(mut resolver) = NameServer::new("unbound", 2) else { return };
    let servers = Server::alike(3);
    let port = servers[0].address().port();
    let at = |last: u8| format!("127.1.0.{last}:{port}");
    let srv = |weights: [u16; 2]| {
        let [one, two] = weights;
        format!(
            "_db._tcp SRV 10 {one} {port} one\n_db._tcp SRV 20 {two} {port} two\n\
                 one A 127.1.0.1\ntwo A 127.1.0.2\n"
        )
    };
    let many: String = (1..=MANY).map(|last| format!("many 60 A 127.2.0.{last}\n")).collect();
    zone.write(&format!("db A 127.1.0.1\ndb A 127.1.0.2\n{}{many}", srv([1000, 7])));
    zone.start(&nsd(&zone), "example");
    resolver.start(&unbound(&resolver, &zone), "example");
    let proxy = Evenkeel::start(&format!(
        "[process]\nnameservers = [\"{}:{}\"]\n\
         [listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
         [listener.s]\nbind = \"127.0.0.1:0\"\npool = \"s\"\n\
         [listener.m]\nbind = \"127.0.0.1:0\"\npool = \"m\"\n\
         [pool.p]\ndiscover = {{ dns = \"db.example:{port}\" }}\nclose = {{ removed = \"now\" }}\n\
         health = {{ interval = \"100ms\" }}\n\
         [pool.s]\ndiscover = {{ srv = \"_db._tcp.example\" }}\nhealth = {{ interval = \"100ms\" }}\n\
         [pool.m]\ndiscover = {{ dns = \"many.example:1\" }}\nhealth = {{ probe = \"none\" }}\n",
        resolver.ip, resolver.port
    ));
    wait_names(&proxy, "p", &[at(1), at(2)]);
    let (one, two) = (format!("one.example:{port}"), format!("two.example:{port}"));
    wait_names(&proxy, "s", &[one.clone(), two.clone()]);
    assert_eq!(proxy.backend_of("s", &one)["weight"], 256);
    assert_eq!(proxy.backend_of("s", &two)["weight"], 1);
    assert_eq!(who(proxy.address("s")), at(1));
    // The answer came over TCP.
    assert_eq!(names(&proxy, "m").len(), MANY);

    // Others come, some go, and a session goes with its backend.
    let mut held = hold(proxy.at());
    let gone = held.backend.clone();
    let kept = if gone == at(1) { 2 } else { 1 };
    zone.serve(&format!("db A 127.1.0.3\ndb A 127.1.0.{kept}\n{}", srv([3, 7])));
    wait_names(&proxy, "p", &[at(kept), at(3)]);
    assert_eq!(end_of(&mut held.stream), End::Reset);
    proxy.wait_line("removed");
    eventually("weights follow", PATIENCE, || proxy.backend_of("s", &one)["weight"] == 3);

    // No such name; a name server that is dead behind one that answers; one that is dead itself.
    zone.serve("");
    wait_trouble(&proxy);
    wait_names(&proxy, "p", &[at(kept), at(3)]);
    zone.serve(&format!("db A 127.1.0.3\n{}", srv([3, 7])));
    wait_names(&proxy, "p", &[at(3)]);
    zone.kill();
    wait_trouble(&proxy);
    throughout("it serves", Duration::from_millis(200), || who(proxy.at()) == at(3));
    zone.write(&format!("db A 127.1.0.1\n{}", srv([3, 7])));
    zone.start(&nsd(&zone), "example");
    wait_names(&proxy, "p", &[at(1)]);
    resolver.kill();
    wait_trouble(&proxy);
    throughout("it serves", Duration::from_millis(200), || who(proxy.at()) == at(1));
    assert_eq!(names(&proxy, "m").len(), MANY);
}
