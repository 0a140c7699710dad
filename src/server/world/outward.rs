//! The pools, how their backends are spoken to, and the ways that lead to them.

use std::fs;
use std::sync::Arc;

use crate::config::{self, ClientTls, Config};
use crate::pool::{Entrance, Pool};
use crate::server::StartError;
use crate::tls::{self, Outbound};
use crate::upstream::Gateway;

/// A pool, and how its backends are spoken to: the same for all listeners, so that a TLS session is
/// resumed whoever began it.
#[derive(Debug, Clone)]
pub(in crate::server) struct Outward {
    pub(in crate::server) pool: Arc<Pool>,
    tls: Option<Arc<Outbound>>,
    secret: Option<Vec<u8>>,
}

impl Outward {
    /// As the file says it. Where nothing differs but its backends, it is the very pool of `before`.
    pub(super) fn build(spec: &config::Pool, before: Option<&Self>) -> Result<Self, StartError> {
        let known = before.and_then(|before| before.tls.as_ref());
        let kept = |tls: &ClientTls| known.filter(|known| known.is_of(tls, spec.http.version));
        let outbound = |tls: &ClientTls| match kept(tls) {
            Some(kept) => Ok(Arc::clone(kept)),
            None => Outbound::new(tls, &spec.members, spec.http.version).map(Arc::new),
        };
        let tls = spec.tls.as_ref().map(outbound).transpose();
        let refused =
            |why: tls::Error| StartError::Tls { pool: Arc::clone(&spec.name), why: Box::new(why) };
        let tls = tls.map_err(refused)?;
        let secret = secret(spec)?;
        // Connections that were opened under other certificates are not used any more.
        let is_same_tls = tls.as_ref().map(Arc::as_ptr) == known.map(Arc::as_ptr);
        let is_same = |known: &&Self| is_same_tls && known.secret == secret;
        if let Some(before) = before.filter(is_same).filter(|before| before.pool.fits(spec)) {
            return Ok(Self { pool: Arc::clone(&before.pool), tls, secret });
        }
        let pool = Pool::new(spec, before.map(|before| &*before.pool));
        let pool = if is_same_tls { pool } else { pool.set_apart() };
        let pool = match (&spec.cookie, &secret) {
            (Some(cookie), Some(secret)) => pool.with_secret(cookie, secret),
            _ => pool,
        };
        Ok(Self { pool: Arc::new(pool), tls, secret })
    }

    /// True if backends of it have left that have sessions still.
    pub(super) fn is_left(&self) -> bool {
        !self.pool.ready().leaving().is_empty()
    }
}

/// What keys the values of the pool's cookie, if there is a file with it.
fn secret(spec: &config::Pool) -> Result<Option<Vec<u8>>, StartError> {
    let Some(file) = spec.cookie.as_ref().and_then(|cookie| cookie.secret_file.as_ref()) else {
        return Ok(None);
    };
    let refused = |why| {
        let (pool, file) = (Arc::clone(&spec.name), file.clone());
        StartError::CookieSecret { pool, file, why }
    };
    let bytes = fs::read(file).map_err(|error| refused(error.to_string()))?;
    let secret = config::cookie_secret(&bytes).map_err(|why| refused(why.to_owned()))?;
    Ok(Some(secret.as_bytes().to_vec()))
}

/// The way of a listener to a pool.
pub(super) fn gateway(
    config: &Config,
    ways: &[Outward],
    listener: &Arc<str>,
    index: usize,
) -> Option<Gateway> {
    let mut outbound = Vec::new();
    let entrance = entrance(config, ways, listener, index, &mut outbound)?;
    Some(Gateway::new(entrance, outbound))
}

/// The entrance of a listener to a pool and, behind it, to the pools it falls back on; those of them
/// that TLS is spoken to are added to `outbound`.
///
/// `None` never happens: a checked configuration has no index without a pool.
fn entrance(
    config: &Config,
    ways: &[Outward],
    listener: &Arc<str>,
    index: usize,
    outbound: &mut Vec<(Arc<str>, Arc<Outbound>)>,
) -> Option<Entrance> {
    let Outward { pool, tls, .. } = ways.get(index)?;
    outbound.extend(tls.iter().map(|tls| (Arc::clone(pool.name()), Arc::clone(tls))));
    let fallback = config.pools.get(index)?.fallback;
    let fallback = fallback.and_then(|index| entrance(config, ways, listener, index, outbound));
    Some(Entrance::new(listener, Arc::clone(pool), fallback))
}
