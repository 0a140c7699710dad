//! The tables about TLS and routes, as the file writes them.

use schemars::JsonSchema;
use serde::Serialize;

use super::fill::{shown, word};
use super::schema::{self, OneOrMore};
use super::web::{Requests, listed};
use crate::config::{self, Challenge, Leads, acme, listener_tls};

/// Ends TLS, or answers the upgrade of a protocol whose TLS goes on to the backends.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerTls {
    /// Certificates with their keys, picked by server name; the first is for everybody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    certificates: Option<Vec<Certificate>>,
    /// Nothing older is spoken, by default than "1.2".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::min_version", schema_with = "schema::versions")]
    min_version: Option<&'static str>,
    /// Application protocols offered, preferred first; with http by default ["h2", "http/1.1"].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default = "schema::no_protocols")]
    alpn: Option<OneOrMore>,
    /// PEM bundle of the authorities that sign clients; nobody is asked without.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ca: Option<String>,
    /// Whether a client must show a certificate, by default "required" where client_ca is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::client_auth")]
    client_auth: Option<&'static str>,
    /// The protocol whose own upgrade to TLS is answered first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::starttls")]
    starttls: Option<&'static str>,
    /// Certificates that are asked for and renewed by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    acme: Option<Acme>,
}

/// A chain and its key.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Certificate {
    /// PEM: the server's own certificate, then those that lead to a known authority.
    cert: String,
    /// PEM: the key of the first certificate.
    key: String,
}

/// Certificates by RFC 8555.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Acme {
    /// Names in the certificate; no wildcard.
    domains: OneOrMore,
    /// Mail addresses that the authority may write to.
    #[schemars(default = "schema::nobody")]
    contact: OneOrMore,
    /// URL of the authority's directory.
    #[schemars(default = "schema::directory")]
    directory: String,
    /// PEM bundle that the directory itself is verified with, by default the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory_ca: Option<String>,
    /// How the names are proven.
    #[schemars(default = "schema::tls_alpn", schema_with = "schema::challenges")]
    challenge: &'static str,
    /// http-01: where it is answered, by default ["0.0.0.0:80", "[::]:80"].
    #[serde(skip_serializing_if = "Option::is_none")]
    http_bind: Option<OneOrMore>,
    /// Folder for account, keys and certificates.
    storage: String,
}

/// Which sessions go where: every matcher given must match, of a list any.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// By default its position, from "1".
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default = "schema::no_name")]
    name: String,
    /// tcp: server names of the ClientHello; "*.example.com" is one label more, "*" any name.
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<OneOrMore>,
    /// tcp: application protocols that the client offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<OneOrMore>,
    /// Client networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<OneOrMore>,
    /// The pool that it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    /// In its place: pools, of which one is drawn for each session; with http for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    split: Option<Vec<Share>>,
    #[serde(flatten)]
    requests: Requests,
}

/// A pool with its part of the sessions.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Share {
    /// The pool.
    pool: String,
    /// Its part of the sum of all weights; 0 = none.
    #[schemars(default = "schema::share")]
    weight: u32,
}

/// TLS towards backends.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
pub(super) struct ClientTls {
    /// Name asked for and verified, by default the backend's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    /// PEM bundle of trusted authorities, by default the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    /// Client certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    cert: Option<String>,
    /// Key of the client certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// False takes any certificate.
    verify: bool,
    /// The protocol whose own upgrade to TLS is asked for first, whoever the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::starttls")]
    starttls: Option<&'static str>,
}

impl ListenerTls {
    pub(super) fn of(tls: &config::ListenerTls) -> Self {
        let ends = tls.terminates();
        let certificate = |identity: &config::Identity| Certificate {
            cert: shown(&identity.cert),
            key: shown(&identity.key),
        };
        let auth = tls.client_auth.as_ref();
        let certificates: Vec<_> = tls.certificates.iter().map(certificate).collect();
        Self {
            certificates: (!certificates.is_empty()).then_some(certificates),
            min_version: ends.then(|| tls.min_version.as_str()),
            alpn: ends.then(|| OneOrMore(tls.alpn.clone())),
            client_ca: auth.map(|auth| shown(&auth.ca)),
            client_auth: auth.map(|auth| word(listener_tls::CLIENT_AUTH, &auth.required)),
            starttls: tls.starttls.map(config::StartTls::as_str),
            acme: tls.acme.as_ref().map(Acme::of),
        }
    }
}

impl Acme {
    fn of(acme: &config::Acme) -> Self {
        let (way, addresses) = match &acme.challenge {
            Challenge::TlsAlpn01 => (acme::Way::TlsAlpn, None),
            Challenge::Http01(addresses) => (acme::Way::Http, Some(addresses)),
        };
        let listed = |all: &Vec<_>| OneOrMore(all.iter().map(ToString::to_string).collect());
        Self {
            domains: OneOrMore(acme.domains.clone()),
            contact: OneOrMore(acme.contact.clone()),
            directory: acme.directory.clone(),
            directory_ca: acme.directory_ca.as_deref().map(shown),
            challenge: word(acme::CHALLENGES, &way),
            http_bind: addresses.map(listed),
            storage: shown(&acme.storage),
        }
    }
}

impl Route {
    pub(super) fn of(route: &config::Route, pool_name: &dyn Fn(usize) -> String) -> Self {
        let config::Matchers { sni, alpn, client, .. } = &route.when;
        let share =
            |share: &config::Share| Share { pool: pool_name(share.pool), weight: share.weight };
        let (pool, split) = match &route.leads {
            Leads::Pool(pool) => (Some(pool_name(*pool)), None),
            Leads::Split(shares) => (None, Some(shares.iter().map(share).collect())),
            Leads::Redirect(_) | Leads::Respond(_) => (None, None),
        };
        Self {
            name: route.name.to_string(),
            sni: listed(sni),
            alpn: listed(alpn),
            client: listed(client),
            pool,
            split,
            requests: Requests::of(route),
        }
    }
}

impl ClientTls {
    pub(super) fn of(tls: &config::ClientTls) -> Self {
        Self {
            server_name: tls.server_name.clone(),
            ca: tls.ca.as_deref().map(shown),
            cert: tls.identity.as_ref().map(|(cert, _)| shown(cert)),
            key: tls.identity.as_ref().map(|(_, key)| shown(key)),
            verify: tls.verify,
            starttls: tls.starttls.map(config::StartTls::as_str),
        }
    }
}

default_as_read!(ClientTls);
