//! TLS as configured: files and switches become what the TLS library takes.

mod certificates;
mod certified;
mod challenges;
mod client;
mod figures;
mod handshake;
mod inbound;
mod outbound;
mod pem;
mod session;
mod tokens;
mod turnstile;

pub use certificates::Certificates;
pub use certified::{Certified, Flaw, Source, load, self_signed};
pub use challenges::{ACME_TLS, Challenges};
pub use client::{client, in_words, server_name, valid_until, why_refused};
pub use figures::{Figures, Handshaken};
pub use handshake::{Unshaken, accept, shake};
pub use inbound::{Fresh, Inbound, is_challenge};
pub use outbound::Outbound;
pub use session::Session;
pub use tokens::Tokens;
pub use turnstile::Turnstile;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite};

/// Why a TLS setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {why}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds {what}; {way_out}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        way_out: &'static str,
    },
    /// A certificate and a key do not belong together.
    #[error("the key {} does not fit the certificate {}: {why}", key.display(), cert.display())]
    Identity {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the library says.
        why: rustls::Error,
    },
    /// A certificate and a key that are both good, but of different pairs.
    #[error(
        "{} is not the key of the certificate {}; name the key that it was made for",
        key.display(), cert.display()
    )]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The system has no list of authorities.
    #[error(
        "the system's certificate authorities cannot be used: {0}; install the package \
         ca-certificates or set `ca`"
    )]
    NoAuthorities(rustls::Error),
    /// A name that no certificate can hold.
    #[error("{0:?} is no server name; set `server_name` to a host name or an IP address")]
    ServerName(String),
    /// The library refuses the whole.
    #[error("cannot set up tls: {0}")]
    Refused(rustls::Error),
}

/// The one set of algorithms that this program uses: the library's, the cheapest first.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), !has_aes_128(*suite)));
    Arc::new(provider)
}

/// AES with ten rounds instead of fourteen, and with the hash that processors have instructions for.
fn has_aes_128(suite: SupportedCipherSuite) -> bool {
    matches!(
        suite.suite(),
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}
