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
use crate::tls::{Certificates, Certified, Error, Figures, Session, client, provider};

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
    spec: ListenerTls,
}

/// A certificate that was read and is not shown yet.
#[derive(Debug)]
pub struct Fresh {
    certificates: Arc<Certificates>,
    slot: usize,
    certified: Certified,
}

impl Fresh {
    /// Shows it from the next handshake on.
    pub fn show(self) {
        self.certificates.replace(self.slot, self.certified);
    }
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
        let slots = spec.certificates.iter().map(load).collect::<Result<Vec<_>, _>>()?;
        let mut slots: Vec<_> = slots.into_iter().map(Arc::new).collect();
        if let Some(acme) = &spec.acme {
            let known = before.filter(|before| before.spec.acme.as_ref() == Some(acme));
            slots.push(match known.and_then(|before| before.certificates.list().pop()) {
                Some(known) => known,
                None => Arc::new(self_signed(&acme.domains)?),
            });
        }
        let certificates = Arc::new(Certificates::of(slots));
        let policy = Policy::read(spec.client_auth.as_ref())?;
        Self::showing(certificates, spec, policy, challenges, before)
    }

    /// What serves a listener after a reload: the one of `before` where nothing but the certificates
    /// may have changed, for they are read again. Those are to be shown when the new file takes
    /// effect.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn renew(
        spec: &ListenerTls,
        challenges: &Arc<Challenges>,
        before: &Arc<Self>,
    ) -> Result<(Arc<Self>, Vec<Fresh>), Error> {
        let names = |spec: &ListenerTls| (spec.certificates.clone(), spec.acme.clone());
        if names(spec) != names(&before.spec) {
            return Ok((Arc::new(Self::new(spec, challenges, Some(before))?), Vec::new()));
        }
        let certificates = &before.certificates;
        let fresh = |(slot, identity)| {
            let certificates = Arc::clone(certificates);
            Ok(Fresh { certificates, slot, certified: load(identity)? })
        };
        let fresh =
            spec.certificates.iter().enumerate().map(fresh).collect::<Result<_, Error>>()?;
        let policy = Policy::read(spec.client_auth.as_ref())?;
        if policy == before.policy && *spec == before.spec {
            return Ok((Arc::clone(before), fresh));
        }
        let certificates = Arc::clone(certificates);
        let inbound = Self::showing(certificates, spec, policy, challenges, Some(before))?;
        Ok((Arc::new(inbound), fresh))
    }

    fn showing(
        certificates: Arc<Certificates>,
        spec: &ListenerTls,
        policy: Policy,
        challenges: &Arc<Challenges>,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
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
            spec: spec.clone(),
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
    // All suites here are strong, and ours are in the order of their cost. A client's own order is
    // what scanners find fault with.
    config.ignore_client_order = true;
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rustls::client::{
        ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
        Tls13ClientSessionValue,
    };
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::ServerName;
    use rustls::{CipherSuite, ClientConfig, Error as TlsError, NamedGroup};

    use super::*;
    use crate::config::{ClientTls, Identity};

    /// A client's memory that takes all servers for one: what a client should not do and may.
    #[derive(Debug)]
    struct Confused(ClientSessionMemoryCache);

    impl Confused {
        fn name() -> ServerName<'static> {
            ServerName::try_from("one.example").unwrap()
        }
    }

    impl ClientSessionStore for Confused {
        fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
            self.0.set_kx_hint(Self::name(), group);
        }
        fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
            self.0.kx_hint(&Self::name())
        }
        fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
            self.0.set_tls12_session(Self::name(), value);
        }
        fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
            self.0.tls12_session(&Self::name())
        }
        fn remove_tls12_session(&self, _: &ServerName<'static>) {
            self.0.remove_tls12_session(&Self::name());
        }
        fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
            self.0.insert_tls13_ticket(Self::name(), value);
        }
        fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
            self.0.take_tls13_ticket(&Self::name())
        }
    }

    /// One that trusts everybody and takes all servers for one.
    fn any_client(version: TlsVersion, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let version = match version {
            TlsVersion::V1_2 => &TLS12,
            TlsVersion::V1_3 => &TLS13,
        };
        let identity = identity.map(|Identity { cert, key }| (cert.clone(), key.clone()));
        let any = ClientTls { verify: false, identity, ..ClientTls::default() };
        let template = client(&any, &[]).unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(client::any_certificate());
        let mut config =
            builder.with_client_cert_resolver(template.client_auth_cert_resolver.clone());
        config.resumption =
            Resumption::store(Arc::new(Confused(ClientSessionMemoryCache::new(32))));
        Arc::new(config)
    }

    fn written(folder: &Path, name: &str) -> Identity {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let identity = Identity {
            cert: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        fs::write(&identity.cert, made.cert.pem()).unwrap();
        fs::write(&identity.key, made.signing_key.serialize_pem()).unwrap();
        identity
    }

    fn spec(certificates: Vec<Identity>) -> ListenerTls {
        let (min_version, alpn) = (TlsVersion::V1_2, Vec::new());
        let (acme, client_auth, starttls) = (None, None, None);
        ListenerTls { certificates, acme, min_version, alpn, client_auth, starttls }
    }

    fn inbound(spec: &ListenerTls, before: Option<&Inbound>) -> Inbound {
        Inbound::new(spec, &Arc::default(), before).unwrap()
    }

    /// Hands over what one side has to send.
    fn pass(from: &mut Session, to: &mut Session) -> Result<(), TlsError> {
        let mut flight = std::mem::take(&mut from.due);
        to.open(&mut flight, &mut Vec::new()).map(drop)
    }

    /// Runs a handshake, and on until the client has its tickets.
    fn shake(server: Session, config: &Arc<ClientConfig>, name: &str) -> Result<Session, TlsError> {
        let (mut server, name) = (server, ServerName::try_from(name.to_owned()).unwrap());
        let mut client = Session::client(Arc::clone(config), name).unwrap();
        client.open(&mut [], &mut Vec::new()).unwrap();
        for _ in 0..4 {
            pass(&mut client, &mut server)?;
            pass(&mut server, &mut client)?;
        }
        assert!(!server.is_handshaking() && !client.is_handshaking());
        Ok(server)
    }

    #[test]
    fn sessions_resume_in_both_versions_but_never_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["one.example", "two.example"];
        let inbound = inbound(&spec(names.map(|name| written(folder.path(), name)).into()), None);
        for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let client = any_client(version, None);
            let resumed = |name| {
                let shaken = shake(inbound.session().unwrap(), &client, name).unwrap();
                assert_eq!(shaken.version(), Some(version));
                shaken.is_resumed()
            };
            assert!(!resumed("one.example"));
            assert!(resumed("one.example"), "{version:?}");
            assert!(!resumed("two.example"), "{version:?}");
        }
    }

    #[test]
    fn tickets_outlive_a_reload_only_if_the_same_clients_are_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let server = written(folder.path(), "one.example");
        let (known, other) = (written(folder.path(), "known"), written(folder.path(), "other"));
        let open = spec(vec![server]);
        let auth = |ca: &Identity, required| ListenerTls {
            client_auth: Some(ClientAuth { ca: ca.cert.clone(), required }),
            ..open.clone()
        };
        let client = any_client(TlsVersion::V1_3, Some(&known));
        let mut now = inbound(&open, None);
        let mut resumed_after = |spec: &ListenerTls, client: &Arc<ClientConfig>| {
            now = inbound(spec, Some(&now));
            shake(now.session().unwrap(), client, "one.example").map(|shaken| shaken.is_resumed())
        };
        assert_eq!(resumed_after(&open, &client), Ok(false));
        assert_eq!(resumed_after(&open, &client), Ok(true));
        assert_eq!(resumed_after(&auth(&known, false), &client), Ok(false));
        assert_eq!(resumed_after(&auth(&known, false), &client), Ok(true));
        assert_eq!(resumed_after(&auth(&known, true), &client), Ok(false));
        assert_eq!(resumed_after(&auth(&known, true), &client), Ok(true));
        // The same file, and other authorities in it.
        fs::copy(&other.cert, &known.cert).unwrap();
        resumed_after(&auth(&known, true), &client).unwrap_err();
    }

    #[test]
    fn who_must_show_a_certificate_must_show_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let server = written(folder.path(), "one.example");
        let (known, other) = (written(folder.path(), "known"), written(folder.path(), "other"));
        for (required, without_one) in [(true, false), (false, true)] {
            let client_auth = Some(ClientAuth { ca: known.cert.clone(), required });
            let inbound = inbound(&ListenerTls { client_auth, ..spec(vec![server.clone()]) }, None);
            for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
                let let_in = |identity| {
                    let client = any_client(version, identity);
                    shake(inbound.session().unwrap(), &client, "one.example").is_ok()
                };
                let seen = (let_in(Some(&known)), let_in(Some(&other)), let_in(None));
                assert_eq!(seen, (true, false, without_one), "{required} {version:?}");
            }
        }
    }

    #[test]
    fn the_first_group_is_post_quantum_and_nothing_older_than_asked_for_is_spoken() {
        let first = provider().kx_groups.first().map(|group| group.name());
        assert_eq!(first, Some(NamedGroup::X25519MLKEM768));

        let folder = tempfile::tempdir().unwrap();
        let spec = spec(vec![written(folder.path(), "one.example")]);
        let strict = inbound(&ListenerTls { min_version: TlsVersion::V1_3, ..spec }, None);
        let shaken =
            |version| shake(strict.session().unwrap(), &any_client(version, None), "one.example");
        shaken(TlsVersion::V1_3).unwrap();
        shaken(TlsVersion::V1_2).unwrap_err();
    }

    #[test]
    fn the_cheapest_suite_is_taken_whatever_the_client_prefers() {
        let folder = tempfile::tempdir().unwrap();
        let inbound = inbound(&spec(vec![written(folder.path(), "one.example")]), None);
        let mut contrary = CryptoProvider::clone(&provider());
        contrary.cipher_suites.reverse();
        let contrary = Arc::new(contrary);
        for (version, cheapest) in [
            (&TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
            (&TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        ] {
            let config = ClientConfig::builder_with_provider(Arc::clone(&contrary))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            let mut client =
                rustls::ClientConnection::new(Arc::new(config), Confused::name()).unwrap();
            let mut server = rustls::ServerConnection::new(Arc::clone(&inbound.config)).unwrap();
            let mut flight = Vec::new();
            client.write_tls(&mut flight).unwrap();
            server.read_tls(&mut flight.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            assert_eq!(server.negotiated_cipher_suite().map(|suite| suite.suite()), Some(cheapest));
        }
    }

    #[test]
    fn an_authority_is_shown_the_proof_and_nobody_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let challenges = Arc::<Challenges>::default();
        let spec = spec(vec![written(folder.path(), "one.example")]);
        let inbound = Inbound::new(&spec, &challenges, None).unwrap();
        let mut config = ClientConfig::clone(&any_client(TlsVersion::V1_3, None));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        let config = Arc::new(config);
        shake(inbound.challenge().unwrap(), &config, "one.example").unwrap_err();
        let proof = self_signed(&["one.example".to_owned()]).unwrap();
        challenges.insert("one.example", proof.key);
        let shaken = shake(inbound.challenge().unwrap(), &config, "one.example").unwrap();
        assert_eq!(shaken.alpn(), Some(ACME_TLS));

        let offered = |names: &[&str]| {
            is_challenge(&names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        assert!(offered(&["acme-tls/1"]));
        assert!(!offered(&["h2", "acme-tls/1"]) && !offered(&["h2"]) && !offered(&[]));
    }
}
