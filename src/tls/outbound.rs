//! TLS towards the backends of a pool: one configuration each, so that a session is only ever
//! resumed with the backend that it began with.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use crate::config::{ClientTls, HttpVersion, Member, StartTls};
use crate::tls::{Error, Session, client, server_name};

/// Sessions that are kept for each backend.
const KEPT: usize = 8;

/// Backends that are remembered before all are forgotten, with the sessions that they could resume:
/// names that are looked up may lead to ever new ones.
const MOST: usize = 4096;

/// How TLS is spoken to the backends of one pool.
#[derive(Debug)]
pub struct Outbound {
    /// The upgrade that is asked for before the handshake.
    pub starttls: Option<StartTls>,
    spec: ClientTls,
    version: HttpVersion,
    /// What was in the files that `spec` names.
    material: Vec<u8>,
    config: Arc<ClientConfig>,
    /// By number, as another one of the same name is another host; filled as they are first connected
    /// to.
    backends: ArcSwap<HashMap<u64, Arc<Ways>>>,
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
    /// As `spec` says it, for these backends and others, to which requests go in this version. Reads
    /// files.
    ///
    /// # Errors
    /// A file that is missing or does not hold what it should, a name that no certificate can hold.
    pub fn new(spec: &ClientTls, members: &[Member], version: HttpVersion) -> Result<Self, Error> {
        for member in members {
            server_name(spec.server_name.as_deref(), &member.address.host())?;
        }
        Ok(Self {
            starttls: spec.starttls,
            material: material(spec)?,
            config: client(spec, &[])?,
            spec: spec.clone(),
            version,
            backends: ArcSwap::default(),
        })
    }

    /// True if it was made of this, and the files are still the same. Reads them.
    pub fn is_of(&self, spec: &ClientTls, version: HttpVersion) -> bool {
        let is_same = self.spec == *spec && self.version == version;
        is_same && material(spec).is_ok_and(|material| material == self.material)
    }

    /// A connection to the backend of this number and host that is about to begin its handshake; for
    /// requests it offers the version of http that the pool speaks.
    ///
    /// # Errors
    /// No certificate can hold the name of the host, or the library refuses.
    pub fn session(
        &self,
        backend: u64,
        host: impl FnOnce() -> String,
        for_requests: bool,
    ) -> Result<Session, rustls::Error> {
        let known = self.backends.load().get(&backend).cloned();
        let ways = match known {
            Some(ways) => ways,
            None => self.enter(backend, &host())?,
        };
        let config = if for_requests { &ways.http } else { &ways.any };
        Session::client(Arc::clone(config), ways.name.clone())
    }

    fn enter(&self, backend: u64, host: &str) -> Result<Arc<Ways>, rustls::Error> {
        let refused = |why: Error| rustls::Error::General(why.to_string());
        let name = server_name(self.spec.server_name.as_deref(), host).map_err(refused)?;
        let way = |protocols: Vec<Vec<u8>>| {
            let mut config = ClientConfig::clone(&self.config);
            config.alpn_protocols = protocols;
            config.resumption = Resumption::in_memory_sessions(KEPT);
            Arc::new(config)
        };
        let (any, http) = (way(Vec::new()), way(vec![self.version.alpn().to_vec()]));
        let ways = Arc::new(Ways { name, any, http });
        // Whoever comes at the same time makes the same: one of the two is kept.
        self.backends.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(backend, Arc::clone(&ways));
            known
        });
        Ok(ways)
    }
}

/// What is in the files that are read.
fn material(spec: &ClientTls) -> Result<Vec<u8>, Error> {
    let identity = spec.identity.iter().flat_map(|(cert, key)| [cert, key]);
    let mut all = Vec::new();
    for path in identity.chain(spec.ca.iter().filter(|_| spec.verify)) {
        let read = fs::read(path).map_err(|why| Error::Unreadable { path: path.clone(), why })?;
        all.extend(read.len().to_be_bytes());
        all.extend(read);
    }
    Ok(all)
}
