//! What must change on disk before a path leads to other bytes: an entry in each folder on the way.
//!
//! Kubernetes swaps a link to a folder (`..data`), certbot a link to a file, others rename or write
//! in place. All of them change an entry of a folder that the kernel passes when it follows the path.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::{env, fs};

/// The kernel follows as many links in one path and no more.
const MOST_LINKS: usize = 40;

/// The entries on the way to `path`: every symbolic link that is followed and the file at the end,
/// each in its real folder. If the way breaks off, its last entry is the one that is missing.
///
/// Asks the file system, so it may block.
pub(super) fn on_the_way(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    // No link is left in it: going up from it is what `..` means.
    let mut at = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let mut ahead = parts(path);
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        let entry = match part {
            Part::Root => {
                at = PathBuf::from("/");
                continue;
            }
            Part::Up => {
                at.pop();
                continue;
            }
            Part::Entry(name) => at.join(name),
        };
        if let Ok(target) = fs::read_link(&entry) {
            found.insert(entry);
            links += 1;
            if links > MOST_LINKS {
                return found;
            }
            ahead.extend(parts(&target));
        } else if ahead.is_empty() || !entry.is_dir() {
            found.insert(entry);
            return found;
        } else {
            at = entry;
        }
    }
    // It ended in `..` or at the root: a folder, which is no certificate.
    found.insert(at);
    found
}

enum Part {
    Root,
    Up,
    Entry(OsString),
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<Part> {
    let part = |component| match component {
        Component::RootDir => Some(Part::Root),
        Component::ParentDir => Some(Part::Up),
        Component::Normal(name) => Some(Part::Entry(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        (folder, real)
    }

    #[track_caller]
    fn leads_over(path: &Path, real: &Path, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().map(|entry| real.join(entry)).collect();
        let mut found = on_the_way(path);
        // The folder for temporary files may itself stand behind a link.
        found.retain(|entry| entry.starts_with(real));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_plain_file_is_an_entry_of_its_folder() {
        let (_folder, real) = folder();
        fs::write(real.join("cert.pem"), "").unwrap();
        leads_over(&real.join("cert.pem"), &real, &["cert.pem"]);
        leads_over(&real.join("./cert.pem"), &real, &["cert.pem"]);
    }

    #[test]
    fn a_secret_of_kubernetes_leads_over_its_data_link() {
        let (_folder, real) = folder();
        fs::create_dir(real.join("..2026_11_21")).unwrap();
        fs::write(real.join("..2026_11_21/tls.crt"), "").unwrap();
        symlink("..2026_11_21", real.join("..data")).unwrap();
        symlink("..data/tls.crt", real.join("tls.crt")).unwrap();
        let expected = ["tls.crt", "..data", "..2026_11_21/tls.crt"];
        leads_over(&real.join("tls.crt"), &real, &expected);
    }

    #[test]
    fn a_certificate_of_certbot_leads_into_the_archive() {
        let (_folder, real) = folder();
        fs::create_dir_all(real.join("live/x")).unwrap();
        fs::create_dir_all(real.join("archive/x")).unwrap();
        fs::write(real.join("archive/x/fullchain3.pem"), "").unwrap();
        symlink("../../archive/x/fullchain3.pem", real.join("live/x/fullchain.pem")).unwrap();
        let expected = ["live/x/fullchain.pem", "archive/x/fullchain3.pem"];
        leads_over(&real.join("live/x/fullchain.pem"), &real, &expected);
    }

    #[test]
    fn a_folder_behind_a_link_counts_with_both_its_folders() {
        let (_folder, real) = folder();
        fs::create_dir_all(real.join("releases/2")).unwrap();
        fs::write(real.join("releases/2/cert.pem"), "").unwrap();
        symlink(real.join("releases/2"), real.join("now")).unwrap();
        leads_over(&real.join("now/cert.pem"), &real, &["now", "releases/2/cert.pem"]);
        // `..` behind a link goes up from where the link leads to.
        fs::write(real.join("releases/cert.pem"), "").unwrap();
        leads_over(&real.join("now/../cert.pem"), &real, &["now", "releases/cert.pem"]);
    }

    #[test]
    fn a_way_that_breaks_off_ends_with_what_is_missing() {
        let (_folder, real) = folder();
        leads_over(&real.join("a/b/cert.pem"), &real, &["a"]);
        symlink("nowhere/cert.pem", real.join("cert.pem")).unwrap();
        leads_over(&real.join("cert.pem"), &real, &["cert.pem", "nowhere"]);
        fs::write(real.join("file"), "").unwrap();
        leads_over(&real.join("file/cert.pem"), &real, &["file"]);
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let (_folder, real) = folder();
        symlink("b", real.join("a")).unwrap();
        symlink("a", real.join("b")).unwrap();
        leads_over(&real.join("a"), &real, &["a", "b"]);
    }

    #[test]
    fn a_relative_path_starts_at_the_working_directory() {
        let here = env::current_dir().unwrap();
        assert!(on_the_way(Path::new("Cargo.toml")).contains(&here.join("Cargo.toml")));
    }
}
