//! The table of a listener, as the file writes it.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Serialize;

use super::schema::{self, OneOrMore, Time};
use super::security::{ListenerTls, Route};
use crate::config::{self, units};

/// Addresses that take connections, datagrams or requests for a pool.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    /// An address with port, or a list; port 0 picks a free one.
    bind: OneOrMore,
    /// What is taken: connections, datagrams or requests.
    #[schemars(default = "schema::tcp", schema_with = "schema::protocols")]
    protocol: &'static str,
    /// The pool that takes the sessions that no route takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    /// No byte either way for so long ends the session, by default "1h", with udp "30s", with
    /// http "75s"; "0s" = never.
    #[schemars(default = "schema::idle_timeout")]
    idle_timeout: Time,
    /// tcp: a session ends after so long (give or take a tenth), so that clients spread again.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_lifetime: Option<Time>,
    /// tcp, http: keepalive idle time towards clients; "0s" = off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::client_keepalive")]
    keepalive: Option<Time>,
    /// Cap on sessions of this listener; 0 = none.
    #[schemars(default)]
    max_sessions: u32,
    /// tcp, http: length of the listen queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::backlog", range(min = 1, max = 2147483647))]
    backlog: Option<u32>,
    /// udp: a session ends once it has had so many replies for each of its datagrams; 0 = no such
    /// end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::responses")]
    responses: Option<u32>,
    /// Client networks that alone are let in; an empty list lets in everybody.
    #[schemars(default = "schema::no_networks")]
    allow: OneOrMore,
    /// Client networks that are not let in, whatever `allow` says.
    #[schemars(default = "schema::no_networks")]
    deny: OneOrMore,
    /// tcp, http: true = every client must send a PROXY header; a list = clients from these networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::accept_off", schema_with = "schema::accept_proxy")]
    accept_proxy_protocol: Option<AcceptProxy>,
    /// tcp, http: for all that must be read before the first byte is relayed, or the first request,
    /// such as a PROXY header and a TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::handshake_timeout")]
    handshake_timeout: Option<Time>,
    /// New sessions of one client address; no limit unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_rate: Option<ConnectionRate>,
    /// tcp with tls: the pool of clients that do not speak TLS; they are refused without.
    #[serde(skip_serializing_if = "Option::is_none")]
    plain_pool: Option<String>,
    /// tcp, http: ends TLS, or answers the upgrade of a protocol whose TLS goes on to the backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<ListenerTls>,
    /// http: bound of a whole request head.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::header_timeout")]
    header_timeout: Option<Time>,
    /// http: as idle_timeout, for WebSocket and other upgraded connections; "0s" = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::tunnel_timeout")]
    tunnel_timeout: Option<Time>,
    /// http: networks whose X-Forwarded-* is believed and added to; that of others is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::no_proxies")]
    trusted_proxies: Option<OneOrMore>,
    /// http: requests that one HTTP/2 connection may have open at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::max_streams", range(min = 1, max = 100000))]
    max_streams: Option<u32>,
    /// http: answers name the backend and the attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::off")]
    debug_headers: Option<bool>,
    /// In this order: the first that matches decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Vec<Route>>,
}

/// Which clients must send a PROXY header.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum AcceptProxy {
    Flag(bool),
    From(OneOrMore),
}

/// So many in a time, and so many at once.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConnectionRate {
    /// How many on the average, per s, m or h, as in "50/s".
    #[schemars(schema_with = "schema::rate")]
    rate: String,
    /// How many at once after a pause, by default the number of the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    burst: Option<u32>,
}

impl Listener {
    pub(super) fn of(listener: &config::Listener, pool_name: &dyn Fn(usize) -> String) -> Self {
        let routes = listener.routes.iter().map(|route| Route::of(route, pool_name));
        let connects = listener.protocol != config::Protocol::Udp;
        let http = listener.http.as_ref();
        Self {
            bind: OneOrMore(listener.bind.iter().map(ToString::to_string).collect()),
            protocol: listener.protocol.as_str(),
            pool: listener.pool.map(pool_name),
            idle_timeout: Time(listener.idle_timeout.unwrap_or_default()),
            max_lifetime: listener.max_lifetime.map(Time),
            keepalive: connects.then(|| Time(listener.keepalive.unwrap_or_default())),
            max_sessions: listener.max_sessions,
            backlog: connects.then_some(listener.backlog),
            responses: (!connects).then_some(listener.responses),
            allow: networks(&listener.clients.allow),
            deny: networks(&listener.clients.deny),
            accept_proxy_protocol: connects
                .then(|| AcceptProxy::of(&listener.accept_proxy_protocol)),
            handshake_timeout: connects.then_some(Time(listener.handshake_timeout)),
            connection_rate: listener.connection_rate.map(ConnectionRate::of),
            plain_pool: listener.plain_pool.map(pool_name),
            tls: listener.tls.as_ref().map(ListenerTls::of),
            header_timeout: http.map(|http| Time(http.header_timeout)),
            tunnel_timeout: http.map(|http| Time(http.tunnel_timeout.unwrap_or_default())),
            trusted_proxies: http.map(|http| networks(&http.trusted_proxies)),
            max_streams: http.map(|http| http.max_streams),
            debug_headers: http.map(|http| http.debug_headers),
            route: (!listener.routes.is_empty()).then(|| routes.collect()),
        }
    }
}

fn networks(networks: &[IpNet]) -> OneOrMore {
    OneOrMore(networks.iter().map(ToString::to_string).collect())
}

impl AcceptProxy {
    fn of(accept: &config::AcceptProxy) -> Self {
        match accept {
            config::AcceptProxy::Off => Self::Flag(false),
            config::AcceptProxy::All => Self::Flag(true),
            config::AcceptProxy::From(from) => Self::From(networks(from)),
        }
    }
}

impl ConnectionRate {
    fn of(rate: config::Rate) -> Self {
        Self { rate: units::write_rate(rate.count, rate.per), burst: Some(rate.burst) }
    }
}
