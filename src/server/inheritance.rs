//! Sockets that somebody else has opened for this process: the process before an upgrade, or the
//! service manager.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::config::Protocol;

/// Sockets of one address, as they were opened.
#[derive(Debug)]
pub struct Inherited {
    /// The listener they are meant for, where somebody has said so.
    pub listener: Option<String>,
    /// True for datagrams.
    pub is_datagram: bool,
    /// As bound.
    pub address: SocketAddr,
    /// At least one; used as they are, all of them.
    pub fds: Vec<OwnedFd>,
}

/// All sockets that were opened for this process. What nobody takes is closed with it.
#[derive(Debug, Default)]
pub struct Inheritance {
    sockets: Vec<Inherited>,
}

impl Inheritance {
    /// Of these sockets.
    pub fn of(sockets: Vec<Inherited>) -> Self {
        Self { sockets }
    }

    /// Takes what was opened for this listener at this address: by its name, else by the address.
    /// A port 0 in `address` fits any port if the listener is named.
    pub fn take(
        &mut self,
        listener: &str,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Option<Inherited> {
        let is_datagram = protocol == Protocol::Udp;
        let fits = |one: &Inherited| one.is_datagram == is_datagram && meets(one, address);
        let is_meant = |one: &Inherited| one.listener.as_deref() == Some(listener);
        let named = self.sockets.iter().position(|one| is_meant(one) && fits(one));
        let place = named.or_else(|| {
            let at_address = |one: &Inherited| fits(one) && one.address == address;
            self.sockets.iter().position(at_address)
        });
        place.map(|place| self.sockets.swap_remove(place))
    }

    /// What nobody has taken.
    pub fn left(&self) -> impl Iterator<Item = &Inherited> {
        self.sockets.iter()
    }
}

fn meets(one: &Inherited, address: SocketAddr) -> bool {
    let is_same_port = address.port() == 0 || one.address.port() == address.port();
    is_same_port && one.address.ip() == address.ip()
}
