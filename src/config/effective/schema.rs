//! The pieces of the schema that the structs do not say by themselves: words, units, names, and
//! values that may be written in two ways.

use std::borrow::Cow;
use std::time::Duration;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::listener::AcceptProxy;
use super::{Backend, Balance, BalanceTable, File, defaults, fill};
use crate::config::{
    Http, RateKey, RetryOn, TlsVersion, acme, answers, balance, dns_probe, failure, health,
    http_probe, listener, listener_tls, pool, pool_http, process, retry, routes, sticky, units,
};

pub(super) fn of_file() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>();
    WithoutNull.transform(&mut schema);
    schema.insert("title".to_owned(), Value::from("evenkeel.toml"));
    schema.into()
}

/// TOML has no null: what is optional is left out.
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        }
        transform_subschemas(self, schema);
    }
}

/// A duration as the file writes it.
pub(super) struct Time(pub(super) Duration);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&units::write_duration(self.0))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Whole numbers with units us, ms, s, m, h, d, as in \"1m30s\".",
            "pattern": r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?$|\$\{",
            "minLength": 2,
        })
    }
}

/// A text or a list of them; written as a list.
#[derive(serde::Serialize)]
pub(super) struct OneOrMore(pub(super) Vec<String>);

impl JsonSchema for OneOrMore {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMore".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        })
    }
}

/// Tables by name, in file order.
pub(super) struct Named<T>(pub(super) Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9._-]+$" },
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

fn words<T>(words: &[(&'static str, T)]) -> Schema {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    json_schema!({ "type": "string", "enum": words })
}

pub(super) fn levels(_: &mut SchemaGenerator) -> Schema {
    words(process::LEVELS)
}

pub(super) fn formats(_: &mut SchemaGenerator) -> Schema {
    words(process::FORMATS)
}

pub(super) fn protocols(_: &mut SchemaGenerator) -> Schema {
    words(listener::PROTOCOLS)
}

pub(super) fn policies(_: &mut SchemaGenerator) -> Schema {
    words(balance::POLICIES)
}

pub(super) fn hash_keys(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [words(balance::HASH_KEYS), of_request("header|cookie")] })
}

pub(super) fn rate_keys(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "string", "enum": ["client-ip"] }, of_request("header")] })
}

/// What a request brings, by its name.
fn of_request(what: &str) -> Schema {
    json_schema!({ "type": "string", "pattern": format!(r"^({what}):.+$|\$\{{") })
}

pub(super) fn same_site(_: &mut SchemaGenerator) -> Schema {
    words(sticky::SAME_SITE)
}

pub(super) fn http_versions(_: &mut SchemaGenerator) -> Schema {
    words(pool_http::VERSIONS)
}

pub(super) fn retry_on(_: &mut SchemaGenerator) -> Schema {
    let word = json_schema!({ "type": "string", "enum": retry::WORDS });
    let status = json_schema!({ "type": "integer", "enum": RetryOn::STATUSES });
    let one = json_schema!({ "anyOf": [word, status] });
    json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
}

pub(super) fn redirect_statuses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "enum": answers::STATUSES })
}

pub(super) fn fields(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": generator.subschema_for::<OneOrMore>(),
    })
}

pub(super) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": r"^[0-9]+([KMG]iB|[kMG]B|B)$|\$\{" })
}

pub(super) fn states(_: &mut SchemaGenerator) -> Schema {
    words(pool::STATES)
}

pub(super) fn probes(_: &mut SchemaGenerator) -> Schema {
    words(health::KINDS)
}

pub(super) fn roles(_: &mut SchemaGenerator) -> Schema {
    words(http_probe::ROLES)
}

pub(super) fn balance(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [policies(generator), generator.subschema_for::<BalanceTable>()] })
}

pub(super) fn backends(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "items": { "anyOf": [{ "type": "string" }, generator.subschema_for::<Backend>()] },
    })
}

pub(super) fn statuses(_: &mut SchemaGenerator) -> Schema {
    let status = json_schema!({
        "anyOf": [
            { "type": "string", "pattern": r"^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$|\$\{" },
            { "type": "integer", "minimum": 100, "maximum": 599 },
        ],
    });
    json_schema!({ "anyOf": [status, { "type": "array", "items": status, "minItems": 1 }] })
}

