//! `evenkeel drain`, `ready`, `maintenance`, `weight`: what an operator wants of a backend.

use std::process::ExitCode;

use super::place::Place;
use super::target::Keys;
use super::wait::{Ended, wait};
use super::{FAILED, ask, complain, count, print};
use crate::api::{BackendStatus, Steer};
use crate::config::AdminBind;
use std::time::Duration;

const DRAIN: &str = "\
Exit codes: 0 done; with --wait, no session is left. 1 refused, nobody there, or --timeout has
passed first: the backend stays in drain. 2 bad usage.

Examples:
  evenkeel drain db/b1                            takes nothing new, keeps what it has
  evenkeel drain db/b1 --wait --timeout 10m       and returns when the last session has ended
  evenkeel drain db/10.0.0.11:5432 --admin unix:/run/evenkeel/admin.sock";

const READY: &str = "\
Examples:
  evenkeel ready db/b1
  evenkeel ready db/b1 --token-file /etc/evenkeel/token";

const MAINTENANCE: &str = "\
What happens to its sessions says [pool.NAME.close]: by default they are ended.

Example:
  evenkeel maintenance db/b1";

const WEIGHT: &str = "\
Examples:
  evenkeel weight db/b1 3       three times as much as one of weight 1
  evenkeel weight db/b1 0       nothing new, and still probed";

/// Take a backend out of rotation; it keeps its sessions
#[derive(Debug, clap::Args)]
#[command(after_help = DRAIN)]
pub(crate) struct Drain {
    #[command(flatten)]
    common: Common,
    /// Show the sessions count down, and return when none is left
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this, as in 90s or 10m
    #[arg(long, value_name = "D", requires = "wait", value_parser = duration)]
    timeout: Option<Duration>,
}

/// Put a backend back into rotation
#[derive(Debug, clap::Args)]
#[command(after_help = READY)]
pub(crate) struct Ready {
    #[command(flatten)]
    common: Common,
}

/// Take a backend out at once: no sessions, no probes
#[derive(Debug, clap::Args)]
#[command(after_help = MAINTENANCE)]
pub(crate) struct Maintenance {
    #[command(flatten)]
    common: Common,
}

/// Give a backend another weight
#[derive(Debug, clap::Args)]
#[command(after_help = WEIGHT)]
pub(crate) struct Weight {
    #[command(flatten)]
    common: Common,
    /// 0 to 256
    #[arg(value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(0..=256))]
    weight: u16,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The backend's names
    #[arg(value_name = "POOL/BACKEND")]
    place: Place,
    /// Print the backend's status as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    keys: Keys,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::config::units::duration(text)
        .map_err(|bad| format!("{}; {}", bad.message, bad.suggestion))
}

pub(crate) fn drain(args: Drain) -> ExitCode {
    let steer = Steer { state: Some("drain".to_owned()), weight: None };
    args.common.run(&steer, |admin, now| match args.wait {
        true => wait(admin, &args.common.place, now, args.timeout),
        false => Ok(Ended::Done(now)),
    })
}

pub(crate) fn ready(args: Ready) -> ExitCode {
    let steer = Steer { state: Some("ready".to_owned()), weight: None };
    args.common.run(&steer, |_, now| Ok(Ended::Done(now)))
}

pub(crate) fn maintenance(args: Maintenance) -> ExitCode {
    let steer = Steer { state: Some("maintenance".to_owned()), weight: None };
    args.common.run(&steer, |_, now| Ok(Ended::Done(now)))
}

pub(crate) fn weight(args: Weight) -> ExitCode {
    let steer = Steer { state: None, weight: Some(args.weight) };
    args.common.run(&steer, |_, now| Ok(Ended::Done(now)))
}

impl Common {
    /// Has the balancer obey, does what is to be done `then`, and shows what holds.
    fn run(
        &self,
        steer: &Steer,
        then: impl FnOnce(&AdminBind, BackendStatus) -> Result<Ended, String>,
    ) -> ExitCode {
        let (admin, token) = match self.keys.find() {
            Ok(found) => found,
            Err(code) => return code,
        };
        let obeyed = ask::patch(&admin, &self.place.path(), token.as_deref(), steer);
        match obeyed.and_then(|now| then(&admin, now)) {
            Ok(Ended::Done(now)) => print(self.shown(&now).as_bytes(), 0),
            Ok(Ended::Late(now)) => {
                complain(&stayed(&now));
                print(self.shown(&now).as_bytes(), FAILED)
            }
            Err(reason) => {
                complain(&reason);
                ExitCode::from(FAILED)
            }
        }
    }

    fn shown(&self, now: &BackendStatus) -> String {
        if self.json {
            return serde_json::to_string_pretty(now).unwrap_or_default() + "\n";
        }
        format!("{}\n", line(&self.place, now))
    }
}

/// What holds now, for people.
pub(super) fn line(place: &Place, now: &BackendStatus) -> String {
    let sessions = count(now.sessions, "session");
    if now.state != "ready" {
        return format!("{place}: {}, {sessions} left", now.state);
    }
    format!("{place}: ready, {}, weight {}, {sessions}", now.health, now.weight)
}

fn stayed(now: &BackendStatus) -> String {
    format!("{} stayed; the backend stays in {}", count(now.sessions, "session"), now.state)
}
