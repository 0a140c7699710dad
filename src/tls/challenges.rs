//! What is shown to an authority that wants to see that a name is ours: in handshakes (RFC 8737).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::Tokens;

/// The protocol that the authority offers, and nothing beside it.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Certificates by the name that they answer for, one store for the process: whichever listener the
/// authority comes to can answer.
#[derive(Debug, Default)]
pub struct Challenges {
    /// What is shown over http.
    pub tokens: Tokens,
    pending: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
}

impl Challenges {
    /// Answers for `domain` with `certificate` until it is removed.
    pub fn insert(&self, domain: &str, certificate: Arc<CertifiedKey>) {
        self.change(|pending| {
            pending.insert(domain.to_ascii_lowercase(), Arc::clone(&certificate));
        });
    }

    /// Answers no more for `domain`.
    pub fn remove(&self, domain: &str) {
        self.change(|pending| {
            pending.remove(&domain.to_ascii_lowercase());
        });
    }

    fn change(&self, change: impl Fn(&mut HashMap<String, Arc<CertifiedKey>>)) {
        self.pending.rcu(|pending| {
            let mut next = HashMap::clone(pending);
            change(&mut next);
            next
        });
    }

    fn find(&self, domain: &str) -> Option<Arc<CertifiedKey>> {
        self.pending.load().get(domain).cloned()
    }
}

impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The library has made it lower case.
        self.find(hello.server_name()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_until_it_is_removed() {
        let challenges = Challenges::default();
        let answer = crate::tls::self_signed(&["a.example".to_owned()]).unwrap().key;
        challenges.insert("A.example", Arc::clone(&answer));
        assert!(Arc::ptr_eq(&challenges.find("a.example").unwrap(), &answer));
        assert!(challenges.find("b.example").is_none());
        challenges.remove("a.Example");
        assert!(challenges.find("a.example").is_none());
    }
}
