//! The certificates of one listener, and which of them a client is shown.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::{Certified, Source};

/// The certificates of a listener in numbered slots: those of the file in their order, then the one
/// that is asked for, if one is. A replaced one is shown from the next handshake on.
///
/// A handshake loads the list and looks a name up; it waits for nobody.
#[derive(Debug)]
pub struct Certificates {
    held: ArcSwap<Held>,
}

impl Certificates {
    /// One slot for each.
    pub fn new(slots: Vec<Certified>) -> Self {
        Self::of(slots.into_iter().map(Arc::new).collect())
    }

    /// One slot for each; some may be shown elsewhere too.
    pub(super) fn of(slots: Vec<Arc<Certified>>) -> Self {
        Self { held: ArcSwap::from_pointee(Held::new(slots)) }
    }

    /// Shows `certified` from now on in place of what is in `slot`; a slot that is not there stays so.
    pub fn replace(&self, slot: usize, certified: Certified) {
        let certified = Arc::new(certified);
        self.held.rcu(|held| {
            let mut slots = held.slots.clone();
            if let Some(old) = slots.get_mut(slot) {
                *old = Arc::clone(&certified);
            }
            Held::new(slots)
        });
    }

    /// What is in the slots now.
    pub fn list(&self) -> Vec<Arc<Certified>> {
        self.held.load().slots.clone()
    }

    /// True if whoever asks for `other` is shown a certificate of that name, and whoever asks for
    /// `name` one that does not have it.
    pub fn tells_apart(&self, name: &str, other: &str) -> bool {
        self.held.load().tells_apart(name, other)
    }

    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.held.load().find(name, schemes).map(|certified| Arc::clone(&certified.key))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
    }
}

/// Certificates with an index over their names.
#[derive(Debug)]
struct Held {
    slots: Vec<Arc<Certified>>,
    /// Slots by name, in their order.
    exact: HashMap<String, Vec<usize>>,
    /// The same for `*.NAME`, by NAME.
    below: HashMap<String, Vec<usize>>,
    /// Those made here: better than another name's, and worse than any that a client can believe.
    interim: HashMap<String, Vec<usize>>,
}

impl Held {
    fn new(slots: Vec<Arc<Certified>>) -> Self {
        let (mut exact, mut below, mut interim) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut order: Vec<_> = slots.iter().enumerate().collect();
        // One that renews itself takes over from the file's that bridged the time before it.
        order.sort_by_key(|(_, certified)| certified.source != Source::Acme);
        for (slot, certified) in order {
            for name in &certified.names {
                let (index, name) = match name.strip_prefix("*.") {
                    _ if certified.source == Source::SelfSigned => (&mut interim, name.as_str()),
                    Some(parent) => (&mut below, parent),
                    None => (&mut exact, name.as_str()),
                };
                let slots: &mut Vec<_> = index.entry(name.to_owned()).or_default();
                slots.push(slot);
            }
        }
        Self { slots, exact, below, interim }
    }

    fn tells_apart(&self, name: &str, other: &str) -> bool {
        let lower = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        let (name, other) = (lower(name), lower(other));
        let other_has = |slot: &Arc<Certified>| slot.has(&other);
        let shown = self.find(Some(&name), &[]);
        !shown.is_some_and(other_has) && self.slots.iter().any(other_has)
    }

