//! Looks up the names of a file, for a warning about those that nobody knows.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::config::{Lookup, Problem};
use crate::net::{self, Resolver};

/// A check must end, whatever the name servers do.
const PATIENCE: Duration = Duration::from_secs(5);

/// A name, and whether its SRV records are meant.
type Asked = (String, bool);

/// The warnings of those names that do not resolve in time, asked of whom `run` would ask.
pub(crate) fn unresolved(lookups: Vec<Lookup>, nameservers: &[SocketAddr]) -> Vec<Problem> {
    if lookups.is_empty() {
        return Vec::new();
    }
    let of = |lookup: &Lookup| (lookup.host.clone(), lookup.is_service);
    let names: BTreeSet<Asked> = lookups.iter().map(of).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let resolver = Resolver::new(nameservers.to_vec());
    // Without a runtime nothing is known, and everything would be warned of.
    let Ok(runtime) = runtime else { return Vec::new() };
    let known = runtime.block_on(known(names, resolver));
    let unknown = lookups.into_iter().filter(|lookup| !known.contains(&of(lookup)));
    unknown.map(|lookup| lookup.warning).collect()
}

async fn known(names: BTreeSet<Asked>, resolver: Resolver) -> HashSet<Asked> {
    let mut asking: JoinSet<Option<Asked>> = JoinSet::new();
    for (name, is_service) in names {
        let resolver = resolver.clone();
        asking.spawn(async move {
            let is_known = if is_service {
                resolver.services(&name).await.is_ok()
            } else {
                net::Lookup::new(&resolver, Arc::from(&*name)).addresses().await.is_ok()
            };
            is_known.then_some((name, is_service))
        });
    }
    let deadline = Instant::now() + PATIENCE;
    let mut known = HashSet::new();
    while let Ok(Some(answer)) = timeout_at(deadline, asking.join_next()).await {
        known.extend(answer.ok().flatten());
    }
    known
}
