//! The balancer as a user runs it: a file, a process, its log, its admin address.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{self, Answer};
use super::metrics::Metrics;
use super::process::{Finished, Owned, finish, raise_open_files};
use super::wait::{PATIENCE, eventually, until};

/// A running balancer; ends with the test.
pub(crate) struct Evenkeel {
    child: Owned,
    dir: TempDir,
    log: Arc<Mutex<Vec<String>>>,
    _unread: Option<ChildStdout>,
}

#[derive(PartialEq)]
enum Stdout {
    Read,
    Left,
}

impl Evenkeel {
    /// Starts with this file and waits until every listener is open and it says that it is ready.
    ///
    /// A JSON log, an access log at [`access`](Self::access) and an admin address are added where
    /// the file says nothing of them.
    #[track_caller]
    pub(crate) fn start(toml: &str) -> Self {
        Self::start_under(&[], toml)
    }

    /// As [`start`](Self::start), with words before the command, such as `prlimit`.
    #[track_caller]
    pub(crate) fn start_under(wrapper: &[&str], toml: &str) -> Self {
        let running = Self::launch(wrapper, toml);
        running.wait_open(binds(toml));
        running
    }

    /// Starts, and waits for nothing.
    #[track_caller]
    pub(crate) fn launch(wrapper: &[&str], toml: &str) -> Self {
        let dir = folder();
        let file = dir.path().join("evenkeel.toml");
        fs::write(&file, complete(toml, dir.path())).unwrap();
        let mut words: Vec<_> = wrapper.iter().map(|&word| word.to_owned()).collect();
        words.push(program().into());
        words.extend(["run".into(), "-c".into(), file.to_str().unwrap().into()]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Self::spawn(&mut command, dir, Stdout::Read)
    }

    /// As [`start`](Self::start), with a standard output that stays open and is never read.
    #[track_caller]
    pub(crate) fn start_unread(toml: &str) -> Self {
        let dir = folder();
        let file = dir.path().join("evenkeel.toml");
        fs::write(&file, complete(toml, dir.path())).unwrap();
        let mut command = Command::new(program());
        command.arg("run").arg("-c").arg(file);
        let running = Self::spawn(&mut command, dir, Stdout::Left);
        running.wait_open(binds(toml));
        running
    }

    /// Starts another command of the program, such as `proxy`, with a JSON log or not.
    #[track_caller]
    pub(crate) fn command(args: &[&str]) -> Self {
        Self::spawn(Command::new(program()).args(args), folder(), Stdout::Read)
    }

    #[track_caller]
    fn spawn(command: &mut Command, dir: TempDir, stdout: Stdout) -> Self {
        raise_open_files();
        command.current_dir(dir.path()).env_remove("EVENKEEL_LOG").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Owned(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")));
        let log = Arc::new(Mutex::new(Vec::new()));
        gather(child.0.stderr.take().unwrap(), log.clone());
        let mut pipe = child.0.stdout.take();
        if let Some(read) = pipe.take_if(|_| stdout == Stdout::Read) {
            gather(read, log.clone());
        }
        Self { child, dir, log, _unread: pipe }
    }

    #[track_caller]
    fn wait_open(&self, binds: usize) {
        let open = || self.listening().iter().filter(|(name, _)| name != "admin").count() >= binds;
        eventually("every listener is open", PATIENCE, || {
            let ended = self.child_state() == 'Z';
            assert!(!ended, "the balancer ended:\n{}", self.log());
            open() && self.says_ready()
        });
    }

    /// The last listener is open before `/readyz` says so.
    fn says_ready(&self) -> bool {
        self.events().iter().any(|event| event["message"] == "ready")
    }

    /// The process state letter of /proc, `Z` once it has ended.
    fn child_state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|s| s.chars().next()).unwrap_or('Z')
    }

    /// Name and address of everything that listens, the admin address among them.
    pub(crate) fn listening(&self) -> Vec<(String, SocketAddr)> {
        let line = |event: &Value| {
            let name = event["listener"].as_str()?;
            let address = event["address"].as_str()?.parse().ok()?;
            (event["message"] == "listening").then(|| (name.to_owned(), address))
        };
        self.events().iter().filter_map(line).collect()
    }

