//! One order from its beginning to the certificate (RFC 8555, 7.4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AuthorizationStatus, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::acme::account;
use crate::acme::client::{Asked, Https, host};
use crate::acme::failure::{self, Failure};
use crate::acme::on_disk;
use crate::acme::place::Place;
use crate::acme::proof::{self, Proofs, Shown};
use crate::config::{Acme, ClientTls};
use crate::net::Lookup;
use crate::tls::{self, Certified, Source};

/// How long the authority may take to look at a name, and to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// A certificate and its key, and the file that both make.
pub(super) struct Issued {
    pub(super) certified: Certified,
    pub(super) pem: String,
}

/// Who orders, and how.
pub(super) struct Applicant<'a> {
    pub(super) spec: &'a Acme,
    pub(super) place: &'a Place,
    pub(super) proofs: &'a Proofs,
    pub(super) lookup: &'a Arc<Lookup>,
    /// Hears how long the authority wants to be left alone.
    pub(super) asked: &'a Arc<Asked>,
}

impl Applicant<'_> {
    /// Asks for a certificate, and gives it once it is there.
    pub(super) async fn obtain(&self) -> Result<Issued, Failure> {
        let place = self.place.clone();
        on_disk(move || place.prepare()).await?;
        let https = self.https()?;
        let opened = account::open(self.spec, self.place, &https).await;
        let begun = match opened {
            Ok(account) => self.begin(&account).await,
            Err(failure) => Err(failure),
        };
        let mut order = match begun {
            Err(failure) if failure.is_unknown_account() => {
                // The authority has lost it: those for tests do so with every start.
                let why = failure.said();
                let account = account::anew(self.spec, self.place, &https, &why).await?;
                self.begin(&account).await?
            }
            begun => begun?,
        };
        if let Err(failure) = self.authorize(&mut order).await {
            return Err(explained(&mut order, failure).await);
        }
        let signed = |why| Failure::Authority { what: "have the certificate signed", why };
        // The library makes a new key each time: ECDSA on P-256.
        let key = order.finalize().await.map_err(signed)?;
        let chain = order.poll_certificate(&PATIENCE).await.map_err(signed)?;
        let pem = format!("{key}{chain}");
        let certified = read(&pem, &self.spec.domains).map_err(Failure::Certificate)?;
        if let Some(flaw) = flaw(&certified, &self.spec.domains) {
            return Err(Failure::Certificate(flaw));
        }
        Ok(Issued { certified, pem })
    }

    /// Made anew each time: the file of `directory_ca` may have changed.
    fn https(&self) -> Result<Https, Failure> {
        let trust = ClientTls { ca: self.spec.directory_ca.clone(), ..ClientTls::default() };
        let tls = tls::client(&trust, &[b"http/1.1"]).map_err(Failure::Trust)?;
        Ok(Https::new(tls, Arc::clone(self.lookup), Arc::clone(self.asked)))
    }

    async fn begin(&self, account: &Account) -> Result<Order, Failure> {
        let names = self.spec.domains.iter().cloned().map(Identifier::Dns);
        let names: Vec<_> = names.collect();
        let order = account.new_order(&NewOrder::new(&names)).await;
        order.map_err(|why| Failure::Authority { what: "order a certificate", why })
    }

    /// Has the authority see that all names are ours.
    async fn authorize(&self, order: &mut Order) -> Result<(), Failure> {
        let failed = |why| Failure::Authority { what: "have the names looked at", why };
        // For as long as it may look.
        let _shown = self.prove(order).await?;
        match order.poll_ready(&PATIENCE).await.map_err(failed)? {
            OrderStatus::Ready => Ok(()),
            _ => Err(failed(instant_acme::Error::Str("the order has become invalid"))),
        }
    }

    /// Shows a proof for each name that wants one, and says so to the authority.
    async fn prove(&self, order: &mut Order) -> Result<Vec<Shown>, Failure> {
        let failed = |why| Failure::Authority { what: "have a name looked at", why };
        let how = &self.spec.challenge;
        let mut shown = Vec::new();
        let mut names = order.authorizations();
        while let Some(name) = names.next().await {
            let mut name = name.map_err(failed)?;
            let domain = name.identifier().to_string();
            match name.status {
                // The authority remembers it from last time.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => {
                    let words = format!("{domain}: the authority has it as {other:?}");
                    return Err(Failure::Unproven(vec![words.to_lowercase()]));
                }
            }
            let missing = Failure::NotOffered { domain: domain.clone(), wanted: proof::word(how) };
            let mut challenge = name.challenge(proof::kind(how)).ok_or(missing)?;
            let answer = challenge.key_authorization();
            shown.push(self.proofs.show(how, &domain, &challenge.token, &answer)?);
            challenge.set_ready().await.map_err(failed)?;
        }
        Ok(shown)
    }
}

/// The same failure, with the names that it is about if the authority tells them: it may have looked
/// at one before it answers that it will.
async fn explained(order: &mut Order, failure: Failure) -> Failure {
    if !matches!(failure, Failure::Authority { .. }) || failure.is_rate() {
        return failure;
    }
    let unproven = why_unproven(order).await;
    if unproven.is_empty() { failure } else { Failure::Unproven(unproven) }
}

/// The names that the authority could not see to be ours, each with its reason.
async fn why_unproven(order: &mut Order) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut names = order.authorizations();
    while let Some(Ok(mut name)) = names.next().await {
        if name.refresh().await.is_err() || name.status != AuthorizationStatus::Invalid {
            continue;
        }
        let errors = name.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        let said: Vec<_> = errors.map(failure::problem).collect();
        reasons.push(format!("{}: {}", name.identifier(), said.join(", ")));
    }
    reasons
}

/// Who is asked at `directory`.
pub(super) fn authority(directory: &str) -> Result<String, Failure> {
    let failed = || Failure::Directory(directory.to_owned());
    let uri: hyper::Uri = directory.parse().map_err(|_| failed())?;
    let host = host(&uri).filter(|_| uri.scheme_str() == Some("https"));
    host.map(str::to_owned).ok_or_else(failed)
}

/// Key and chain from the text of one file; reports call it by the first of `domains`, whichever name
/// the authority put first this time.
pub(super) fn read(pem: &str, domains: &[String]) -> Result<Certified, String> {
    let broken = |error: rustls::pki_types::pem::Error| format!("broken PEM ({error})");
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(broken)?;
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
    let certified = Certified::new(chain.map_err(broken)?, key, Source::Acme);
    let mut certified = certified.map_err(|flaw| flaw.to_string())?;
    if let Some(first) = domains.first() {
        certified.name = first.as_str().into();
    }
    Ok(certified)
}

/// What keeps a certificate from serving these names now, in words.
pub(super) fn flaw(certified: &Certified, domains: &[String]) -> Option<String> {
    let is_missing = |domain: &&String| !certified.names.contains(&domain.to_ascii_lowercase());
    if let Some(domain) = domains.iter().find(is_missing) {
        return Some(format!("it is not for {domain}"));
    }
    let is_over = SystemTime::now() >= certified.not_after;
    is_over.then(|| "it has expired; is the clock of this host right?".to_owned())
}
