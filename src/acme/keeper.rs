//! The task that keeps one certificate fresh: shows the stored one, asks for the next in time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::acme::Holder;
use crate::acme::client::Asked;
use crate::acme::failure::Failure;
use crate::acme::on_disk;
use crate::acme::order::{self, Applicant, Issued};
use crate::acme::place::{self, Place};
use crate::acme::proof::Proofs;
use crate::acme::report;
use crate::acme::schedule::{Backoff, Validity};
use crate::config::Acme;
use crate::event::Events;
use crate::net::Lookup;
use crate::tls::Certified;

/// For a whole order.
const ORDER: Duration = Duration::from_secs(300);

/// The wait after too many orders, where the authority does not say how long.
const TOO_MANY: Duration = Duration::from_secs(60 * 60);

/// Time is looked at so often at least: clocks are set, and machines sleep.
const LOOK: Duration = Duration::from_secs(60);

/// Keeps the certificate of one `acme` table.
#[derive(Debug)]
pub(super) struct Keeper {
    spec: Acme,
    place: Place,
    holders: Vec<Holder>,
    proofs: Proofs,
    /// One order at a time in the process: two for one name would take each other's proof away,
    /// and two accounts would be opened where one is wanted.
    turn: Arc<Semaphore>,
    /// What is shown, unless it is the self-signed one.
    held: Option<Validity>,
    due: SystemTime,
}

impl Keeper {
    pub(super) fn new(
        spec: Acme,
        holders: Vec<Holder>,
        proofs: Proofs,
        turn: Arc<Semaphore>,
    ) -> Self {
        let first = spec.domains.first().map(String::as_str).unwrap_or_default();
        let place = Place::new(&spec.storage, &spec.directory, first);
        Self { spec, place, holders, proofs, turn, held: None, due: SystemTime::now() }
    }

    /// Shows what is stored, or says that there is nothing to show yet. Reads a file.
    pub(super) fn load(&mut self) {
        let stored = place::read(&self.place.certificate).map_err(|error| error.to_string());
        let read = |text: String| order::read(&text, &self.spec.domains);
        let stored = stored.and_then(|text| text.map(read).transpose());
        let (listener, domains) = (self.listeners(), self.domains());
        let file = self.place.certificate.display();
        match stored {
            Ok(Some(certified)) => {
                let validity = Validity::of(&certified);
                self.held = Some(validity);
                match order::flaw(&certified, &self.spec.domains) {
                    None => self.due = validity.renewal(fastrand::f64()),
                    Some(flaw) => tracing::warn!(
                        listener, domains, %file, flaw,
                        "the stored certificate will not do: asking for another at once"
                    ),
                }
                self.show(&certified);
            }
            Ok(None) => tracing::warn!(
                listener,
                domains,
                "no certificate yet: serving a self-signed one until the first has come"
            ),
            Err(why) => tracing::warn!(
                listener, domains, %file, why,
                "the stored certificate cannot be used: serving a self-signed one until the next \
                 has come"
            ),
        }
    }

    /// Asks for a certificate whenever one is due, until `stopping` is true.
    pub(super) async fn run(
        mut self,
        lookup: Arc<Lookup>,
        events: Events,
        stopping: watch::Receiver<bool>,
    ) {
        let mut backoff = Backoff::default();
        loop {
            let turn = Arc::clone(&self.turn);
            let due = async {
                until(self.due).await;
                turn.acquire_owned().await.ok()
            };
            let Some(Some(turn)) = before(&stopping, due).await else { return };
            let asked = Arc::new(Asked::default());
            // On the heap: it is large, and mostly this task waits.
            let issued = Box::pin(self.order(&lookup, &asked)).await;
            drop(turn);
            match issued {
                Ok(issued) => {
                    backoff.reset();
                    self.take(issued, &events).await;
                }
                Err(failure) if *stopping.borrow() => {
                    return tracing::debug!(
                        why = failure.said(),
                        "an order ended with the process"
                    );
                }
                Err(failure) => self.put_off(&failure, &asked, &mut backoff, &events),
            }
        }
    }

