//! A host name that is looked up again and again.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::net::resolver::Resolver;

/// The addresses that a name has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// At least one: IPv4 first, each kind in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// So long is the answer good: by its TTL, from one second to one day.
    pub holds: Duration,
}

/// A host name that may be looked up again and again.
#[derive(Debug)]
pub struct Lookup {
    resolver: Resolver,
    host: Arc<str>,
    /// The last whole answer, IPv4 and IPv6: a name server that fails for one of them has not said
    /// that those addresses are gone.
    known: Mutex<[Vec<IpAddr>; 2]>,
}

impl Lookup {
    /// Nothing is asked yet.
    pub fn new(resolver: &Resolver, host: Arc<str>) -> Self {
        Self { resolver: resolver.clone(), host, known: Mutex::default() }
    }

    /// Another name, asked of the same.
    pub fn of(&self, host: Arc<str>) -> Self {
        Self::new(&self.resolver, host)
    }

    /// The name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The addresses it has now. It is asked anew each time, and ends after 5 s at the latest.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// `NotFound` if the name is known to have no address; anything else means that nobody could say.
    pub async fn addresses(&self) -> io::Result<Resolved> {
        let found = self.resolver.addresses(&self.host).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (known, said) in known.iter_mut().zip([found.v4, found.v6]) {
            if let Some(said) = said {
                *known = said;
            }
        }
        let addresses: Vec<_> = known.iter().flatten().copied().collect();
        Ok(Resolved { addresses, holds: found.holds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(host: &str) -> Lookup {
        Lookup::new(&Resolver::default(), host.into())
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error() {
        let error = lookup("does-not-exist.invalid").addresses().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_address_is_its_own_name() {
        for address in ["127.0.0.1", "::1"] {
            let found = lookup(address).addresses().await.unwrap();
            assert_eq!(found.addresses, [address.parse::<IpAddr>().unwrap()]);
        }
    }

    #[tokio::test]
    async fn this_machine_is_known_without_a_name_server() {
        let nowhere = Resolver::new(vec!["127.0.0.1:9".parse().unwrap()]);
        let found = Lookup::new(&nowhere, "localhost".into()).addresses().await.unwrap();
        assert!(found.addresses.iter().all(IpAddr::is_loopback));
    }
}
