//! TLS that ends at listeners, as metrics and status show it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use crate::admin::book::{Book, named, word};
use crate::admin::names;
use crate::admin::status::rfc3339;
use crate::api;
use crate::server::{ListenerView, Snapshot};
use crate::tls::{Certified, Handshaken, Inbound};

/// The figures of all listeners at which TLS ends.
pub(super) fn metrics(book: &mut Book, snapshot: &Snapshot) {
    let ending = || snapshot.listeners.iter().filter_map(|view| Some((view, view.tls.as_ref()?)));
    let durations =
        ending().map(|(view, tls)| (vec![("listener", &view.name)], &tls.figures.duration));
    book.histograms(&names::TLS_DURATION, durations);
    let handshakes = book.family(&names::TLS_HANDSHAKES);
    let active = book.family(&names::TLS_ACTIVE);
    let resumed = book.family(&names::TLS_RESUMED);
    let expiry = book.family(&names::CERTIFICATE_EXPIRY);
    let reloads = book.family(&names::CERTIFICATE_RELOADS);
    for (view, tls) in ending() {
        let name = || named("listener", &view.name);
        for (version, how, count) in tls.figures.handshakes() {
            let labels = [word("version", version), word("outcome", how.as_str())];
            handshakes.set([vec![name()], labels.to_vec()].concat(), count);
        }
        active.set(vec![name()], tls.figures.active.get());
        for (version, count) in tls.figures.resumed() {
            resumed.set(vec![name(), word("version", version)], count);
        }
        for (certificate, ends) in expiries(&tls.certificates.list()) {
            expiry.set(vec![name(), named("name", &certificate)], ends);
        }
        for (outcome, count) in tls.figures.reloads() {
            reloads.set(vec![name(), word("outcome", outcome)], count);
        }
    }
}

/// When the certificates of each name end, in seconds since 1970; of several the first.
fn expiries(certificates: &[Arc<Certified>]) -> HashMap<Arc<str>, u64> {
    let mut first = HashMap::new();
    for certified in certificates {
        let since_1970 = certified.not_after.duration_since(SystemTime::UNIX_EPOCH);
        let ends = since_1970.map_or(0, |ends| ends.as_secs());
        let known = first.entry(Arc::clone(&certified.name)).or_insert(ends);
        *known = ends.min(*known);
    }
    first
}

/// What the status report says of a listener's TLS.
pub(super) fn status(view: &ListenerView) -> Option<api::TlsStatus> {
    view.tls.as_deref().map(of)
}

fn of(tls: &Inbound) -> api::TlsStatus {
    let certificates = tls.certificates.list();
    let none = Handshaken::ALL.map(|how| (how.as_str().to_owned(), 0));
    let mut handshakes = BTreeMap::from(none);
    for (_, how, count) in tls.figures.handshakes() {
        *handshakes.entry(how.as_str().to_owned()).or_insert(0) += count;
    }
    api::TlsStatus {
        certificates: certificates.iter().map(|certified| certificate(certified)).collect(),
        handshakes,
        handshakes_active: tls.figures.active.get(),
        resumed: tls.figures.resumed().map(|(_, count)| count).sum(),
    }
}

fn certificate(certified: &Certified) -> api::CertificateStatus {
    api::CertificateStatus {
        name: certified.name.to_string(),
        names: certified.names.clone(),
        not_before: rfc3339(certified.not_before),
        not_after: rfc3339(certified.not_after),
        source: certified.source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::self_signed;

    #[test]
    fn of_two_certificates_with_one_name_the_first_to_end_is_told() {
        let of = |days: u64| {
            let made = self_signed(&["a.example".to_owned()]).unwrap();
            let not_after = SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(24 * days);
            Arc::new(Certified { not_after, ..made })
        };
        let told = expiries(&[of(20_000), of(19_000), of(21_000)]);
        assert_eq!(told, HashMap::from([(Arc::from("a.example"), 19_000 * 86_400)]));
    }
}