pub(super) fn rate(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": r"^[0-9]+/[smh]$|\$\{" })
}

pub(super) fn proxy_versions(_: &mut SchemaGenerator) -> Schema {
    words(failure::PROXY_VERSIONS)
}

pub(super) fn versions(_: &mut SchemaGenerator) -> Schema {
    words(listener_tls::VERSIONS)
}

pub(super) fn client_auth(_: &mut SchemaGenerator) -> Schema {
    words(listener_tls::CLIENT_AUTH)
}

pub(super) fn starttls(_: &mut SchemaGenerator) -> Schema {
    words(listener_tls::STARTTLS)
}

pub(super) fn challenges(_: &mut SchemaGenerator) -> Schema {
    words(acme::CHALLENGES)
}

pub(super) fn percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": r"^0*(100|[1-9]?[0-9])%$|\$\{" })
}

pub(super) fn closing(generator: &mut SchemaGenerator) -> Schema {
    let word = json_schema!({ "type": "string", "enum": ["keep", "now"] });
    json_schema!({ "anyOf": [word, generator.subschema_for::<Time>()] })
}

pub(super) fn accept_proxy(generator: &mut SchemaGenerator) -> Schema {
    let flag = json_schema!({ "type": "boolean" });
    json_schema!({ "anyOf": [flag, generator.subschema_for::<OneOrMore>()] })
}

pub(super) fn query_types(_: &mut SchemaGenerator) -> Schema {
    let number = json_schema!({ "type": "integer", "minimum": 1, "maximum": 65535 });
    json_schema!({ "anyOf": [words(dns_probe::TYPES), number] })
}

pub(super) fn rcodes(_: &mut SchemaGenerator) -> Schema {
    let code = words(dns_probe::RCODES);
    json_schema!({ "anyOf": [code, { "type": "array", "items": code, "minItems": 1 }] })
}

pub(super) fn balance_default() -> Balance {
    fill::balance(&defaults::POLICY)
}

pub(super) fn tcp() -> &'static str {
    "tcp"
}

pub(super) fn ready() -> &'static str {
    "ready"
}

pub(super) fn no_name() -> String {
    String::new()
}

pub(super) fn weight() -> u16 {
    defaults::WEIGHT
}

// The mirror leaves out what is not for the protocol, hence an `Option`.
#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn backlog() -> Option<u32> {
    Some(defaults::BACKLOG)
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn responses() -> Option<u32> {
    Some(0)
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn client_keepalive() -> Option<Time> {
    Some(keepalive())
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn accept_off() -> Option<AcceptProxy> {
    Some(AcceptProxy::Flag(false))
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn handshake_timeout() -> Option<Time> {
    Some(Time(defaults::HANDSHAKE_TIMEOUT))
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn min_version() -> Option<&'static str> {
    Some(TlsVersion::V1_2.as_str())
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn no_protocols() -> Option<OneOrMore> {
    Some(nobody())
}

pub(super) fn nobody() -> OneOrMore {
    OneOrMore(Vec::new())
}

pub(super) fn directory() -> String {
    defaults::ACME_DIRECTORY.to_owned()
}

pub(super) fn tls_alpn() -> &'static str {
    "tls-alpn-01"
}

pub(super) fn share() -> u32 {
    routes::WEIGHT
}

pub(super) fn no_networks() -> OneOrMore {
    OneOrMore(Vec::new())
}

pub(super) fn at_once() -> Time {
    Time(Duration::ZERO)
}

pub(super) fn redirect_status() -> u16 {
    defaults::REDIRECT_STATUS
}

pub(super) fn respond_status() -> u16 {
    defaults::RESPOND_STATUS
}

pub(super) fn respond_type() -> String {
    defaults::RESPOND_TYPE.to_owned()
}

pub(super) fn client_ip() -> String {
    RateKey::ClientIp.to_string()
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn header_timeout() -> Option<Time> {
    Some(Time(Http::default().header_timeout))
}

pub(super) fn tunnel_timeout() -> Option<Time> {
    Http::default().tunnel_timeout.map(Time)
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn no_proxies() -> Option<OneOrMore> {
    Some(no_networks())
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn max_streams() -> Option<u32> {
    Some(Http::default().max_streams)
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(super) fn off() -> Option<bool> {
    Some(false)
}

pub(super) fn idle_timeout() -> Time {
    Time(defaults::IDLE_TIMEOUT)
}

pub(super) fn keepalive() -> Time {
    Time(defaults::KEEPALIVE)
}

pub(super) fn connect_timeout() -> Time {
    Time(defaults::CONNECT_TIMEOUT)
}
