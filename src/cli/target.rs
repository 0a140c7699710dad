//! Which running balancer a command talks to, and what lets it change something there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::file::{FileArg, read_admin, read_trusting, show};
use super::{INVALID, admin_address, complain};
use crate::config::{Admin, AdminBind, Refused, admin_token};

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

/// An address, its token, and what is wrong with the file.
type Despite = (AdminBind, Option<String>, Option<Refused>);

impl Target {
    /// The address that is meant. What is wrong has been said when this fails.
    pub(crate) fn address(&self) -> Result<AdminBind, ExitCode> {
        Ok(self.admin()?.bind)
    }

    /// The file that is meant. What is wrong has been said when this fails.
    pub(crate) fn file(&self) -> Result<PathBuf, ExitCode> {
        self.file.find().map_err(|reason| refuse(&reason))
    }

    fn admin(&self) -> Result<Admin, ExitCode> {
        match self.look()? {
            (admin, None) => Ok(admin),
            // The address is known, and the file may be somebody else's.
            (admin, Some(_)) if self.admin.is_some() => Ok(admin),
            (_, Some(refused)) => Err(invalid(&refused)),
        }
    }

    /// `--admin`, or what the file says, and what is wrong with the file otherwise; the usual address if
    /// there is no file, as after `evenkeel demo`.
    fn look(&self) -> Result<(Admin, Option<Refused>), ExitCode> {
        let named = self.admin.as_deref().map(admin_address::parse).transpose();
        let named = named.map_err(|reason| refuse(&reason))?;
        let with = |admin: Admin| match &named {
            Some(bind) => Admin { bind: bind.clone(), ..admin },
            None => admin,
        };
        let Ok(file) = self.file.find() else { return Ok((with(Admin::default()), None)) };
        match read_trusting(&file) {
            Ok(loaded) => Ok((with(loaded.config.admin), None)),
            Err(refused) => match (read_admin(&file), &named) {
                (Some(admin), _) => Ok((with(admin), Some(refused))),
                (None, Some(_)) => Ok((with(Admin::default()), Some(refused))),
                (None, None) => Err(invalid(&refused)),
            },
        }
    }
}

/// Says what is wrong with a file. Warnings are for whoever checks it, not for whoever asks a balancer.
fn invalid(refused: &Refused) -> ExitCode {
    show(&refused.problems, &[]);
    ExitCode::from(INVALID)
}

impl Keys {
    /// The address that is meant, and the token it wants, if any.
    pub(crate) fn find(&self) -> Result<(AdminBind, Option<String>), ExitCode> {
        let admin = self.target.admin()?;
        let token = self.token(admin.token_file)?;
        Ok((admin.bind, token))
    }

    /// The same for a balancer whose file is broken but for its `[admin]`, and what is wrong with it.
    pub(crate) fn find_despite(&self) -> Result<Despite, ExitCode> {
        let (admin, refused) = self.target.look()?;
        let token = self.token(admin.token_file)?;
        Ok((admin.bind, token, refused))
    }

    fn token(&self, of_file: Option<PathBuf>) -> Result<Option<String>, ExitCode> {
        // Set but empty is not set, as everywhere in an environment.
        let named = std::env::var_os("EVENKEEL_TOKEN_FILE").filter(|name| !name.is_empty());
        let file = self.token_file.clone().or_else(|| named.map(PathBuf::from)).or(of_file);
        let token = file.map(|file| read_token(&file).map_err(|reason| refuse(&reason)));
        token.transpose()
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
