//! The one certificate that every proxy shows: ECDSA on P-256, signed by an authority of this run.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use tempfile::TempDir;

use crate::secure::NAME;

/// A folder with `ca.pem`, `cert.pem`, `key.pem`, and `both.pem` for those that want them in one.
pub(crate) struct Identity {
    dir: TempDir,
}

impl Identity {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text);
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        write("ca.pem", &params.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let cert = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &issuer)?.pem();
        write("cert.pem", &cert)?;
        write("key.pem", &key.serialize_pem())?;
        write("both.pem", &format!("{cert}{}", key.serialize_pem()))?;
        Ok(Self { dir })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }
}
