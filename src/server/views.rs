//! The listeners as reports see them.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{self, Config};
use crate::server::ListenerView;
use crate::server::automation::Counted;
use crate::server::world::World;

/// In the order of the configuration; `bound` gives where an address of the file was bound, and the
/// kernel's numbers of the sockets that are for datagrams.
pub(super) fn of(
    config: &Config,
    world: &World,
    orders: &Counted,
    bound: impl Fn(&config::Listener, SocketAddr) -> Option<(SocketAddr, Vec<u64>)>,
) -> Vec<ListenerView> {
    let view = |spec: &config::Listener| {
        let listener = world.listener(&spec.name)?;
        let bound: Vec<_> = spec.bind.iter().filter_map(|address| bound(spec, *address)).collect();
        let tls = world.inbound.iter().find(|(of, _)| *of == spec.name);
        let orders = orders.iter().find(|(of, _)| *of == spec.name);
        Some(ListenerView {
            name: Arc::clone(&spec.name),
            addresses: bound.iter().map(|(address, _)| *address).collect(),
            figures: Arc::clone(&listener.admission.figures),
            datagram_sockets: bound.into_iter().flat_map(|(_, inodes)| inodes).collect(),
            routes: listener.signposts(),
            requests: listener.requests(),
            tls: tls.map(|(_, tls)| Arc::clone(tls)),
            orders: orders.map(|(_, orders)| Arc::clone(orders)),
            live: Some(Arc::clone(listener)),
        })
    };
    config.listeners.iter().filter_map(view).collect()
}
