//! `evenkeel man`: the manual page, all commands on it.

use std::io::{self, Write};
use std::process::ExitCode;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{FAILED, complain, definition, print};

/// Print the manual page
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  evenkeel man > /usr/local/share/man/man1/evenkeel.1")]
pub(crate) struct Args {}

pub(crate) fn execute(_: Args) -> ExitCode {
    let mut page = Vec::new();
    match write(&mut page) {
        Ok(()) => print(&page, 0),
        Err(error) => {
            complain(&format!("cannot write the manual page: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

fn write(page: &mut dyn Write) -> io::Result<()> {
    let mut command = definition();
    command.build();
    let man = Man::new(command.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    let mut section = Roff::new();
    section.control("SH", ["COMMANDS"]);
    section.to_writer(page)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        describe(sub, page)?;
    }
    man.render_options_section(page)?;
    man.render_extra_section(page)?;
    man.render_version_section(page)
}

/// One command: its usage, what it does, and its arguments.
fn describe(command: &clap::Command, page: &mut dyn Write) -> io::Result<()> {
    let mut out = Roff::new();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    out.control("SS", [command.get_name()]);
    out.text([bold(usage)]);
    out.control("PP", []);
    let about = command.get_long_about().or_else(|| command.get_about());
    out.text([roman(about.map(ToString::to_string).unwrap_or_default())]);
    for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        out.control("TP", []);
        let short = argument.get_short().map(|letter| format!("-{letter}, ")).unwrap_or_default();
        out.text([bold(format!("{short}{argument}"))]);
        out.text([roman(help)]);
    }
    out.to_writer(page)
}
