//! Two PostgreSQL servers behind one listener, and `pgbench` through it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{as_user, installed};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::process::{Finished, Owned, finish, must};
use crate::harness::seat::Seat;
use crate::harness::wait::{PATIENCE, eventually};

/// A cluster in a temporary folder.
pub(super) struct Postgres {
    bin: PathBuf,
    dir: TempDir,
    pub(super) seat: Seat,
    server: Option<Owned>,
    /// Further settings, as in `ssl=on`.
    settings: Vec<String>,
}

impl Postgres {
    /// Creates the cluster and starts it with `pgbench`'s tables; `None` when not installed.
    fn create() -> Option<Self> {
        let mut versions: Vec<_> =
            glob::glob("/usr/lib/postgresql/*/bin").unwrap().flatten().collect();
        versions.sort();
        let newest = versions.pop().unwrap_or_default();
        let initdb = installed("initdb", &[newest.to_str().unwrap()])?;
        let bin = initdb.parent().unwrap().to_owned();
        let dir = TempDir::new().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let mut server = Self { bin, dir, seat: Seat::take(), server: None, settings: Vec::new() };
        let data = server.dir.path().join("data");
        let mut init = as_user("postgres", &initdb);
        init.arg("-D").arg(&data).args(["-U", "bench", "-A", "trust", "--no-sync", "-E", "UTF8"]);
        must(init.current_dir(server.dir.path()));
        server.start();
        must(
            server.client("pgbench", server.seat.port()).args(["-i", "-q", "-s", "1", "postgres"]),
        );
        Some(server)
    }

    /// As [`create`](Self::create), with TLS.
    pub(super) fn create_with_tls(cert: &Path, key: &Path) -> Option<Self> {
        let mut server = Self::create()?;
        server.stop();
        // It wants its key to be its own.
        let own = server.dir.path().join("server.key");
        let mut copy = as_user("postgres", Path::new("install"));
        must(copy.args(["-m", "600"]).arg(key).arg(&own).current_dir(server.dir.path()));
        server.settings = vec![
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", cert.display()),
            format!("ssl_key_file={}", own.display()),
        ];
        server.start();
        Some(server)
    }

    fn start(&mut self) {
        let mut command = as_user("postgres", &self.bin.join("postgres"));
        command.arg("-D").arg(self.dir.path().join("data"));
        command.args(["-p", &self.seat.port().to_string(), "-h", "127.0.0.1", "-k"]);
        command.arg(self.dir.path());
        command.args(["-c", "fsync=off", "-c", "max_connections=150", "-c", "shared_buffers=32MB"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.current_dir(self.dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(Owned(command.spawn().unwrap()));
        eventually("the server takes queries", PATIENCE, || {
            let mut ask = self.client("pg_isready", self.seat.port());
            finish(&mut ask, PATIENCE).code == Some(0)
        });
    }

    /// Fast shutdown, as an operator would.
    fn stop(&mut self) {
        let mut server = self.server.take().unwrap();
        server.signal(Signal::INT);
        server.exit("the server stops", PATIENCE);
    }

    /// Kill -9 of the postmaster; its children end when they notice.
    fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.signal(Signal::KILL);
        server.exit("the server dies", PATIENCE);
    }

    pub(super) fn client(&self, program: &str, port: u16) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // With the default a refused encryption is one more connection, and they are counted here.
        command.env("PGSSLMODE", "disable").env("PGGSSENCMODE", "disable");
        command.args(["-h", "127.0.0.1", "-U", "bench", "-p", &port.to_string()]);
        command
    }

    /// Runs `pgbench`, with a connection for every transaction.
    fn bench(&self, proxy: &Evenkeel, seconds: u32) -> Finished {
        let mut command = self.client("pgbench", proxy.at().port());
        command.args(["-n", "-S", "-C", "-c", "8", "-j", "2", "-T", &seconds.to_string()]);
        finish(command.arg("postgres"), Duration::from_secs(60))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // A killed postmaster leaves shared memory behind; an immediate shutdown does not.
            server.signal(Signal::QUIT);
            server.exit("the server ends", PATIENCE);
        }
    }
}

