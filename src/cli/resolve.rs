//! Looks up the host names of a file, for a warning about those that nobody knows.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::net::ToSocketAddrs;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Lookup, Problem};

/// A check must end, whatever the name servers do.
const PATIENCE: Duration = Duration::from_secs(5);

/// A slow name server answers several questions in the time of one.
const THREADS: usize = 8;

/// The warnings of those names that do not resolve in time.
pub(crate) fn unresolved(lookups: Vec<Lookup>) -> Vec<Problem> {
    let names: BTreeSet<&str> = lookups.iter().map(|lookup| lookup.host.as_str()).collect();
    let known = known(names.into_iter().map(str::to_owned).collect());
    let unknown = lookups.into_iter().filter(|lookup| !known.contains(&lookup.host));
    unknown.map(|lookup| lookup.warning).collect()
}

fn known(names: VecDeque<String>) -> HashSet<String> {
    let asked = names.len();
    // Room for every answer, so that no thread waits for a receiver that has left.
    let (answers, receiver) = sync_channel::<Option<String>>(asked.max(1));
    let queue = Arc::new(Mutex::new(names));
    for _ in 0..THREADS.min(asked) {
        let (queue, answers) = (Arc::clone(&queue), answers.clone());
        let next = move || queue.lock().ok().and_then(|mut names| names.pop_front());
        // The threads are not joined: one that hangs in a lookup ends with the process.
        thread::spawn(move || {
            while let Some(name) = next() {
                let found =
                    (name.as_str(), 0).to_socket_addrs().is_ok_and(|mut all| all.next().is_some());
                if answers.send(found.then_some(name)).is_err() {
                    return;
                }
            }
        });
    }
    drop(answers);
    let deadline = Instant::now() + PATIENCE;
    let mut known = HashSet::new();
    while let Ok(answer) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        known.extend(answer);
    }
    known
}
