//! Looks into the PEM files that a file names: certificates that can be used, a key that belongs to
//! its certificate, and until when they are valid.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::pending::{self, Validity};
use super::value::Value;

/// The way out where a file holds something else.
const PEM: &str = "name a PEM file: its blocks start with -----BEGIN";

/// The way out where a key is of a kind, or a size, that is not spoken.
const KINDS: &str = "use a key of RSA from 2048 bits, ECDSA on P-256, P-384 or P-521, or Ed25519";

/// The way out where certificate and key do not belong together.
const PAIR: &str =
    "name the key that it was made for; of a chain, the server's own certificate must come first";

/// The way out where nobody is there to type a passphrase.
const CLEAR: &str = "write it without a passphrase: openssl pkey -in OLD -out NEW";

/// What is wrong with a file, and the way out.
type Wrong = (String, &'static str);

/// A file of certificates, each of which can be an authority.
pub(super) fn authorities(value: &Value<'_>) -> Option<PathBuf> {
    let (path, bytes) = file(value)?;
    let usable = |certificates: Vec<_>| {
        let mut roots = RootCertStore::empty();
        certificates.into_iter().try_for_each(|certificate| {
            roots
                .add(certificate)
                .map_err(|error| (format!("holds no usable authority: {error}"), PEM))
        })
    };
    if let Some(bytes) = bytes {
        note(value, &path, certificates(&bytes).and_then(usable));
    }
    Some(path)
}

/// A certificate chain and the key of its first certificate.
pub(super) fn identity(cert: &Value<'_>, key: &Value<'_>) -> Option<(PathBuf, PathBuf)> {
    let (chain, secret) = (file(cert), file(key));
    let chain = chain.map(|(path, bytes)| {
        let found = bytes.and_then(|bytes| note(cert, &path, certificates(&bytes)));
        (path, found)
    });
    let secret = secret.map(|(path, bytes)| {
        let found = bytes.and_then(|bytes| note(key, &path, private_key(&bytes)));
        (path, found)
    });
    let ((cert_path, chain), (key_path, secret)) = chain.zip(secret)?;
    if let Some(chain) = &chain {
        let read = chain.iter().enumerate().map(|(place, der)| validity(der, place == 0));
        let all: Option<Vec<_>> = note(cert, &cert_path, read.collect());
        remember(cert, &cert_path, all.unwrap_or_default());
    }
    if let (Some(chain), Some(secret)) = (chain, secret) {
        note(key, &key_path, belongs(chain, &secret));
    }
    Some((cert_path, key_path))
}

/// Leaves the dates of a chain to whoever has a clock.
fn remember(cert: &Value<'_>, path: &Path, chain: Vec<Validity>) {
    for (validity, number) in chain.into_iter().zip(1_usize..) {
        let place = cert.node.place;
        let which = match number {
            1 => format!("{}: {}", cert.subject, path.display()),
            _ => format!("{}: certificate {number} of {}", cert.subject, path.display()),
        };
        pending::validity(cert.report, place, &which, validity);
    }
}

fn validity(der: &CertificateDer<'_>, is_own: bool) -> Result<Validity, Wrong> {
    let (_, read) = X509Certificate::from_der(der)
        .map_err(|error| (format!("holds a broken certificate: {error}"), PEM))?;
    let period = read.validity();
    let date = |time: ASN1Time| time.to_datetime().date().to_string();
    Ok(Validity {
        not_before: period.not_before.timestamp(),
        not_after: period.not_after.timestamp(),
        dates: (date(period.not_before), date(period.not_after)),
        is_own,
    })
}

fn belongs(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<(), Wrong> {
    // The library's own words name neither what it found nor what it takes.
    let key = any_supported_type(key)
        .map_err(|_| ("holds a key that cannot be used".to_owned(), KINDS))?;
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match().map_err(|_| ("is not the key of its certificate".to_owned(), PAIR))
}

fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match read {
        Ok(found) if found.is_empty() => Err(nothing(bytes, "certificate")),
        Ok(found) => Ok(found),
        Err(_) => Err(("holds a broken certificate".to_owned(), PEM)),
    }
}

fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, Wrong> {
    // PKCS#8 says it in the name of the block, the older forms in its first line.
    let says = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    if says(b"BEGIN ENCRYPTED PRIVATE KEY") || says(b"Proc-Type: 4,ENCRYPTED") {
        return Err(("holds a key that is encrypted".to_owned(), CLEAR));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| nothing(bytes, "private key"))
}

fn nothing(bytes: &[u8], what: &str) -> Wrong {
    if bytes.trim_ascii().is_empty() {
        return ("is empty".to_owned(), PEM);
    }
    (format!("holds no {what} in PEM form"), PEM)
}

/// The path, and what is in it where there is a disk to read from.
fn file(value: &Value<'_>) -> Option<(PathBuf, Option<Vec<u8>>)> {
    let path = value.path()?;
    let Some(disk) = value.report.disk else { return Some((path, None)) };
    match disk.read(&path) {
        Ok(bytes) => Some((path, Some(bytes))),
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            value.refuse(&message, "check the path, and that the user may read it");
            None
        }
    }
}

fn note<T>(value: &Value<'_>, path: &Path, looked: Result<T, Wrong>) -> Option<T> {
    match looked {
        Ok(found) => Some(found),
        Err((what, way_out)) => {
            value.refuse(&format!("{} {what}", path.display()), way_out);
            None
        }
    }
}
