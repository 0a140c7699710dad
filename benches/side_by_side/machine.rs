//! What the figures depend on: the day, the kernel, the processor, the versions.

use crate::peers::Installed;
use crate::run::Bench;

/// The facts, as rows of name and value.
pub(crate) fn facts(bench: &Bench, peers: &[Installed], rounds: u32) -> Vec<(String, String)> {
    let mut facts = vec![
        ("date".to_owned(), jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()),
        ("kernel".to_owned(), read("/proc/sys/kernel/osrelease")),
        ("processors".to_owned(), processors()),
        ("net.core.rmem_max".to_owned(), read("/proc/sys/net/core/rmem_max")),
        ("open files".to_owned(), bench.scale.files.to_string()),
        ("rounds".to_owned(), rounds_text(rounds, bench.scale.part)),
        ("hardware counters".to_owned(), counters(bench)),
    ];
    let versions = peers.iter().filter(|peer| !peer.version.is_empty());
    facts.extend(versions.map(|peer| (peer.peer.name().to_owned(), peer.version.clone())));
    facts
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn processors() -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let text = read("/proc/cpuinfo");
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    format!("{count} × {}", model.unwrap_or("unknown model"))
}

fn rounds_text(rounds: u32, part: u64) -> String {
    if part > 1 { format!("{rounds}, 1/{part} of the work each") } else { rounds.to_string() }
}

fn counters(bench: &Bench) -> String {
    match &bench.counters {
        Ok(()) => "yes, through perf stat".to_owned(),
        Err(reason) => format!("none: {reason}; judged by CPU time, which repeats less well"),
    }
}
