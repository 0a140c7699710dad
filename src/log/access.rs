//! The access log: one JSON object a line for each finished session or request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::log::writer::{Queue, Source};
use crate::record::{Record, RequestFacts};

/// What the access log leads to now; nothing while it is off.
pub(super) type Slot = Arc<ArcSwapOption<Queue>>;

/// Where finished sessions are written; clones lead to the same place, wherever a reload moves it.
#[derive(Debug, Clone)]
pub struct AccessLog(Slot);

impl AccessLog {
    pub(super) fn new(slot: &Slot) -> Self {
        Self(Arc::clone(slot))
    }

    /// Writes one line, or loses it if there is no room. Never waits.
    pub fn write(&self, record: &Record) {
        let queue = self.0.load();
        let Some(queue) = &*queue else { return };
        let mut line = Vec::with_capacity(512);
        // Writing numbers and words into memory does not fail.
        if serde_json::to_writer(&mut line, &Line::of(record)).is_ok() {
            line.push(b'\n');
            queue.offer(Source::Access, line);
        }
    }
}

/// The keys are public surface, in this order.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    listener: &'a str,
    protocol: &'a str,
    client: SocketAddr,
    local: SocketAddr,
    route: Option<&'a str>,
    pool: Option<&'a str>,
    backend: Option<&'a str>,
    attempts: u32,
    duration_ms: f64,
    connect_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    bytes_in: u64,
    bytes_out: u64,
    outcome: &'a str,
    sni: Option<&'a str>,
    tls_version: Option<&'a str>,
    alpn: Option<&'a str>,
    #[serde(flatten)]
    request: Option<Request<'a>>,
}

/// The keys that only a request has.
#[derive(Serialize)]
struct Request<'a> {
    method: Option<&'a str>,
    host: Option<&'a str>,
    path: Option<&'a str>,
    status: Option<u16>,
    request_id: Option<&'a str>,
    user_agent: Option<&'a str>,
    http_version: Option<&'static str>,
}

impl<'a> Request<'a> {
    fn of(facts: &'a RequestFacts) -> Self {
        Self {
            method: facts.method.as_deref(),
            host: facts.host.as_deref(),
            path: facts.path.as_deref(),
            status: facts.status,
            request_id: facts.request_id.as_deref(),
            user_agent: facts.user_agent.as_deref(),
            http_version: facts.version,
        }
    }
}

impl<'a> Line<'a> {
    fn of(record: &'a Record) -> Self {
        let tls = record.tls.as_deref();
        Self {
            time: record.time,
            listener: &record.listener,
            protocol: record.protocol,
            client: record.client.socket(),
            local: SocketAddr::new(record.local.ip().to_canonical(), record.local.port()),
            route: record.route.as_deref(),
            pool: record.pool.as_deref(),
            backend: record.backend.as_deref(),
            attempts: record.attempts,
            duration_ms: milliseconds(record.duration),
            connect_ms: record.connect.map(milliseconds),
            first_byte_ms: record.first_byte.map(milliseconds),
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            outcome: record.outcome,
            sni: tls.and_then(|tls| tls.sni.as_deref()),
            tls_version: tls.and_then(|tls| tls.version),
            alpn: tls.and_then(|tls| tls.alpn.as_deref()),
            request: record.request.as_deref().map(Request::of),
        }
    }
}

