//! `evenkeel schema`: the JSON Schema of the file.

use std::process::ExitCode;

use super::print;
use crate::config;

/// Print the JSON Schema of the file, for editors
///
/// Editors with TOML support complete keys and show their meaning with it. Put this in the first
/// line of the file: #:schema ./evenkeel.schema.json
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  evenkeel schema > evenkeel.schema.json")]
pub(crate) struct Args {}

pub(crate) fn execute(_: Args) -> ExitCode {
    print(format!("{:#}\n", config::schema()).as_bytes(), 0)
}
