//! The server as the status report shows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use crate::admin::tls;
use crate::api;
use crate::config::Policy;
use crate::pool::{LastProbe, Member, Pool, ReadySet, Tier};
use crate::server::{DiscoveryView, Handle, ListenerView, Snapshot};
use crate::session::{Order, Tally};

/// Everything the status report says.
pub fn report(handle: &Handle) -> api::Status {
    let snapshot = handle.snapshot();
    let kernel = snapshot.kernel_drops();
    let discoveries = handle.discoveries();
    let of_listener =
        |one: &ListenerView| listener(&snapshot, one, kernel.of(&one.datagram_sockets));
    api::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: milliseconds(handle.started.elapsed()) / 1000.0,
        config: config(&snapshot),
        state: phase(handle),
        listeners: snapshot.listeners.iter().map(of_listener).collect(),
        pools: snapshot
            .pools
            .iter()
            .zip(&snapshot.config.pools)
            .map(|(live, spec)| pool(live, &spec.policy, &discoveries))
            .collect(),
        draining_processes: handle.draining.load().to_vec(),
    }
}

/// One backend, by its names.
pub(super) fn backend_of(
    snapshot: &Snapshot,
    pool: &str,
    name: &str,
) -> Option<api::BackendStatus> {
    let pool = snapshot.pools.iter().find(|known| **known.name() == *pool)?;
    let ready = pool.ready();
    let mut members = ready.members().iter().enumerate();
    let (place, member) = members.find(|(_, member)| **member.backend.name() == *name)?;
    Some(backend(member, &ready, place))
}

/// The file that is in force.
pub(super) fn config(snapshot: &Snapshot) -> api::ConfigStatus {
    let origin = &snapshot.config.origin;
    api::ConfigStatus {
        file: origin.file.as_ref().map(|file| file.display().to_string()),
        hash: origin.hash.clone(),
    }
}

/// Where the process is in its life.
pub(super) fn phase(handle: &Handle) -> api::Phase {
    match (handle.is_stopping(), handle.is_listening()) {
        (true, _) => api::Phase::Stopping,
        (false, true) => api::Phase::Serving,
        (false, false) => api::Phase::Starting,
    }
}