/// Whole microseconds, so that no more than three decimals are printed.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn rfc3339<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let stamp = Timestamp::try_from(*time).unwrap_or(Timestamp::UNIX_EPOCH);
    to.collect_str(&format_args!("{stamp:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::ClientAddr;
    use crate::config::Access;

    fn record() -> Record {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
            listener: Arc::from("front \"door\""),
            protocol: "tcp",
            client: ClientAddr::new("[::ffff:192.0.2.1]:4000".parse().unwrap()),
            local: "[::ffff:192.0.2.9]:5432".parse().unwrap(),
            route: Some(Arc::from("default")),
            pool: Some(Arc::from("db")),
            backend: None,
            attempts: 3,
            duration: Duration::from_nanos(1_234_567_891),
            connect: Some(Duration::from_micros(250)),
            first_byte: None,
            bytes_in: 7,
            bytes_out: u64::MAX,
            outcome: "refused",
            tls: None,
            request: None,
        }
    }

    #[test]
    fn a_line_has_the_keys_in_order_and_absent_values_as_null() {
        let line = serde_json::to_string(&Line::of(&record())).unwrap();
        assert_eq!(
            line,
            "{\"time\":\"2023-11-14T22:13:20.042Z\",\"listener\":\"front \\\"door\\\"\",\
             \"protocol\":\"tcp\",\"client\":\"192.0.2.1:4000\",\"local\":\"192.0.2.9:5432\",\
             \"route\":\"default\",\"pool\":\"db\",\"backend\":null,\"attempts\":3,\"duration_ms\":1234.567,\
             \"connect_ms\":0.25,\"first_byte_ms\":null,\"bytes_in\":7,\
             \"bytes_out\":18446744073709551615,\"outcome\":\"refused\",\"sni\":null,\
             \"tls_version\":null,\"alpn\":null}"
        );
    }

    #[test]
    fn a_request_has_its_own_keys_behind_those_of_all() {
        let request = RequestFacts {
            method: Some("GET".into()),
            path: Some("/\n\"".into()),
            status: Some(200),
            version: Some("2"),
            ..RequestFacts::default()
        };
        let record = Record { request: Some(Box::new(request)), ..record() };
        let line = serde_json::to_string(&Line::of(&record)).unwrap();
        let (_, own) = line.split_once("\"alpn\":null,").unwrap();
        assert_eq!(
            own,
            "\"method\":\"GET\",\"host\":null,\"path\":\"/\\n\\\"\",\"status\":200,\
             \"request_id\":null,\"user_agent\":null,\"http_version\":\"2\"}"
        );
    }

    #[test]
    fn a_written_line_ends_up_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = crate::log::Log::open(&spec(Access::File(path.clone()))).unwrap();
        log.access().unwrap().write(&record());
        assert!(log.flush(Duration::from_secs(5)));
        assert_eq!(outcomes(&path), ["refused"]);
        assert_eq!(log.access_dropped().get(), 0);
    }

    fn spec(access: Access) -> crate::config::Log {
        crate::config::Log { access, ..crate::config::Log::default() }
    }

    fn outcomes(path: &std::path::Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|line| line["outcome"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_reload_moves_what_leads_there_already() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let log = crate::log::Log::open(&spec(Access::File(file("a")))).unwrap();
        let said = |outcome| Record { outcome, ..record() };
        let access = log.access().unwrap();
        let apply = |to: Access| {
            let prepared = log.prepare(&spec(to)).unwrap();
            log.apply(prepared);
        };
        access.write(&said("one"));
        // Rotated: the same name is another file afterwards.
        assert!(log.flush(Duration::from_secs(5)));
        std::fs::rename(file("a"), file("a.1")).unwrap();
        apply(Access::File(file("a")));
        access.write(&said("two"));
        apply(Access::Off);
        access.write(&said("nowhere"));
        assert!(log.access().is_none());
        apply(Access::File(file("b")));
        access.write(&said("three"));
        assert!(log.flush(Duration::from_secs(5)));
        assert_eq!(outcomes(&file("a.1")), ["one"]);
        assert_eq!(outcomes(&file("a")), ["two"]);
        assert_eq!(outcomes(&file("b")), ["three"]);

        let nowhere = Access::File(folder.path().join("no/such/folder"));
        assert!(log.prepare(&spec(nowhere)).is_err());
        // Prepared and not applied: nothing has changed.
        let given = log.prepare(&spec(Access::File(file("c")))).unwrap();
        assert!(given.access().is_some());
        drop(given);
        access.write(&said("four"));
        assert!(log.flush(Duration::from_secs(5)));
        assert_eq!(outcomes(&file("b")), ["three", "four"]);
        assert_eq!(log.access_dropped().get(), 0);
    }
}
