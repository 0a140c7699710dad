//! `evenkeel status`: what a running balancer sees.

use std::process::ExitCode;
use std::time::Duration;

use super::table::Table;
use super::target::Target;
use super::{FAILED, ask, complain, count, print};
use crate::api;
use crate::config::AdminBind;

const EXAMPLES: &str = "\
Examples:
  evenkeel status
  evenkeel status --json --admin 127.0.0.1:9900
  evenkeel status --admin unix:/run/evenkeel/admin.sock";

/// Show what a running balancer sees: listeners, pools, backends, sessions
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print the status as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn execute(args: Args) -> ExitCode {
    match args.target.address().map(|admin| report(&admin, args.json)) {
        Ok(Ok(text)) => print(text.as_bytes(), 0),
        Ok(Err(reason)) => {
            complain(&reason);
            ExitCode::from(FAILED)
        }
        Err(code) => code,
    }
}

/// Asks the balancer at `admin` and gives its status as text, or as its own JSON.
pub(crate) fn report(admin: &AdminBind, json: bool) -> Result<String, String> {
    // Read whole before anything is shown, so that only a balancer's answer is.
    let (status, body) = fetch(admin)?;
    if json {
        let body: serde_json::Value =
            serde_json::from_slice(&body).map_err(|_| ask::stranger(admin))?;
        return Ok(format!("{body:#}\n"));
    }
    Ok(text(&status))
}

/// The status of the balancer at `admin`, and its very words.
pub(crate) fn fetch(admin: &AdminBind) -> Result<(api::Status, Vec<u8>), String> {
    let answer = ask::get(admin, "/api/v1/status")?;
    Ok((ask::understood(admin, &answer)?, answer.body))
}

fn text(status: &api::Status) -> String {
    let mut lines = vec![title(status)];
    for one in &status.draining_processes {
        let sessions = count(one.sessions, "session");
        lines.push(format!("pid {} of before an upgrade still has {sessions}", one.pid));
    }
    lines.push(String::new());
    lines.extend(listeners(&status.listeners).lines());
    if status.listeners.iter().any(|listener| listener.tls.is_some()) {
        lines.push(String::new());
        lines.extend(certificates(&status.listeners).lines());
    }
    for pool in &status.pools {
        lines.push(String::new());
        let waiting = match pool.queue_length {
            0 => String::new(),
            length => format!(", {length} waiting"),
        };
        lines.push(format!(
            "pool {}, {}, {} retries{waiting}",
            pool.name, pool.balance, pool.retries
        ));
        lines.extend(backends(&pool.backends).lines());
    }
    lines.join("\n") + "\n"
}

fn title(status: &api::Status) -> String {
    let state = match status.state {
        api::Phase::Starting => "starting",
        api::Phase::Serving => "serving",
        api::Phase::Stopping => "stopping",
    };
    let file = status.config.file.as_deref().unwrap_or("no file");
    let (version, pid, hash) = (&status.version, status.pid, &status.config.hash);
    let up = span(Duration::try_from_secs_f64(status.uptime_seconds).unwrap_or_default());
    format!("evenkeel {version}, pid {pid}, {state} for {up}, {file} ({hash})")
}

fn listeners(listeners: &[api::ListenerStatus]) -> Table {
    let heads = [
        "LISTENER",
        "PROTOCOL",
        "ADDRESS",
        "POOL",
        ">SESSIONS",
        ">TOTAL",
        ">IN",
        ">OUT",
        "REJECTED",
    ];
    let mut table = Table::new(&heads);
    for listener in listeners {
        let rejected = listener.rejected.iter().filter(|(_, count)| **count > 0);
        let rejected: Vec<_> = rejected.map(|(why, count)| format!("{count} {why}")).collect();
        table.row(&[
            listener.name.clone(),
            listener.protocol.clone(),
            listener.addresses.join(" "),
            listener.pool.clone().unwrap_or_default(),
            listener.sessions.to_string(),
            listener.sessions_total.to_string(),
            size(listener.bytes_in),
            size(listener.bytes_out),
            if rejected.is_empty() { "-".to_owned() } else { rejected.join(", ") },
        ]);
    }
    table
}

fn certificates(listeners: &[api::ListenerStatus]) -> Table {
    let mut table = Table::new(&["CERTIFICATE", "LISTENER", "NAMES", "ENDS", "SOURCE"]);
    for listener in listeners {
        for certificate in listener.tls.iter().flat_map(|tls| &tls.certificates) {
            table.row(&[
                certificate.name.clone(),
                listener.name.clone(),
                names(&certificate.names),
                certificate.not_after.clone(),
                certificate.source.clone(),
            ]);
        }
    }
    table
}

/// Some certificates are for a hundred.
fn names(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first} {second} {third} and {} more", rest.len())
        }
        few => few.join(" "),
    }
}

