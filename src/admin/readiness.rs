//! Whether traffic should be sent here, and if not, why.

use std::collections::BTreeSet;

use crate::pool::Pool;
use crate::server::Handle;

/// Why the server is not ready; empty if it is.
///
/// Ready means: every listener is bound, every pool that a listener uses has a backend up, and no
/// stop has begun.
pub(super) fn reasons(handle: &Handle) -> Vec<String> {
    let mut reasons = Vec::new();
    if handle.is_stopping() {
        reasons.push("the process is stopping".to_owned());
    }
    if !handle.is_listening() {
        reasons.push("not every listener accepts yet".to_owned());
    }
    let snapshot = handle.snapshot();
    let used: BTreeSet<_> =
        snapshot.config.listeners.iter().flat_map(|spec| spec.pools()).collect();
    let pools = used.into_iter().filter_map(|place| snapshot.pools.get(place));
    let lacking = pools.filter(|pool| !pool.ready().is_usable());
    reasons.extend(lacking.map(|pool| lack(pool)));
    reasons
}

fn lack(pool: &Pool) -> String {
    let ready = pool.ready();
    let each = ready.members().iter().enumerate().map(|(place, member)| {
        let backend = &member.backend;
        let state = if ready.weight(place) == 0 { "weight 0" } else { backend.standing().state() };
        format!("{} {state}", backend.name())
    });
    let each = each.collect::<Vec<_>>().join(", ");
    format!("pool {:?} has no backend up: {each}", pool.name())
}
