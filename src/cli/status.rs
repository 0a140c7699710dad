//! `evenkeel status`: what a running balancer sees.

use std::process::ExitCode;

use super::file::FileArg;
use super::{FAILED, complain};

const EXAMPLES: &str = "\
Examples:
  evenkeel status
  evenkeel status --json --admin 127.0.0.1:9900
  evenkeel status --admin unix:/run/evenkeel/admin.sock";

/// Show what a running balancer sees: listeners, pools, backends, sessions
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print the status as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the balancer's admin interface is [default: as in the file]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    #[command(flatten)]
    pub(crate) file: FileArg,
}

/// STUB.
pub(crate) fn execute(args: Args) -> ExitCode {
    complain(&format!("`status` is not built yet: {args:?}"));
    ExitCode::from(FAILED)
}
