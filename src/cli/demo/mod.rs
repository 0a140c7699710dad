//! `evenkeel demo`: the balancer with built-in backends, to see it work.

use std::process::ExitCode;

use super::{FAILED, complain};

/// Run with three small built-in backends, to see it work
///
/// Everything stays on loopback. Prints the addresses and a few lines to type.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  evenkeel demo --seconds 60")]
pub(crate) struct Args {
    /// End after so many seconds [default: run until stopped]
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
}

/// STUB.
pub(crate) fn execute(args: Args) -> ExitCode {
    complain(&format!("`demo` is not built yet: {:?}", args.seconds));
    ExitCode::from(FAILED)
}