    /// The addresses of a listener.
    pub(crate) fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let all = self.listening();
        all.into_iter().filter(|(name, _)| name == listener).map(|(_, at)| at).collect()
    }

    /// The first address of a listener.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        until("the address is in the log", PATIENCE, || self.addresses(listener).first().copied())
    }

    /// The address of listener `l`.
    #[track_caller]
    pub(crate) fn at(&self) -> SocketAddr {
        self.address("l")
    }

    /// The address of the admin interface.
    #[track_caller]
    pub(crate) fn admin(&self) -> SocketAddr {
        self.address("admin")
    }

    /// `GET` of an admin path.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        http::get(self.admin(), path)
    }

    /// Changes a backend of pool `p`.
    #[track_caller]
    pub(crate) fn patch(&self, backend: &str, body: &str) -> Answer {
        let path = format!("/api/v1/pools/p/backends/{backend}");
        http::send(self.admin(), "PATCH", &path, &[], body)
    }

    /// Runs a command that talks to it, to its end.
    #[track_caller]
    pub(crate) fn order(&self, args: &[&str]) -> Finished {
        let admin = self.admin().to_string();
        evenkeel(&[args, &["--admin", &admin]].concat())
    }

    /// The status.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.get("/api/v1/status").json()
    }

    /// A scrape.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(self.get("/metrics").body)
    }

    /// A backend of pool `p` in the status.
    #[track_caller]
    pub(crate) fn backend(&self, name: &str) -> Value {
        self.backend_of("p", name)
    }

    /// A backend in the status.
    #[track_caller]
    pub(crate) fn backend_of(&self, pool: &str, name: &str) -> Value {
        let status = self.status();
        let pool = by_name(&status["pools"], pool);
        by_name(&pool["backends"], name).clone()
    }

    /// Waits until a backend of pool `p` has this health.
    #[track_caller]
    pub(crate) fn wait_health(&self, backend: &str, health: &str) {
        let what = format!("{backend} is {health}");
        eventually(&what, PATIENCE, || self.backend(backend)["health"] == health);
    }

    /// Sessions on all backends of all pools.
    #[track_caller]
    pub(crate) fn sessions(&self) -> u64 {
        let status = self.status();
        let pools = status["pools"].as_array().unwrap();
        let backends = pools.iter().flat_map(|pool| pool["backends"].as_array().unwrap());
        backends.map(|backend| backend["sessions"].as_u64().unwrap()).sum()
    }

    /// Waits until no session is left.
    #[track_caller]
    pub(crate) fn wait_idle(&self) {
        eventually("no session is left", PATIENCE, || self.sessions() == 0);
    }

    /// Waits until so many sessions have ended this way, over everything.
    #[track_caller]
    pub(crate) fn wait_outcome(&self, outcome: &str, count: u64) {
        let what = format!("{count} sessions ended as {outcome}");
        eventually(&what, PATIENCE, || self.outcomes(outcome) == count);
    }

    /// Sessions that ended this way, over everything.
    #[track_caller]
    pub(crate) fn outcomes(&self, outcome: &str) -> u64 {
        self.metrics().count("sessions_total", &[("outcome", outcome)])
    }

    /// Sessions refused for a reason.
    #[track_caller]
    pub(crate) fn rejected(&self, reason: &str) -> u64 {
        self.metrics().count("rejected_total", &[("reason", reason)])
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Does something while it stands still, so that what comes waits for it together.
    #[track_caller]
    pub(crate) fn frozen<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        self.child.freeze();
        let done = meanwhile();
        self.signal(Signal::CONT);
        done
    }

    /// Descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Memory that it has in use.
    #[track_caller]
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Flows that are open on all listeners.
    #[track_caller]
    pub(crate) fn flows(&self) -> u64 {
        self.metrics().count("udp_sessions_active", &[])
    }

    /// Waits for the end; the exit code, `None` after a signal.
    #[track_caller]
    pub(crate) fn exit_code(&mut self, limit: Duration) -> Option<i32> {
        self.child.exit("the balancer ends", limit).code()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.runs()
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Its folder, which holds `evenkeel.toml`.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file it was started with.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir().join("evenkeel.toml")
    }

    /// All that it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The lines of its log that are JSON objects.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.log.lock().unwrap();
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The access log so far.
    #[track_caller]
    pub(crate) fn access(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir().join("access.log")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for so many access lines.
    #[track_caller]
    pub(crate) fn wait_access(&self, lines: usize) -> Vec<Value> {
        until(&format!("{lines} access lines"), PATIENCE, || {
            Some(self.access()).filter(|found| found.len() >= lines)
        })
    }

    /// Waits for the line of a session that ended this way. Unlike a count it outlives its backend.
    #[track_caller]
    pub(crate) fn wait_line(&self, outcome: &str) -> Value {
        until(&format!("a session ended as {outcome}"), PATIENCE, || {
            self.access().into_iter().find(|line| line["outcome"] == outcome)
        })
    }
}

impl Drop for Evenkeel {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of the balancer:\n{}\n---", self.log());
        }
        super::upgrades::end_all(&self.file());
    }
}

/// The element of a list of objects that has this name.
#[track_caller]
pub(crate) fn by_name<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list.as_array().and_then(|all| all.iter().find(|item| item["name"] == name));
    found.unwrap_or_else(|| panic!("no {name} in {list:#}"))
}

/// The program under test.
pub(crate) fn program() -> &'static str {
    // Another build, such as the release one, can be tested without recompiling the tests.
    static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| {
        std::env::var("EVENKEEL_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_evenkeel").into())
    })
}

/// Runs a command of the program to its end.
#[track_caller]
pub(crate) fn evenkeel(args: &[&str]) -> Finished {
    finish(Command::new(program()).args(args).env_remove("EVENKEEL_LOG"), PATIENCE)
}

fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    // Some tests drop to another user, who has to get at the file.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

pub(super) fn complete(toml: &str, dir: &Path) -> String {
    let mut whole = toml.replace("{dir}", dir.to_str().unwrap());
    if !whole.contains("[log]") {
        let access = dir.join("access.log");
        whole += &format!("\n[log]\nformat = \"json\"\naccess = \"{}\"\n", access.display());
    }
    if !whole.contains("[admin]") {
        whole += "\n[admin]\nbind = \"127.0.0.1:0\"\n";
    }
    whole
}

fn binds(text: &str) -> usize {
    let file: toml::Table = text.parse().unwrap();
    let listeners = file["listener"].as_table().unwrap();
    let count = |listener: &toml::Value| listener["bind"].as_array().map_or(1, Vec::len);
    listeners.values().map(count).sum()
}

fn gather(pipe: impl std::io::Read + Send + 'static, into: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line);
        }
    });
}
