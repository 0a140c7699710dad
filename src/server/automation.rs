//! Automatic certificates of the listeners: who keeps them, and who shows them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::acme::{Holder, Keepers, Orders};
use crate::config::{Config, Listener};
use crate::server::StartError;
use crate::server::world::World;

/// Counters of the listeners that have an `acme` table, by name.
pub(super) type Counted = Vec<(Arc<str>, Arc<Orders>)>;

/// The keepers that the configuration asks for, with the addresses that they need bound.
pub(super) fn keepers(config: &Config, world: &World) -> Result<(Keepers, Counted), StartError> {
    let mut counted = Counted::new();
    let mut holders = Vec::new();
    for spec in &config.listeners {
        let Some(tls) = &spec.tls else { continue };
        let inbound = world.inbound.iter().find(|(name, _)| *name == spec.name);
        let (Some(table), Some((name, inbound))) = (&tls.acme, inbound) else { continue };
        let orders = Arc::<Orders>::default();
        counted.push((Arc::clone(name), Arc::clone(&orders)));
        let holder = Holder {
            listener: Arc::clone(name),
            certificates: Arc::clone(&inbound.certificates),
            // Behind those of the file.
            slot: tls.certificates.len(),
            orders,
        };
        holders.push((table.clone(), holder));
    }
    let answers = |at: SocketAddr| {
        let answers = |spec: &Listener| spec.answers_challenges() && spec.bind.contains(&at);
        // Port 0 is another port each time.
        at.port() != 0 && config.listeners.iter().any(answers)
    };
    let keepers = Keepers::bind(holders, Arc::clone(&world.challenges), &world.resolver, answers)?;
    Ok((keepers, counted))
}
