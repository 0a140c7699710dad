//! What is questionable about a file on this host and on this day.

use std::time::SystemTime;

use crate::config::{Judged, Loaded, Problem};
use crate::server::{descriptors_for, hard_limit_of_open_files, workers};

/// What the file allows and the open-file limit does not.
pub fn broken_promises(loaded: &Loaded) -> Vec<Problem> {
    let limit = hard_limit_of_open_files();
    let most = descriptors_for(limit, workers(&loaded.config));
    loaded.promises.iter().filter_map(|promise| promise.broken(limit, most)).collect()
}

/// What today's date makes of the certificates that the file names: those that have expired, and
/// those that are doubtful.
pub fn expired(loaded: &Loaded) -> (Vec<Problem>, Vec<Problem>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (mut expired, mut doubtful) = (Vec::new(), Vec::new());
    for judged in loaded.expiries.iter().filter_map(|expiry| expiry.judge(now)) {
        match judged {
            Judged::Expired(problem) => expired.push(problem),
            Judged::Doubtful(problem) => doubtful.push(problem),
        }
    }
    (expired, doubtful)
}

/// All of it, and what the file shows by itself: none of it keeps a process from serving.
pub(super) fn all(loaded: &Loaded) -> Vec<Problem> {
    let (expired, doubtful) = expired(loaded);
    [loaded.warnings.clone(), broken_promises(loaded), expired, doubtful].concat()
}
