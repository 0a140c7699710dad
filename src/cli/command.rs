//! `evenkeel reload`, `confirm`, `upgrade`: what a running balancer is told to do as a whole.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ask::{self, Answer, Wait};
use super::file::show;
use super::target::Keys;
use super::{FAILED, INVALID, changes, complain, count, print};
use crate::api::{ConfigStatus, Problem, Reloaded, Upgraded};
use crate::config::units::write_duration;
use crate::config::{AdminBind, units};

/// For a command to be carried out: probes of all new backends, or a new process that gets ready.
const PATIENCE: Duration = Duration::from_secs(600);

const RELOAD: &str = "\
Returns when the new file has taken effect. Whatever is wrong with it, nothing has changed then.
SIGHUP does the same, and says in the log how it went.

Exit codes: 0 in effect. 1 no balancer answers, or it could not be done. 2 bad usage, or the file is
invalid.

Examples:
  evenkeel plan                                   what it would change, first
  evenkeel reload
  evenkeel reload --confirm 60s                   goes back by itself unless confirmed in time
  evenkeel reload --admin unix:/run/evenkeel/admin.sock --token-file /etc/evenkeel/token";

const CONFIRM: &str = "\
Exit codes: 0 the file stays. 1 nothing waits to be confirmed, or no balancer answers. 2 bad usage.

Example:
  evenkeel reload --confirm 60s && ./smoke-test && evenkeel confirm";

const UPGRADE: &str = "\
The running process starts the program from where it was started itself, hands over its sockets, and
ends when its last session has, or after process.upgrade_timeout. If the new process does not get
ready, the old one goes on. SIGUSR2 does the same, and says in the log how it went.

Exit codes: 0 the new process serves. 1 it does not, or no balancer answers. 2 bad usage.

Examples:
  install -m 755 evenkeel-new /usr/local/bin/evenkeel && evenkeel upgrade
  evenkeel upgrade --json                         {pid, version, sessions}";

/// Read the file again, and let it take effect without losing anyone
#[derive(Debug, clap::Args)]
#[command(after_help = RELOAD)]
pub(crate) struct Reload {
    /// Go back by itself after this time unless `evenkeel confirm` follows, as in 60s
    #[arg(long, value_name = "D", value_parser = time)]
    confirm: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// Keep the file that was loaded with --confirm
#[derive(Debug, clap::Args)]
#[command(after_help = CONFIRM)]
pub(crate) struct Confirm {
    #[command(flatten)]
    common: Common,
}

/// Replace the running program by a new one, sessions kept
#[derive(Debug, clap::Args)]
#[command(after_help = UPGRADE)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    keys: Keys,
}

fn time(text: &str) -> Result<Duration, String> {
    let time =
        units::duration(text).map_err(|bad| format!("{}; {}", bad.message, bad.suggestion))?;
    if time.is_zero() { Err("write a time above zero, as in 60s".to_owned()) } else { Ok(time) }
}

pub(crate) fn reload(args: Reload) -> ExitCode {
    let (admin, token, refused) = match args.common.keys.find_despite() {
        Ok(found) => found,
        Err(code) => return code,
    };
    if admin == AdminBind::Off {
        return off("SIGHUP to reload");
    }
    let query = args.confirm.map(|time| format!("?confirm={}", write_duration(time)));
    let path = format!("/api/v1/reload{}", query.unwrap_or_default());
    match (tell(&admin, &path, token.as_deref(), "", "reloading"), refused) {
        (Told::Done(reloaded), _) => args.common.done(&reloaded, in_words),
        // Nobody is there who would say it.
        (Told::Not(Refusal::Silent(_)), Some(refused)) => {
            show(&refused.problems, &[]);
            ExitCode::from(INVALID)
        }
        (Told::Not(refusal), _) => refusal.show(args.common.json),
    }
}

pub(crate) fn confirm(args: Confirm) -> ExitCode {
    let said = |config: &ConfigStatus| format!("confirmed: {} stays\n", named(config));
    args.common.run("/api/v1/confirm", ("confirming", "SIGHUP to reload"), said)
}

pub(crate) fn upgrade(args: Upgrade) -> ExitCode {
    let said = |upgraded: &Upgraded| {
        let Upgraded { pid, version, sessions } = upgraded;
        let left = match sessions {
            0 => "no session was left in the old process".to_owned(),
            1 => "1 session goes on in the old process until it ends".to_owned(),
            many => format!("{} go on in the old process until they end", count(*many, "session")),
        };
        changes::plain(&format!("upgraded: pid {pid}, version {version}; {left}")) + "\n"
    };
    args.common.run("/api/v1/upgrade", ("upgrading", "SIGUSR2 to upgrade"), said)
}

impl Common {
    fn run<T: Serialize + DeserializeOwned>(
        &self,
        path: &str,
        (doing, signal): (&str, &str),
        said: impl Fn(&T) -> String,
    ) -> ExitCode {
        match self.keys.find() {
            Ok((AdminBind::Off, _)) => off(signal),
            Ok((admin, token)) => match tell::<T>(&admin, path, token.as_deref(), "", doing) {
                Told::Done(answer) => self.done(&answer, said),
                Told::Not(refusal) => refusal.show(self.json),
            },
            Err(code) => code,
        }
    }

    fn done<T: Serialize>(&self, answer: &T, said: impl Fn(&T) -> String) -> ExitCode {
        if self.json { json(answer) } else { print(said(answer).as_bytes(), 0) }
    }
}

/// There is nobody to ask, and another way.
fn off(signal: &str) -> ExitCode {
    complain(&format!(
        "the admin interface is off: there is nothing to ask; send the process {signal}, or give \
         [admin] a `bind` and restart evenkeel"
    ));
    ExitCode::from(FAILED)
}

