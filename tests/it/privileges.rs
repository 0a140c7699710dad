//! What needs root: a low port refused without it, and rights given up after binding.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, geteuid};

use crate::harness::client::who;
use crate::harness::evenkeel::{Evenkeel, evenkeel, program};
use crate::harness::files::unprobed;
use crate::harness::process::finish;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::PATIENCE;

const NOBODY: [&str; 4] = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];

/// A file that nobody but root may read, whatever the folder says.
fn for_root_alone(path: &Path) {
    fs::write(path, "x").unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: not root");
    }
    root
}

/// The first port from 700 on, and below the given one, where nobody listens.
fn low_seat(below: u16) -> Option<Seat> {
    (700..below).find_map(|port| Seat::at(([127, 0, 0, 1], port).into()).ok())
}

/// A free port below 1024 that a plain user may not bind here.
fn low_port() -> Option<u16> {
    let path = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let first: u16 = fs::read_to_string(path).unwrap().trim().parse().unwrap();
    let port = low_seat(first.min(1024)).map(|seat| seat.port());
    if port.is_none() {
        eprintln!("skipped: ports are free for all from {first} on this machine");
    }
    port
}

fn on_port(server: &Server, port: u16, process: &str) -> String {
    let toml = unprobed(&entries(std::slice::from_ref(server)), "", "");
    let toml = toml.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1);
    format!("[process]\n{process}\n{toml}")
}

#[test]
fn a_low_port_without_the_right_to_it_is_named_with_the_way_out() {
    if !is_root() {
        return;
    }
    let Some(port) = low_port() else { return };
    let server = Server::greet("s");
    let mut proxy = Evenkeel::launch(&NOBODY, &on_port(&server, port, ""));
    assert_eq!(proxy.exit_code(PATIENCE), Some(1));
    crate::harness::wait::eventually("the log names it", PATIENCE, || {
        let log = proxy.log();
        log.contains(&format!("127.0.0.1:{port}")) && log.to_lowercase().contains("cap_net_bind")
    });
}

#[test]
fn a_certificate_that_the_user_may_not_read_is_named() {
    if !is_root() {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let toml = format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\n\
         backends = [\"127.0.0.1:1\"]\n[pool.p.health]\nprobe = \"https\"\n\
         [pool.p.health.tls]\nca = \"{}/secret.pem\"\n",
        dir.path().display()
    );
    for_root_alone(&dir.path().join("secret.pem"));
    let mut proxy = Evenkeel::launch(&NOBODY, &toml);
    assert_eq!(proxy.exit_code(PATIENCE), Some(2));
    crate::harness::wait::eventually("the log names it", PATIENCE, || {
        let log = proxy.log();
        log.contains("secret.pem") && log.to_lowercase().contains("permission denied")
    });
}

#[test]
fn check_warns_of_a_key_that_the_user_could_not_read_again() {
    if !is_root() {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let toml = "[process]\nuser = \"nobody\"\n[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
         [listener.l.tls]\ncertificates = [{ cert = \"cert.pem\", key = \"key.pem\" }]\n[pool.p]\n\
         backends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";
    fs::write(path("evenkeel.toml"), toml).unwrap();
    let warned = |folder, key| {
        fs::set_permissions(dir.path(), Permissions::from_mode(folder)).unwrap();
        fs::set_permissions(path("key.pem"), Permissions::from_mode(key)).unwrap();
        let text = evenkeel(&["check", "-c", &path("evenkeel.toml")]).expect_code(0).text();
        let of = |name: &str| text.contains(&format!("{name} cannot be read by process.user"));
        (of("cert.pem"), of("key.pem"))
    };
    assert_eq!(warned(0o755, 0o600), (false, true));
    assert_eq!(warned(0o755, 0o604), (false, false));
    assert_eq!(warned(0o700, 0o604), (true, true));
}

#[test]
fn an_unreadable_file_exits_with_2() {
    if !is_root() {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("evenkeel.toml");
    for_root_alone(&path);
    let mut command = Command::new(NOBODY[0]);
    command.args(&NOBODY[1..]).args([program(), "run", "-c", path.to_str().unwrap()]);
    let answer = finish(&mut command, PATIENCE).expect_code(2);
    assert!(answer.stderr.to_lowercase().contains("permission denied"), "{}", answer.stderr);
}

#[test]
fn root_binds_a_low_port_and_goes_on_as_nobody() {
    if !is_root() {
        return;
    }
    let seat = low_seat(1024).unwrap();
    let port = seat.port();
    let server = Server::greet("s");
    let process = "user = \"nobody\"\ngroup = \"nogroup\"\npid_file = \"{dir}/evenkeel.pid\"";
    let mut proxy = Evenkeel::start(&on_port(&server, port, process));
    let at: SocketAddr = ([127, 0, 0, 1], port).into();
    assert_eq!(proxy.at(), at);
    assert_eq!(who(at), "s");
    // Every thread, since the kernel keeps credentials for each.
    for task in fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for (field, want) in [("Uid:", id("-u", "nobody")), ("Gid:", id("-g", "nobody"))] {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            assert!(line.split_whitespace().skip(1).all(|found| found == want), "{line}");
        }
        let capabilities = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
        assert!(capabilities.ends_with("0000000000000000"), "{capabilities}");
    }
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}

fn id(which: &str, user: &str) -> String {
    crate::harness::process::must(Command::new("id").args([which, user])).trim().to_owned()
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    if !is_root() {
        return;
    }
    let server = Server::greet("s");
    let toml = on_port(&server, 0, "user = \"mr-nowhere\"");
    let mut proxy = Evenkeel::launch(&[], &toml);
    let code = proxy.exit_code(PATIENCE);
    assert!(matches!(code, Some(1 | 2)), "{code:?}");
    crate::harness::wait::eventually("the log names it", PATIENCE, || {
        proxy.log().contains("mr-nowhere")
    });
}
