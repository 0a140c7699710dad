//! Reads a table of TLS keys and looks into the files it names: certificates that can be used, and a
//! key that belongs to its certificate.

use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::ClientTls;
use super::later::Later;
use super::read::Section;
use super::value::Value;
use super::words::quoted;

pub(super) const TLS_KEYS: &[&str] = &["server_name", "ca", "cert", "key", "verify"];
const NO_LATER: &[Later] = &[];

/// `[pool.NAME.health.tls]`.
pub(super) fn tls(section: &Section<'_>) -> ClientTls {
    let section = section.clone().only(TLS_KEYS, NO_LATER);
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if let (Some(value), None) = (section.value(one), section.value(other)) {
            value.refuse(&format!("is there without {other}"), "name both, or neither");
        }
    }
    ClientTls {
        server_name: section.value("server_name").and_then(|value| host(&value)),
        ca: section.value("ca").and_then(|value| authorities(&value)),
        identity: section.value("cert").zip(section.value("key")).and_then(identity),
        verify: section.flag("verify", true),
        starttls: None,
    }
}

/// A name to ask for.
pub(super) fn host(value: &Value<'_>) -> Option<String> {
    let text = value.filled()?;
    if !text.chars().all(|c| c.is_ascii_graphic() && c != '/') {
        let message = format!("{} is not a host name", quoted(text));
        value.refuse(&message, "write a name, as in \"db.internal\"");
        return None;
    }
    Some(text.to_owned())
}

/// A file of certificates, each of which can be an authority.
fn authorities(value: &Value<'_>) -> Option<PathBuf> {
    let (path, bytes) = file(value)?;
    let usable = |certificates: Vec<_>| {
        let mut roots = RootCertStore::empty();
        certificates.into_iter().try_for_each(|certificate| {
            roots.add(certificate).map_err(|error| format!("holds no usable authority: {error}"))
        })
    };
    if let Some(bytes) = bytes {
        note(value, &path, certificates(&bytes).and_then(usable));
    }
    Some(path)
}

/// A certificate chain and the key of its first certificate.
fn identity((cert, key): (Value<'_>, Value<'_>)) -> Option<(PathBuf, PathBuf)> {
    let (chain, secret) = (file(&cert), file(&key));
    let chain = chain.map(|(path, bytes)| {
        let found = bytes.and_then(|bytes| note(&cert, &path, certificates(&bytes)));
        (path, found)
    });
    let secret = secret.map(|(path, bytes)| {
        let found = bytes.and_then(|bytes| note(&key, &path, private_key(&bytes)));
        (path, found)
    });
    let ((cert_path, chain), (key_path, secret)) = chain.zip(secret)?;
    if let (Some(chain), Some(secret)) = (chain, secret) {
        note(&key, &key_path, belongs(chain, &secret));
    }
    Some((cert_path, key_path))
}

fn belongs(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<(), String> {
    let key = any_supported_type(key).map_err(|error| format!("holds no usable key: {error}"))?;
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match().map_err(|error| format!("is not the key of its certificate: {error}"))
}

fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match read {
        Ok(found) if found.is_empty() => Err(nothing(bytes, "certificate")),
        Ok(found) => Ok(found),
        Err(_) => Err("holds a broken certificate".to_owned()),
    }
}

fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| nothing(bytes, "unencrypted private key"))
}

fn nothing(bytes: &[u8], what: &str) -> String {
    if bytes.trim_ascii().is_empty() {
        return "is empty".to_owned();
    }
    format!("holds no {what} in PEM form")
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

fn note<T>(value: &Value<'_>, path: &std::path::Path, looked: Result<T, String>) -> Option<T> {
    match looked {
        Ok(found) => Some(found),
        Err(what) => {
            let way_out = "name a PEM file: its blocks start with -----BEGIN";
            value.refuse(&format!("{} {what}", path.display()), way_out);
            None
        }
    }
}
