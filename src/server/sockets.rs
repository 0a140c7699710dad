//! The listening sockets before they listen: bound for every worker, looked at again, opened.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::config::{Config, Protocol};
use crate::listener::Post;
use crate::net::{BindError, bind_datagrams, bind_listener, inode, is_taken};
use crate::server::StartError;
use crate::server::workers::Thread;
use crate::server::world::World;

/// The sockets of one listener address, one for each worker.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Index into the configuration's listeners.
    pub(super) listener: usize,
    /// As bound: port 0 has become a real one.
    pub(super) address: SocketAddr,
    protocol: Protocol,
    fds: Vec<OwnedFd>,
}

impl Sockets {
    /// The kernel's numbers of the sockets, if they are for datagrams.
    pub(super) fn datagram_inodes(&self) -> Vec<u64> {
        match self.protocol {
            Protocol::Tcp | Protocol::Http => Vec::new(),
            Protocol::Udp => self.fds.iter().filter_map(|fd| inode(fd).ok()).collect(),
        }
    }
}

/// Binds every address of the configuration, or says which cannot be bound.
pub(super) fn bind_all(config: &Config, workers: usize) -> Result<Vec<Sockets>, StartError> {
    let mut bound = Vec::new();
    let mut refused = Vec::new();
    for (listener, spec) in config.listeners.iter().enumerate() {
        for address in &spec.bind {
            let protocol = spec.protocol;
            let fds = match protocol {
                Protocol::Tcp | Protocol::Http => bind_listener(*address, workers, spec.keepalive),
                Protocol::Udp => bind_datagrams(*address, workers),
            };
            match fds {
                Ok((address, fds)) => bound.push(Sockets { listener, address, protocol, fds }),
                Err(error) => refused.push(error),
            }
        }
    }
    if refused.is_empty() { Ok(bound) } else { Err(StartError::Bind(refused)) }
}

/// Looks once more whether the addresses are ours alone, before any of them listens: a socket that
/// is bound but does not listen yet keeps nobody else from binding, another evenkeel in its first
/// round included. A datagram socket does.
pub(super) fn still_free(sockets: &[Sockets]) -> Result<(), StartError> {
    let is_lost = |sockets: &&Sockets| {
        sockets.protocol != Protocol::Udp && is_taken(sockets.address).is_ok_and(|taken| taken)
    };
    let lost = sockets.iter().filter(is_lost).map(|sockets| BindError {
        address: sockets.address,
        source: io::ErrorKind::AddrInUse.into(),
    });
    let lost: Vec<_> = lost.collect();
    if lost.is_empty() { Ok(()) } else { Err(StartError::Bind(lost)) }
}

/// Opens the sockets of one address and gives each worker its own.
pub(super) async fn open(
    config: &Config,
    world: &World,
    sockets: Sockets,
    workers: &[Thread],
) -> Result<(), StartError> {
    let Sockets { listener, address, protocol, fds } = sockets;
    let (Some(spec), Some(live)) = (config.listeners.get(listener), world.listeners.get(listener))
    else {
        return Ok(());
    };
    let refused = |why| StartError::Kernel { what: format!("listen on {address}"), why };
    let backlog = i32::try_from(spec.backlog).unwrap_or(i32::MAX);
    let to_listen = if protocol != Protocol::Udp { &*fds } else { &[] };
    for fd in to_listen {
        rustix::net::listen(fd, backlog).map_err(|errno| refused(errno.into()))?;
    }
    let post = Arc::new(Post::new(address, Arc::clone(live)));
    for (fd, worker) in fds.into_iter().zip(workers) {
        worker.listen(Arc::clone(&post), fd).await.map_err(refused)?;
    }
    tracing::info!(listener = &*live.name, %address, "listening");
    Ok(())
}
