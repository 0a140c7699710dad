//! Reads `[process]`, `[log]` and `[admin]`: what concerns the program, not its traffic.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::address;
use super::read::Section;
use super::value::Value;
use super::{Access, Admin, AdminBind, Level, Log, LogFormat, Process};

pub(super) const PROCESS_KEYS: &[&str] = &[
    "threads",
    "shutdown_timeout",
    "upgrade_timeout",
    "nameservers",
    "pid_file",
    "max_sessions",
    "user",
    "group",
];
pub(super) const LOG_KEYS: &[&str] = &["level", "format", "access"];
pub(super) const ADMIN_KEYS: &[&str] = &["bind", "token_file"];

/// No kernel takes a longer path for a unix socket.
const LONGEST_SOCKET_PATH: usize = 107;

pub(super) const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];
pub(super) const FORMATS: &[(&str, LogFormat)] =
    &[("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) fn process(root: &Section<'_>) -> Process {
    let section = root.section("process").only(PROCESS_KEYS, &[]);
    let default = Process::default();
    // More threads than this is a slip: each brings its own sockets.
    let threads = section.integer("threads", 0..=1024, 0);
    Process {
        threads: usize::try_from(threads).unwrap_or_default(),
        shutdown_timeout: section.duration("shutdown_timeout", default.shutdown_timeout),
        upgrade_timeout: section.some_duration("upgrade_timeout"),
        nameservers: section.value("nameservers").map(|it| nameservers(&it)).unwrap_or_default(),
        pid_file: section.path("pid_file"),
        max_sessions: section.integer("max_sessions", 0..=u32::MAX, default.max_sessions),
        user: section.text("user"),
        group: section.text("group"),
    }
}

fn nameservers(value: &Value<'_>) -> Vec<SocketAddr> {
    let address = |item: &Value<'_>| {
        let found = address::nameserver(item.text()?);
        found.map_err(|bad| item.refuse(&bad.message, &bad.suggestion)).ok()
    };
    value.list("an entry").iter().filter_map(address).collect()
}

pub(super) fn log(root: &Section<'_>) -> Log {
    let section = root.section("log").only(LOG_KEYS, &[]);
    let default = Log::default();
    Log {
        level: section.choice("level", LEVELS, default.level),
        format: section.choice("format", FORMATS, default.format),
        access: section.value("access").and_then(|value| access(&value)).unwrap_or(default.access),
    }
}

fn access(value: &Value<'_>) -> Option<Access> {
    match value.filled()? {
        "off" => Some(Access::Off),
        "stdout" => Some(Access::Stdout),
        "stderr" => Some(Access::Stderr),
        _ => value.path().map(Access::File),
    }
}

pub(super) fn admin(root: &Section<'_>) -> Admin {
    let section = root.section("admin").only(ADMIN_KEYS, &[]);
    let default = Admin::default();
    let value = section.value("bind");
    let token_file = section.value("token_file").and_then(|value| token_file(&value));
    let bind = value.as_ref().and_then(admin_bind).unwrap_or(default.bind);
    if let (AdminBind::Tcp(address), Some(value)) = (&bind, value) {
        check_reach(*address, &value, section.value("token_file").is_some());
    }
    Admin { bind, token_file }
}

fn admin_bind(value: &Value<'_>) -> Option<AdminBind> {
    let text = value.filled()?;
    if text == "off" {
        return Some(AdminBind::Off);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(value, path);
    }
    match address::bind(text) {
        Ok(address) => Some(AdminBind::Tcp(address)),
        Err(bad) if text.contains('/') => {
            value.refuse(&bad.message, "for a unix socket write \"unix:/run/evenkeel/admin.sock\"");
            None
        }
        Err(bad) => {
            value.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

fn unix(value: &Value<'_>, path: &str) -> Option<AdminBind> {
    if path.is_empty() || path.contains('\0') {
        value.refuse("names no unix socket", "write \"unix:/run/evenkeel/admin.sock\"");
        return None;
    }
    let path = value.report.resolve(value.node.place.file, path);
    if path.as_os_str().len() > LONGEST_SOCKET_PATH {
        let message =
            format!("is longer than the {LONGEST_SOCKET_PATH} bytes a unix socket may have");
        value.refuse(&message, "use a shorter path, as in \"unix:/run/evenkeel/admin.sock\"");
        return None;
    }
    Some(AdminBind::Unix(path))
}

/// Whoever reaches the admin interface stops the traffic, so others must not reach it unasked.
fn check_reach(address: SocketAddr, value: &Value<'_>, has_token: bool) {
    if address.ip().is_loopback() {
        return;
    }
    let local = format!("bind to \"127.0.0.1:{}\"", address.port());
    if !has_token {
        let message = format!("\"{address}\" can be reached from other machines without a token");
        value.refuse(&message, &format!("set admin.token_file, or {local}"));
    } else if address.ip().is_unspecified() {
        let message = format!("\"{address}\" offers the admin interface on every network");
        value.warn(&message, &format!("{local}, or to one address of a management network"));
    } else {
        let message = format!("\"{address}\" offers the admin interface to other machines");
        value.warn(&message, &format!("{local} unless that is meant"));
    }
}

fn token_file(value: &Value<'_>) -> Option<PathBuf> {
    let path = value.path()?;
    let Some(disk) = value.report.disk else { return Some(path) };
    match disk.read(&path) {
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            value.refuse(
                &message,
                "create it with the token as its first line, readable by the user",
            );
        }
        Ok(bytes) => {
            if let Err(why) = admin_token(&bytes) {
                let message = format!("{} is of no use: {why}", path.display());
                value.refuse(&message, "write the token there");
            }
        }
    }
    Some(path)
}

/// The token that a file holds: its first line, trimmed; or why that is none.
pub fn admin_token(bytes: &[u8]) -> Result<String, &'static str> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    if line.is_empty() {
        return Err("its first line is empty");
    }
    // Anything else could not be a field of a request, so nobody could ever show it.
    if !line.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return Err("its first line is not printable ASCII");
    }
    Ok(String::from_utf8_lossy(line).into_owned())
}
