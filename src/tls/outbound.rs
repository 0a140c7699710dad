//! TLS towards the backends of a pool: one configuration each, so that a session is only ever
//! resumed with the backend that it began with.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use crate::config::{ClientTls, Member, StartTls};
use crate::tls::{Error, Session, client, server_name};

/// Sessions that are kept for each backend.
const KEPT: usize = 8;

/// How TLS is spoken to the backends of one pool.
#[derive(Debug)]
pub struct Outbound {
    /// The upgrade that is asked for before the handshake.
    pub starttls: Option<StartTls>,
    /// By name.
    backends: HashMap<Arc<str>, (Arc<ClientConfig>, ServerName<'static>)>,
}

impl Outbound {
    /// As `spec` says it, for these backends. Reads files.
    ///
    /// # Errors
    /// A file that is missing or does not hold what it should, a name that no certificate can hold.
    pub fn new(spec: &ClientTls, members: &[Member]) -> Result<Self, Error> {
        let config = client(spec, &[])?;
        let backend = |member: &Member| {
            let mut config = ClientConfig::clone(&config);
            config.resumption = Resumption::in_memory_sessions(KEPT);
            let name = server_name(spec.server_name.as_deref(), &member.address.host())?;
            Ok((Arc::clone(&member.name), (Arc::new(config), name)))
        };
        let backends = members.iter().map(backend).collect::<Result<_, Error>>()?;
        Ok(Self { starttls: spec.starttls, backends })
    }

    /// A connection to the backend of this name that is about to begin its handshake.
    ///
    /// # Errors
    /// There is no such backend, or the library refuses.
    pub fn session(&self, backend: &str) -> Result<Session, rustls::Error> {
        let (config, name) = self.backends.get(backend).ok_or_else(|| {
            rustls::Error::General(format!("no TLS is set up for backend {backend}"))
        })?;
        Session::client(Arc::clone(config), name.clone())
    }
}
