//! The JSON that the admin interface speaks, as the server writes it and the commands read it.
//!
//! Names are public surface: keys may be added, none may go or change its meaning.

use std::collections::BTreeMap;

mod change;

pub use change::{Altered, Changes, Reloaded, Removed, Sorted, Upgraded};
use serde::{Deserialize, Serialize, Serializer};

/// Answer to `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Since the process began to serve.
    pub uptime_seconds: f64,
    /// What it runs on.
    pub config: ConfigStatus,
    /// Where the process is in its life.
    pub state: Phase,
    /// In file order.
    pub listeners: Vec<ListenerStatus>,
    /// In file order.
    pub pools: Vec<PoolStatus>,
    /// Processes of before an upgrade that still have sessions, the latest first.
    #[serde(default)]
    pub draining_processes: Vec<DrainingProcess>,
}

/// A process of before an upgrade that still has sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingProcess {
    /// Process id.
    pub pid: u32,
    /// That have not ended.
    pub sessions: u64,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Not all listeners accept yet.
    Starting,
    /// All listeners accept.
    Serving,
    /// A graceful stop has begun.
    Stopping,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The main file as it was named; null without one.
    pub file: Option<String>,
    /// Hash of all files, 16 hex digits.
    pub hash: String,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// As bound: port 0 has become the real one.
    pub addresses: Vec<String>,
    /// The pool where sessions go.
    pub pool: Option<String>,
    /// Running now, over all backends.
    pub sessions: u64,
    /// Connected to a backend so far.
    pub sessions_total: u64,
    /// Payload from clients.
    pub bytes_in: u64,
    /// Payload to clients.
    pub bytes_out: u64,
    /// Clients turned away so far, by reason; every reason is there.
    pub rejected: BTreeMap<String, u64>,
    /// Times that accepting paused for want of descriptors or memory.
    pub accept_paused: u64,
    /// For a udp listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<UdpStatus>,
    /// For a listener at which TLS ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsStatus>,
}

/// What a listener has and counts at which TLS ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsStatus {
    /// What clients are shown, the default first.
    pub certificates: Vec<CertificateStatus>,
    /// Handshakes that have ended, by how: `ok`, `failed`, `timeout`.
    pub handshakes: BTreeMap<String, u64>,
    /// Handshakes that have begun and not ended.
    pub handshakes_active: u64,
    /// Those of `ok` that went on with the secrets of an earlier session.
    pub resumed: u64,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Its first name, or that of its file.
    pub name: String,
    /// The host names it is for.
    pub names: Vec<String>,
    /// It is not good before, RFC 3339.
    pub not_before: String,
    /// It is not good after, RFC 3339.
    pub not_after: String,
    /// The file it was read from, `acme`, or `self-signed`.
    pub source: String,
}

/// What a udp listener counts besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpStatus {
    /// Datagrams that came from clients.
    pub datagrams_in: u64,
    /// Datagrams that were sent to clients.
    pub datagrams_out: u64,
    /// Datagrams that were dropped, by reason; every reason is there.
    pub dropped: BTreeMap<String, u64>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// The policy's name.
    pub balance: String,
    /// Connection attempts beyond the first of a session.
    pub retries: u64,
    /// Sessions that wait now for a place on a backend.
    #[serde(default)]
    pub queue_length: u64,
    /// The look-ups of its backends; null where the file names them all.
    #[serde(default)]
    pub discover: Option<DiscoverStatus>,
    /// In file order, and behind those of the file those that were looked up.
    pub backends: Vec<BackendStatus>,
}

