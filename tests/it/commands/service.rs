//! Under a service manager: what it is told, and the sockets that it has opened.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::commands::rewrite;
use crate::harness::client::who;
use crate::harness::evenkeel::{Evenkeel, program};
use crate::harness::files::{Written, file};
use crate::harness::process::{Owned, finish};
use crate::harness::servers::Server;
use crate::harness::wait::PATIENCE;

/// What the service manager hears, without signs of life.
#[track_caller]
fn heard(socket: &UnixDatagram) -> String {
    loop {
        let text = any(socket);
        if text != "WATCHDOG=1\n" {
            return text;
        }
    }
}

#[track_caller]
fn any(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("the service manager hears something");
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[test]
fn a_service_manager_hears_of_every_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let server = Server::greet("a");
    let text = file(&format!("[{}]", server.entry("")), "", "");
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let wrapper = ["env", &socket, "WATCHDOG_USEC=200000"];
    let mut proxy = Evenkeel::launch(&wrapper, &text);
    assert_eq!(heard(&manager), "READY=1\nSTATUS=serving: 1 listener, 1 pool\n");
    assert_eq!(who(proxy.at()), "a", "ready is who serves");
    assert_eq!([any(&manager), any(&manager)], ["WATCHDOG=1\n", "WATCHDOG=1\n"]);

    let reload = |status: &str| {
        proxy.signal(Signal::HUP);
        let text = heard(&manager);
        let (reloading, rest) = text.split_once('\n').unwrap();
        let (monotonic, _) = rest.split_once('\n').unwrap();
        assert_eq!(reloading, "RELOADING=1");
        let since = monotonic.strip_prefix("MONOTONIC_USEC=").unwrap();
        assert!(since.parse::<u64>().is_ok(), "{since}");
        assert_eq!(heard(&manager), format!("READY=1\nSTATUS={status}\n"));
    };
    rewrite(&proxy, &[("[pool.p]", "[pool.q]\nbackends = [\"127.0.0.1:1\"]\n[pool.p]")]);
    reload("serving: 1 listener, 2 pools");
    rewrite(&proxy, &[("[pool.q]", "[pol.q]")]);
    reload("serving: 1 listener, 2 pools");

    proxy.signal(Signal::TERM);
    assert!(heard(&manager).starts_with("STOPPING=1\n"));
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}

/// Runs the file as a service manager does that has opened two sockets, by these names.
fn activated(file: &Written, sockets: [OwnedFd; 2], names: &str) -> Command {
    // They come as standard input and output, and are moved to where activation has them.
    let script = format!(
        "exec 3<&0 4>&1 0</dev/null 1>&2; \
         LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names} exec \"$0\" run -c \"$1\""
    );
    let [stdin, stdout] = sockets;
    let mut command = Command::new("sh");
    command.args(["-c", &script, program()]).arg(&file.path).stdin(Stdio::from(stdin));
    command.stdout(Stdio::from(stdout)).stderr(Stdio::null());
    command
}

fn sockets() -> (SocketAddr, SocketAddr, [OwnedFd; 2]) {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    (tcp.local_addr().unwrap(), udp.local_addr().unwrap(), [tcp.into(), udp.into()])
}

fn both(tcp: &str, udp: &str, backend: &str) -> Written {
    Written::new(&format!(
        "[admin]\nbind = \"off\"\n\
         [listener.front]\nbind = \"{tcp}\"\npool = \"p\"\n\
         [listener.names]\nbind = \"{udp}\"\nprotocol = \"udp\"\npool = \"u\"\n\
         [pool.p]\nbackends = {backend}\n[pool.u]\nbackends = [\"127.0.0.1:1\"]\n"
    ))
}

#[test]
fn sockets_of_the_service_manager_are_taken_by_name_or_address() {
    let server = Server::greet("a");
    let backend = format!("[{}]", server.entry(""));
    let (tcp, udp, fds) = sockets();
    // By name with port 0, and by address under a name that means nothing.
    let file = both("127.0.0.1:0", &udp.to_string(), &backend);
    // Who comes before anything runs is served all the same.
    let early = crate::harness::client::connect(tcp);
    let _running = Owned(activated(&file, fds, "front:evenkeel.socket").spawn().unwrap());
    let mut early = early;
    assert_eq!(crate::harness::client::read_line(&mut early).unwrap(), "a");
    assert_eq!(who(tcp), "a");
}

#[test]
fn sockets_that_fit_nobody_are_an_error_that_names_them() {
    let (tcp, udp, fds) = sockets();
    let file = both(&tcp.to_string(), "127.0.0.1:0", "[\"127.0.0.1:1\"]");
    let errors = file.path.with_extension("err");
    let mut command = activated(&file, fds, "front:stray");
    command.stderr(std::fs::File::create(&errors).unwrap());
    let mut ended = Owned(command.spawn().unwrap());
    let code = ended.exit("it does not start", PATIENCE).code();
    let said = std::fs::read_to_string(errors).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\"stray\"") && said.contains(&udp.to_string()), "{said}");
}

#[test]
fn sockets_meant_for_another_process_are_left_alone() {
    let server = Server::greet("a");
    let wrapper = ["env", "LISTEN_PID=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=stray:stray"];
    let text = file(&format!("[{}]", server.entry("")), "", "");
    let proxy = Evenkeel::start_under(&wrapper, &text);
    assert_eq!(who(proxy.at()), "a");
}

#[test]
fn a_real_activation_works_too() {
    let activate = Command::new("systemd-socket-activate").arg("--version").output();
    if !activate.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "systemd is missing: tests/install-peers.sh");
        return;
    }
    let server = Server::greet("a");
    let seat = crate::harness::seat::Seat::take();
    let address = seat.address();
    let text = format!(
        "[admin]\nbind = \"off\"\n[listener.front]\nbind = \"{address}\"\npool = \"p\"\n\
         [pool.p]\nbackends = [{}]\n",
        server.entry("")
    );
    let file = Written::new(&text);
    drop(seat);
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(address.to_string()).args(["--fdname", "front", program(), "run", "-c"]);
    command.arg(&file.path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Owned(command.spawn().unwrap());
    crate::harness::wait::eventually("it serves", PATIENCE, || {
        crate::harness::client::try_hold(address).is_ok_and(|held| held.backend == "a")
    });
}

#[test]
fn a_descriptor_that_is_no_socket_is_an_error_that_names_it() {
    let file = both("127.0.0.1:0", "127.0.0.1:0", "[\"127.0.0.1:1\"]");
    let script = "exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=front \
                  exec \"$0\" run -c \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, program()]).arg(&file.path);
    let ended = finish(&mut command, PATIENCE).expect_code(1);
    assert!(
        ended.stderr.contains("\"front\"") && ended.stderr.contains("descriptor 3"),
        "{}",
        ended.stderr
    );
}
