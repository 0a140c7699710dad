//! rsyslog behind the balancer, written to by `logger`: datagrams that nobody answers.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::installed;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::process::{Owned, finish};
use crate::harness::udp::{Client, Seat};
use crate::harness::wait::{PATIENCE, eventually};

struct Rsyslog {
    seat: Seat,
    out: PathBuf,
    _server: Owned,
    _dir: TempDir,
}

impl Rsyslog {
    fn start() -> Option<Self> {
        let program = installed("rsyslogd", &[])?;
        let (dir, seat) = (TempDir::new().unwrap(), Seat::take());
        let (out, file) = (dir.path().join("out"), dir.path().join("conf"));
        let text = format!(
            "global(workDirectory=\"{}\")\nmodule(load=\"imudp\")\n\
             template(name=\"bare\" type=\"string\" string=\"%msg%\\n\")\n\
             input(type=\"imudp\" address=\"127.0.0.1\" port=\"{}\" rcvbufSize=\"1m\")\n\
             *.* action(type=\"omfile\" file=\"{}\" template=\"bare\")\n",
            dir.path().display(),
            seat.port(),
            out.display()
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-n").arg("-f").arg(file).arg("-i").arg(dir.path().join("pid"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { seat, out, _server: Owned(command.spawn().unwrap()), _dir: dir };
        let client = Client::to(server.seat.address());
        eventually("rsyslog writes", PATIENCE, || {
            // Until it is there, the kernel says that nobody is.
            drop(client.0.send(b"<14>probe: ready"));
            server.lines("ready") > 0
        });
        Some(server)
    }

    /// Lines that it has written which hold a word.
    fn lines(&self, word: &str) -> usize {
        let text = fs::read_to_string(&self.out).unwrap_or_default();
        text.lines().filter(|line| line.contains(word)).count()
    }
}

#[test]
fn every_line_that_logger_sends_arrives_once() {
    const RUNS: usize = 8;
    const LINES: usize = 250;
    let Some(logger) = installed("logger", &[]) else { return };
    let (Some(one), Some(two)) = (Rsyslog::start(), Rsyslog::start()) else { return };
    let list = format!("[\"{}\", \"{}\"]", one.seat.address(), two.seat.address());
    let keys = "protocol = \"udp\"\nidle_timeout = \"2s\"";
    let proxy = Evenkeel::start(&unprobed(&list, keys, "balance = \"round-robin\""));
    let file = proxy.dir().join("lines");
    for run in 0..RUNS {
        let lines: String = (0..LINES).map(|i| format!("word-{run}-{i}-end\n")).collect();
        fs::write(&file, lines).unwrap();
        let mut command = Command::new(&logger);
        command.args(["--udp", "-n", "127.0.0.1", "-P", &proxy.at().port().to_string()]);
        finish(command.arg("-f").arg(&file), PATIENCE).expect_code(0);
        // The next run may be another worker's, which could be the faster one.
        let server = [&one, &two][run % 2];
        let word = format!("word-{run}-");
        eventually("the run is there", PATIENCE, || server.lines(&word) == LINES);
    }
    for (run, server) in (0..RUNS).zip([&one, &two].into_iter().cycle()) {
        let text = fs::read_to_string(&server.out).unwrap();
        let found = (0..LINES).filter(|i| text.contains(&format!("word-{run}-{i}-end"))).count();
        assert_eq!(found, LINES, "run {run}");
    }
    assert_eq!((one.lines("word-"), two.lines("word-")), (RUNS * LINES / 2, RUNS * LINES / 2));
    proxy.wait_outcome("idle", RUNS as u64);
    assert_eq!(proxy.metrics().count("udp_dropped_total", &[]), 0);
}
