//! TLS towards the backends of a pool: one configuration each, so that a session is only ever
//! resumed with the backend that it began with.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use crate::config::{ClientTls, HttpVersion, Member, StartTls};
use crate::tls::{Error, Session, client, server_name};

/// Sessions that are kept for each backend.
const KEPT: usize = 8;

/// How TLS is spoken to the backends of one pool.
#[derive(Debug)]
pub struct Outbound {
    /// The upgrade that is asked for before the handshake.
    pub starttls: Option<StartTls>,
    /// By name.
    backends: HashMap<Arc<str>, Ways>,
}

/// How TLS is spoken to one backend.
#[derive(Debug)]
struct Ways {
    name: ServerName<'static>,
    /// Whatever is spoken inside: no protocol is offered.
    any: Arc<ClientConfig>,
    /// This version of http is spoken inside.
    http: Arc<ClientConfig>,
}

impl Outbound {
    /// As `spec` says it, for these backends, to which requests go in this version. Reads files.
    ///
    /// # Errors
    /// A file that is missing or does not hold what it should, a name that no certificate can hold.
    pub fn new(spec: &ClientTls, members: &[Member], version: HttpVersion) -> Result<Self, Error> {
        let config = client(spec, &[])?;
        let way = |protocols: Vec<Vec<u8>>| {
            let mut config = ClientConfig::clone(&config);
            config.alpn_protocols = protocols;
            config.resumption = Resumption::in_memory_sessions(KEPT);
            Arc::new(config)
        };
        let backend = |member: &Member| {
            let name = server_name(spec.server_name.as_deref(), &member.address.host())?;
            let (any, http) = (way(Vec::new()), way(vec![version.alpn().to_vec()]));
            Ok((Arc::clone(&member.name), Ways { name, any, http }))
        };
        let backends = members.iter().map(backend).collect::<Result<_, Error>>()?;
        Ok(Self { starttls: spec.starttls, backends })
    }

    /// A connection to the backend of this name that is about to begin its handshake; for requests it
    /// offers the version of http that the pool speaks.
    ///
    /// # Errors
    /// There is no such backend, or the library refuses.
    pub fn session(&self, backend: &str, for_requests: bool) -> Result<Session, rustls::Error> {
        let ways = self.backends.get(backend).ok_or_else(|| {
            rustls::Error::General(format!("no TLS is set up for backend {backend}"))
        })?;
        let config = if for_requests { &ways.http } else { &ways.any };
        Session::client(Arc::clone(config), ways.name.clone())
    }
}
