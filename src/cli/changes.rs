//! What a file changes, for people: the same words before a reload and after it.

use super::count;
use crate::api::{Changes, Sorted};

/// Lines about what comes, goes and differs; a line for each kind of things, and one for each change.
pub(crate) fn lines(changes: &Changes) -> Vec<String> {
    let mut lines = Vec::new();
    for (kind, sorted) in [
        ("listeners", &changes.listeners),
        ("pools", &changes.pools),
        ("backends", &changes.backends),
    ] {
        lines.push(format!(
            "{kind:<10} {} kept, {} added, {} changed, {} removed",
            sorted.kept.len(),
            sorted.added.len(),
            sorted.changed.len(),
            sorted.removed.len()
        ));
        lines.extend(each(sorted));
    }
    lines.extend(changes.settings.iter().map(|setting| format!("setting    {setting}")));
    let restart = |key| format!("restart    {key} takes effect with a restart only");
    lines.extend(changes.restart.iter().map(restart));
    lines.iter().map(|line| plain(line)).collect()
}

fn each(sorted: &Sorted) -> impl Iterator<Item = String> + '_ {
    let added = sorted.added.iter().map(|name| format!("  + {name}"));
    let changed = sorted.changed.iter();
    let changed = changed.map(|one| format!("  ~ {}: {}", one.name, one.what.join(", ")));
    let removed = sorted.removed.iter().map(|one| match one.sessions {
        0 => format!("  - {}: no sessions", one.name),
        sessions => format!("  - {}: {}, {}", one.name, count(sessions, "session"), one.then),
    });
    added.chain(changed).chain(removed)
}

/// Without what would steer a terminal.
pub(crate) fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// True if nothing comes, goes or differs.
pub(crate) fn is_none(changes: &Changes) -> bool {
    let is_none = |sorted: &Sorted| {
        sorted.added.is_empty() && sorted.changed.is_empty() && sorted.removed.is_empty()
    };
    [&changes.listeners, &changes.pools, &changes.backends].into_iter().all(is_none)
        && changes.settings.is_empty()
        && changes.restart.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Altered, Removed};

    #[test]
    fn each_change_is_a_line() {
        let mut changes = Changes::default();
        assert!(is_none(&changes));
        changes.listeners.kept = vec!["a".into(), "b".into()];
        assert!(is_none(&changes));
        changes.listeners.added = vec!["front\u{1b}".into()];
        let what = vec!["opens [::]:1".into(), "pool a -> b".into()];
        changes.listeners.changed = vec![Altered { name: "back".into(), what }];
        let removed = |name: &str, sessions| Removed {
            name: name.into(),
            sessions,
            then: "kept until the last one ends".into(),
        };
        changes.backends.removed = vec![removed("p/x", 214), removed("p/y", 0)];
        changes.settings = vec!["log.level info -> debug".into()];
        changes.restart = vec!["process.threads".into()];
        assert!(!is_none(&changes));
        assert_eq!(
            lines(&changes),
            [
                "listeners  2 kept, 1 added, 1 changed, 0 removed",
                "  + front?",
                "  ~ back: opens [::]:1, pool a -> b",
                "pools      0 kept, 0 added, 0 changed, 0 removed",
                "backends   0 kept, 0 added, 0 changed, 2 removed",
                "  - p/x: 214 sessions, kept until the last one ends",
                "  - p/y: no sessions",
                "setting    log.level info -> debug",
                "restart    process.threads takes effect with a restart only",
            ]
        );
    }
}
