//! `evenkeel plan`: what a reload with a file would do to the running balancer, before it is done.

use std::process::ExitCode;

use super::command::{self, Told};
use super::target::Target;
use super::{INVALID, changes, print};
use crate::api::Changes;
use crate::cli::file::{read, show};
use crate::config::{self, AdminBind, Loaded};

const NOTES: &str = "\
The file is checked here, with the environment and the files of this shell, and then compared with
what is in force there. Nothing is changed by asking. Without -c it is the file that a reload reads.

Exit codes: 0 shown, whether or not anything would change. 1 no balancer answers, or it refused.
2 bad usage, or the file is invalid.

Examples:
  evenkeel plan -c new.toml                       what would come, go and change
  evenkeel plan -c new.toml --admin unix:/run/evenkeel/admin.sock
  evenkeel plan -c new.toml --json                {listeners, pools, backends, settings, restart}";

/// Show what a reload with a file would do, without doing it
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Args {
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(crate) fn execute(args: Args) -> ExitCode {
    match args.plan() {
        Ok(code) | Err(code) => code,
    }
}

impl Args {
    fn plan(&self) -> Result<ExitCode, ExitCode> {
        let file = self.target.file()?;
        let loaded = read(&file).map_err(|refused| {
            if self.json {
                let outcome = config::json(false, &refused.problems, &refused.warnings);
                return print(format!("{outcome}\n").as_bytes(), INVALID);
            }
            show(&refused.problems, &refused.warnings);
            ExitCode::from(INVALID)
        })?;
        show(&[], &loaded.warnings);
        let admin = self.target.address()?;
        Ok(match ask(&admin, &loaded) {
            Told::Done(changes) if self.json => command::json(&changes),
            Told::Done(found) => {
                let title = format!("what a reload with {} would change:", file.display());
                let mut lines = vec![changes::plain(&title)];
                lines.extend(changes::lines(&found));
                if changes::is_none(&found) {
                    lines.push("nothing would change".to_owned());
                }
                print((lines.join("\n") + "\n").as_bytes(), 0)
            }
            Told::Not(refusal) => refusal.show(self.json),
        })
    }
}

fn ask(admin: &AdminBind, loaded: &Loaded) -> Told<Changes> {
    let body = config::json_text(&loaded.config);
    command::tell(admin, "/api/v1/plan", None, &body, "comparing")
}