    /// The certificate for a client that asks for `name`, in lower case. Of several for one name, the
    /// first that the client can check; nobody's name gets the first of all.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Certified>> {
        let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
        let exact = name.and_then(|name| self.exact.get(name));
        let wild = name.and_then(|name| name.split_once('.'));
        let wild = wild.filter(|(label, _)| !label.is_empty());
        let below = wild.and_then(|(_, parent)| self.below.get(parent));
        let interim = name.and_then(|name| self.interim.get(name));
        let named = [exact, below, interim].into_iter().flatten().flatten();
        let mut named = named.filter_map(|slot| self.slots.get(*slot)).peekable();
        let first = named.peek().copied();
        let checked =
            |certified: &&Arc<Certified>| certified.key.key.choose_scheme(schemes).is_some();
        // With none that it can check, the handshake fails with a certificate of that name.
        named.find(checked).or(first).or_else(|| self.default(checked))
    }

    /// The first certificate; if the client cannot check its signature, the first for the same names
    /// that it can.
    fn default(&self, checked: impl Fn(&&Arc<Certified>) -> bool) -> Option<&Arc<Certified>> {
        let first = self.slots.first()?;
        let mut same = self.slots.iter().filter(|other| other.names == first.names);
        same.find(checked).or(Some(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Identity;
    use crate::tls::self_signed;

    const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
    const RSA: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256];
    const BOTH: &[SignatureScheme] =
        &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

    fn file() -> Source {
        Source::Files(Identity { cert: "c".into(), key: "k".into() })
    }

    fn of(names: &[&str]) -> Certified {
        Certified { source: file(), ..interim(names) }
    }

    fn interim(names: &[&str]) -> Certified {
        self_signed(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    /// As [`of`], with a key of RSA.
    fn rsa(names: &[&str]) -> Certified {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let cert = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Certified::new(vec![cert.der().clone()], key, file()).unwrap()
    }

    fn slot(held: &Certificates, name: Option<&str>, schemes: &[SignatureScheme]) -> usize {
        let found = held.find(name, schemes).unwrap();
        let same = |certified: &Arc<Certified>| Arc::ptr_eq(&certified.key, &found);
        held.list().iter().position(same).unwrap()
    }

    #[test]
    fn the_exact_name_goes_before_the_wildcard_and_the_first_is_for_all_others() {
        let held = Certificates::new(vec![
            of(&["first.example"]),
            of(&["*.b.example"]),
            of(&["a.b.example", "B.example"]),
        ]);
        let asked = |name| slot(&held, name, ECDSA);
        assert_eq!(asked(Some("a.b.example")), 2);
        assert_eq!(asked(Some("a.b.example.")), 2);
        assert_eq!(asked(Some("b.example")), 2);
        assert_eq!(asked(Some("x.b.example")), 1);
        assert_eq!(asked(Some("x.y.b.example")), 0);
        assert_eq!(asked(Some(".b.example")), 0);
        assert_eq!(asked(Some("other.example")), 0);
        assert_eq!(asked(Some("localhost")), 0);
        assert_eq!(asked(None), 0);
    }

    #[test]
    fn names_are_apart_if_only_the_other_certificate_has_the_other_name() {
        let held = Certificates::new(vec![
            of(&["a.example", "b.example"]),
            of(&["*.b.example"]),
            rsa(&["a.example"]),
        ]);
        assert!(held.tells_apart("a.example", "x.b.example"));
        assert!(held.tells_apart("x.b.example", "A.example."));
        assert!(!held.tells_apart("a.example", "b.example"));
        assert!(!held.tells_apart("x.b.example", "y.b.example"));
        assert!(!held.tells_apart("a.example", "unknown.example"), "nobody has it");
    }

    #[test]
    fn of_two_for_one_name_the_first_whose_signature_the_client_knows_is_shown() {
        let pair = || vec![rsa(&["a.example"]), of(&["a.example"])];
        let held = Certificates::new([vec![of(&["first.example"])], pair()].concat());
        let asked = |schemes| slot(&held, Some("a.example"), schemes);
        assert_eq!((asked(BOTH), asked(RSA), asked(ECDSA)), (1, 1, 2));
        // None of that name can be checked: another name's would not help.
        assert_eq!(asked(&[SignatureScheme::ED25519]), 1);

        let held = Certificates::new(pair());
        assert_eq!((slot(&held, None, RSA), slot(&held, None, ECDSA)), (0, 1));
    }

    #[test]
    fn a_file_bridges_the_time_until_the_certificate_that_is_asked_for_has_come() {
        let names = ["a.example", "b.example", "c.example"];
        let held = Certificates::new(vec![of(&["*.example"]), of(&["b.example"]), interim(&names)]);
        let asked = |name| slot(&held, Some(name), ECDSA);
        assert_eq!((asked("a.example"), asked("b.example")), (0, 1));
        held.replace(2, Certified { source: Source::Acme, ..interim(&names) });
        assert_eq!((asked("a.example"), asked("b.example"), asked("d.example")), (2, 2, 0));
        assert_eq!(slot(&held, None, ECDSA), 0);

        let held = Certificates::new(vec![of(&["x.test"]), interim(&names)]);
        assert_eq!(slot(&held, Some("a.example"), ECDSA), 1);
    }

    #[test]
    fn a_replaced_certificate_is_shown_from_then_on() {
        let held = Certificates::new(vec![of(&["a.example"]), of(&["b.example"])]);
        let before = held.find(Some("b.example"), ECDSA).unwrap();
        held.replace(1, of(&["c.example"]));
        assert_eq!(slot(&held, Some("b.example"), ECDSA), 0);
        assert_eq!(slot(&held, Some("c.example"), ECDSA), 1);
        assert!(!held.list().iter().any(|certified| Arc::ptr_eq(&certified.key, &before)));
        held.replace(2, of(&["d.example"]));
        assert_eq!(held.list().len(), 2);
    }
}
