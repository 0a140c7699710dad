//! What is shown to an authority that looks whether a name is ours, for as long as it may look.

use std::sync::Arc;

use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use crate::acme::failure::Failure;
use crate::config::Challenge;
use crate::tls::Challenges;

/// Where proofs are shown; one for the process.
#[derive(Debug, Clone)]
pub(super) struct Proofs(pub(super) Arc<Challenges>);

/// A proof that is shown until this is dropped.
#[derive(Debug)]
pub(super) enum Shown {
    Handshake { challenges: Arc<Challenges>, domain: String },
    Token { challenges: Arc<Challenges>, token: String },
}

impl Drop for Shown {
    fn drop(&mut self) {
        match self {
            Self::Handshake { challenges, domain } => challenges.remove(domain),
            Self::Token { challenges, token } => challenges.tokens.hide(token),
        }
    }
}

impl Proofs {
    /// Shows that `domain` is ours.
    pub(super) fn show(
        &self,
        how: &Challenge,
        domain: &str,
        token: &str,
        answer: &KeyAuthorization,
    ) -> Result<Shown, Failure> {
        let challenges = Arc::clone(&self.0);
        match how {
            Challenge::TlsAlpn01 => {
                let certificate = acme_identifier(domain, answer.digest().as_ref())?;
                challenges.insert(domain, Arc::new(certificate));
                Ok(Shown::Handshake { challenges, domain: domain.to_owned() })
            }
            Challenge::Http01(_) => {
                challenges.tokens.show(token, answer.as_str());
                Ok(Shown::Token { challenges, token: token.to_owned() })
            }
        }
    }
}

/// The certificate that proves a name in a handshake (RFC 8737, 3).
fn acme_identifier(domain: &str, digest: &[u8]) -> Result<CertifiedKey, Failure> {
    let failed = |why: &dyn ToString| Failure::Answer(why.to_string());
    let made = || {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([domain.to_owned()])?;
        params.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
        params.self_signed(&key).map(|certificate| (certificate, key))
    };
    let (certificate, key) = made().map_err(|why: rcgen::Error| failed(&why))?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| failed(&why))?;
    // As it is: whoever checks certificates refuses one with this extension, as the RFC wants it.
    let key = any_supported_type(&key).map_err(|why| failed(&why))?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// The word of the library.
pub(super) fn kind(how: &Challenge) -> ChallengeType {
    match how {
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Http01(_) => ChallengeType::Http01,
    }
}

/// The word of the file.
pub(super) fn word(how: &Challenge) -> &'static str {
    match how {
        Challenge::TlsAlpn01 => "tls-alpn-01",
        Challenge::Http01(_) => "http-01",
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    #[test]
    fn a_proof_in_a_handshake_is_for_one_name_and_holds_the_digest_as_the_rfc_has_it() {
        let made = acme_identifier("a.example", &[7; 32]).unwrap();
        let (_, own) = X509Certificate::from_der(&made.cert[0]).unwrap();
        let names = own.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names.len(), 1);
        let proof = own.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let proof = proof.unwrap();
        assert!(proof.critical);
        // An octet string of 32 bytes.
        assert_eq!(proof.value, [&[4, 32][..], &[7; 32]].concat());
    }
}
