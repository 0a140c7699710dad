//! The file with every default filled in, and the JSON Schema of it: one set of structs for both,
//! so that what is written and what editors accept cannot differ.
//!
//! The doc comments here are the descriptions that editors show.

// Used by the modules below it.
macro_rules! default_as_read {
    ($($name:ident),*) => {$(
        impl Default for $name {
            fn default() -> Self {
                Self::of(&config::$name::default())
            }
        }
    )*};
}

mod failure;
mod fill;
mod listener;
mod schema;
mod security;
mod web;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Config, defaults, env};
use failure::{Close, Passive, Queue, Sticky};
use listener::Listener;
use schema::{Named, OneOrMore, Time};
use security::ClientTls;
use web::PoolHttp;

/// The file that says all that `config` says, as TOML. Checking it gives the same values.
pub fn effective(config: &Config) -> Result<String, toml::ser::Error> {
    // Outside of strings no "${" can stand: names and keys have no such letters.
    Ok(env::escape(&toml::to_string(&fill::file(config))?))
}

/// The same as JSON. All paths are absolute, so that it means the same wherever it is read.
pub fn effective_json(config: &Config) -> serde_json::Value {
    // Structs, texts, numbers and maps by text always become JSON.
    serde_json::to_value(fill::file(config)).unwrap_or_default()
}

/// The JSON Schema (2020-12) of the file, for editors.
pub fn schema() -> serde_json::Value {
    schema::of_file()
}

/// The configuration of Evenkeel.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// More files, relative to this one; patterns such as "conf.d/*.toml" are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<OneOrMore>,
    /// What holds for the whole program.
    #[schemars(default)]
    process: Process,
    /// The program log and the access log.
    #[schemars(default)]
    log: Log,
    /// The admin interface.
    #[schemars(default)]
    admin: Admin,
    /// Addresses that take connections, datagrams or requests, by name.
    #[schemars(default)]
    listener: Named<Listener>,
    /// Sets of backends, by name.
    #[schemars(default)]
    pool: Named<Pool>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
