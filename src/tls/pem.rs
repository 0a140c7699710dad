//! Certificates and keys from PEM files, with errors that name the file and the way out.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::Error;

/// All certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let way_out = "it must hold one or more blocks of BEGIN CERTIFICATE";
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(found) if Vec::is_empty(&found) => {
            Err(content(path, "no certificate".to_owned(), way_out))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(explain(path, error, way_out)),
    }
}

/// The first private key of a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let way_out = "it must hold an unencrypted PEM key: PKCS#8, PKCS#1 or SEC1";
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => content(path, "no private key".to_owned(), way_out),
        error => explain(path, error, way_out),
    })
}

fn explain(path: &Path, error: pem::Error, way_out: &'static str) -> Error {
    match error {
        pem::Error::Io(why) => Error::Unreadable { path: path.to_owned(), why },
        error => content(path, format!("broken PEM ({error})"), way_out),
    }
}

fn content(path: &Path, what: String, way_out: &'static str) -> Error {
    Error::Content { path: path.to_owned(), what, way_out }
}