/// How backends of a pool are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoverStatus {
    /// What is looked up, such as `dns db.internal:5432`.
    pub source: String,
    /// How long ago the last good answer came; null if there was none yet.
    pub age_ms: Option<u64>,
    /// Why the last look-up failed; null if it did not.
    pub error: Option<String>,
    /// Look-ups that failed or found nothing.
    pub failures: u64,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Unique in its pool.
    pub name: String,
    /// As the file says it.
    pub address: String,
    /// `up`, `down`, `unknown`, `standby`, `lagging` or `unresolved`.
    pub health: String,
    /// What the operator wants: `ready`, `drain` or `maintenance`.
    pub state: String,
    /// When an ejection ends, RFC 3339; null when not ejected.
    pub ejected_until: Option<String>,
    /// Why it is ejected; null when not ejected.
    #[serde(default)]
    pub ejected_reason: Option<String>,
    /// What is closing its sessions; null while nothing is.
    #[serde(default)]
    pub closing: Option<ClosingStatus>,
    /// What the file or the operator gave it.
    pub weight: u32,
    /// What it has now: less than its weight while it warms up, 0 while it takes nothing new.
    #[serde(serialize_with = "hundredths")]
    pub effective_weight: f64,
    /// Used only while no ordinary backend is up.
    pub backup: bool,
    /// Cap on its sessions; 0 = none.
    pub max_sessions: u32,
    /// Running now.
    pub sessions: u64,
    /// Connected so far.
    pub sessions_total: u64,
    /// Payload from clients to it.
    pub bytes_in: u64,
    /// Payload from it to clients.
    pub bytes_out: u64,
    /// Connects to it that failed, and resets by it soon after a connect and before its first byte.
    pub failures: u64,
    /// Null before the first.
    pub last_probe: Option<ProbeStatus>,
}

/// A whole number as one, any other with up to two decimals.
fn hundredths<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    let rounded = (value * 100.0).round() / 100.0;
    // No weight comes near the end of the range.
    if rounded.fract() == 0.0 {
        to.serialize_u32(rounded as u32)
    } else {
        to.serialize_f64(rounded)
    }
}

/// Sessions of a backend are being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosingStatus {
    /// `down`, `role`, `drain`, `removed` or `maintenance`.
    pub cause: String,
    /// When the last one will have been ended, RFC 3339.
    pub until: String,
}

/// A probe that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// `ok` or `failed`.
    pub result: String,
    /// Why, in words.
    pub reason: String,
    /// How long it took.
    pub duration_ms: f64,
    /// How long ago it ended.
    pub age_ms: f64,
}

/// Body of `PATCH /api/v1/pools/{pool}/backends/{backend}`; what is left out stays as it is. The
/// answer is the [`BackendStatus`] that holds from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steer {
    /// `ready`, `drain` or `maintenance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// 0 to 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
}

/// Answer to `GET /api/v1/route?listener=…&client=…`: whom a session would get. Nothing was changed
/// to find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The listener's name.
    pub listener: String,
    /// The route that takes it; `default` is the listener's own pool. Null if none does.
    pub route: Option<String>,
    /// The pool it leads to, or that one's fallback if a backend of it is picked.
    pub pool: Option<String>,
    /// The backend it would get; null if none.
    pub backend: Option<String>,
    /// Where that is.
    pub address: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// The reason of `rejected_total` if it would be turned away, else null.
    pub rejected: Option<String>,
    /// http: path and query that a backend would be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// http: what it would be answered, without a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<RouteAnswer>,
    /// The routes before that one, which do not take it.
    pub passed: Vec<PassedRoute>,
    /// Everybody who was looked at, in the order of the file.
    pub candidates: Vec<Candidate>,
}

/// An answer that needs no backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAnswer {
    /// Its status.
    pub status: u16,
    /// Where it sends the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// A route that does not take a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedRoute {
    /// Its name.
    pub route: String,
    /// What it wants.
    pub reason: String,
}

/// A backend that was looked at for a [`Route`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its pool's name.
    pub pool: String,
    /// Its name.
    pub backend: String,
    /// `picked` or `passed-over`.
    pub verdict: String,
    /// Why, in words.
    pub reason: String,
}

/// Data of one of `GET /api/v1/events`. The name of the event is what changed: `backend`,
/// `listener`, `pool` or `certificate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, RFC 3339 with milliseconds.
    pub time: String,
    /// The listener's name, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The pool's name, where it is about one or about a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The backend's name, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The certificate's name, where it is about one; `listener` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What it was.
    pub from: String,
    /// What it is now.
    pub to: String,
    /// Why, in words.
    pub reason: String,
}

/// Data of an event named `lost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// So many events were not sent, because they were not taken fast enough.
    pub lost: u64,
}

/// Body of every answer that says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong and the way out.
    pub error: String,
    /// Each reason by itself, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Of a file that cannot be used: each problem as `check` shows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}
