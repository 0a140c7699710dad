//! What processes have used, from `/proc`: CPU time and resident memory.

use std::fs;

use rustix::process::{Pid, Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files, which the children inherit, and says what it now is.
pub(crate) fn raise_file_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
    getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)
}

/// A process and its children, such as nginx's workers.
pub(crate) fn family(pid: Pid) -> Vec<Pid> {
    let raw = pid.as_raw_nonzero();
    let Ok(threads) = fs::read_dir(format!("/proc/{raw}/task")) else { return vec![pid] };
    let children = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|child| Pid::from_raw(child.parse().ok()?));
    std::iter::once(pid).chain(children).collect()
}

/// Seconds on a CPU, over all threads: to the nanosecond where the kernel keeps it so, else in ticks.
pub(crate) fn cpu_seconds(pids: &[Pid]) -> Option<f64> {
    pids.iter().map(|&pid| precise_seconds(pid).or_else(|| tick_seconds(pid))).sum()
}

fn precise_seconds(pid: Pid) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).ok()?;
    threads
        .flatten()
        .map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let on_cpu: f64 = text.split_whitespace().next()?.parse().ok()?;
            Some(on_cpu / 1e9)
        })
        .sum()
}

fn tick_seconds(pid: Pid) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may hold anything; what follows its closing bracket starts with the third field.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let used = ticks()? + ticks()?;
    // `/proc` counts in hundredths of a second, whatever the kernel's own clock.
    Some(used / 100.0)
}

/// Resident bytes, over all of them.
pub(crate) fn resident(pids: &[Pid]) -> Option<u64> {
    pids.iter()
        .map(|pid| {
            let path = format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero());
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
        })
        .sum()
}
