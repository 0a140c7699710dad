//! `evenkeel run`: the balancer with a file.

use std::process::ExitCode;

use super::file::{FileArg, show};
use super::serve;
use crate::server::{broken_promises, expired};

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

/// Reads the file and serves until told to stop.
pub(crate) fn execute(args: Args) -> ExitCode {
    match args.file.load() {
        Ok((_, loaded)) => {
            // A restart at night must not become an outage: what has expired serves on.
            let (expired, doubtful) = expired(&loaded);
            show(&[], &[broken_promises(&loaded), expired, doubtful].concat());
            serve::serve(loaded.config)
        }
        Err(code) => code,
    }
}
