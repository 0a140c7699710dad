//! TLS that ends at a listener: what is spoken, which certificate is shown, who must show one.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::config::{ClientAuth, ListenerTls, TlsVersion};
use crate::tls::certified::{load, self_signed};
use crate::tls::challenges::{ACME_TLS, Challenges};
use crate::tls::{Certificates, Error, Figures, Session, client, provider};

/// How TLS ends at one listener.
#[derive(Debug)]
pub struct Inbound {
    /// What is shown, by name: one slot for each of the file, then one for the one asked for.
    pub certificates: Arc<Certificates>,
    /// The listener's counters.
    pub figures: Arc<Figures>,
    config: Arc<ServerConfig>,
    /// For an authority that asks whether a name is ours.
    challenge: Arc<ServerConfig>,
    policy: Policy,
}

impl Inbound {
    /// As `spec` says it. Reads files. A slot for a certificate that is to be asked for holds one
    /// that nobody has vouched for, until it is replaced.
    ///
    /// `before` is what served the listener so far: its counters go on, and its tickets stay good
    /// unless other clients are let in now.
    ///
    /// # Errors
    /// A file that is missing or does not hold what it should.
    pub fn new(
        spec: &ListenerTls,
        challenges: &Arc<Challenges>,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let mut slots = spec.certificates.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        if let Some(acme) = &spec.acme {
            slots.push(self_signed(&acme.domains)?);
        }
        let certificates = Arc::new(Certificates::new(slots));
        let policy = Policy::read(spec.client_auth.as_ref())?;
        // A resumed session is not asked for its certificate again: tickets given under another
        // policy must not let anybody in.
        let kept = before.filter(|before| before.policy == policy);
        let ticketer = match kept {
            Some(before) => Arc::clone(&before.config.ticketer),
            None => Ticketer::new().map_err(Error::Refused)?,
        };
        let shown = Arc::clone(&certificates);
        let mut config = build(spec.min_version, policy.verifier()?, shown, ticketer)?;
        config.alpn_protocols = spec.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self {
            certificates,
            figures: before.map(|before| Arc::clone(&before.figures)).unwrap_or_default(),
            config: Arc::new(config),
            challenge: challenge(challenges)?,
            policy,
        })
    }

    /// A connection that is about to begin its handshake.
    ///
    /// # Errors
    /// The library refuses.
    pub fn session(&self) -> Result<Session, rustls::Error> {
        Session::server(Arc::clone(&self.config))
    }

    /// The same for an authority that looks for the proof of a name: see [`is_challenge`]. It ends
    /// with the handshake.
    ///
    /// # Errors
    /// The library refuses.
    pub fn challenge(&self) -> Result<Session, rustls::Error> {
        Session::server(Arc::clone(&self.challenge))
    }
}

/// True for a client that offers just these application protocols to see the proof of a name.
pub fn is_challenge(alpn: &[Vec<u8>]) -> bool {
    matches!(alpn, [only] if only == ACME_TLS)
}

/// Who must show a certificate, and who vouches for it.
#[derive(Debug, Clone)]
struct Policy {
    required: bool,
    authorities: RootCertStore,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        (self.required, &self.authorities.roots) == (other.required, &other.authorities.roots)
    }
}

impl Policy {
    fn read(spec: Option<&ClientAuth>) -> Result<Self, Error> {
        Ok(match spec {
            None => Self { required: false, authorities: RootCertStore::empty() },
            Some(spec) => {
                Self { required: spec.required, authorities: client::authorities(&spec.ca)? }
            }
        })
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        if self.authorities.is_empty() {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let authorities = Arc::new(self.authorities.clone());
        let builder = WebPkiClientVerifier::builder_with_provider(authorities, provider());
        let builder = if self.required { builder } else { builder.allow_unauthenticated() };
        let refused = |why: String| Error::Refused(rustls::Error::General(why));
        builder.build().map_err(|error| refused(error.to_string()))
    }
}

fn build(
    min_version: TlsVersion,
    verifier: Arc<dyn ClientCertVerifier>,
    shown: Arc<dyn ResolvesServerCert>,
    ticketer: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, Error> {
    let versions = match min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(Error::Refused)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    config.ticketer = ticketer;
    // Tickets do, and hold no memory here; the library's own store has a lock besides.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // What comes in the first flight can be replayed, and no backend could tell.
    config.max_early_data_size = 0;
    Ok(config)
}

/// What an authority is spoken to with: the proof, and no session to go on with.
fn challenge(challenges: &Arc<Challenges>) -> Result<Arc<ServerConfig>, Error> {
    let shown: Arc<Challenges> = Arc::clone(challenges);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Refused)?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(Arc::new(config))
}