    async fn order(&self, lookup: &Arc<Lookup>, asked: &Arc<Asked>) -> Result<Issued, Failure> {
        let Self { spec, place, proofs, .. } = self;
        let applicant = Applicant { spec, place, proofs, lookup, asked };
        let ordered = timeout(ORDER, applicant.obtain()).await;
        ordered.unwrap_or(Err(Failure::Slow(ORDER.as_secs())))
    }

    /// Stores and shows a new certificate.
    async fn take(&mut self, issued: Issued, events: &Events) {
        let Issued { certified, pem } = issued;
        let (listener, domains) = (self.listeners(), self.domains());
        let path = self.place.certificate.clone();
        if let Err(error) = on_disk(move || place::write(&path, pem.as_bytes())).await {
            tracing::error!(
                listener, domains, %error,
                "the new certificate is used but not stored: a restart will ask for another"
            );
        }
        let validity = Validity::of(&certified);
        self.due = validity.renewal_of_new(SystemTime::now(), fastrand::f64());
        let (until, renewal) = (report::time(validity.until), report::time(self.due));
        tracing::info!(listener, domains, until, renewal, "new certificate");
        let from = report::state(self.held.replace(validity));
        self.show(&certified);
        self.holders.iter().for_each(|holder| holder.orders.ok.increment());
        let (to, reason) = (report::state(self.held), format!("issued by {}", self.spec.directory));
        report::tell(events, &self.holders, &certified.name, (&from, &to), &reason);
    }

    /// Says why there is no new certificate, and when the next is asked for.
    fn put_off(
        &mut self,
        failure: &Failure,
        asked: &Asked,
        backoff: &mut Backoff,
        events: &Events,
    ) {
        let now = SystemTime::now();
        let asked = asked.get().or_else(|| failure.is_rate().then_some(TOO_MANY));
        let wait = if failure.is_unheard() {
            backoff.wait_unheard(self.held, now, fastrand::f64())
        } else {
            backoff.wait(self.held, now, asked, fastrand::f64())
        };
        self.due = now + wait;
        let why = failure.said();
        let shown = match self.held {
            None => "a self-signed one is served",
            Some(held) if held.is_over(now) => "the old one, which has expired, is served",
            Some(_) => "the old one is served",
        };
        tracing::warn!(
            listener = self.listeners(),
            domains = self.domains(),
            why,
            again_in_s = wait.as_secs(),
            shown,
            "no new certificate"
        );
        self.holders.iter().for_each(|holder| holder.orders.failed.increment());
        let (from, name) = (report::state(self.held), self.spec.domains.first());
        let name = name.map(String::as_str).unwrap_or_default();
        report::tell(events, &self.holders, name, (&from, "not renewed"), &why);
    }

    fn show(&self, certified: &Certified) {
        for holder in &self.holders {
            holder.certificates.replace(holder.slot, certified.clone());
        }
    }

    fn listeners(&self) -> String {
        self.holders.iter().map(|holder| &*holder.listener).collect::<Vec<_>>().join(", ")
    }

    fn domains(&self) -> String {
        self.spec.domains.join(", ")
    }
}

impl Validity {
    fn of(certified: &Certified) -> Self {
        Self { from: certified.not_before, until: certified.not_after }
    }
}

/// What `future` gives; `None` if `stopping` is true before.
async fn before<T>(stopping: &watch::Receiver<bool>, future: impl Future<Output = T>) -> Option<T> {
    let mut stopping = stopping.clone();
    tokio::select! {
        biased;
        // An error means that whoever would say so is gone.
        _ = stopping.wait_for(|stopping| *stopping) => None,
        done = future => Some(done),
    }
}

