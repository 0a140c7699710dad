//! `evenkeel completions`: what a shell needs to complete this command line.

use std::process::ExitCode;

use clap_complete::{Shell, generate};

use super::{definition, print};

const EXAMPLES: &str = "\
Examples:
  evenkeel completions bash > /etc/bash_completion.d/evenkeel
  evenkeel completions zsh > ~/.zfunc/_evenkeel
  evenkeel completions fish > ~/.config/fish/completions/evenkeel.fish";

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn execute(args: Args) -> ExitCode {
    let mut script = Vec::new();
    generate(args.shell, &mut definition(), "evenkeel", &mut script);
    print(&script, 0)
}
