//! The tables about http, as the file writes them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::{self, Named, OneOrMore, Time};
use crate::config::{self, Leads, units};

/// Elsewhere.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Redirect {
    /// A URL or a path, in which {host}, {path} and {query} stand for those of the request.
    to: String,
    /// 301, 302, 303, 307 or 308.
    #[schemars(default = "schema::redirect_status", schema_with = "schema::redirect_statuses")]
    status: u16,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RedirectValue {
    Word(&'static str),
    Table(Redirect),
}

/// An answer of ours.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Respond {
    /// Its status.
    #[schemars(default = "schema::respond_status", range(min = 200, max = 599))]
    status: u16,
    /// Its body.
    #[schemars(default)]
    body: String,
    /// Its type.
    #[schemars(default = "schema::respond_type")]
    content_type: String,
}

/// So many requests in a time, and so many at once; 429 beyond it.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RateLimit {
    /// How many on the average, per s, m or h, as in "10/s".
    #[schemars(schema_with = "schema::rate")]
    rate: String,
    /// How many at once after a pause, by default the number of the rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    burst: Option<u32>,
    /// Who is counted apart: "client-ip" or "header:NAME".
    #[schemars(default = "schema::client_ip", schema_with = "schema::rate_keys")]
    key: String,
}

/// What only routes of http say.
#[derive(Serialize, JsonSchema)]
pub(super) struct Requests {
    /// http: hosts that are asked for; "*.example.com" is one label more, "*" any name.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<OneOrMore>,
    /// http: paths, exact as in "/api", or with all that is under them as in "/api/*".
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<OneOrMore>,
    /// http: methods.
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<OneOrMore>,
    /// http: headers with a value, or a list of which any will do; "*" = it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::fields")]
    header: Option<Named<OneOrMore>>,
    /// http: keys of the query with a value, or a list of which any will do; "*" = it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::fields")]
    query: Option<Named<OneOrMore>>,
    /// http, in place of a pool: "https", the same URL over https, or a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "redirect")]
    redirect: Option<RedirectValue>,
    /// http, in place of a pool: an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    respond: Option<Respond>,
    /// http: taken off the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    strip_prefix: Option<String>,
    /// http: put before the path, after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    add_prefix: Option<String>,
    /// http: headers that the backend gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "Option<BTreeMap<String, String>>")]
    set_request_headers: Option<Named<String>>,
    /// http: headers that the client gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, with = "Option<BTreeMap<String, String>>")]
    set_response_headers: Option<Named<String>>,
    /// http: headers that the backend does not get.
    #[serde(skip_serializing_if = "Option::is_none")]
    remove_request_headers: Option<OneOrMore>,
    /// http: headers that the client does not get.
    #[serde(skip_serializing_if = "Option::is_none")]
    remove_response_headers: Option<OneOrMore>,
    /// http: how many requests of one client; 429 beyond it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateLimit>,
    /// http: bound of a whole request; none unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_timeout: Option<Time>,
    /// http: bytes of a body, as in "10MiB"; 413 beyond it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::size")]
    max_body: Option<String>,
}

/// How http is spoken to the backends.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
pub(super) struct PoolHttp {
    /// The version spoken.
    #[schemars(schema_with = "schema::http_versions")]
    version: &'static str,
    /// Idle connections that are kept to each backend.
    keepalive: u32,
    /// How long they are kept.
    keepalive_timeout: Time,
}

fn redirect(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "anyOf": [{ "type": "string", "enum": ["https"] }, generator.subschema_for::<Redirect>()],
    })
}

impl Requests {
    pub(super) fn of(route: &config::Route) -> Self {
        let config::Matchers { host, path, method, header, query, .. } = &route.when;
        let config::Treatment {
            strip_prefix,
            add_prefix,
            set_request_headers,
            set_response_headers,
            remove_request_headers,
            remove_response_headers,
            rate_limit,
            request_timeout,
            max_body,
        } = &*route.treatment;
        Self {
            host: listed(host),
            path: listed(path),
            method: listed(method),
            header: fields(header),
            query: fields(query),
            redirect: RedirectValue::of(&route.leads),
            respond: Respond::of(&route.leads),
            strip_prefix: strip_prefix.as_deref().map(str::to_owned),
            add_prefix: add_prefix.as_deref().map(str::to_owned),
            set_request_headers: set(set_request_headers),
            set_response_headers: set(set_response_headers),
            remove_request_headers: listed(remove_request_headers),
            remove_response_headers: listed(remove_response_headers),
            rate_limit: rate_limit.as_ref().map(RateLimit::of),
            request_timeout: request_timeout.map(Time),
            max_body: max_body.map(units::write_size),
        }
    }
}

/// Nothing where nothing is said.
pub(super) fn listed<T: ToString>(all: &[T]) -> Option<OneOrMore> {
    (!all.is_empty()).then(|| OneOrMore(all.iter().map(ToString::to_string).collect()))
}

fn fields(all: &[config::Field]) -> Option<Named<OneOrMore>> {
    let field = |field: &config::Field| {
        let any = || OneOrMore(vec!["*".to_owned()]);
        (field.name.to_string(), listed(&field.values).unwrap_or_else(any))
    };
    (!all.is_empty()).then(|| Named(all.iter().map(field).collect()))
}

fn set(all: &[(std::sync::Arc<str>, std::sync::Arc<str>)]) -> Option<Named<String>> {
    let both = all.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    (!all.is_empty()).then(|| Named(both.collect()))
}

impl RedirectValue {
    fn of(leads: &Leads) -> Option<Self> {
        match leads {
            Leads::Redirect(config::Redirect::Https) => Some(Self::Word("https")),
            Leads::Redirect(config::Redirect::To { to, status }) => {
                Some(Self::Table(Redirect { to: to.to_string(), status: *status }))
            }
            Leads::Pool(_) | Leads::Split(_) | Leads::Respond(_) => None,
        }
    }
}

impl Respond {
    fn of(leads: &Leads) -> Option<Self> {
        let Leads::Respond(respond) = leads else { return None };
        let config::Respond { status, body, content_type } = respond;
        Some(Self {
            status: *status,
            body: body.to_string(),
            content_type: content_type.to_string(),
        })
    }
}

impl RateLimit {
    fn of(limit: &config::RateLimit) -> Self {
        Self {
            rate: units::write_rate(limit.rate.count, limit.rate.per),
            burst: Some(limit.rate.burst),
            key: limit.key.to_string(),
        }
    }
}

impl PoolHttp {
    pub(super) fn of(http: &config::PoolHttp) -> Self {
        Self {
            version: http.version.as_str(),
            keepalive: http.keepalive,
            keepalive_timeout: Time(http.keepalive_timeout),
        }
    }
}

default_as_read!(PoolHttp);
