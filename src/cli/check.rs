//! `evenkeel check`: everything that can be said about a file without binding anything.

use std::path::Path;
use std::process::ExitCode;

use super::file::{FileArg, out_of_reach, read, show};
use super::{FAILED, INVALID, complain, count, print, resolve};
use crate::config::{self, Config, Loaded, Problem, Refused};
use crate::server::{self, broken_promises, expired};

const EXAMPLES: &str = "\
Examples:
  evenkeel check -c evenkeel.toml
  evenkeel check --deny-warnings                  exit 2 on a warning, for CI
  evenkeel check --explain                        what it makes certain when something fails
  evenkeel check --effective > full.toml          the file with every default filled in
  evenkeel check --json                           {ok, errors: […], warnings: […]}";

/// Validate a file without binding anything
///
/// Prints every error and every warning, each with file, line, column and the line itself. Reads
/// included files and certificates, and looks up the host names (5 s at most).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArg,
    /// Print how long failures can last and clients can wait, per listener and pool
    #[arg(long, conflicts_with = "effective")]
    explain: bool,
    /// Print the whole file with every default filled in
    #[arg(long, conflicts_with = "json")]
    effective: bool,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    /// Exit 2 if there is a warning
    #[arg(long)]
    deny_warnings: bool,
}

pub(crate) fn execute(args: Args) -> ExitCode {
    let file = match args.file.find() {
        Ok(file) => file,
        Err(reason) => {
            complain(&reason);
            return ExitCode::from(INVALID);
        }
    };
    match read(&file) {
        Ok(mut loaded) => {
            let lookups = std::mem::take(&mut loaded.lookups);
            let nameservers = &loaded.config.process.nameservers;
            loaded.warnings.extend(resolve::unresolved(lookups, nameservers));
            loaded.warnings.extend(broken_promises(&loaded));
            loaded.warnings.extend(out_of_reach(&loaded));
            let (problems, doubtful) = expired(&loaded);
            loaded.warnings.extend(doubtful);
            if problems.is_empty() {
                accepted(&args, &file, &loaded)
            } else {
                refused(&args, &Refused { problems, warnings: loaded.warnings })
            }
        }
        Err(problems) => refused(&args, &problems),
    }
}

fn refused(args: &Args, Refused { problems, warnings }: &Refused) -> ExitCode {
    if args.json {
        return outcome(false, problems, warnings, INVALID);
    }
    show(problems, warnings);
    ExitCode::from(INVALID)
}

fn accepted(args: &Args, file: &Path, loaded: &Loaded) -> ExitCode {
    let warnings = &loaded.warnings;
    let ok = warnings.is_empty() || !args.deny_warnings;
    let code = if ok { 0 } else { INVALID };
    let explained =
        args.explain.then(|| config::explain(&loaded.config, server::clock_step(&loaded.config)));
    if args.json {
        return match explained {
            Some(explained) => {
                let report = config::json_explained(ok, warnings, &explained);
                print(format!("{report}\n").as_bytes(), code)
            }
            None => outcome(ok, &[], warnings, code),
        };
    }
    show(&[], warnings);
    if args.effective {
        return effective(&loaded.config, code);
    }
    let explained = explained.map(|it| format!("{}\n", it.text())).unwrap_or_default();
    if !ok {
        print(explained.as_bytes(), code);
        complain(&format!(
            "{}: {}, denied",
            file.display(),
            count(warnings.len() as u64, "warning")
        ));
        return ExitCode::from(code);
    }
    print(format!("{explained}{}\n", summary(file, loaded)).as_bytes(), code)
}

fn outcome(ok: bool, errors: &[Problem], warnings: &[Problem], code: u8) -> ExitCode {
    print(format!("{}\n", config::json(ok, errors, warnings)).as_bytes(), code)
}

fn effective(config: &Config, code: u8) -> ExitCode {
    match config::effective(config) {
        Ok(text) => print(text.as_bytes(), code),
        Err(error) => {
            complain(&format!("cannot write the effective file: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn summary(file: &Path, loaded: &Loaded) -> String {
    let config = &loaded.config;
    let backends: usize = config.pools.iter().map(|pool| pool.members.len()).sum();
    let mut line = format!(
        "{}: ok, {}, {}, {}",
        file.display(),
        count(config.listeners.len() as u64, "listener"),
        count(config.pools.len() as u64, "pool"),
        count(backends as u64, "backend"),
    );
    if !loaded.warnings.is_empty() {
        line.push_str(&format!(", {}", count(loaded.warnings.len() as u64, "warning")));
    }
    line
}
