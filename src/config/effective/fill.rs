//! A checked configuration, written back as the file that would say it in full.

use std::path::Path;

use super::schema::{Named, OneOrMore, Time};
use super::{
    Admin, Backend, Balance, BalanceTable, ClientTls, Close, Discover, File, Health, Listener, Log,
    Passive, Pool, PoolHttp, Process, Queue, Retry, Sticky, WordOrNumber,
};
use crate::config::{
    self, Access, AdminBind, Config, DiscoverSource, DnsProbe, HttpProbe, Policy, Probe,
};
use crate::config::{balance, carried, dns_probe, http_probe, process, units};

pub(super) fn file(config: &Config) -> File {
    let pool_name = |index: usize| {
        config.pools.get(index).map(|pool| pool.name.to_string()).unwrap_or_default()
    };
    let listener = |listener: &config::Listener| {
        (listener.name.to_string(), Listener::of(listener, &pool_name))
    };
    let by_http = carried::by_http(config);
    let pool = |(pool, by_http): (&config::Pool, bool)| {
        (pool.name.to_string(), self::pool(pool, pool.fallback.map(pool_name), by_http))
    };
    File {
        include: None,
        process: Process::of(&config.process),
        log: Log::of(&config.log),
        admin: Admin::of(&config.admin),
        listener: Named(config.listeners.iter().map(listener).collect()),
        pool: Named(config.pools.iter().zip(by_http).map(pool).collect()),
    }
}

/// The word that stands for a value in a table of words.
pub(super) fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, other)| other == value).map_or("", |(word, _)| word)
}

pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Process {
    fn of(process: &config::Process) -> Self {
        Self {
            threads: u32::try_from(process.threads).unwrap_or(u32::MAX),
            shutdown_timeout: Time(process.shutdown_timeout),
            upgrade_timeout: process.upgrade_timeout.map(Time),
            nameservers: process.nameservers.iter().map(ToString::to_string).collect(),
            pid_file: process.pid_file.as_deref().map(shown),
            max_sessions: process.max_sessions,
            user: process.user.clone(),
            group: process.group.clone(),
        }
    }
}

impl Log {
    fn of(log: &config::Log) -> Self {
        Self {
            level: word(process::LEVELS, &log.level),
            format: word(process::FORMATS, &log.format),
            access: match &log.access {
                Access::Off => "off".to_owned(),
                Access::Stdout => "stdout".to_owned(),
                Access::Stderr => "stderr".to_owned(),
                Access::File(path) => shown(path),
            },
        }
    }
}

impl Admin {
    fn of(admin: &config::Admin) -> Self {
        Self {
            bind: match &admin.bind {
                AdminBind::Off => "off".to_owned(),
                AdminBind::Tcp(address) => address.to_string(),
                AdminBind::Unix(path) => format!("unix:{}", path.display()),
            },
            token_file: admin.token_file.as_deref().map(shown),
        }
    }
}

/// What is about requests stands there if an http listener uses the pool, or if it was written.
fn pool(pool: &config::Pool, fallback: Option<String>, by_http: bool) -> Pool {
    let source: Vec<String> = pool.source.iter().map(ToString::to_string).collect();
    Pool {
        connect_timeout: Time(pool.connect_timeout),
        keepalive: Time(pool.keepalive.unwrap_or_default()),
        fallback,
        fail_open: pool.fail_open,
        max_sessions: pool.max_sessions,
        source: (!source.is_empty()).then_some(OneOrMore(source)),
        slow_start: Time(pool.slow_start),
        send_proxy_protocol: pool.send_proxy_protocol.map(config::ProxyVersion::as_str),
        max_failover: pool.max_failover.map(Time),
        balance: balance(&pool.policy),
        backends: (!pool.members.is_empty()).then(|| pool.members.iter().map(backend).collect()),
        discover: pool.discover.as_ref().map(Discover::of),
        response_timeout: pool.response_timeout.map(Time),
        http: (by_http || pool.http != config::PoolHttp::default())
            .then(|| PoolHttp::of(&pool.http)),
        retry: retry(&pool.retry, by_http),
        health: Health::of(&pool.health),
        passive: Passive::of(&pool.passive),
        queue: Queue::of(&pool.queue),
        close: Close::of(&pool.close),
        sticky: Sticky::of(pool),
        tls: pool.tls.as_ref().map(ClientTls::of),
    }
}

