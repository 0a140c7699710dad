//! A backend in a process of its own, for what only a process can do: be stopped and be killed.
//!
//! The process is this test binary again, told by an environment variable to run the one test below,
//! which then serves instead of testing. Nothing has to be installed for it.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;

use super::files;
use super::process::Owned;
use super::seat::Seat;
use super::servers::echo;

const ROLE: &str = "EVENKEEL_IT_PEER";

/// A greeting, echoing backend in its own process.
pub(crate) struct Peer {
    /// Its name and its greeting.
    pub(crate) name: String,
    seat: Seat,
    child: Option<Owned>,
}

impl Peer {
    /// Starts it.
    pub(crate) fn start(name: &str) -> Self {
        let mut peer = Self { name: name.into(), seat: Seat::take(), child: None };
        peer.restart();
        peer
    }

    /// Starts it again on its port.
    pub(crate) fn restart(&mut self) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([
            "harness::peers::serves_as_a_backend_when_told_to",
            "--exact",
            "--nocapture",
        ]);
        command.env(ROLE, format!("{} {}", self.seat.address(), self.name));
        command.stdout(Stdio::piped());
        let mut child = Owned(command.spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("peer ready")), "no peer came up");
        // Its output has to be taken for as long as it runs.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        self.child = Some(child);
    }

    /// Where it is.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.seat.address()
    }

    /// An entry for `backends`.
    pub(crate) fn entry(&self, keys: &str) -> String {
        files::entry(self.address(), &self.name, keys)
    }

    /// Freezes it: its kernel goes on taking connections into the listen queue, it does not.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.child.as_ref().unwrap().freeze();
    }

    /// Kill -9; returns when it is gone.
    pub(crate) fn kill(&mut self) {
        drop(self.child.take());
    }
}

#[test]
fn serves_as_a_backend_when_told_to() {
    let Ok(role) = env::var(ROLE) else { return };
    let (address, name) = role.split_once(' ').unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1024).unwrap();
    let listener = std::net::TcpListener::from(socket);
    println!("peer ready");
    let greeting = format!("{name}\n");
    for stream in listener.incoming() {
        let (mut stream, greeting) = (stream.unwrap(), greeting.clone());
        thread::spawn(move || {
            use std::io::Write;
            if stream.write_all(greeting.as_bytes()).is_ok() {
                drop(echo(stream));
            }
        });
    }
}
