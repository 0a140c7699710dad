//! Certificates for tests: an authority in a folder, and what it signs.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

/// An authority with `ca.pem` in a folder.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Signed {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        // Of two with the same name and other keys one would be taken for the other.
        static NUMBER: AtomicUsize = AtomicUsize::new(1);
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    /// The line that trusts it.
    pub(crate) fn ca(&self) -> String {
        format!("ca = \"{}\"", self.ca_file().display())
    }

    /// The file that holds it.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// For these names and addresses.
    pub(crate) fn sign(&self, names: &[&str]) -> Signed {
        self.sign_as(names, |_| {})
    }

    /// With a key of RSA.
    pub(crate) fn sign_rsa(&self, names: &[&str]) -> Signed {
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        self.sign_with(names, key, |_| {})
    }

    /// One that has expired.
    pub(crate) fn sign_expired(&self, names: &[&str]) -> Signed {
        self.sign_as(names, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    /// One that is good for a long time.
    pub(crate) fn sign_until(&self, names: &[&str], year: i32) -> Signed {
        self.sign_as(names, |params| params.not_after = rcgen::date_time_ymd(year, 1, 1))
    }

    fn sign_as(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Signed {
        self.sign_with(names, KeyPair::generate().unwrap(), change)
    }

    fn sign_with(
        &self,
        names: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        Signed { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }

    /// Puts a certificate and its key into the folder.
    pub(crate) fn write(&self, name: &str, signed: &Signed) -> (PathBuf, PathBuf) {
        let folder = self.folder.path();
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        fs::write(&cert, signed.certificate.pem()).unwrap();
        fs::write(&key, signed.key.serialize_pem()).unwrap();
        (cert, key)
    }

    /// Who trusts it alone.
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }
}

impl Signed {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}