fn named(config: &ConfigStatus) -> String {
    let file = config.file.as_deref().unwrap_or("no file");
    changes::plain(&format!("{file} ({})", config.hash))
}

fn in_words(reloaded: &Reloaded) -> String {
    let mut lines = vec![format!("reloaded: {}", named(&reloaded.config))];
    let warnings = reloaded.warnings.iter();
    lines.extend(warnings.map(|warning| changes::plain(&format!("warning: {warning}"))));
    lines.extend(changes::lines(&reloaded.changes));
    if changes::is_none(&reloaded.changes) {
        lines.push("nothing has changed".to_owned());
    }
    if let Some(within) = reloaded.confirm_within_ms {
        let within = Duration::from_millis(within);
        lines.push(format!(
            "it goes back by itself in {}{} unless it is confirmed: evenkeel confirm",
            write_duration(within),
            until(within)
        ));
    }
    lines.join("\n") + "\n"
}

fn until(within: Duration) -> String {
    let at = Timestamp::now().checked_add(within);
    at.map(|at| format!(" ({at:.0})")).unwrap_or_default()
}

/// What became of a command.
pub(crate) enum Told<T> {
    /// It was carried out.
    Done(T),
    /// It was not.
    Not(Refusal),
}

/// Why a command was not carried out.
pub(crate) enum Refusal {
    /// The file is invalid.
    Invalid(Box<Problem>),
    /// Something else, in words.
    Other(String),
    /// Nobody answered, in words.
    Silent(String),
}

impl Refusal {
    /// Says why, and gives the exit code.
    pub(crate) fn show(&self, as_json: bool) -> ExitCode {
        match self {
            Self::Invalid(problem) if as_json => {
                json(problem);
                ExitCode::from(INVALID)
            }
            Self::Invalid(problem) => {
                let lines: Vec<_> =
                    problem.problems.iter().map(|line| changes::plain(line)).collect();
                complain(&lines.join("\n"));
                ExitCode::from(INVALID)
            }
            Self::Other(reason) | Self::Silent(reason) => {
                complain(reason);
                ExitCode::from(FAILED)
            }
        }
    }
}

/// Has a command carried out, and shows on a terminal that it takes its time.
pub(crate) fn tell<T: DeserializeOwned>(
    admin: &AdminBind,
    path: &str,
    token: Option<&str>,
    body: &str,
    doing: &str,
) -> Told<T> {
    let is_terminal = std::io::stderr().is_terminal();
    let meanwhile = |since: Duration| {
        if is_terminal {
            ask::rewrite(&format!("{doing}, {} s", since.as_secs()));
        }
    };
    let wait = Wait { patience: PATIENCE, meanwhile: &meanwhile };
    let answer = ask::post(admin, path, token, body, &wait);
    if is_terminal {
        ask::rewrite("");
    }
    match answer {
        Ok(answer) => understood(admin, &answer),
        Err(reason) => Told::Not(Refusal::Silent(reason)),
    }
}

fn understood<T: DeserializeOwned>(admin: &AdminBind, answer: &Answer) -> Told<T> {
    let problem = serde_json::from_slice::<Problem>(&answer.body).ok();
    match problem.filter(|problem| answer.status == 400 && !problem.problems.is_empty()) {
        Some(problem) => Told::Not(Refusal::Invalid(Box::new(problem))),
        None => match ask::understood(admin, answer) {
            Ok(said) => Told::Done(said),
            Err(reason) => Told::Not(Refusal::Other(reason)),
        },
    }
}

/// Prints an answer as JSON.
pub(crate) fn json(answer: &impl Serialize) -> ExitCode {
    let text = serde_json::to_string_pretty(answer).unwrap_or_default() + "\n";
    print(text.as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> Told<ConfigStatus> {
        let admin = AdminBind::Tcp("127.0.0.1:1".parse().unwrap());
        understood(&admin, &Answer { status, body: body.as_bytes().to_vec() })
    }

    #[test]
    fn an_invalid_file_is_told_from_other_refusals() {
        let invalid = r#"{"error": "the file cannot be used", "problems": ["a.toml:1:1: x"]}"#;
        assert!(matches!(told(400, invalid), Told::Not(Refusal::Invalid(_))));
        let other = r#"{"error": "an upgrade is under way"}"#;
        assert!(matches!(told(409, other), Told::Not(Refusal::Other(why)) if why.contains("way")));
        assert!(matches!(told(400, other), Told::Not(Refusal::Other(_))));
        assert!(matches!(told(404, "<html>"), Told::Not(Refusal::Other(_))));
        assert!(matches!(told(200, r#"{"file": null, "hash": "x"}"#), Told::Done(_)));
    }

    #[test]
    fn a_reload_to_be_confirmed_says_how_and_until_when() {
        let mut reloaded = Reloaded {
            config: ConfigStatus { file: Some("a.toml".to_owned()), hash: "0f".to_owned() },
            changes: Default::default(),
            warnings: vec!["a.toml:1:1: doubtful".to_owned()],
            confirm_within_ms: Some(90_000),
        };
        let said = in_words(&reloaded);
        assert!(
            said.starts_with("reloaded: a.toml (0f)\nwarning: a.toml:1:1: doubtful\n"),
            "{said}"
        );
        assert!(said.contains("nothing has changed") && said.contains("in 90s (20"), "{said}");
        assert!(said.ends_with("unless it is confirmed: evenkeel confirm\n"), "{said}");
        reloaded.confirm_within_ms = None;
        assert!(!in_words(&reloaded).contains("confirm"));
    }
}
