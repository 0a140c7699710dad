//! The way from a file to a [`Config`]: the only code here that touches the file system.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::file;
use super::include;
use super::pending::{Expiry, Lookup, Pending, Promise, Reread};
use super::problem::{Closed, Disk, Problem, Refused, Report, Source};
use super::read::Section;
use super::tree::{self, Table};
use super::{Admin, Config, Origin, process};

/// Larger files are no configuration; without a limit `-c /dev/zero` would eat the memory.
pub(super) const LARGEST: u64 = 8 << 20;

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked file.
    pub config: Config,
    /// What is questionable about it, in file order.
    pub warnings: Vec<Problem>,
    /// The host names in it.
    pub lookups: Vec<Lookup>,
    /// The caps in it.
    pub promises: Vec<Promise>,
    /// The certificates that it names, where files were read.
    pub expiries: Vec<Expiry>,
    /// The files of those certificates, which are read again whenever they change.
    pub reread: Vec<Reread>,
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads and checks a file and all that it includes. `env` answers for environment variables.
pub fn load(path: &Path, env: Env<'_>) -> Result<Loaded, Refused> {
    read(path, env, true)
}

/// As [`load`], but tokens, passwords, keys and certificates that the file names are taken on trust:
/// whoever only talks to a running balancer may have no right to read them, and no need.
pub fn load_trusting(path: &Path, env: Env<'_>) -> Result<Loaded, Refused> {
    read(path, env, false)
}

fn read(path: &Path, env: Env<'_>, with_named_files: bool) -> Result<Loaded, Refused> {
    let name = path.display().to_string();
    let read = std::path::absolute(path).and_then(|full| Ok((bytes(&full)?, full)));
    let (bytes, full) = match read {
        Ok(read) => read,
        Err(error) => {
            let problems = vec![include::unreadable(&name, &error)];
            return Err(Refused { problems, warnings: Vec::new() });
        }
    };
    let mut report = Report::new(Some(&OnDisk));
    let base = full.parent().map(Path::to_path_buf).unwrap_or_default();
    let root = include::parse_bytes(&report, name, base, bytes, env).map(|(_, mut root)| {
        include::merge(&report, &mut root, env);
        root
    });
    if !with_named_files {
        report.disk = None;
    }
    let origin = Origin { file: Some(path.to_path_buf()), hash: hash(&report) };
    finish(report, root.as_ref(), origin)
}

/// The `[admin]` of a file of which the rest may be broken; `None` if what it says of that cannot be
/// used either. For whoever tells a running balancer about such a file.
pub fn load_admin(path: &Path, env: Env<'_>) -> Option<Admin> {
    let full = std::path::absolute(path).ok()?;
    let mut report = Report::new(Some(&OnDisk));
    let base = full.parent().map(Path::to_path_buf).unwrap_or_default();
    let name = path.display().to_string();
    let (_, mut root) = include::parse_bytes(&report, name, base, bytes(&full).ok()?, env)?;
    include::merge(&report, &mut root, env);
    report.disk = None;
    let before = report.errors();
    let root = Section::root(&report, &root);
    let is_there = root.value("admin").is_some() || before == 0;
    let admin = process::admin(&root);
    (is_there && report.errors() == before).then_some(admin)
}

/// Checks a text that is no file. Nothing is read: `include` is refused, and files that the text
/// names are taken on trust. Relative paths are taken from `/`.
pub fn parse(name: &str, text: &str, env: Env<'_>) -> Result<Loaded, Refused> {
    let report = Report::new(None);
    let source = Source { name: name.to_owned(), base: PathBuf::from("/"), text: Arc::from(text) };
    let (_, mut root) = tree::parse(source, &report, env);
    include::merge(&report, &mut root, env);
    let origin = Origin { file: None, hash: hash(&report) };
    finish(report, Some(&root), origin)
}

fn finish(report: Report, root: Option<&Table>, origin: Origin) -> Result<Loaded, Refused> {
    let config = root.map(|root| file::read(&report, root, origin));
    let Closed { problems, warnings, pending } = report.close();
    let Pending { lookups, promises, expiries, reread } = pending;
    match config {
        Some(config) if problems.is_empty() => {
            Ok(Loaded { config, warnings, lookups, promises, expiries, reread })
        }
        _ => Err(Refused { problems, warnings }),
    }
}

/// Tells one configuration from another; not meant to withstand anybody.
fn hash(report: &Report) -> String {
    let mut hasher = SipHasher13::new();
    for text in report.texts() {
        hasher.write_usize(text.len());
        hasher.write(text.as_bytes());
    }
    format!("{:016x}", hasher.finish())
}

/// What is in a file, or in the pipe of `-c <(…)`.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err(io::Error::other("it is larger than 8 MiB"));
    }
    Ok(bytes)
}

struct OnDisk;

impl Disk for OnDisk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Opening one waits for somebody who writes.
        if fs::metadata(path)?.file_type().is_fifo() {
            return Err(io::Error::other("it is a pipe"));
        }
        bytes(path)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        // The crate returns them in alphabetical order; what cannot be listed is reported on reading.
        let paths = glob::glob(pattern).map_err(|error| error.msg.to_owned())?;
        Ok(paths.map(|path| path.unwrap_or_else(|error| error.path().to_path_buf())).collect())
    }

    fn blocks_folder(&self, path: &Path) -> bool {
        path.exists() && !path.is_dir()
    }
}