struct Process {
    /// Worker threads; 0 = one per core.
    #[schemars(range(max = 1024))]
    threads: u32,
    /// How long sessions may go on after a graceful stop.
    shutdown_timeout: Time,
    /// How long the old process may keep its sessions after an upgrade; until the last one ends
    /// unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_timeout: Option<Time>,
    /// Whom names are asked of, "address" or "address:port"; none = the system's name servers.
    nameservers: Vec<String>,
    /// Written when ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid_file: Option<String>,
    /// Cap over all listeners; 0 = derived from the open-file limit.
    max_sessions: u32,
    /// User to drop to after binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// Group to drop to after binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
struct Log {
    /// The least severe level that is written; EVENKEEL_LOG overrides it.
    #[schemars(schema_with = "schema::levels")]
    level: &'static str,
    /// Lines for people (text) or for machines (json).
    #[schemars(schema_with = "schema::formats")]
    format: &'static str,
    /// Access log: "off", "stdout", "stderr" or a file path.
    access: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
struct Admin {
    /// An address, "unix:/path/to/socket" or "off".
    bind: String,
    /// Bearer token for calls that change something; required when bind is reachable from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_file: Option<String>,
}

/// A set of backends with one policy, one health check and one retry rule.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pool {
    /// Bound of one connection attempt.
    #[schemars(default = "schema::connect_timeout")]
    connect_timeout: Time,
    /// TCP keepalive idle time towards backends; "0s" = off.
    #[schemars(default = "schema::keepalive")]
    keepalive: Time,
    /// Another pool, used while this one has no backend up.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
    /// With no backend up and no fallback: try them all instead of refusing.
    #[schemars(default)]
    fail_open: bool,
    /// Cap on sessions per backend, where the backend says none; 0 = none.
    #[schemars(default)]
    max_sessions: u32,
    /// Local address, or a list used in turn, to connect from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<OneOrMore>,
    /// A backend that comes up gets its weight over this time; "0s" = at once.
    #[schemars(default = "schema::at_once")]
    slow_start: Time,
    /// The PROXY header that backends are sent; by default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::proxy_versions")]
    send_proxy_protocol: Option<&'static str>,
    /// Asserted: clients are off a dead backend within this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_failover: Option<Time>,
    /// How a backend is picked.
    #[schemars(default = "schema::balance_default", schema_with = "schema::balance")]
    balance: Balance,
    /// "host:port", or tables with weight, caps and the like; required unless `discover`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::backends")]
    backends: Option<Vec<Backend>>,
    /// Further backends, which are looked up; none unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    discover: Option<Discover>,
    /// Further attempts after a failed connect.
    #[schemars(default)]
    retry: Retry,
    /// How backends are checked.
    #[schemars(default)]
    health: Health,
    /// How backends that fail under traffic are ejected.
    #[schemars(default)]
    passive: Passive,
    /// Who waits while every backend is at its cap.
    #[schemars(default)]
    queue: Queue,
    /// What happens to the sessions that a backend already has, by cause.
    #[schemars(default)]
    close: Close,
    /// Clients that keep their backend; off unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky: Option<Sticky>,
    /// TLS to the backends; cleartext without.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<ClientTls>,
    /// http: to the head of an answer; as long as it takes unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_timeout: Option<Time>,
    /// How http is spoken to the backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<PoolHttp>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Balance {
    Word(&'static str),
    Table(BalanceTable),
}

/// A policy with its settings.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Balance")]
struct BalanceTable {
    /// How a backend is picked.
    #[schemars(schema_with = "schema::policies")]
    policy: &'static str,
    /// consistent-hash: what is hashed, by default "client-ip"; with http also "header:NAME",
    /// "cookie:NAME" or "path".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::hash_keys")]
    key: Option<String>,
    /// consistent-hash: no backend takes more than this times the mean; off unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0))]
    bounded_load: Option<f64>,
}

/// One server of a pool.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Backend {
    /// "host:port".
    address: String,
    /// Unique within the pool; by default the address.
    #[schemars(default = "schema::no_name")]
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    /// Share of the sessions; 0 takes nothing new but is still checked.
    #[schemars(default = "schema::weight", range(max = super::HEAVIEST))]
    weight: u16,
    /// Cap on sessions, by default the pool's; 0 = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_sessions: Option<u32>,
    /// Used only while no ordinary backend is up.
    #[schemars(default)]
    backup: bool,
    /// What the operator wants of it.
    #[schemars(default = "schema::ready", schema_with = "schema::states")]
    state: &'static str,
}

/// Where backends are looked up: one of `dns`, `srv` and `file`.
#[derive(Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Discover {
    /// "host:port": every address of this name is a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<String>,
    /// A name with SRV records, each of which is a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    srv: Option<String>,
    /// A JSON file with a list of backends, as `backends` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// How often to look, at least "1s"; by default as long as the records hold, a file when it
    /// changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<Time>,
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
struct Retry {
    /// Connects in all, each on another backend while there is one.
    #[schemars(range(min = 1, max = 1000))]
    attempts: u32,
    /// Bounds all attempts together.
    window: Time,
    /// Pause between attempts; "0s" = none.
    backoff: Time,
    /// http: what is worth another attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::retry_on")]
    on: Option<OneOrMore>,
    /// http: methods that are not idempotent are repeated too.
    #[serde(skip_serializing_if = "Option::is_none")]
    non_idempotent: Option<bool>,
    /// http: bytes of a body that are kept for another attempt; beyond it there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::size")]
    body: Option<String>,
    /// http: retries, of the requests of the last 10 s; 10 in 10 s are always allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::percent")]
    budget: Option<String>,
}

/// The active check of a pool's backends.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
struct Health {
    /// What is asked.
    #[schemars(schema_with = "schema::probes")]
    probe: &'static str,
    /// From start to start.
    interval: Time,
    /// Bound of one probe.
    timeout: Time,
    /// Consecutive good results that bring a backend up.
    #[schemars(range(min = 1, max = 1000))]
    rise: u32,
    /// Consecutive bad results that take it down.
    #[schemars(range(min = 1, max = 1000))]
    fall: u32,
    /// Port to probe instead of the backend's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// Host or address to probe instead of the backend's.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// http, https: path and query, by default "/".
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// http, https: the Host header, by default the backend's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// http, https: request method, by default "GET".
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// http, https: "200", "2xx", "200-399" or a list of these, by default "2xx".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::statuses")]
    expect_status: Option<Vec<String>>,
    /// http, https: regular expression that must match in the first 64 KiB of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_body: Option<String>,
    /// http, https: the expected status holds this role, any other answer means standby.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::roles")]
    role: Option<&'static str>,
    /// send-expect: sent after the connect, or as a datagram; by default nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    send: Option<String>,
    /// send-expect: must turn up in the first 64 KiB of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<String>,
    /// dns: the name asked for, by default ".".
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// dns: the type asked for, by name or number, by default "NS".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::query_types")]
    query_type: Option<WordOrNumber>,
    /// dns: the code, or a list of those, that counts as good; by default "NOERROR".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::rcodes")]
    expect_rcode: Option<Vec<&'static str>>,
    /// exec: program and arguments; exit status 0 = up.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    /// grpc: the name asked of the standard health service, by default "".
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// http, https: further request headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    headers: Option<Named<String>>,
    /// tls, https, grpc: how the probe speaks TLS, by default as the pool does.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<ClientTls>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WordOrNumber {
    Word(&'static str),
    Number(u16),
}
