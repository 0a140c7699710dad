//! Reads a certificate and its key if their bytes are others than before.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::certificates::verdict::Fingerprint;
use crate::config::Identity;
use crate::tls::{self, Certified};

/// Far beyond any chain; what is larger is no certificate, and is not read.
const LONGEST: u64 = 1024 * 1024;

/// What was found in two files that had changed.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) fingerprint: Fingerprint,
    /// What they hold, or why it cannot be used.
    pub(super) held: Result<Certified, String>,
}

/// What the files hold; `None` if that has the fingerprint `before`, made with the same `hasher`.
///
/// It may block.
pub(super) fn read(
    identity: &Identity,
    before: Option<Fingerprint>,
    hasher: &RandomState,
) -> Option<Reading> {
    let contents = [&identity.cert, &identity.key].map(|path| bytes(path));
    let fingerprint = hasher.hash_one(contents.each_ref().map(Result::as_ref));
    if before == Some(fingerprint) {
        return None;
    }
    let held = match contents.into_iter().find_map(Result::err) {
        Some(flaw) => Err(flaw),
        // Read once more: what comes in between is a change, which brings us here again.
        None => tls::load(identity).map_err(|error| error.to_string()),
    };
    Some(Reading { fingerprint, held })
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |why: io::Error| {
        let path = path.display();
        format!("cannot read {path}: {why}; check the path and its permissions")
    };
    // Opening a pipe waits for somebody who writes, and all other certificates with it.
    if fs::metadata(path).map_err(unreadable)?.file_type().is_fifo() {
        return Err(unreadable(io::Error::other("it is a pipe")));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        let path = path.display();
        return Err(format!("{path} is larger than 1 MiB; it must hold PEM blocks and no more"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_when_its_bytes_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let identity =
            Identity { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        let hasher = RandomState::new();
        let read = |before| read(&identity, before, &hasher);

        let missing = read(None).unwrap();
        let said = missing.held.unwrap_err();
        assert!(said.starts_with("cannot read /") && said.contains("cert.pem"), "{said}");
        assert!(read(Some(missing.fingerprint)).is_none());

        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        fs::write(&identity.cert, made.cert.pem()).unwrap();
        fs::write(&identity.key, made.signing_key.serialize_pem()).unwrap();
        let good = read(Some(missing.fingerprint)).unwrap();
        assert_eq!(&*good.held.unwrap().name, "a.example");
        assert!(read(Some(good.fingerprint)).is_none());

        let other = rcgen::KeyPair::generate().unwrap();
        fs::write(&identity.key, other.serialize_pem()).unwrap();
        let mismatched = read(Some(good.fingerprint)).unwrap();
        assert_ne!(mismatched.fingerprint, good.fingerprint);
        let said = mismatched.held.unwrap_err();
        assert!(said.contains("key.pem is not the key of"), "{said}");

        File::create(&identity.cert).unwrap().set_len(LONGEST * 1000).unwrap();
        let said = read(None).unwrap().held.unwrap_err();
        assert!(said.contains("cert.pem is larger than 1 MiB"), "{said}");
    }
}
