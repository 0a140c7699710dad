//! What ends TLS at the listeners that do.

use std::sync::Arc;

use crate::config::{Config, ListenerTls};
use crate::server::StartError;
use crate::tls::{Challenges, Fresh, Inbound};

/// A listener's name, and what ends TLS at it.
pub(in crate::server) type Terminating = (Arc<str>, Arc<Inbound>);

/// Those of a configuration, and the certificates to be shown once it takes effect.
pub(super) fn build(
    config: &Config,
    challenges: &Arc<Challenges>,
    before: &[Terminating],
) -> Result<(Vec<Terminating>, Vec<Fresh>), StartError> {
    let ending = config.listeners.iter().filter_map(|spec| {
        let tls = spec.tls.as_ref().filter(|tls| tls.terminates())?;
        Some((&spec.name, tls))
    });
    let (mut inbound, mut fresh) = (Vec::new(), Vec::new());
    for (name, spec) in ending {
        let known = before.iter().find(|(known, _)| known == name).map(|(_, known)| known);
        let (built, read) = one(spec, challenges, known).map_err(|why| {
            StartError::ListenerTls { listener: Arc::clone(name), why: Box::new(why) }
        })?;
        inbound.push((Arc::clone(name), built));
        fresh.extend(read);
    }
    Ok((inbound, fresh))
}

fn one(
    spec: &ListenerTls,
    challenges: &Arc<Challenges>,
    known: Option<&Arc<Inbound>>,
) -> Result<(Arc<Inbound>, Vec<Fresh>), crate::tls::Error> {
    match known {
        Some(known) => Inbound::renew(spec, challenges, known),
        None => Ok((Arc::new(Inbound::new(spec, challenges, None)?), Vec::new())),
    }
}
