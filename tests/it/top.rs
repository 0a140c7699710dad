//! `evenkeel top` in a terminal: what it shows, what its keys do, and what it leaves behind.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::harness::client::{close, hold};
use crate::harness::evenkeel::{Evenkeel, evenkeel, program};
use crate::harness::files::file;
use crate::harness::process::Owned;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

const ROWS: usize = 30;
const COLUMNS: usize = 120;

/// A pseudo-terminal with `evenkeel top` in it.
struct Terminal {
    child: Owned,
    keys: File,
    /// The other end, as the program has it.
    inside: File,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    #[track_caller]
    fn top(args: &[&str]) -> Self {
        let keys = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let path = ptsname(&keys, Vec::new()).unwrap().into_string().unwrap();
        let inside = File::options().read(true).write(true).open(path).unwrap();
        let (rows, columns) = (ROWS.try_into().unwrap(), COLUMNS.try_into().unwrap());
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&inside, size).unwrap();
        let end = || Stdio::from(inside.try_clone().unwrap());
        let mut command = Command::new(program());
        command.arg("top").args(args).env("TERM", "xterm-256color");
        command.env_remove("EVENKEEL_TOKEN_FILE");
        let child = Owned(command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap());
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut read, into) = (keys.try_clone().unwrap(), written.clone());
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = read.read(&mut chunk) {
                into.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { child, keys, inside, written }
    }

    fn raw(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    #[track_caller]
    fn wait(&self, parts: &[&str]) {
        eventually(&format!("the screen says {parts:?}"), PATIENCE, || {
            let screen = screen(&self.raw());
            parts.iter().all(|part| screen.contains(part))
        });
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end, and checks that the terminal is as it was.
    #[track_caller]
    fn ends(mut self, code: i32) {
        assert_eq!(self.child.exit("top ends", PATIENCE).code(), Some(code), "{}", self.raw());
        let modes = tcgetattr(&self.inside).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "the terminal is raw");
        // The alternate screen is left, and the cursor shown again, after all else.
        eventually("the screen is given back", PATIENCE, || {
            let raw = self.raw();
            let (taken, left) = (raw.rfind("\u{1b}[?1049h"), raw.rfind("\u{1b}[?1049l"));
            left > taken && raw.rfind("\u{1b}[?25h") > raw.rfind("\u{1b}[?25l")
        });
    }
}

/// What a terminal shows after this: text, and where the cursor was put.
fn screen(raw: &str) -> String {
    let mut cells = vec![vec![' '; COLUMNS]; ROWS];
    let (mut row, mut column) = (0, 0);
    let mut rest = raw.chars();
    while let Some(char) = rest.next() {
        if char != '\u{1b}' {
            if let Some(cell) = cells.get_mut(row).and_then(|line| line.get_mut(column)) {
                *cell = char;
            }
            column += 1;
            continue;
        }
        if rest.next() != Some('[') {
            continue;
        }
        let mut numbers = String::new();
        let last = rest.by_ref().find(|char| {
            numbers.push(*char);
            char.is_ascii_alphabetic()
        });
        let mut numbers = numbers.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
        let mut number = || numbers.next().flatten().unwrap_or(1_usize) - 1;
        match last {
            Some('H') => (row, column) = (number(), number()),
            Some('J') => cells.iter_mut().for_each(|line| line.fill(' ')),
            _ => {}
        }
    }
    cells.into_iter().map(|line| line.into_iter().collect::<String>() + "\n").collect()
}

#[test]
fn top_shows_the_backends_and_drains_one_after_a_question() {
    let servers = ["alpha", "beta"].map(Server::greet);
    let proxy = Evenkeel::start(&file(&entries(&servers), "", ""));
    let held: Vec<_> = (0..4).map(|_| hold(proxy.at())).collect();
    let mut top = Terminal::top(&["--admin", &proxy.admin().to_string(), "--interval", "100ms"]);
    top.wait(&["4 sessions", "> alpha", "beta", "up", "2 of 2", "serving"]);

    servers[0].stop();
    top.wait(&["down", "refused", "1 of 2", "p/alpha up -> down"]);
    servers[0].start();
    proxy.wait_health("alpha", "up");
    top.wait(&["p/alpha down -> up"]);

    top.press("jd");
    top.wait(&["p/beta: drain?", "y does it"]);
    top.press("n");
    top.wait(&["nothing was changed"]);
    assert_eq!(proxy.backend("beta")["state"], "ready");
    top.press("d");
    top.wait(&["p/beta: drain?"]);
    top.press("y");
    eventually("beta is in drain", PATIENCE, || proxy.backend("beta")["state"] == "drain");
    top.wait(&["p/beta is drain", "takes nothing new, 2 sessions left"]);
    top.press("ry");
    eventually("beta is back", PATIENCE, || proxy.backend("beta")["state"] == "ready");
    top.press("w7\r");
    eventually("beta has weight 7", PATIENCE, || proxy.backend("beta")["weight"] == 7);
    held.into_iter().for_each(|held| drop(held.stream));
    top.wait(&["0 sessions"]);
    top.press("q");
    top.ends(0);
}

#[test]
fn top_says_that_the_balancer_is_gone_and_finds_the_next_one() {
    let server = Server::greet("alpha");
    let seat = Seat::take();
    let admin = format!("[admin]\nbind = \"{}\"\n", seat.address());
    let toml = file(&entries(std::slice::from_ref(&server)), "", "") + &admin;
    let first = Evenkeel::start(&toml);
    let top = Terminal::top(&["--interval", "100ms", "-c", first.file().to_str().unwrap()]);
    top.wait(&["serving", "alpha"]);
    drop(first);
    top.wait(&["NO ANSWER", "what is shown is old"]);
    let second = Evenkeel::start(&toml);
    top.wait(&["another process answers", "serving"]);
    close(hold(second.at()).stream);
    top.wait(&["p/alpha unknown -> up"]);
    top.child.signal(Signal::TERM);
    top.ends(0);
}

#[test]
fn top_gives_the_terminal_back_however_it_ends() {
    let server = Server::greet("alpha");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let admin = proxy.admin().to_string();
    for keys in ["\u{3}", "\u{1b}", "q"] {
        let mut top = Terminal::top(&["--admin", &admin]);
        top.wait(&["serving"]);
        top.press(keys);
        top.ends(0);
    }
    for signal in [Signal::HUP, Signal::INT] {
        let top = Terminal::top(&["--admin", &admin]);
        top.wait(&["serving"]);
        top.child.signal(signal);
        top.ends(0);
    }
}

#[test]
fn top_needs_a_terminal_and_a_balancer() {
    let refused = evenkeel(&["top", "--admin", "127.0.0.1:1"]).expect_code(2);
    assert!(refused.stderr.contains("terminal") && refused.stderr.contains("evenkeel status"));
    let nobody = Seat::take().address().to_string();
    let mut top = Terminal::top(&["--admin", &nobody]);
    assert_eq!(top.child.exit("top ends", PATIENCE).code(), Some(1));
    eventually("it says where nobody is", PATIENCE, || top.raw().contains(&nobody));
    assert!(!top.raw().contains("1049h"), "the screen was never taken");
}