/// Waits for a time of the wall clock.
async fn until(due: SystemTime) {
    while let Ok(left) = due.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Challenge;
    use crate::tls::{Certificates, self_signed};

    fn keeper(storage: &Path) -> Keeper {
        let spec = Acme {
            domains: vec!["a.test".to_owned()],
            contact: Vec::new(),
            directory: "https://acme.test/dir".to_owned(),
            directory_ca: None,
            challenge: Challenge::TlsAlpn01,
            storage: storage.to_owned(),
        };
        let shown = self_signed(&spec.domains).unwrap();
        let certificates = Arc::new(Certificates::new(vec![shown]));
        let holder = Holder { listener: "l".into(), certificates, slot: 0, orders: Arc::default() };
        let proofs = Proofs(Arc::default());
        Keeper::new(spec, vec![holder], proofs, Arc::new(Semaphore::new(1)))
    }

    /// Stores a certificate for these names that holds from now on for so many days.
    fn store(keeper: &Keeper, names: &[&str], days: i64) -> SystemTime {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        let now = x509_parser::time::ASN1Time::now().to_datetime();
        params.not_before = now;
        params.not_after = now + Duration::from_secs(86_400) * u32::try_from(days).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = key.serialize_pem() + &params.self_signed(&key).unwrap().pem();
        keeper.place.prepare().unwrap();
        place::write(&keeper.place.certificate, pem.as_bytes()).unwrap();
        SystemTime::now()
    }

    fn shown(keeper: &Keeper) -> Vec<String> {
        keeper.holders[0].certificates.list()[0].names.clone()
    }

    #[test]
    fn what_is_stored_is_shown_and_renewed_in_time_or_at_once_if_it_will_not_do() {
        let dir = tempfile::tempdir().unwrap();
        let mut fresh = keeper(dir.path());
        let now = store(&fresh, &["b.test", "a.test"], 90);
        fresh.load();
        let day = Duration::from_secs(86_400);
        assert!(fresh.due > now + day * 55 && fresh.due < now + day * 61);
        assert_eq!(shown(&fresh), ["b.test", "a.test"]);
        assert_eq!(&*fresh.holders[0].certificates.list()[0].name, "a.test");

        let mut other = keeper(dir.path());
        store(&other, &["b.test"], 90);
        other.load();
        assert!(other.due <= SystemTime::now() && other.held.is_some());
        assert_eq!(shown(&other), ["b.test"]);

        let mut broken = keeper(dir.path());
        place::write(&broken.place.certificate, b"nothing").unwrap();
        broken.load();
        assert!(broken.due <= SystemTime::now() && broken.held.is_none());
        assert_eq!(shown(&broken), ["a.test"]);
    }

    #[test]
    fn who_asks_too_often_stays_away_for_as_long_as_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let problem = r#"{"type": "urn:ietf:params:acme:error:rateLimited"}"#;
        let problem: instant_acme::Problem = serde_json::from_str(problem).unwrap();
        let why = instant_acme::Error::Api(problem);
        let limited = Failure::Authority { what: "order a certificate", why };
        let mut wait = |failure: &Failure| {
            let (mut backoff, before) = (Backoff::default(), SystemTime::now());
            keeper.put_off(failure, &Asked::default(), &mut backoff, &Events::default());
            keeper.due.duration_since(before).unwrap()
        };
        assert!(wait(&limited) >= TOO_MANY);
        assert!(wait(&Failure::Slow(1)) < Duration::from_secs(120));
        assert_eq!(keeper.holders[0].orders.failed.get(), 2);
    }

    #[tokio::test]
    async fn nothing_is_ordered_while_the_process_stops() {
        let dir = tempfile::tempdir().unwrap();
        let storage = dir.path().join("acme");
        let (_stop, stopping) = watch::channel(true);
        let lookup = Arc::new(Lookup::new(&crate::net::Resolver::default(), "acme.test".into()));
        keeper(&storage).run(lookup, Events::default(), stopping).await;
        assert!(!storage.exists());
    }
}
