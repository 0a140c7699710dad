//! Which running balancer a command talks to, and what lets it change something there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::file::{FileArg, read_trusting, show};
use super::{INVALID, admin_address, complain};
use crate::config::{Admin, AdminBind, admin_token};

/// The arguments of every command that asks a running balancer.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Where the balancer's admin interface is [default: as in the file]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    #[command(flatten)]
    file: FileArg,
}

/// The arguments of every command that changes something there.
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    #[command(flatten)]
    target: Target,
    /// File whose first line is the admin token [default: $EVENKEEL_TOKEN_FILE, else as in the file]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Target {
    /// The address that is meant. What is wrong has been said when this fails.
    pub(crate) fn address(&self) -> Result<AdminBind, ExitCode> {
        Ok(self.admin()?.bind)
    }

    /// `--admin`, or what the file says; the usual address if there is no file, as after
    /// `evenkeel demo`.
    fn admin(&self) -> Result<Admin, ExitCode> {
        let named = self.admin.as_deref().map(admin_address::parse).transpose();
        let named = named.map_err(|reason| refuse(&reason))?;
        let found = self.file.find().ok().map(|file| read_trusting(&file));
        match (named, found) {
            (None, None) => Ok(Admin::default()),
            (None, Some(Ok(loaded))) => Ok(loaded.config.admin),
            (None, Some(Err(refused))) => {
                // Warnings are for whoever checks the file, not for whoever looks at the balancer.
                show(&refused.problems, &[]);
                Err(ExitCode::from(INVALID))
            }
            (Some(bind), Some(Ok(loaded))) => Ok(Admin { bind, ..loaded.config.admin }),
            // The address is known, and the file may be somebody else's.
            (Some(bind), _) => Ok(Admin { bind, token_file: None }),
        }
    }
}

impl Keys {
    /// The address that is meant, and the token it wants, if any.
    pub(crate) fn find(&self) -> Result<(AdminBind, Option<String>), ExitCode> {
        let admin = self.target.admin()?;
        // Set but empty is not set, as everywhere in an environment.
        let named = std::env::var_os("EVENKEEL_TOKEN_FILE").filter(|name| !name.is_empty());
        let file =
            self.token_file.clone().or_else(|| named.map(PathBuf::from)).or(admin.token_file);
        let token = file.map(|file| read_token(&file).map_err(|reason| refuse(&reason)));
        Ok((admin.bind, token.transpose()?))
    }
}

fn read_token(file: &Path) -> Result<String, String> {
    let unusable = |why: &str| {
        format!(
            "the token file {} cannot be used: {why}; name it with --token-file",
            file.display()
        )
    };
    let bytes = fs::read(file).map_err(|error| unusable(&error.to_string()))?;
    admin_token(&bytes).map_err(unusable)
}

fn refuse(reason: &str) -> ExitCode {
    complain(reason);
    ExitCode::from(INVALID)
}
