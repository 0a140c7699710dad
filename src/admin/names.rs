//! Every metric there is: its name, its type, and what it means.
//!
//! Names are public surface and stay. Labels are only ever names from the file and words of closed
//! lists, never anything that a client chose.

/// What kind of figure a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

impl Kind {
    /// The word after `# TYPE`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

/// Writes each metric once: as a constant, and into the list of all.
macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal $help:literal;)*) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, help: $help };)*

        /// All of them, in the order in which they are explained.
        #[cfg(test)]
        pub(super) const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    SESSIONS_TOTAL Counter "evenkeel_sessions_total"
        "Sessions that had a backend and have ended, by how they ended.";
    SESSIONS_ACTIVE Gauge "evenkeel_sessions_active"
        "Sessions that have picked a backend and have not ended, those still connecting included.";
    SESSION_DURATION Histogram "evenkeel_session_duration_seconds"
        "How long ended sessions lasted, from accept to end.";
    REJECTED Counter "evenkeel_rejected_total"
        "Clients turned away before they reached a backend, by reason.";
    ROUTE_SESSIONS Counter "evenkeel_route_sessions_total"
        "Sessions that each route of a listener took, whatever became of them; UDP flows once opened; of http: requests.";
    HTTP_RATE_LIMITED Counter "evenkeel_http_rate_limited_total"
        "Requests that were answered with 429, beyond the rate_limit of their route.";
    BYTES Counter "evenkeel_bytes_total"
        "Payload handed on; in = from clients to backends. At most a second behind.";
    CONNECT_DURATION Histogram "evenkeel_connect_duration_seconds"
        "How long successful connects to a backend took.";
    CONNECT_FAILURES Counter "evenkeel_connect_failures_total"
        "Connects to a backend that failed, by reason.";
    EARLY_RESETS Counter "evenkeel_early_resets_total"
        "Sessions that the backend reset before its first byte and soon after the connect.";
    REQUEST_FAILURES Counter "evenkeel_request_failures_total"
        "HTTP requests that a backend failed, by reason, those included that another one then answered.";
    HTTP_REQUESTS Counter "evenkeel_http_requests_total"
        "HTTP requests that have ended, by the status that the client got; none = it got no answer.";
    HTTP_DURATION Histogram "evenkeel_http_request_duration_seconds"
        "How long HTTP requests took, from the end of the head to the last byte of the answer.";
    BUDGET_EXHAUSTED Counter "evenkeel_http_retry_budget_exhausted_total"
        "HTTP requests that were not tried again because the pool had made its share of retries.";
    EJECTIONS Counter "evenkeel_ejections_total"
        "Times that a backend was ejected for failing under traffic.";
    RETRIES Counter "evenkeel_retries_total"
        "Connection attempts beyond the first of a session.";
    DISCOVERY_AGE Gauge "evenkeel_discovery_age_seconds"
        "How long ago the backends of the pool were looked up well; absent until they were.";
    DISCOVERY_FAILURES Counter "evenkeel_discovery_failures_total"
        "Look-ups of the backends of the pool that failed, or found nothing.";
    QUEUE_LENGTH Gauge "evenkeel_queue_length"
        "Sessions that wait now for a place on a backend.";
    QUEUE_WAIT Histogram "evenkeel_queue_wait_seconds"
        "How long sessions waited for a place, of those that got one or waited until the timeout.";
    QUEUE_ABANDONED Counter "evenkeel_queue_abandoned_total"
        "Clients that left while they waited for a place.";
    STICKY_ENTRIES Gauge "evenkeel_sticky_entries"
        "Client addresses whose backend is remembered.";
    STICKY_EVICTED Counter "evenkeel_sticky_evicted_total"
        "Client addresses forgotten before their time, to make room for others.";
    BACKEND_UP Gauge "evenkeel_backend_up"
        "1 while probes find the backend up, else 0.";
    BACKEND_STATE Gauge "evenkeel_backend_state"
        "1 for the state that the backend is in, 0 for the others.";
    BACKEND_WEIGHT Gauge "evenkeel_backend_weight"
        "The weight given to the backend; 0 takes nothing new.";
    PROBES Counter "evenkeel_probes_total"
        "Health checks that have ended, by result.";
    PROBE_DURATION Histogram "evenkeel_probe_duration_seconds"
        "How long health checks took.";
    ACCEPT_PAUSED Counter "evenkeel_accept_paused_total"
        "Times that accepting paused for want of descriptors or memory.";
    HTTP_LINKS Gauge "evenkeel_http_backend_connections"
        "HTTP connections to a backend that carry requests (active) or wait for the next one (idle).";
    UDP_DATAGRAMS Counter "evenkeel_udp_datagrams_total"
        "Datagrams received from clients (in) and sent to clients (out).";
    UDP_SESSIONS Gauge "evenkeel_udp_sessions_active"
        "UDP flows that have not ended.";
    UDP_DROPPED Counter "evenkeel_udp_dropped_total"
        "Datagrams dropped: by the kernel before we saw them, for want of room to send, too big.";
    HTTP_CONNECTIONS Gauge "evenkeel_http_connections_active"
        "Client connections that carry HTTP, however many requests.";
    HTTP_ABUSE Counter "evenkeel_http_abuse_total"
        "Clients of HTTP that were refused or cut off for what they sent, or for how slowly, by kind.";
    TLS_HANDSHAKES Counter "evenkeel_tls_handshakes_total"
        "TLS handshakes with clients that have ended, by the version agreed on and by how they ended.";
    TLS_DURATION Histogram "evenkeel_tls_handshake_duration_seconds"
        "How long TLS handshakes with clients took that succeeded, from the first flight to the end.";
    TLS_ACTIVE Gauge "evenkeel_tls_handshakes_active"
        "TLS handshakes with clients that have begun and have not ended.";
    TLS_RESUMED Counter "evenkeel_tls_resumed_total"
        "TLS sessions of clients that went on with the secrets of an earlier one, by version.";
    CERTIFICATE_EXPIRY Gauge "evenkeel_certificate_expiry_timestamp_seconds"
        "When the certificate ends, in seconds since 1970; of several with one name the first to end.";
    ACME_ORDERS Counter "evenkeel_acme_orders_total"
        "Orders of automatic certificates that have ended, by outcome.";
    CERTIFICATE_RELOADS Counter "evenkeel_certificate_reloads_total"
        "Certificates that were replaced (ok), or could not be used so that the old one stayed (refused).";
    ACCESS_LOG_DROPPED Counter "evenkeel_access_log_dropped_total"
        "Access log lines lost because whoever takes them was too slow or gone.";
    EVENTS_DROPPED Counter "evenkeel_events_dropped_total"
        "Events that watchers of the event stream lost because they were too slow.";
    WORKER_SESSIONS Gauge "evenkeel_worker_sessions"
        "Live sessions of each worker thread.";
    RELOADS Counter "evenkeel_reloads_total"
        "Reloads of the configuration, by outcome.";
    BUILD_INFO Gauge "evenkeel_build_info"
        "Always 1; the label tells the version that runs.";
    CPU_SECONDS Counter "process_cpu_seconds_total"
        "User and system processor time spent, in seconds.";
    OPEN_FDS Gauge "process_open_fds"
        "Open file descriptors.";
    MAX_FDS Gauge "process_max_fds"
        "Limit on open file descriptors.";
    VIRTUAL_MEMORY Gauge "process_virtual_memory_bytes"
        "Size of the address space in use.";
    VIRTUAL_MEMORY_MAX Gauge "process_virtual_memory_max_bytes"
        "Limit on the address space; 0 = none.";
    RESIDENT_MEMORY Gauge "process_resident_memory_bytes"
        "Memory that is resident.";
    START_TIME Gauge "process_start_time_seconds"
        "When the process started, in seconds since 1970.";
    THREADS Gauge "process_threads"
        "Threads of the process.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_unique() {
        for metric in ALL {
            let ours = metric.name.starts_with("evenkeel_");
            assert!(ours || metric.name.starts_with("process_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter);
            assert!(metric.kind != Kind::Histogram || metric.name.ends_with("_seconds"));
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\\', '\n']));
            assert_eq!(ALL.iter().filter(|other| other.name == metric.name).count(), 1);
        }
    }
}
