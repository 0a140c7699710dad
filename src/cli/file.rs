//! Finds the file that a command means, and shows what is wrong with it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{INVALID, complain};
use crate::config::{self, Admin, Loaded, Problem, Refused};
use crate::server::Account;

/// Where a file is looked for when none is named.
const PLACES: [&str; 2] = ["./evenkeel.toml", "/etc/evenkeel/evenkeel.toml"];

/// The argument of every command that reads a file.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArg {
    /// The file [default: ./evenkeel.toml, then /etc/evenkeel/evenkeel.toml]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FileArg {
    /// The file named, or the first usual one that is there.
    pub(crate) fn find(&self) -> Result<PathBuf, String> {
        if let Some(file) = &self.config {
            return Ok(file.clone());
        }
        // What exists and cannot be read is chosen too: its own error says more than "not found".
        let there = |place: &&str| Path::new(place).symlink_metadata().is_ok();
        let found = PLACES.into_iter().find(there);
        found.map(|place| PathBuf::from(place.trim_start_matches("./"))).ok_or_else(|| {
            format!(
                "no file: neither {} nor {} exists\n\
                 name one with -c FILE, or start without one:\n  \
                 evenkeel demo\n  \
                 evenkeel proxy --listen tcp://127.0.0.1:5432 --to 10.0.0.11:5432",
                PLACES[0], PLACES[1]
            )
        })
    }

    /// Finds, reads and checks the file. Problems and warnings go to standard error.
    pub(crate) fn load(&self) -> Result<(PathBuf, Loaded), ExitCode> {
        let file = self.find().map_err(|reason| {
            complain(&reason);
            ExitCode::from(INVALID)
        })?;
        match read(&file) {
            Ok(loaded) => {
                show(&[], &loaded.warnings);
                Ok((file, loaded))
            }
            Err(refused) => {
                show(&refused.problems, &refused.warnings);
                Err(ExitCode::from(INVALID))
            }
        }
    }
}

/// Reads a file with the environment of this process.
pub(crate) fn read(file: &Path) -> Result<Loaded, Refused> {
    config::load(file, &|name| std::env::var(name).ok())
}

/// As [`read`], for whoever only asks where the balancer is: the files that it names are taken on
/// trust.
pub(super) fn read_trusting(file: &Path) -> Result<Loaded, Refused> {
    config::load_trusting(file, &|name| std::env::var(name).ok())
}

/// The `[admin]` of a file that may be broken otherwise.
pub(super) fn read_admin(file: &Path) -> Option<Admin> {
    config::load_admin(file, &|name| std::env::var(name).ok())
}

/// The files that are read again while the process runs, and that its user may not read.
pub(crate) fn out_of_reach(loaded: &Loaded) -> Vec<Problem> {
    let process = &loaded.config.process;
    let account = Account::find(process.user.as_deref(), process.group.as_deref());
    // Who that is may be known only where it runs, and a start without it says so.
    let Ok(account) = account else { return Vec::new() };
    let hidden = loaded.reread.iter().filter(|file| !account.may_read(&file.path));
    hidden.map(|file| file.warning.clone()).collect()
}

/// Shows problems on standard error, in colour where a person reads.
pub(crate) fn show(errors: &[Problem], warnings: &[Problem]) {
    if errors.is_empty() && warnings.is_empty() {
        return;
    }
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = std::io::stderr().is_terminal() && !plain;
    complain(config::text(errors, warnings, colour).trim_end());
}
