//! nginx behind the balancer: a probe that follows a file, and PROXY headers.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::installed;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http::get;
use crate::harness::process::Owned;
use crate::harness::seat::Seat;
use crate::harness::wait::{PATIENCE, eventually};

/// An nginx of a test's own.
pub(super) struct Nginx {
    dir: TempDir,
    seat: Seat,
    server: Owned,
}

impl Nginx {
    /// Starts one that answers with its name; `None` if nginx is not installed.
    pub(super) fn start(name: &str) -> Option<Self> {
        Self::serving(name, "root html;", "")
    }

    /// With its own words on where it listens and what it does.
    pub(super) fn serving(name: &str, words: &str, listen: &str) -> Option<Self> {
        let program = installed("nginx", &[])?;
        let (dir, seat) = (TempDir::new().unwrap(), Seat::take());
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for folder in ["html", "logs"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("html/index.html"), name).unwrap();
        fs::write(dir.path().join("html/alive"), "yes").unwrap();
        let config = format!(
            "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log logs/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; client_body_temp_path t1; proxy_temp_path t2; \
             fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5; \
             server {{ listen {} {listen}; {words} }} }}\n",
            seat.address()
        );
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let server = run(&program, &dir, &seat);
        Some(Self { dir, seat, server })
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.seat.address()
    }

    /// Ends it at once and starts another on its address, with another name.
    #[track_caller]
    pub(super) fn replace(&mut self, name: &str) {
        self.server.signal(Signal::TERM);
        self.server.exit("nginx ends", PATIENCE);
        fs::write(self.dir.path().join("html/index.html"), name).unwrap();
        self.server = run(&installed("nginx", &[]).unwrap(), &self.dir, &self.seat);
    }
}

/// Runs the program with the folder's configuration, and waits until it listens.
#[track_caller]
fn run(program: &Path, dir: &TempDir, seat: &Seat) -> Owned {
    let mut command = Command::new(program);
    command.arg("-p").arg(dir.path()).args(["-c", "nginx.conf", "-e", "logs/error.log"]);
    let server = Owned(command.stdout(Stdio::null()).spawn().unwrap());
    let listens = || std::net::TcpStream::connect(seat.address()).is_ok();
    eventually("nginx listens", PATIENCE, listens);
    server
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker is ended by the master, so the master must not be killed outright.
        self.server.signal(Signal::TERM);
        self.server.exit("nginx ends", PATIENCE);
    }
}

#[test]
fn an_http_probe_follows_a_file_that_is_removed_and_restored() {
    let (Some(one), Some(two)) = (Nginx::start("one"), Nginx::start("two")) else { return };
    let entry = |name, nginx: &Nginx| {
        format!("{{ address = \"{}\", name = \"{name}\" }}", nginx.seat.address())
    };
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = [{}, {}]\n\
         balance = \"round-robin\"\n[pool.p.health]\nprobe = \"http\"\npath = \"/alive\"\n\
         interval = \"100ms\"\ntimeout = \"10s\"\n",
        entry("one", &one),
        entry("two", &two)
    ));
    let page = || get(proxy.at(), "/").body;
    let mut seen: Vec<_> = (0..6).map(|_| page()).collect();
    seen.sort();
    assert_eq!(seen, ["one", "one", "one", "two", "two", "two"]);
    fs::remove_file(two.dir.path().join("html/alive")).unwrap();
    proxy.wait_health("two", "down");
    assert!(proxy.backend("two")["last_probe"]["reason"].to_string().contains("404"));
    assert!((0..10).all(|_| page() == "one"));
    fs::write(two.dir.path().join("html/alive"), "yes").unwrap();
    proxy.wait_health("two", "up");
    assert!((0..2).map(|_| page()).any(|body| body == "two"));
}

#[test]
fn it_takes_our_proxy_headers_from_probes_and_from_clients() {
    let words = "location / { return 200 \"$proxy_protocol_addr $proxy_protocol_port \
                 $proxy_protocol_server_addr $proxy_protocol_server_port $remote_port\"; }";
    let Some(nginx) = Nginx::serving("n", words, "proxy_protocol") else { return };
    for version in ["v1", "v2"] {
        let address = nginx.seat.address();
        let proxy = Evenkeel::start(&format!(
            "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\n\
             backends = [{{ address = \"{address}\", name = \"n\" }}]\n\
             send_proxy_protocol = \"{version}\"\n\
             [pool.p.health]\nprobe = \"http\"\ninterval = \"100ms\"\ntimeout = \"10s\"\n"
        ));
        proxy.wait_health("n", "up");
        let said = get(proxy.at(), "/").body;
        let words: Vec<_> = said.split(' ').collect();
        let client = proxy.wait_access(1)[0]["client"].as_str().unwrap().to_owned();
        assert_eq!(format!("{}:{}", words[0], words[1]), client, "{version}: {said}");
        assert_eq!(format!("{}:{}", words[2], words[3]), proxy.at().to_string(), "{said}");
        assert_ne!(words[1], words[4], "the connection itself is ours");
    }
}
