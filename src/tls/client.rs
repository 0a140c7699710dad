//! TLS towards backends: whom to trust, who we are, and what a refusal means in words.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore,
    SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::config::ClientTls;
use crate::tls::{Error, pem, provider};

/// What a client needs to speak TLS as `spec` says, offering the protocols `alpn`.
///
/// Reads files: call it when something is set up, not for each connection.
///
/// # Errors
/// A file that is missing or does not hold what it should, a system without authorities.
pub fn client(spec: &ClientTls, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Refused)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(spec, provider)?);
    let mut config = match &spec.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(pem::certificates(cert)?, pem::key(key)?)
            .map_err(|why| Error::Identity { cert: cert.clone(), key: key.clone(), why })?,
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // A resumed session is not verified anew: a certificate could expire and nobody would see it.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The name a server must prove: the configured one, or its host.
///
/// # Errors
/// A name that is neither a host name nor an IP address.
pub fn server_name(configured: Option<&str>, host: &str) -> Result<ServerName<'static>, Error> {
    let name = configured.unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|_| Error::ServerName(name.to_owned()))
}

/// What went wrong in a handshake, in words; `None` if it was not TLS that failed.
pub fn why_refused(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref().map(in_words)
}

/// What went wrong in a handshake with a backend, in words.
pub fn in_words(error: &rustls::Error) -> String {
    let flaw = match error {
        rustls::Error::InvalidCertificate(flaw) => flaw,
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return "tls: what it answered is not tls".to_owned();
        }
        rustls::Error::AlertReceived(alert) => {
            return format!("tls: refused by the backend: {}", spaced(&format!("{alert:?}")));
        }
        error => return format!("tls: {error}"),
    };
    let flaw = match flaw {
        CertificateError::UnknownIssuer => "unknown issuer".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not valid yet".to_owned()
        }
        CertificateError::BadSignature => "bad signature".to_owned(),
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("not valid for {:?}", expected.to_str())
        }
        flaw => flaw.to_string(),
    };
    format!("certificate: {flaw}")
}

/// `certificate required` of `CertificateRequired`.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    let mut was_small = false;
    for letter in name.chars() {
        if letter.is_uppercase() && was_small {
            words.push(' ');
        }
        was_small = letter.is_lowercase();
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// When a certificate expires; `None` if it cannot be read.
pub fn valid_until(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.try_into().ok()?))
}

fn verifier(
    spec: &ClientTls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    if !spec.verify {
        return Ok(Arc::new(AnyCertificate(provider)));
    }
    let Some(path) = &spec.ca else {
        let system = rustls_platform_verifier::Verifier::new(provider);
        return Ok(Arc::new(system.map_err(Error::NoAuthorities)?));
    };
    let roots = Arc::new(authorities(path)?);
    let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let built = built.map_err(|error| Error::Refused(rustls::Error::General(error.to_string())))?;
    Ok(built)
}

pub(super) fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(path)? {
        roots.add(certificate).map_err(|error| Error::Content {
            path: path.to_owned(),
            what: format!("a certificate that cannot be an authority ({error})"),
            way_out: "leave only certificates of authorities in it",
        })?;
    }
    Ok(roots)
}

/// `verify = false`: takes any certificate, but whoever shows it must still hold its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

#[cfg(test)]
pub(super) fn any_certificate() -> Arc<dyn ServerCertVerifier> {
    Arc::new(AnyCertificate(provider()))
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn spec() -> ClientTls {
        ClientTls { server_name: None, ca: None, identity: None, verify: true, starttls: None }
    }

    #[test]
    fn an_error_names_the_file_and_the_way_out() {
        let missing = ClientTls { ca: Some("/nowhere/ca.pem".into()), ..spec() };
        let said = client(&missing, &[]).unwrap_err().to_string();
        assert!(said.starts_with("cannot read /nowhere/ca.pem: "), "{said}");

        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        let said = client(&ClientTls { ca: Some(empty.clone()), ..spec() }, &[]).unwrap_err();
        let said = said.to_string();
        assert!(said.contains("empty.pem holds no certificate; it must"), "{said}");

        let identity = Some((empty.clone(), empty));
        let said = client(&ClientTls { identity, verify: false, ..spec() }, &[]).unwrap_err();
        assert!(said.to_string().contains("holds no certificate"), "{said}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let one = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        fs::write(&cert, one.cert.pem()).unwrap();
        fs::write(&key, other.serialize_pem()).unwrap();
        let mismatch = ClientTls { identity: Some((cert, key)), verify: false, ..spec() };
        let said = client(&mismatch, &[]).unwrap_err().to_string();
        assert!(said.contains("key.pem does not fit the certificate"), "{said}");
    }

    #[test]
    fn a_refusal_is_told_in_words() {
        let said = |alert| in_words(&rustls::Error::AlertReceived(alert));
        use rustls::AlertDescription as Alert;
        let required = said(Alert::CertificateRequired);
        assert_eq!(required, "tls: refused by the backend: certificate required");
        assert_eq!(said(Alert::UnknownCA), "tls: refused by the backend: unknown ca");
    }

    #[test]
    fn the_server_name_is_the_host_unless_configured() {
        assert_eq!(server_name(None, "10.0.0.1").unwrap().to_str(), "10.0.0.1");
        assert_eq!(server_name(Some("db.example"), "10.0.0.1").unwrap().to_str(), "db.example");
        assert!(server_name(None, "two words").is_err());
    }
}