impl Discover {
    fn of(discover: &config::Discover) -> Self {
        let refresh = discover.refresh.map(Time);
        match &discover.source {
            DiscoverSource::Dns(host, port) => {
                Self { dns: Some(format!("{host}:{port}")), refresh, ..Self::default() }
            }
            DiscoverSource::Srv(name) => {
                Self { srv: Some(name.to_string()), refresh, ..Self::default() }
            }
            DiscoverSource::File(path) => {
                Self { file: Some(shown(path)), refresh, ..Self::default() }
            }
        }
    }
}

fn backend(member: &config::Member) -> Backend {
    Backend {
        address: member.address.to_string(),
        name: member.name.to_string(),
        weight: member.weight,
        max_sessions: Some(member.max_sessions),
        backup: member.backup,
        state: member.state.as_str(),
    }
}

pub(super) fn balance(policy: &Policy) -> Balance {
    if let Policy::ConsistentHash { key, bounded_load } = policy {
        return Balance::Table(BalanceTable {
            policy: policy.as_str(),
            key: Some(balance::write_key(key)),
            bounded_load: *bounded_load,
        });
    }
    Balance::Word(policy.as_str())
}

impl Retry {
    fn of(retry: &config::Retry) -> Self {
        Self {
            attempts: retry.attempts,
            window: Time(retry.window),
            backoff: Time(retry.backoff),
            on: Some(OneOrMore(config::retry::write_on(&retry.http.on))),
            non_idempotent: Some(retry.http.non_idempotent),
            body: Some(units::write_size(retry.http.body)),
            budget: Some(units::write_percent(retry.http.budget)),
        }
    }
}

fn retry(retry: &config::Retry, by_http: bool) -> Retry {
    let all = Retry::of(retry);
    if by_http || retry.http != config::RetryHttp::default() {
        return all;
    }
    Retry { on: None, non_idempotent: None, body: None, budget: None, ..all }
}

impl Health {
    fn of(health: &config::Health) -> Self {
        let plain = Self {
            probe: "tcp",
            interval: Time(health.interval),
            timeout: Time(health.timeout),
            rise: health.rise,
            fall: health.fall,
            port: health.port,
            address: health.address.clone(),
            path: None,
            host: None,
            method: None,
            expect_status: None,
            expect_body: None,
            role: None,
            send: None,
            expect: None,
            query: None,
            query_type: None,
            expect_rcode: None,
            command: None,
            service: None,
            headers: None,
            tls: None,
        };
        match &health.probe {
            Probe::Tcp => plain,
            Probe::None => Self { probe: "none", ..plain },
            Probe::Tls(tls) => Self { probe: "tls", tls: Some(ClientTls::of(tls)), ..plain },
            Probe::Http(probe) => http(probe, plain),
            Probe::Dns(probe) => dns(probe, plain),
            Probe::SendExpect { send, expect, .. } => Self {
                probe: "send-expect",
                send: Some(String::from_utf8_lossy(send).into_owned()),
                expect: Some(String::from_utf8_lossy(expect).into_owned()),
                ..plain
            },
            Probe::Grpc { service, tls } => Self {
                probe: "grpc",
                service: Some(service.clone()),
                tls: tls.as_ref().map(ClientTls::of),
                ..plain
            },
            Probe::Exec(command) => Self { probe: "exec", command: Some(command.clone()), ..plain },
        }
    }
}

fn dns(probe: &DnsProbe, plain: Health) -> Health {
    let name = dns_probe::TYPES.iter().find(|(_, number)| *number == probe.query_type);
    let by_number = WordOrNumber::Number(probe.query_type);
    let codes = probe.expect_rcode.iter().map(|code| word(dns_probe::RCODES, code));
    Health {
        probe: "dns",
        query: Some(probe.query.clone()),
        query_type: Some(name.map_or(by_number, |(name, _)| WordOrNumber::Word(name))),
        expect_rcode: Some(codes.collect()),
        ..plain
    }
}

fn http(probe: &HttpProbe, plain: Health) -> Health {
    let statuses = probe.expect_status.iter().copied().map(http_probe::write_status).collect();
    Health {
        probe: if probe.tls.is_some() { "https" } else { "http" },
        path: Some(probe.path.clone()),
        host: probe.host.clone(),
        method: Some(probe.method.clone()),
        expect_status: Some(statuses),
        expect_body: probe.expect_body.as_ref().map(|body| body.0.as_str().to_owned()),
        role: probe.role.map(|role| word(http_probe::ROLES, &role)),
        headers: (!probe.headers.is_empty()).then(|| Named(probe.headers.clone())),
        tls: probe.tls.as_ref().map(ClientTls::of),
        ..plain
    }
}

default_as_read!(Process, Log, Admin, Retry, Health);
