//! What a process begins with that takes over from another one: sockets, and what is known of backends.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::health;
use crate::server::inheritance::{Inheritance, Inherited};
use crate::server::upgrade::handover::message::Whose;

/// What is known of the backends, by pool.
pub type Known = BTreeMap<String, Vec<health::Known>>;

/// What is handed on before anything stops.
#[derive(Debug, Default)]
pub(in crate::server) struct Estate {
    /// Each address with its sockets.
    pub(in crate::server) sockets: Vec<(Whose, Vec<OwnedFd>)>,
    /// Of the backends of each pool.
    pub(in crate::server) known: Known,
}

/// The socket of an admin interface, and its address as the file writes it.
#[derive(Debug)]
pub struct AdminSocket {
    /// As in `admin.bind`, a port 0 as it was bound.
    pub address: String,
    /// It listens.
    pub fd: OwnedFd,
}

impl Estate {
    /// Adds sockets; those of one address may come in several parts.
    pub(super) fn add(&mut self, of: Whose, fds: impl IntoIterator<Item = OwnedFd>) {
        match self.sockets.iter_mut().find(|(known, _)| *known == of) {
            Some((_, sockets)) => sockets.extend(fds),
            None => self.sockets.push((of, fds.into_iter().collect())),
        }
    }

    /// The sockets, each for its purpose, and the rest.
    pub(super) fn into_parts(self) -> (Inheritance, Option<AdminSocket>, Known) {
        let (mut listeners, mut admin) = (Vec::new(), None);
        for (of, fds) in self.sockets {
            match of {
                Whose::Listener { name: listener, is_datagram, address } => {
                    listeners.push(Inherited { listener, is_datagram, address, fds });
                }
                Whose::Admin(address) => {
                    let socket = fds.into_iter().next();
                    admin = socket.map(|fd| AdminSocket { address, fd });
                }
            }
        }
        (Inheritance::of(listeners), admin, self.known)
    }
}
