//! Sockets that the service manager has opened: socket activation, by name.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use crate::config::{Config, Protocol};
use crate::server::inheritance::{Inheritance, Inherited};

/// What systemd calls a socket that nobody has named.
const UNNAMED: &str = "unknown";

/// Why the sockets of the service manager cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// It is no socket for connections or datagrams over IP.
    #[error(
        "the service manager passed socket {name:?} (descriptor {fd}), which is of no use: {why}"
    )]
    Unusable {
        /// As it was named.
        name: String,
        /// Its descriptor.
        fd: usize,
        /// What is wrong.
        why: io::Error,
    },
    /// No listener has that name or that address.
    #[error(
        "the service manager passed {kind} socket {name:?} at {address}, which no listener of the \
         file has: name it as the listener (FileDescriptorName=) and give both the same address"
    )]
    Unfit {
        /// As it was named.
        name: String,
        /// `tcp` or `udp`.
        kind: &'static str,
        /// Where it is bound.
        address: SocketAddr,
    },
}

/// Takes the sockets that the service manager has passed, which is nothing without one. Each is meant
/// for the listener whose name it has, else for the one whose address it has.
///
/// Changes the environment, so that no child takes them for its own: it must be called before there is
/// a second thread, and once.
///
/// # Errors
/// One of them is no socket for listening over IP.
pub fn from_service_manager() -> Result<Inheritance, ActivationError> {
    // The library also takes sockets that are not said to be for this process.
    let pid = env::var("LISTEN_PID").ok().and_then(|pid| pid.trim().parse::<u32>().ok());
    if pid != Some(std::process::id()) {
        return Ok(Inheritance::default());
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(passed.len());
    for index in 0..passed.len() {
        let name = names.next().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| UNNAMED.to_owned());
        match take(&mut passed, index) {
            Ok((fd, address, is_datagram)) => sockets.push(Inherited {
                listener: (name != UNNAMED).then_some(name),
                is_datagram,
                address,
                fds: vec![fd],
            }),
            Err(why) => return Err(ActivationError::Unusable { name, fd: index + 3, why }),
        }
    }
    Ok(Inheritance::of(merged(sockets)))
}

fn take(passed: &mut ListenFd, index: usize) -> io::Result<(OwnedFd, SocketAddr, bool)> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    if let Ok(socket) = passed.take_udp_socket(index) {
        let socket = socket.ok_or_else(gone)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        return Ok((socket.into(), address, true));
    }
    let socket = passed.take_tcp_listener(index)?.ok_or_else(gone)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok((socket.into(), address, false))
}

/// Sockets of one address belong together, as several with `ReusePort=` do.
fn merged(sockets: Vec<Inherited>) -> Vec<Inherited> {
    let mut merged: Vec<Inherited> = Vec::new();
    for socket in sockets {
        let is_same = |other: &&mut Inherited| {
            (&other.listener, other.is_datagram, other.address)
                == (&socket.listener, socket.is_datagram, socket.address)
        };
        match merged.iter_mut().find(is_same) {
            Some(other) => other.fds.extend(socket.fds),
            None => merged.push(socket),
        }
    }
    merged
}

/// Makes sure that every inherited socket has a listener to take it.
///
/// # Errors
/// The first one that has none.
pub fn fits(inheritance: &Inheritance, config: &Config) -> Result<(), ActivationError> {
    let has_seat = |socket: &&Inherited| {
        config.listeners.iter().any(|listener| {
            let is_datagram = listener.protocol == Protocol::Udp;
            let is_named = socket.listener.as_deref() == Some(&*listener.name);
            is_datagram == socket.is_datagram
                && listener.bind.iter().any(|address| {
                    *address == socket.address
                        || (is_named && address.port() == 0 && address.ip() == socket.address.ip())
                })
        })
    };
    let Some(unfit) = inheritance.left().find(|socket| !has_seat(socket)) else { return Ok(()) };
    Err(ActivationError::Unfit {
        name: unfit.listener.clone().unwrap_or_else(|| UNNAMED.to_owned()),
        kind: if unfit.is_datagram { "udp" } else { "tcp" },
        address: unfit.address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn socket(name: Option<&str>, is_datagram: bool, address: &str) -> Inherited {
        let fd = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let (listener, address) = (name.map(str::to_owned), address.parse().unwrap());
        Inherited { listener, is_datagram, address, fds: vec![fd] }
    }

    #[test]
    fn a_socket_fits_by_address_and_a_free_port_by_name() {
        let text = "[listener.a]\nbind = [\"127.0.0.1:1\", \"127.0.0.2:0\"]\npool = \"p\"\n\
                    [listener.b]\nbind = \"127.0.0.1:1\"\nprotocol = \"udp\"\npool = \"q\"\n\
                    [pool.p]\nbackends = [\"10.0.0.1:1\"]\n[pool.q]\nbackends = [\"10.0.0.1:1\"]\n";
        let config = config::parse("a.toml", text, &|_| None).unwrap().config;
        let fit = |one| fits(&Inheritance::of(vec![one]), &config).is_ok();
        assert!(fit(socket(None, false, "127.0.0.1:1")));
        assert!(fit(socket(Some("evenkeel.socket"), true, "127.0.0.1:1")));
        assert!(fit(socket(Some("a"), false, "127.0.0.2:4711")));
        assert!(!fit(socket(None, false, "127.0.0.2:4711")));
        assert!(!fit(socket(Some("a"), false, "127.0.0.1:2")));
        assert!(!fit(socket(Some("b"), true, "127.0.0.2:4711")));
    }

    #[test]
    fn sockets_of_one_address_belong_together() {
        let sockets = || {
            let (one, other) =
                (socket(Some("a"), false, "127.0.0.1:1"), socket(None, true, "127.0.0.1:1"));
            vec![one, other, socket(Some("a"), false, "127.0.0.1:1")]
        };
        let merged = merged(sockets());
        assert_eq!(merged.iter().map(|one| one.fds.len()).collect::<Vec<_>>(), [2, 1]);
    }
}
