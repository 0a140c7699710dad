//! The listening sockets: bound for every worker, looked at again, opened, and kept over reloads.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::config::{self, Config, Protocol};
use crate::listener::{Gate, Listener, Post};
use crate::net::{
    BindError, bind_beside, bind_datagrams, bind_listener, inode, is_taken, set_keepalive,
};
use crate::server::workers::Thread;
use crate::server::{Inheritance, StartError};

/// The sockets of one listener address that do not listen yet.
#[derive(Debug)]
pub(super) struct Sockets {
    /// The listener's name.
    pub(super) listener: Arc<str>,
    /// As the file says it.
    configured: SocketAddr,
    /// As bound: port 0 has become a real one.
    pub(super) address: SocketAddr,
    is_datagram: bool,
    /// Somebody listens there, and may: whoever has opened them for us, or we ourselves at an address
    /// that takes this one in.
    is_shared: bool,
    fds: Vec<OwnedFd>,
}

/// The sockets of one address that workers serve.
#[derive(Debug)]
pub(super) struct Held {
    /// The name of the listener that stands there.
    pub(super) listener: Arc<str>,
    configured: SocketAddr,
    pub(super) is_datagram: bool,
    pub(super) post: Arc<Post>,
    /// Duplicates of what the workers have, to be handed on, and to be changed.
    pub(super) fds: Vec<OwnedFd>,
}

impl Sockets {
    /// The kernel's numbers of the sockets, if they are for datagrams.
    pub(super) fn datagram_inodes(&self) -> Vec<u64> {
        if self.is_datagram { inodes(&self.fds) } else { Vec::new() }
    }

    /// Binds, or takes what was inherited for it. `held` is what we serve already.
    pub(super) fn bind(
        spec: &config::Listener,
        configured: SocketAddr,
        workers: usize,
        inheritance: &mut Inheritance,
        held: &[Held],
    ) -> Result<Self, BindError> {
        let is_datagram = spec.protocol == Protocol::Udp;
        let inherited = inheritance.take(&spec.name, configured, spec.protocol);
        let is_ours = !is_datagram && held.iter().any(|held| held.overlaps(configured));
        let is_shared = inherited.is_some() || is_ours;
        let (address, fds) = match inherited {
            Some(inherited) => (inherited.address, inherited.fds),
            None if is_datagram => bind_datagrams(configured, workers)?,
            None if is_ours => bind_beside(configured, workers, spec.keepalive)?,
            None => bind_listener(configured, workers, spec.keepalive)?,
        };
        let listener = Arc::clone(&spec.name);
        Ok(Self { listener, configured, address, is_datagram, is_shared, fds })
    }

    /// True if they were bound for this address of the file.
    pub(super) fn is_for(&self, configured: SocketAddr) -> bool {
        self.configured == configured
    }

    /// Has the sockets listen; connections queue up from now on.
    pub(super) fn listen(&self, spec: &config::Listener) -> Result<(), StartError> {
        if self.is_datagram {
            return Ok(());
        }
        let what = || format!("listen on {}", self.address);
        let refused =
            |errno: rustix::io::Errno| StartError::Kernel { what: what(), why: errno.into() };
        self.fds.iter().try_for_each(|fd| rustix::net::listen(fd, backlog(spec))).map_err(refused)
    }

    /// Gives each worker its socket, behind a gate that stands so. What cannot be served by any worker is an error.
    pub(super) async fn open(
        self,
        live: Arc<Listener>,
        workers: &[Thread],
        gate: Gate,
    ) -> Result<Held, StartError> {
        let Self { listener, configured, address, is_datagram, fds, .. } = self;
        let refused = |why| StartError::Kernel { what: format!("listen on {address}"), why };
        let post = Arc::new(Post::new(address, live));
        post.turn(gate);
        let copies = fds.iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<_>>>();
        let copies = copies.map_err(refused)?;
        // There may be more sockets than workers, or fewer: they are used as they are, all of them.
        for (fd, worker) in fds.into_iter().zip(workers.iter().cycle()) {
            worker.listen(Arc::clone(&post), fd).await.map_err(refused)?;
        }
        tracing::info!(listener = &*listener, %address, "listening");
        Ok(Held { listener, configured, is_datagram, post, fds: copies })
    }
}

impl Held {
    /// True if this address of a listener is served here.
    pub(super) fn serves(&self, spec: &config::Listener, configured: SocketAddr) -> bool {
        if self.is_datagram != (spec.protocol == Protocol::Udp) {
            return false;
        }
        match configured.port() {
            0 => self.configured == configured && self.listener == spec.name,
            _ => self.post.address() == configured,
        }
    }

    /// True if connections to the one address may come to the other: they differ, and one of them is
    /// any address of the host.
    fn overlaps(&self, other: SocketAddr) -> bool {
        let own = self.post.address();
        let is_any = own.ip().is_unspecified() || other.ip().is_unspecified();
        let is_alike = own.port() == other.port() && own.is_ipv4() == other.is_ipv4();
        !self.is_datagram && is_alike && is_any && own != other
    }

    /// The kernel's numbers of the sockets, if they are for datagrams.
    pub(super) fn datagram_inodes(&self) -> Vec<u64> {
        if self.is_datagram { inodes(&self.fds) } else { Vec::new() }
    }

    /// Stands for this listener from now on, and as it is set.
    pub(super) fn adopt(&mut self, spec: &config::Listener, live: Arc<Listener>) {
        self.listener = Arc::clone(&spec.name);
        if !self.is_datagram {
            for fd in &self.fds {
                // What the kernel refuses stays as it was, for connections to come.
                rustix::net::listen(fd, backlog(spec)).ok();
                set_keepalive(fd, spec.keepalive).ok();
            }
        }
        self.post.replace(live);
    }
}

fn inodes(fds: &[OwnedFd]) -> Vec<u64> {
    fds.iter().filter_map(|fd| inode(fd).ok()).collect()
}

fn backlog(spec: &config::Listener) -> i32 {
    i32::try_from(spec.backlog).unwrap_or(i32::MAX)
}

/// Binds every address of the configuration, or says which cannot be bound.
pub(super) fn bind_all(
    config: &Config,
    workers: usize,
    inheritance: &mut Inheritance,
) -> Result<Vec<Sockets>, StartError> {
    let (mut bound, mut refused) = (Vec::new(), Vec::new());
    for spec in &config.listeners {
        for address in &spec.bind {
            match Sockets::bind(spec, *address, workers, inheritance, &[]) {
                Ok(sockets) => bound.push(sockets),
                Err(error) => refused.push(error),
            }
        }
    }
    if refused.is_empty() { Ok(bound) } else { Err(StartError::Bind(refused)) }
}

/// Looks once more whether the addresses are ours alone, before any of them listens: a socket that
/// is bound but does not listen yet keeps nobody else from binding, another evenkeel in its first
/// round included. A datagram socket does.
pub(super) fn still_free<'a>(sockets: impl Iterator<Item = &'a Sockets>) -> Result<(), StartError> {
    let is_lost = |sockets: &&Sockets| {
        let may_be = !sockets.is_datagram && !sockets.is_shared;
        may_be && is_taken(sockets.address).is_ok_and(|taken| taken)
    };
    let lost = sockets.filter(is_lost).map(|sockets| BindError {
        address: sockets.address,
        source: io::ErrorKind::AddrInUse.into(),
    });
    let lost: Vec<_> = lost.collect();
    if lost.is_empty() { Ok(()) } else { Err(StartError::Bind(lost)) }
}
