//! Looks up a host name without letting a dead resolver pile up threads.
//!
//! The system's resolver blocks a thread for as long as it likes and cannot be called back, so
//! whoever stops waiting leaves that thread behind. One name therefore has one at most.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::Semaphore;

/// A host name that may be looked up again and again.
#[derive(Debug)]
pub struct Lookup {
    host: Arc<str>,
    /// Held by the thread that asks the resolver.
    turn: Arc<Semaphore>,
}

impl Lookup {
    /// Nothing is asked yet.
    pub fn new(host: Arc<str>) -> Self {
        Self { host, turn: Arc::new(Semaphore::new(1)) }
    }

    /// The name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The addresses it has now, at least one, in the resolver's order.
    ///
    /// Must be called inside a tokio runtime. It waits while an earlier question that nobody waits
    /// for any more is unanswered.
    ///
    /// # Errors
    /// What the resolver says, or `NotFound` if the name has no address.
    pub async fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(io::Error::other)?;
        let host = Arc::clone(&self.host);
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let found = (&*host, 0).to_socket_addrs()?;
            Ok(found.map(|address| address.ip().to_canonical()).collect::<Vec<_>>())
        });
        match asked.await.map_err(io::Error::other)? {
            Ok(found) if found.is_empty() => Err(io::ErrorKind::NotFound.into()),
            found => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error() {
        let lookup = Lookup::new("does-not-exist.invalid".into());
        lookup.addresses().await.unwrap_err();
        assert_eq!(lookup.turn.available_permits(), 1);
    }

    #[tokio::test]
    async fn an_address_is_its_own_name() {
        let lookup = Lookup::new("127.0.0.1".into());
        assert_eq!(lookup.addresses().await.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }
}
