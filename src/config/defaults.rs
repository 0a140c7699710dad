//! What holds where the file says nothing: one place for reader, schema and effective file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::{
    AcceptProxy, Access, Admin, AdminBind, AdminState, ClientTls, Clients, Close, Closing,
    DnsProbe, Health, Http, HttpProbe, HttpVersion, Level, Listener, Log, LogFormat, Member,
    Passive, Policy, Pool, PoolHttp, Probe, Process, Protocol, Queue, Retry, RetryHttp, RetryOn,
    Sticky,
};
use crate::addr::BackendAddr;

/// TCP keepalive idle time, on both sides.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(60);
/// `listener.idle_timeout` for tcp.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// `listener.idle_timeout` for udp.
pub(super) const UDP_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// `listener.idle_timeout` for http.
pub(super) const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// `listener.handshake_timeout`.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// `listener.tls.alpn` for http, and all that can stand there.
pub(super) const HTTP_ALPN: [&str; 2] = ["h2", "http/1.1"];
/// `listener.backlog`.
pub(super) const BACKLOG: u32 = 4096;
/// `pool.connect_timeout`.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// `pool.balance`.
pub(super) const POLICY: Policy = Policy::LeastConnections;
/// `listener.tls.acme.directory`.
pub(super) const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// `redirect.status` where `to` is given.
pub(super) const REDIRECT_STATUS: u16 = 302;
/// `respond.status`.
pub(super) const RESPOND_STATUS: u16 = 200;
/// `respond.content_type`.
pub(super) const RESPOND_TYPE: &str = "text/plain; charset=utf-8";
/// `backends[].weight`.
pub(super) const WEIGHT: u16 = 1;

impl Default for Process {
    fn default() -> Self {
        Self {
            threads: 0,
            shutdown_timeout: Duration::from_secs(30),
            upgrade_timeout: None,
            nameservers: Vec::new(),
            pid_file: None,
            max_sessions: 0,
            user: None,
            group: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: LogFormat::Text, access: Access::Off }
    }
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
        Self { bind: AdminBind::Tcp(address), token_file: None }
    }
}

impl Listener {
    /// A listener of which the file says no more than this.
    pub fn unset(name: &str, protocol: Protocol, bind: Vec<SocketAddr>, pool: usize) -> Self {
        let (idle_timeout, keepalive) = match protocol {
            Protocol::Tcp => (IDLE_TIMEOUT, Some(KEEPALIVE)),
            Protocol::Udp => (UDP_IDLE_TIMEOUT, None),
            Protocol::Http => (HTTP_IDLE_TIMEOUT, Some(KEEPALIVE)),
        };
        Self {
            name: name.into(),
            bind,
            pool: Some(pool),
            routes: Vec::new(),
            tls: None,
            plain_pool: None,
            idle_timeout: Some(idle_timeout),
            max_lifetime: None,
            keepalive,
            max_sessions: 0,
            backlog: BACKLOG,
            protocol,
            responses: 0,
            connection_rate: None,
            clients: Clients::default(),
            accept_proxy_protocol: AcceptProxy::Off,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            http: (protocol == Protocol::Http).then(Http::default),
        }
    }
}

impl Pool {
    /// A pool of which the file says no more than its name and its backends.
    pub fn unset(name: &str, members: Vec<Member>) -> Self {
        Self {
            name: name.into(),
            members,
            policy: POLICY,
            connect_timeout: CONNECT_TIMEOUT,
            keepalive: Some(KEEPALIVE),
            fallback: None,
            fail_open: false,
            max_sessions: 0,
            source: Vec::new(),
            retry: Retry::default(),
            health: Health::default(),
            passive: Passive::default(),
            queue: Queue::default(),
            close: Close::default(),
            sticky: None,
            cookie: None,
            response_timeout: None,
            http: PoolHttp::default(),
            slow_start: Duration::ZERO,
            send_proxy_protocol: None,
            tls: None,
            max_failover: None,
            discover: None,
        }
    }
}

impl Member {
    /// A backend of which the file says no more than this address, in a pool without a cap.
    pub fn unset(address: BackendAddr) -> Self {
        Self {
            name: address.to_string().into(),
            address,
            weight: WEIGHT,
            max_sessions: 0,
            backup: false,
            state: AdminState::default(),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            window: Duration::from_secs(5),
            backoff: Duration::ZERO,
            http: RetryHttp::default(),
        }
    }
}

impl Default for RetryHttp {
    fn default() -> Self {
        let on = RetryOn { connect: true, reset: true, timeout: true, statuses: [true; 3] };
        Self { on, non_idempotent: false, body: 64 * 1024, budget: 20 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            tunnel_timeout: Some(Duration::from_secs(3600)),
            trusted_proxies: Vec::new(),
            max_streams: 128,
            debug_headers: false,
        }
    }
}

impl Default for PoolHttp {
    fn default() -> Self {
        let keepalive_timeout = Duration::from_secs(60);
        Self { version: HttpVersion::V1, keepalive: 64, keepalive_timeout }
    }
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            failures: 3,
            window: Duration::from_secs(10),
            eject_for: Duration::from_secs(10),
            eject_max: Duration::from_secs(300),
            max_ejected: 50,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 0, timeout: Duration::from_secs(5) }
    }
}

impl Default for Close {
    fn default() -> Self {
        Self {
            down: Closing::Keep,
            role: Closing::Now,
            drain: Closing::Keep,
            removed: Closing::Keep,
            maintenance: Closing::Now,
        }
    }
}

impl Default for Sticky {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(30 * 60), max_entries: 100_000 }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            probe: Probe::Tcp,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            address: None,
            port: None,
        }
    }
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            host: None,
            method: "GET".to_owned(),
            headers: Vec::new(),
            expect_status: vec![(200, 299)],
            expect_body: None,
            role: None,
            tls: None,
        }
    }
}

impl Default for DnsProbe {
    fn default() -> Self {
        // Every resolver knows the servers of the root, and every server has something to say.
        Self { query: ".".to_owned(), query_type: 2, expect_rcode: vec![0], over: Protocol::Tcp }
    }
}

impl Default for ClientTls {
    fn default() -> Self {
        Self { server_name: None, ca: None, identity: None, verify: true, starttls: None }
    }
}
