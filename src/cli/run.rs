//! `evenkeel run`: the balancer with a file.

use std::process::ExitCode;

use super::file::FileArg;
use super::{FAILED, complain};

const NOTES: &str = "\
Signals: SIGTERM and SIGINT stop gracefully, a second one ends at once.

Examples:
  evenkeel run
  evenkeel run -c /etc/evenkeel/evenkeel.toml";

/// Run the balancer
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArg,
}

/// STUB: loads the file and stops there.
pub(crate) fn execute(args: Args) -> ExitCode {
    match args.file.load() {
        Ok(_) => {
            complain("`run` is not built yet");
            ExitCode::from(FAILED)
        }
        Err(code) => code,
    }
}
