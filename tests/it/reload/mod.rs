//! Reloads: another file for a balancer that runs, and nobody who notices.

mod faults;
mod gone;
mod http;
mod leaks;
mod state;
mod storms;
mod tls;
mod udp;

/// The names in a list of a report: bare, as of what is added, or with more, as of what is removed.
fn names(list: &serde_json::Value) -> Vec<&str> {
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|item| item.as_str().or_else(|| item["name"].as_str())).collect()
}
