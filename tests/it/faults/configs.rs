//! The files under test. They differ in what the arithmetic goes by.

use std::time::Duration;

/// A file, and how it is used.
pub(super) struct File {
    /// As in the documents.
    pub(super) name: &'static str,
    /// With `VICTIM`, `A` and `B` for backends, in pool `p` and in those behind it.
    pub(super) pools: &'static str,
    /// Clients at once.
    pub(super) lanes: u32,
    /// How long each stays.
    pub(super) stay: Duration,
    /// What a single connect may take.
    pub(super) connect: Duration,
}

/// Nothing but backends.
pub(super) const DEFAULTS: File = File {
    name: "defaults",
    pools: "[pool.p]\nbackends = [VICTIM, A, B]\n",
    lanes: 5,
    stay: Duration::ZERO,
    connect: Duration::from_secs(1),
};

/// Probes alone, which expect an answer, and often; two short attempts.
pub(super) const FAST: File = File {
    name: "fast probes",
    pools: r#"[pool.p]
backends = [VICTIM, A, B]
balance = "round-robin"
connect_timeout = "300ms"
retry = { attempts = 2 }
passive = { failures = 0 }
health = { probe = "send-expect", send = "PING", expect = "PING", interval = "300ms", timeout = "300ms", fall = 2 }
"#,
    lanes: 5,
    stay: Duration::ZERO,
    connect: Duration::from_millis(300),
};

/// No probe: clients alone see what fails.
pub(super) const PASSIVE: File = File {
    name: "no probes",
    pools: r#"[pool.p]
backends = [VICTIM, A, B]
balance = "round-robin"
connect_timeout = "400ms"
retry = { attempts = 2 }
passive = { failures = 2, eject_for = "5s" }
health = { probe = "none" }
"#,
    lanes: 5,
    stay: Duration::ZERO,
    connect: Duration::from_millis(400),
};

/// More clients than places.
pub(super) const QUEUE: File = File {
    name: "queue under caps",
    pools: r#"[pool.p]
backends = [VICTIM, A, B]
max_sessions = 1
connect_timeout = "500ms"
queue = { size = 20, timeout = "1s" }
health = { probe = "send-expect", send = "PING", expect = "PING", interval = "400ms", timeout = "300ms", fall = 2 }
"#,
    lanes: 5,
    stay: Duration::from_millis(60),
    connect: Duration::from_millis(500),
};

/// Nobody else is tried while the one counts as up; then a backup, then another pool.
pub(super) const FALLBACK: File = File {
    name: "backup and fallback",
    pools: r#"[pool.p]
backends = [VICTIM, A]
connect_timeout = "300ms"
retry = { attempts = 3, window = "3s", backoff = "100ms" }
fallback = "q"
health = { interval = "500ms", timeout = "250ms", fall = 2 }
[pool.q]
backends = [B]
connect_timeout = "400ms"
"#,
    lanes: 5,
    stay: Duration::ZERO,
    connect: Duration::from_millis(300),
};

/// So many attempts that a step of the clock with each would exceed what is allowed for the machine.
pub(super) const PERSISTENT: File = File {
    name: "eight attempts",
    pools: r#"[pool.p]
backends = [VICTIM, A, B]
retry = { attempts = 8, window = "60s" }
passive = { failures = 0 }
health = { probe = "none" }
"#,
    lanes: 1,
    stay: Duration::ZERO,
    connect: Duration::from_secs(1),
};