/// Sums over some tallies.
#[derive(Default)]
struct Sums {
    active: u64,
    connected: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Sums {
    fn of(tallies: impl Iterator<Item = Arc<Tally>>) -> Self {
        tallies.fold(Self::default(), |sums, tally| Self {
            active: sums.active + tally.active.get(),
            connected: sums.connected + tally.connected.get(),
            bytes_in: sums.bytes_in + tally.bytes_in.get(),
            bytes_out: sums.bytes_out + tally.bytes_out.get(),
        })
    }
}

/// A listener's figures are the sums over the backends its sessions have gone to.
fn listener(snapshot: &Snapshot, view: &ListenerView, kernel_drops: u64) -> api::ListenerStatus {
    let lists: Vec<_> = snapshot.pools.iter().map(|pool| pool.ready()).collect();
    let backends = lists.iter().flat_map(|ready| ready.backends());
    let tallies = backends.flat_map(|backend| backend.tallies());
    let sums = Sums::of(tallies.filter(|(name, _)| *name == view.name).map(|(_, tally)| tally));
    let spec = snapshot.config.listeners.iter().find(|spec| spec.name == view.name);
    let pool = spec.and_then(|spec| snapshot.pools.get(spec.pool?));
    let rejected = view.figures.rejected().map(|(why, count)| (why.as_str().to_owned(), count));
    api::ListenerStatus {
        name: view.name.to_string(),
        protocol: spec.map_or("tcp", |spec| spec.protocol.as_str()).to_owned(),
        udp: view.is_udp().then(|| udp(view, kernel_drops)),
        addresses: view.addresses.iter().map(ToString::to_string).collect(),
        pool: pool.map(|pool| pool.name().to_string()),
        sessions: sums.active,
        sessions_total: sums.connected,
        bytes_in: sums.bytes_in,
        bytes_out: sums.bytes_out,
        rejected: rejected.collect::<BTreeMap<_, _>>(),
        accept_paused: view.figures.accept_paused.get(),
        tls: tls::status(view),
    }
}

fn udp(view: &ListenerView, kernel_drops: u64) -> api::UdpStatus {
    let figures = &view.figures;
    let kernel = ("kernel".to_owned(), kernel_drops);
    let dropped = figures.dropped().map(|(why, count)| (why.as_str().to_owned(), count));
    api::UdpStatus {
        datagrams_in: figures.datagrams_in.get(),
        datagrams_out: figures.datagrams_out.get(),
        dropped: std::iter::once(kernel).chain(dropped).collect(),
    }
}

fn pool(pool: &Pool, policy: &Policy, discoveries: &[DiscoveryView]) -> api::PoolStatus {
    let ready = pool.ready();
    let members = ready.members().iter().enumerate();
    let looked_up = discoveries.iter().find(|view| view.pool == *pool.name());
    api::PoolStatus {
        discover: looked_up.map(discover),
        name: pool.name().to_string(),
        balance: policy.as_str().to_owned(),
        retries: pool.retries.get(),
        queue_length: pool.queue().len() as u64,
        backends: members.map(|(place, member)| backend(member, &ready, place)).collect(),
    }
}

fn discover(view: &DiscoveryView) -> api::DiscoverStatus {
    let whole = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    api::DiscoverStatus {
        source: view.source.clone(),
        age_ms: view.age().map(whole),
        error: view.trouble().map(|why| why.to_string()),
        failures: view.failures().get(),
    }
}

fn backend(member: &Member, ready: &ReadySet, place: usize) -> api::BackendStatus {
    let backend = &member.backend;
    let standing = backend.standing();
    let ejection = backend.stats.last_ejection.load_full().filter(|_| standing.ejected);
    let failed_connects: u64 = backend.stats.connect_failures().map(|(_, count)| count).sum();
    let failed_requests: u64 = backend.request_failures().map(|(_, count)| count).sum();
    let sums = Sums::of(backend.tallies().into_iter().map(|(_, tally)| tally));
    api::BackendStatus {
        name: backend.name().to_string(),
        address: backend.address().to_string(),
        health: standing.health.as_str().to_owned(),
        state: standing.admin.as_str().to_owned(),
        ejected_until: ejection.as_deref().map(|ejection| rfc3339(ejection.until)),
        ejected_reason: ejection.as_deref().map(|ejection| ejection.reason.clone()),
        closing: backend.recall().order().and_then(|order| closing(&order)),
        weight: u32::from(ready.weight(place)),
        effective_weight: ready.effective_weight(place),
        backup: member.tier == Tier::Backup,
        max_sessions: member.max_sessions,
        sessions: u64::from(backend.sessions()),
        sessions_total: sums.connected,
        bytes_in: sums.bytes_in,
        bytes_out: sums.bytes_out,
        failures: failed_connects + backend.early_resets() + failed_requests,
        last_probe: backend.stats.last_probe.load().as_deref().map(probe),
    }
}

fn probe(last: &LastProbe) -> api::ProbeStatus {
    api::ProbeStatus {
        result: if last.ok { "ok" } else { "failed" }.to_owned(),
        reason: last.reason.clone(),
        duration_ms: milliseconds(last.took),
        age_ms: milliseconds(last.at.elapsed()),
    }
}

fn closing(order: &Order) -> Option<api::ClosingStatus> {
    let left = order.end().checked_duration_since(Instant::now())?;
    let until = rfc3339(SystemTime::now() + left);
    Some(api::ClosingStatus { cause: order.cause().as_str().to_owned(), until })
}

/// In UTC with milliseconds.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let stamp = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{stamp:.3}")
}

/// With up to three decimals.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
