//! A certificate with its key, ready to be shown: where it came from, whom it is for, until when.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::InconsistentKeys;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer};

use crate::config::Identity;
use crate::tls::{Error, pem, provider};

const DAY: Duration = Duration::from_hours(24);

/// Where a certificate came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From these files.
    Files(Identity),
    /// An authority was asked for it.
    Acme,
    /// Made here, until there is a better one.
    SelfSigned,
}

impl Source {
    /// The word in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Files(_) => "file",
            Self::Acme => "acme",
            Self::SelfSigned => "self-signed",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(identity) => write!(f, "{}", identity.cert.display()),
            other => f.write_str(other.as_str()),
        }
    }
}

/// A certificate chain and its key.
#[derive(Debug, Clone)]
pub struct Certified {
    /// What the TLS library takes.
    pub key: Arc<CertifiedKey>,
    /// The host names it is for, in lower case, wildcards as `*.example.com`.
    pub names: Vec<String>,
    /// What reports call it: its first name, or its file's.
    pub name: Arc<str>,
    /// It is not good before.
    pub not_before: SystemTime,
    /// It is not good after.
    pub not_after: SystemTime,
    /// Where it came from.
    pub source: Source,
}

/// Reads a certificate and its key. It may have expired: whoever asks for it is told when.
///
/// # Errors
/// A file that is missing or does not hold what it should, a key that is not the certificate's.
pub fn load(identity: &Identity) -> Result<Certified, Error> {
    let Identity { cert, key } = identity;
    let chain = pem::certificates(cert)?;
    let private = pem::key(key)?;
    let source = Source::Files(identity.clone());
    Certified::new(chain, private, source).map_err(|flaw| match flaw {
        Flaw::Certificate(what) => Error::Content {
            path: cert.clone(),
            what: format!("a certificate that cannot be used ({what})"),
            way_out: "the first block must be the server's own X.509 certificate",
        },
        Flaw::Key(why) => Error::Content {
            path: key.clone(),
            what: format!("a key that cannot be used ({why})"),
            way_out: "use an RSA key of at least 2048 bits, an ECDSA key (P-256, P-384, P-521) or \
                      an Ed25519 key",
        },
        Flaw::Mismatch => Error::Mismatch { cert: cert.clone(), key: key.clone() },
    })
}

/// A certificate for these names that nobody has vouched for, for a year.
///
/// # Errors
/// A name that no certificate can hold, or no randomness.
pub fn self_signed(names: &[String]) -> Result<Certified, Error> {
    let refused = |why: String| Error::Refused(rustls::Error::General(why));
    let made = || {
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(names)?;
        let now = ASN1Time::now().to_datetime();
        // Clocks differ a little.
        (params.not_before, params.not_after) = (now - DAY, now + 365 * DAY);
        params.self_signed(&key).map(|cert| (cert, key))
    };
    let (cert, key) = made().map_err(|error| refused(error.to_string()))?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| refused(why.into()))?;
    Certified::new(vec![cert.der().clone()], key, Source::SelfSigned)
        .map_err(|flaw| refused(flaw.to_string()))
}

/// Why a chain and a key are of no use.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// The first certificate is none.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// The key is of no kind that is known here.
    #[error("the key cannot be used: {0}")]
    Key(rustls::Error),
    /// The key is another one's.
    #[error("the key does not fit the certificate")]
    Mismatch,
}

impl Certified {
    /// True if it is for this host name, in lower case.
    pub fn has(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(below) => parent == Some(below),
            None => name == host,
        })
    }

    /// From a chain, the server's own certificate first, and the key of that one.
    ///
    /// # Errors
    /// See [`Flaw`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        source: Source,
    ) -> Result<Self, Flaw> {
        let facts = Facts::of(&chain)?;
        let key = provider().key_provider.load_private_key(key).map_err(Flaw::Key)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(Flaw::Mismatch),
            Err(error) => return Err(Flaw::Certificate(error.to_string())),
        }
        let Facts { names, not_before, not_after } = facts;
        let name = display_name(&names, &source);
        Ok(Self { key: Arc::new(key), names, name, not_before, not_after, source })
    }
}

fn display_name(names: &[String], source: &Source) -> Arc<str> {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let of_file = || match source {
        Source::Files(identity) => stem(&identity.cert),
        Source::Acme | Source::SelfSigned => None,
    };
    let name = names.first().cloned().or_else(of_file);
    name.unwrap_or_else(|| source.as_str().to_owned()).into()
}

