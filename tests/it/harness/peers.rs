//! A backend in a process of its own, for what only a process can do: be stopped and be killed.
//!
//! The process is this test binary again, told by an environment variable to run the one test below,
//! which then serves instead of testing. Nothing has to be installed for it.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;

use super::files;
use super::process::Owned;
use super::seat::Seat;
use super::servers::echo;

const ROLE: &str = "EVENKEEL_IT_PEER";

/// A backend in its own process.
pub(crate) struct Peer {
    /// Its name, with which it greets or answers.
    pub(crate) name: String,
    kind: &'static str,
    seat: Seat,
    child: Option<Owned>,
}

impl Peer {
    /// Starts one that greets and echoes.
    pub(crate) fn start(name: &str) -> Self {
        Self::of_kind("greet", name)
    }

    /// Starts one that answers each HTTP request of a connection with its name.
    pub(crate) fn http(name: &str) -> Self {
        Self::of_kind("http", name)
    }

    fn of_kind(kind: &'static str, name: &str) -> Self {
        let mut peer = Self { name: name.into(), kind, seat: Seat::take(), child: None };
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
        command.env(ROLE, format!("{} {} {}", self.seat.address(), self.kind, self.name));
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
    let mut words = role.splitn(3, ' ');
    let [address, kind, name] = [(); 3].map(|()| words.next().unwrap());
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1024).unwrap();
    let listener = std::net::TcpListener::from(socket);
    println!("peer ready");
    for stream in listener.incoming() {
        let (stream, name, is_http) = (stream.unwrap(), name.to_owned(), kind == "http");
        thread::spawn(move || match is_http {
            true => super::whoami::serve(stream, |_| name.clone()),
            false => greet(stream, &name),
        });
    }
}

fn greet(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.write_all(format!("{name}\n").as_bytes())?;
    echo(stream)
}
