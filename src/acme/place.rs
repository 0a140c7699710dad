//! The files of an account and of a certificate: where they lie, and how they come to lie there
//! whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use siphasher::sip::SipHasher13;

/// Characters of a name as they come; what is longer is cut.
const LONGEST: usize = 100;

/// Size of what is written to see whether there is room: a chain with its key takes half of it.
const ROOM: usize = 16 * 1024;

/// Why the storage is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The folder or a file in it cannot be made or written.
    #[error(
        "cannot write {}: {why}; acme.storage must be a folder that user {} may write to",
        path.display(), rustix::process::geteuid().as_raw()
    )]
    Unwritable { path: PathBuf, why: io::Error },
    /// A file that is there cannot be read.
    #[error(
        "cannot read {}: {why}; what is in acme.storage must belong to user {}",
        path.display(), rustix::process::geteuid().as_raw()
    )]
    Unreadable { path: PathBuf, why: io::Error },
}

/// The files of one certificate, and of the account that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    folder: PathBuf,
    /// Shared by all certificates of an authority.
    pub(super) account: PathBuf,
    /// Key and chain in one file, so that one never lies there without the other.
    pub(super) certificate: PathBuf,
}

impl Place {
    /// In `folder`, for the certificate whose first name is `domain`, from the authority whose
    /// directory this is: who moves from a staging to a real one must not keep the old certificate.
    pub(super) fn new(folder: &Path, directory: &str, domain: &str) -> Self {
        let authority = safe(directory.trim_start_matches("https://"));
        Self {
            folder: folder.to_owned(),
            account: folder.join(format!("account@{authority}.json")),
            certificate: folder.join(format!("{}@{authority}.pem", safe(domain))),
        }
    }

    /// Makes the folder if it is not there, and shows that files can be written: whoever finds out
    /// only with the account or the certificate in hand asks for another one each time.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        let unwritable = |why| Error::Unwritable { path: self.folder.clone(), why };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(unwritable)?;
        let trial = Draft::of(&self.certificate);
        trial.write(&[0; ROOM]).map_err(unwritable)
    }
}

/// What is in a file; `None` if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read(path) {
        // What is no text is no JSON and no PEM either, and whoever reads it will say so.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(Error::Unreadable { path: path.to_owned(), why }),
    }
}

/// Puts `content` where `path` leads, readable to us alone. A reader, and a crash, meets what was
/// there before or all of the new.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let unwritable = |why| Error::Unwritable { path: path.to_owned(), why };
    let draft = Draft::of(path);
    draft.write(content).and_then(|()| draft.publish(path)).map_err(unwritable)
}

/// Moves a file aside that is of no use, and gives its new path: it may still be looked at.
pub(super) fn set_aside(path: &Path, now: SystemTime) -> Result<PathBuf, Error> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".unusable-{}", since.as_secs()));
    let aside = path.with_file_name(name);
    let unwritable = |why| Error::Unwritable { path: aside.clone(), why };
    fs::rename(path, &aside).map_err(unwritable)?;
    Ok(aside)
}

/// A file that is being written; removed if it never became the real one.
struct Draft(PathBuf);

impl Draft {
    /// Beside the real one: a rename does not reach into another file system. The name is always
    /// the same, so that what a crash left is used again and nothing piles up.
    fn of(path: &Path) -> Self {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        Self(path.with_file_name(name))
    }

    fn write(&self, content: &[u8]) -> io::Result<()> {
        // What a crash left may have other permissions, be a link, or be open elsewhere.
        fs::remove_file(&self.0).or_else(|why| match why.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(why),
        })?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&self.0)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn publish(&self, path: &Path) -> io::Result<()> {
        fs::rename(&self.0, path)?;
        // The name has to reach the disk as well.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It has been renamed, or there is nobody to tell.
        fs::remove_file(&self.0).ok();
    }
}

/// `text` as part of a file name. What had to be changed for it carries a hash of the whole, so
/// that two texts never give one name.
fn safe(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let kept = text.chars().take(LONGEST).enumerate().map(|(place, c)| match c {
        '.' if place == 0 => '_',
        c if is_plain(c) => c,
        _ => '_',
    });
    let kept: String = kept.collect();
    if kept == text {
        return kept;
    }
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    format!("{kept}-{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn place(folder: &Path, domain: &str) -> Place {
        Place::new(folder, "https://acme-v02.api.letsencrypt.org/directory", domain)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn names_say_whose_file_it_is_and_stay_in_the_folder() {
        let found = place(Path::new("/acme"), "a.example");
        let name = found.certificate.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("a.example@acme-v02.api.letsencrypt.org_directory-"), "{name}");
        assert!(name.ends_with(".pem"), "{name}");
        for hostile in ["../../etc/passwd", "..", ".", "", "a/b", "a\0b", &"x".repeat(5000), "É"] {
            let found = Place::new(Path::new("/acme"), hostile, hostile);
            for path in [found.account, found.certificate] {
                assert_eq!(path.parent(), Some(Path::new("/acme")), "{hostile:?}");
                assert!(path.file_name().unwrap().len() < 255, "{hostile:?}");
            }
        }
    }

    #[test]
    fn two_texts_never_give_one_name() {
        let texts = ["a/b", "a_b", "a:b", "A_b", ".a", "_a", &"x".repeat(200), &"x".repeat(201)];
        let mut names: Vec<_> = texts.iter().map(|text| safe(text)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), texts.len());
        assert_eq!(safe("b-1.example"), "b-1.example");
    }

    #[test]
    fn what_is_written_is_there_whole_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("deep/acme");
        let place = place(&folder, "a.example");
        place.prepare().unwrap();
        assert_eq!((mode(&folder), names(&folder)), (0o700, vec![]));
        // A crash has left a draft that everybody may read.
        let mut draft = place.certificate.clone().into_os_string();
        draft.push(".new");
        fs::write(&draft, "half of a k").unwrap();
        assert_eq!(read(&place.certificate).unwrap(), None);
        for content in ["one", "two, which is longer", "3"] {
            write(&place.certificate, content.as_bytes()).unwrap();
            assert_eq!(read(&place.certificate).unwrap().unwrap(), content);
            assert_eq!(mode(&place.certificate), 0o600);
        }
        assert_eq!(names(&folder).len(), 1);
        // A link there leads nowhere.
        let other = dir.path().join("other");
        fs::write(&other, "untouched").unwrap();
        symlink(&other, &draft).unwrap();
        write(&place.certificate, b"4").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        assert_eq!(
            (read(&place.certificate).unwrap().unwrap(), names(&folder).len()),
            ("4".to_owned(), 1)
        );
    }

    #[test]
    fn a_file_of_no_use_is_kept_under_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path(), "a.example");
        write(&place.account, b"what").unwrap();
        let aside = set_aside(&place.account, SystemTime::UNIX_EPOCH).unwrap();
        assert!(aside.to_str().unwrap().ends_with(".json.unusable-0"), "{}", aside.display());
        assert_eq!(read(&place.account).unwrap(), None);
        assert_eq!(read(&aside).unwrap().unwrap(), "what");
    }

    #[test]
    fn a_storage_that_cannot_be_written_says_who_must_be_able_to() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let folder = dir.path().join("file/acme");
        let said = place(&folder, "a.example").prepare().unwrap_err().to_string();
        assert!(said.starts_with(&format!("cannot write {}: ", folder.display())), "{said}");
        assert!(said.contains("acme.storage must be a folder that user "), "{said}");
    }
}