/// What a certificate says of itself.
struct Facts {
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Facts {
    fn of(chain: &[CertificateDer<'_>]) -> Result<Self, Flaw> {
        let own = chain.first().ok_or_else(|| Flaw::Certificate("there is none".to_owned()))?;
        let broken = |why: String| Flaw::Certificate(why);
        let (_, own) = X509Certificate::from_der(own).map_err(|error| broken(error.to_string()))?;
        let validity = own.validity();
        Ok(Self {
            names: host_names(&own).map_err(|error| broken(error.to_string()))?,
            not_before: system_time(validity.not_before),
            not_after: system_time(validity.not_after),
        })
    }
}

/// The names that the certificate is for. Old ones have but a common name.
fn host_names(own: &X509Certificate<'_>) -> Result<Vec<String>, x509_parser::error::X509Error> {
    let alternatives = own.subject_alternative_name()?;
    let alternatives = alternatives.iter().flat_map(|names| &names.value.general_names);
    let mut names: Vec<_> = alternatives
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = own.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let is_host = |name: &&str| !name.is_empty() && !name.contains(char::is_whitespace);
        names.extend(common.filter(is_host).map(str::to_ascii_lowercase));
    }
    Ok(names)
}

fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let at = if seconds < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    at.unwrap_or(epoch)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn written(folder: &Path, cert: &str, key: &str) -> Identity {
        let identity = Identity { cert: folder.join("site.pem"), key: folder.join("site.key") };
        fs::write(&identity.cert, cert).unwrap();
        fs::write(&identity.key, key).unwrap();
        identity
    }

    #[test]
    fn a_certificate_tells_its_names_and_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["A.Example".to_owned(), "*.b.example".to_owned(), "10.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let identity = written(folder.path(), &cert.pem(), &key.serialize_pem());
        let certified = load(&identity).unwrap();
        assert_eq!(certified.names, ["a.example", "*.b.example"]);
        assert_eq!(&*certified.name, "a.example");
        let of = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(certified.not_before, of(1_577_836_800));
        assert_eq!(certified.not_after, of(1_609_459_200));
        assert_eq!(certified.source, Source::Files(identity));
    }

    #[test]
    fn one_without_names_is_called_by_its_common_name_or_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut named = rcgen::CertificateParams::default();
        named.distinguished_name.push(rcgen::DnType::CommonName, "Old.example");
        let cert = named.self_signed(&key).unwrap();
        let identity = written(folder.path(), &cert.pem(), &key.serialize_pem());
        assert_eq!(load(&identity).unwrap().names, ["old.example"]);

        let mut nameless = rcgen::CertificateParams::default();
        nameless.distinguished_name = rcgen::DistinguishedName::new();
        let cert = nameless.self_signed(&key).unwrap();
        let identity = written(folder.path(), &cert.pem(), &key.serialize_pem());
        let loaded = load(&identity).unwrap();
        assert_eq!((&*loaded.name, loaded.names.len()), ("site", 0));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_file_and_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let one = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let identity = written(folder.path(), &one.cert.pem(), &other.serialize_pem());
        let said = load(&identity).unwrap_err().to_string();
        assert!(said.contains("site.key is not the key of the certificate"), "{said}");

        let own = one.signing_key.serialize_pem();
        let no_certificate =
            "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
        let said = load(&written(folder.path(), no_certificate, &own)).unwrap_err().to_string();
        assert!(said.contains("site.pem holds a certificate that cannot be used"), "{said}");

        let no_key = "-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n";
        let said = load(&written(folder.path(), &one.cert.pem(), no_key)).unwrap_err().to_string();
        assert!(said.contains("site.key holds a key that cannot be used"), "{said}");
    }

    #[test]
    fn a_self_signed_one_is_for_the_names_it_was_asked_for() {
        let made = self_signed(&["a.example".to_owned(), "b.example".to_owned()]).unwrap();
        assert_eq!(made.names, ["a.example", "b.example"]);
        let left = made.not_after.duration_since(SystemTime::now()).unwrap();
        assert!(made.not_before < SystemTime::now() && left <= 365 * DAY, "{left:?}");
        assert_eq!(made.source, Source::SelfSigned);
    }
}
