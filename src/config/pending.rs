//! What a file depends on and cannot show by itself: names that must resolve, descriptors that must
//! be there, certificates that must be valid today. Each goes to whoever may look.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::{Place, Problem, Report};
use super::words::quoted;

/// How long before its end a certificate is a warning.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 86_400;

/// A host name that a file uses. Whether it resolves is for whoever may ask the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The name to look up.
    pub host: String,
    /// Its SRV records are meant, not its addresses.
    pub is_service: bool,
    /// What to warn of if it does not resolve.
    pub warning: Problem,
}

/// Descriptors that a cap of the file promises. Whether there are as many is for whoever knows the
/// open-file limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// What as many sessions take.
    descriptors: u64,
    warning: Problem,
}

impl Promise {
    /// What to warn of where the limit of open files is `limit`, of which sessions may take `most`.
    pub fn broken(&self, limit: u64, most: u64) -> Option<Problem> {
        let mut warning = self.warning.clone();
        let left = format!("; of the open-file limit, {limit}, {most} are for sessions");
        warning.message.push_str(&left);
        (self.descriptors > most).then_some(warning)
    }
}

/// A file that is read again while the process runs. Whether the user that it runs as may do that is
/// for whoever knows users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reread {
    /// Where it is.
    pub path: PathBuf,
    /// What to warn of if that user may not read it.
    pub warning: Problem,
}

/// A certificate that a file names. Whether it is valid now is for whoever has a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    validity: Validity,
    problem: Problem,
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validity {
    /// In seconds from 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// The same two as dates.
    pub(super) dates: (String, String),
    /// False for others of a chain: there may be another way around one that has expired.
    pub(super) is_own: bool,
}

/// What there is to say of a certificate today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Nobody accepts it any more.
    Expired(Problem),
    /// It has not begun, ends soon, or stands behind one that is good.
    Doubtful(Problem),
}

impl Expiry {
    /// What is wrong with the certificate at `now`, told from 1970; `None` = nothing.
    pub fn judge(&self, now: Duration) -> Option<Judged> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let Validity { not_before, not_after, dates: (from, until), is_own } = &self.validity;
        let mut problem = self.problem.clone();
        let left = not_after.saturating_sub(now);
        let what = if left < 0 {
            format!("expired on {until}")
        } else if left < SOON {
            format!("expires on {until}, {}", days(left / DAY))
        } else if *not_before > now {
            format!("is not valid before {from}")
        } else {
            return None;
        };
        problem.message.push_str(&what);
        Some(if left < 0 && *is_own { Judged::Expired(problem) } else { Judged::Doubtful(problem) })
    }
}

fn days(left: i64) -> String {
    match left {
        0 => "in less than a day".to_owned(),
        1 => "in a day".to_owned(),
        more => format!("in {more} days"),
    }
}

/// What a note waits for.
pub(super) enum Matter {
    Host(String),
    Service(String),
    Descriptors(u64),
    Validity(Validity),
    Reread(PathBuf),
}

/// All that is pending, by kind.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) lookups: Vec<Lookup>,
    pub(super) promises: Vec<Promise>,
    pub(super) expiries: Vec<Expiry>,
    pub(super) reread: Vec<Reread>,
}

impl FromIterator<(Matter, Problem)> for Pending {
    fn from_iter<I: IntoIterator<Item = (Matter, Problem)>>(all: I) -> Self {
        let mut sorted = Self::default();
        for (matter, problem) in all {
            match matter {
                Matter::Host(host) => {
                    sorted.lookups.push(Lookup { host, is_service: false, warning: problem });
                }
                Matter::Service(host) => {
                    sorted.lookups.push(Lookup { host, is_service: true, warning: problem });
                }
                Matter::Descriptors(descriptors) => {
                    sorted.promises.push(Promise { descriptors, warning: problem });
                }
                Matter::Validity(validity) => sorted.expiries.push(Expiry { validity, problem }),
                Matter::Reread(path) => sorted.reread.push(Reread { path, warning: problem }),
            }
        }
        sorted
    }
}

/// A host name that somebody may look up; `what` is what uses it.
pub(super) fn host(report: &Report, place: Place, what: &str, host: &str) {
    let message = format!("{what}: the host name {} does not resolve", quoted(host));
    let way_out = "correct it, or make it known; until then it is not used";
    report.pend(place, Matter::Host(host.to_owned()), message, way_out);
}

/// A name whose SRV records somebody may look up; `what` is what uses it.
pub(super) fn service(report: &Report, place: Place, what: &str, name: &str) {
    let message = format!("{what}: {} has no SRV records", quoted(name));
    let way_out = "correct it, or make them known; until then no backend is found";
    report.pend(place, Matter::Service(name.to_owned()), message, way_out);
}

/// A cap on sessions that may take so many descriptors.
pub(super) fn promise(report: &Report, place: Place, what: &str, descriptors: u64) {
    let message = format!("{what} allows sessions that take {descriptors} descriptors");
    let way_out = "raise the limit (ulimit -Hn, LimitNOFILE in systemd), or write a smaller number";
    report.pend(place, Matter::Descriptors(descriptors), message, way_out);
}

/// A certificate that is valid for a time; `what` is the file and, in a chain, which of it.
pub(super) fn validity(report: &Report, place: Place, what: &str, validity: Validity) {
    let way_out = "put a newer certificate there; one that is served already is watched, and no \
                   reload is needed";
    report.pend(place, Matter::Validity(validity), format!("{what} "), way_out);
}

/// A file that is read again after the start; `what` is what uses it.
pub(super) fn reread(report: &Report, place: Place, what: &str, path: &Path) {
    let message = format!("{what} {} cannot be read by process.user", path.display());
    let way_out = "let that user read it, and pass the folders that it is in: changes of it are \
                   read as that user";
    report.pend(place, Matter::Reread(path.to_owned()), message, way_out);
}