fn pair() -> Option<([Postgres; 2], Evenkeel)> {
    let servers = [Postgres::create()?, Postgres::create()?];
    let entry =
        |i: usize| format!("{{ address = \"{}\", name = \"pg{i}\" }}", servers[i].seat.address());
    let list = format!("[{}, {}]", entry(0), entry(1));
    let proxy = Evenkeel::start(&file(&list, "", ""));
    Some((servers, proxy))
}

fn number_after(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let line = line.unwrap_or_else(|| panic!("no {label:?} in:\n{text}"));
    line.trim().split([' ', '/']).next().unwrap().parse().unwrap()
}

#[test]
fn pgbench_sees_no_failure_while_servers_are_stopped_and_started_between_runs() {
    let Some((mut servers, proxy)) = pair() else { return };
    let clean = |run: Finished| {
        let run = run.expect_code(0);
        assert_eq!(
            number_after(&run.stdout, "number of failed transactions:"),
            0,
            "{}",
            run.text()
        );
        number_after(&run.stdout, "number of transactions actually processed:")
    };
    let mut done = clean(servers[0].bench(&proxy, 2));
    servers[1].stop();
    proxy.wait_health("pg1", "down");
    done += clean(servers[0].bench(&proxy, 2));
    servers[1].start();
    proxy.wait_health("pg1", "up");
    let before = proxy.backend("pg1")["sessions_total"].as_u64().unwrap();
    done += clean(servers[0].bench(&proxy, 2));
    assert!(proxy.backend("pg1")["sessions_total"].as_u64().unwrap() > before, "it is used again");
    proxy.wait_idle();
    let metrics = proxy.metrics();
    // A connection for every transaction, and one more that each of the three runs begins with.
    assert_eq!(metrics.count("sessions_total", &[]), done + 3);
    assert_eq!(metrics.count("rejected_total", &[]), 0);
}

#[test]
fn every_error_pgbench_sees_when_a_server_is_killed_is_accounted_for() {
    let Some((mut servers, proxy)) = pair() else { return };
    let client = servers[0].client("pgbench", proxy.at().port());
    let bench = std::thread::spawn(move || {
        let mut client = client;
        // A transaction and a connection at a time; a client that loses its server gives up.
        client.args(["-n", "-S", "-C", "-c", "8", "-j", "2", "-T", "4", "postgres"]);
        finish(&mut client, Duration::from_secs(60))
    });
    eventually("the servers are busy", PATIENCE, || {
        proxy.backend("pg1")["sessions_total"].as_u64().unwrap() > 50
    });
    let ended_before = proxy.metrics().count("sessions_total", &[("backend", "pg1")]);
    servers[1].kill();
    proxy.wait_health("pg1", "down");
    let run = bench.join().unwrap();
    proxy.wait_idle();
    let metrics = proxy.metrics();
    let lost = run
        .stderr
        .lines()
        .filter(|line| line.contains("aborted") && !line.contains("Run was aborted"));
    let lost = lost.count() as u64;
    // Every connection that a client made is there, those that were lost among them, and nobody
    // was lost but with a session that the dead server had.
    let done = number_after(&run.stdout, "number of transactions actually processed:");
    let text = run.text();
    assert_eq!(metrics.count("sessions_total", &[]), done + lost + 1, "{text}");
    let on_dead = metrics.count("sessions_total", &[("backend", "pg1")]) - ended_before;
    assert!(lost <= on_dead, "{lost} clients lost with {on_dead} sessions\n{text}");
    assert_eq!(metrics.count("rejected_total", &[]), 0, "{text}");
    assert_eq!(metrics.count("connect_failures_total", &[("backend", "pg0")]), 0);
    // After detection: clean.
    let after = servers[0].bench(&proxy, 1).expect_code(0);
    assert_eq!(number_after(&after.stdout, "number of failed transactions:"), 0);
}