fn backends(backends: &[api::BackendStatus]) -> Table {
    let heads = [
        "  BACKEND",
        "ADDRESS",
        "HEALTH",
        "STATE",
        ">WEIGHT",
        ">SESSIONS",
        ">TOTAL",
        ">IN",
        ">OUT",
        ">FAILED",
        "LAST PROBE",
    ];
    let mut table = Table::new(&heads);
    for backend in backends {
        let backup = if backend.backup { " (backup)" } else { "" };
        table.row(&[
            format!("  {}{backup}", backend.name),
            backend.address.clone(),
            backend.health.clone(),
            state(backend),
            weight(backend),
            backend.sessions.to_string(),
            backend.sessions_total.to_string(),
            size(backend.bytes_in),
            size(backend.bytes_out),
            backend.failures.to_string(),
            backend.last_probe.as_ref().map_or_else(|| "-".to_owned(), probe),
        ]);
    }
    table
}

/// What the operator wants, and whether it is out all the same.
fn state(backend: &api::BackendStatus) -> String {
    let ejected = if backend.ejected_until.is_some() { ", ejected" } else { "" };
    format!("{}{ejected}", backend.state)
}

/// The weight, and how much of it there is while it rises.
fn weight(backend: &api::BackendStatus) -> String {
    let (whole, now) = (backend.weight, backend.effective_weight);
    if now > 0.0 && now < f64::from(whole) {
        format!("{now} of {whole}")
    } else {
        whole.to_string()
    }
}

fn probe(last: &api::ProbeStatus) -> String {
    let age = span(Duration::try_from_secs_f64(last.age_ms / 1000.0).unwrap_or_default());
    let (result, took) = (&last.result, last.duration_ms);
    if last.reason.is_empty() || last.reason == last.result {
        return format!("{result} in {took:.1} ms, {age} ago");
    }
    format!("{result} in {took:.1} ms, {age} ago: {}", last.reason)
}

/// Two units are enough for people.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// With a binary unit.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let decimals = usize::from(unit != "B");
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"{
        "version": "0.1.0", "pid": 7, "uptime_seconds": 3725.5,
        "config": {"file": "lb.toml", "hash": "0123456789abcdef"}, "state": "serving",
        "listeners": [{
            "name": "front", "protocol": "tcp", "addresses": ["127.0.0.1:5432"], "pool": "db",
            "sessions": 1, "sessions_total": 2, "bytes_in": 100, "bytes_out": 1536,
            "rejected": {"no-backend": 3, "refused": 0}, "accept_paused": 0,
            "tls": {"handshakes": {"ok": 1}, "handshakes_active": 0, "resumed": 0, "certificates": [{
                "name": "a.example", "names": ["a.example", "b.example", "c.example", "d.example"],
                "not_before": "2026-01-01T00:00:00.000Z", "not_after": "2027-01-01T00:00:00.000Z",
                "source": "/etc/a.pem"
            }]}
        }],
        "pools": [{"name": "db", "balance": "least-connections", "retries": 4, "backends": [{
            "name": "b1", "address": "10.0.0.1:5432", "health": "down", "state": "ready",
            "ejected_until": null, "weight": 1, "effective_weight": 0, "backup": true,
            "max_sessions": 0, "sessions": 0, "sessions_total": 2, "bytes_in": 0, "bytes_out": 0,
            "failures": 9, "a_later_key": true, "last_probe":
                {"result": "failed", "reason": "refused", "duration_ms": 0.25, "age_ms": 1500.0}
        }]}]
    }"#;

    #[test]
    fn a_status_is_shown_as_a_table() {
        let shown = text(&serde_json::from_str(STATUS).unwrap());
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "evenkeel 0.1.0, pid 7, serving for 1h2m, lb.toml (0123456789abcdef)");
        assert!(lines[3].starts_with("front     tcp") && lines[3].ends_with("3 no-backend"));
        assert!(lines[3].contains("1.5 KiB") && lines[3].contains("100 B"), "{}", lines[3]);
        let certificate = [
            "a.example",
            "front",
            "a.example b.example c.example and 1 more",
            "2027-01-01T00:00:00.000Z",
            "/etc/a.pem",
        ];
        let columns: Vec<_> = lines[6].split("  ").filter(|column| !column.is_empty()).collect();
        assert_eq!(columns.iter().map(|column| column.trim()).collect::<Vec<_>>(), certificate);
        assert_eq!(lines[8], "pool db, least-connections, 4 retries");
        assert!(
            lines[10].starts_with("  b1 (backup)  10.0.0.1:5432  down    ready"),
            "{}",
            lines[10]
        );
        assert!(lines[10].ends_with("failed in 0.2 ms, 1s ago: refused"), "{}", lines[10]);
    }

    #[test]
    fn whoever_else_answers_is_not_taken_for_a_balancer() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = AdminBind::Tcp(other.local_addr().unwrap());
        let answers = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().unwrap();
            let mut asked = [0; 1024];
            assert!(std::io::Read::read(&mut stream, &mut asked).unwrap() > 0);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            std::io::Write::write_all(&mut stream, answer).unwrap();
        });
        assert!(report(&admin, true).unwrap_err().contains("is not evenkeel"));
        answers.join().unwrap();
    }
}
