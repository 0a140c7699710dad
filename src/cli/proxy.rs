//! `evenkeel proxy`: the balancer without a file.

use std::process::ExitCode;

use super::{FAILED, complain};

const EXAMPLES: &str = "\
Examples:
  evenkeel proxy --listen tcp://127.0.0.1:5432 --to 10.0.0.11:5432 --to 10.0.0.12:5432
  evenkeel proxy --listen tcp://[::]:6379 --to cache1:6379 --to cache2:6379 --balance first";

/// Run without a file
///
/// One listener, one pool; everything else is as in a file that says nothing more.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, value_name = "tcp://ADDR")]
    pub(crate) listen: String,
    /// A backend; repeat it for more
    #[arg(long, value_name = "ADDR", required = true)]
    pub(crate) to: Vec<String>,
    /// How a backend is picked [default: least-connections]
    #[arg(long, value_name = "POLICY")]
    pub(crate) balance: Option<String>,
    /// Where the admin interface listens [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
}

/// STUB.
pub(crate) fn execute(args: Args) -> ExitCode {
    let Args { listen, to, balance, admin } = args;
    complain(&format!("`proxy` is not built yet: {listen} {to:?} {balance:?} {admin:?}"));
    ExitCode::from(FAILED)
}
