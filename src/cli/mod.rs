//! The command line: what each command takes, and which exit code says what.
//!
//! 0 is done, 1 is failed while running, 2 is bad usage or an invalid file.

mod admin_address;
mod ask;
mod changes;
mod check;
mod command;
mod completions;
mod demo;
mod file;
mod man;
mod place;
mod plan;
mod proxy;
mod resolve;
mod route;
mod run;
mod schema;
mod serve;
mod status;
mod steer;
mod table;
mod target;
mod top;
mod wait;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Bad usage, or a file that cannot be used.
pub(crate) const INVALID: u8 = 2;
/// Failed while running.
pub(crate) const FAILED: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  evenkeel demo                                   see it work, without a file
  evenkeel proxy --listen tcp://127.0.0.1:5432 --to 10.0.0.11:5432 --to 10.0.0.12:5432
  evenkeel check -c evenkeel.toml                 every error and warning of a file
  evenkeel run -c evenkeel.toml                   run it
  evenkeel status                                 what a running balancer sees
  evenkeel top                                    the same, live
  evenkeel drain db/b1 --wait                     take a backend out, return when it is empty
  evenkeel plan -c new.toml                       what a reload with this file would do
  evenkeel reload --confirm 60s                   read the file again; undone unless confirmed
  evenkeel upgrade                                replace the program, sessions kept

Exit codes: 0 done, 1 failed while running, 2 bad usage or an invalid file.";

/// A TCP and UDP load balancer that says how it fails before it does
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(arg_required_else_help = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Proxy(proxy::Args),
    Demo(demo::Args),
    Status(status::Args),
    Top(top::Args),
    Drain(steer::Drain),
    Ready(steer::Ready),
    Maintenance(steer::Maintenance),
    Weight(steer::Weight),
    Route(route::Args),
    Plan(plan::Args),
    Reload(command::Reload),
    Confirm(command::Confirm),
    Upgrade(command::Upgrade),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Takes the arguments of this process, does what they say, and returns how it went.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.command.execute(),
        Err(error) => {
            let code = if error.use_stderr() { INVALID } else { 0 };
            match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::from(FAILED),
            }
        }
    }
}

impl Command {
    fn execute(self) -> ExitCode {
        match self {
            Self::Run(args) => run::execute(args),
            Self::Check(args) => check::execute(args),
            Self::Proxy(args) => proxy::execute(args),
            Self::Demo(args) => demo::execute(args),
            Self::Status(args) => status::execute(args),
            Self::Top(args) => top::execute(args),
            Self::Drain(args) => steer::drain(args),
            Self::Ready(args) => steer::ready(args),
            Self::Maintenance(args) => steer::maintenance(args),
            Self::Weight(args) => steer::weight(args),
            Self::Route(args) => route::execute(args),
            Self::Plan(args) => plan::execute(args),
            Self::Reload(args) => command::reload(args),
            Self::Confirm(args) => command::confirm(args),
            Self::Upgrade(args) => command::upgrade(args),
            Self::Schema(args) => schema::execute(args),
            Self::Completions(args) => completions::execute(args),
            Self::Man(args) => man::execute(args),
        }
    }
}

/// The whole command line, for completions and the manual page.
fn definition() -> clap::Command {
    Cli::command()
}

/// Writes to standard output. A reader that went away is a failure, not a panic.
pub(crate) fn print(text: &[u8], code: u8) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::from(code),
        Err(_) => ExitCode::from(FAILED),
    }
}

/// Writes a line to standard error, on which nobody may be listening.
pub(crate) fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    // There is no better place to say that saying it failed.
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).ok();
}

/// So many of something, as people count them.
pub(crate) fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_of_this_version_is_there() {
        let parsed = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parsed("evenkeel run"));
        assert!(parsed("evenkeel run -c x.toml"));
        assert!(parsed("evenkeel check -c x.toml --json --deny-warnings"));
        assert!(parsed("evenkeel check --effective"));
        assert!(!parsed("evenkeel check --effective --json"));
        assert!(parsed(
            "evenkeel proxy --listen tcp://127.0.0.1:1 --to a:1 --to b:1 --balance first"
        ));
        assert!(!parsed("evenkeel proxy --to a:1"));
        assert!(!parsed("evenkeel proxy --listen tcp://127.0.0.1:1"));
        assert!(parsed("evenkeel demo --seconds 5"));
        assert!(parsed("evenkeel status --json --admin 127.0.0.1:9900"));
        assert!(parsed("evenkeel top --interval 500ms --admin 127.0.0.1:9900"));
        assert!(!parsed("evenkeel top --interval 1ms"));
        assert!(parsed("evenkeel drain db/b1 --wait --timeout 90s --admin 127.0.0.1:9900"));
        assert!(!parsed("evenkeel drain db/b1 --timeout 90s"));
        assert!(!parsed("evenkeel drain db/b1 --wait --timeout 90"));
        assert!(!parsed("evenkeel drain db"));
        assert!(parsed("evenkeel ready db/[::1]:80 --token-file x"));
        assert!(parsed("evenkeel maintenance db/b1 --json"));
        assert!(parsed("evenkeel weight db/b1 256"));
        assert!(!parsed("evenkeel weight db/b1 257"));
        assert!(!parsed("evenkeel weight db/b1 -1"));
        assert!(parsed(
            "evenkeel route --listener l --client ::1 --sni a --host b --path /c --json"
        ));
        assert!(!parsed("evenkeel route --listener l"));
        assert!(!parsed("evenkeel route --listener l --client example.com"));
        assert!(parsed("evenkeel plan -c x.toml --json --admin 127.0.0.1:9900"));
        assert!(parsed("evenkeel reload --confirm 60s --json --token-file x"));
        assert!(!parsed("evenkeel reload --confirm 60"));
        assert!(!parsed("evenkeel reload --confirm 0s"));
        assert!(parsed("evenkeel confirm") && parsed("evenkeel upgrade --json"));
        assert!(parsed("evenkeel completions bash"));
        assert!(!parsed("evenkeel completions tcsh"));
        assert!(!parsed("evenkeel completions"));
    }
}
