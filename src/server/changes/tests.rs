//! What one file changes about another: each kind of change in words, and what holds for all of them.

use proptest::prelude::*;

use super::*;

const BASE: &str = r#"
[listener.front]
bind = ["127.0.0.1:5432", "127.0.0.1:5433"]
pool = "a"
[listener.back]
bind = "127.0.0.1:5434"
pool = "b"
[pool.a]
backends = ["10.0.0.1:1", { address = "10.0.0.2:1", name = "two", weight = 2 }]
[pool.b]
backends = ["b.example:1"]
"#;

fn config(text: &str) -> Config {
    config::parse("a.toml", text, &|_| None).unwrap().config
}

fn changed(of: &[(&str, &str)]) -> Changes {
    let mut text = BASE.to_owned();
    for (from, to) in of {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    between(&config(BASE), &config(&text), &|whose| match whose {
        Whose::Listener(_) => 7,
        Whose::Backend(_, name) => {
            if name == "two" {
                2
            } else {
                1
            }
        }
    })
}

fn altered(name: &str, what: &[&str]) -> Vec<Altered> {
    let what = what.iter().map(|&what| what.to_owned()).collect();
    vec![Altered { name: name.to_owned(), what }]
}

fn removed(name: &str, sessions: u64, then: &str) -> Vec<Removed> {
    vec![Removed { name: name.to_owned(), sessions, then: then.to_owned() }]
}

#[test]
fn the_same_file_changes_nothing() {
    let changes = changed(&[]);
    assert_eq!(changes.listeners.kept, ["front", "back"]);
    assert_eq!(changes.pools.kept, ["a", "b"]);
    assert_eq!(changes.backends.kept, ["a/10.0.0.1:1", "a/two", "b/b.example:1"]);
    assert!(is_nothing(&changes), "{changes:?}");
}

#[test]
fn pools_are_compared_by_name_and_not_by_their_place() {
    let text = BASE.replace("[pool.a]", "[pool.\"0\"]\nbackends = [\"10.0.0.9:1\"]\n[pool.a]");
    let text = text + "[listener.more]\nbind = \"127.0.0.1:1\"\npool = \"0\"\n";
    let changes = between(&config(BASE), &config(&text), &|_| 0);
    assert_eq!(changes.listeners.kept, ["front", "back"]);
    assert_eq!(changes.pools.added, ["0"]);
    assert!(changes.listeners.changed.is_empty() && changes.pools.changed.is_empty());

    let changes = changed(&[("pool = \"a\"", "pool = \"b\"")]);
    assert_eq!(changes.listeners.changed, altered("front", &["pool a -> b"]));
    let changes = changed(&[("[pool.b]", "[pool.b]\nfallback = \"a\"")]);
    assert_eq!(changes.pools.changed, altered("b", &["fallback none -> a"]));
}

#[test]
fn addresses_come_go_and_move() {
    let changes = changed(&[("127.0.0.1:5433", "127.0.0.1:9")]);
    let what = ["opens 127.0.0.1:9", "closes 127.0.0.1:5433"];
    assert_eq!(changes.listeners.changed, altered("front", &what));

    let changes = changed(&[("127.0.0.1:5433", "[::1]:1"), ("127.0.0.1:5434", "127.0.0.1:5433")]);
    let [front, back] = &*changes.listeners.changed else { panic!("{changes:?}") };
    assert_eq!(front.what, ["opens [::1]:1", "leaves 127.0.0.1:5433 to back"]);
    assert_eq!(back.what, ["takes 127.0.0.1:5433 over from front", "closes 127.0.0.1:5434"]);

    let changes = changed(&[("listener.back", "listener.rear")]);
    assert_eq!(changes.listeners.changed, altered("rear", &["was called back"]));
    assert!(changes.listeners.removed.is_empty() && changes.listeners.added.is_empty());

    let changes = changed(&[("listener.back", "listener.rear"), ("5434", "5435")]);
    assert_eq!(changes.listeners.added, ["rear"]);
    assert_eq!(changes.listeners.removed, removed("back", 7, "kept until the last one ends"));
}

#[test]
fn a_backend_is_the_same_by_name_and_address() {
    let changes = changed(&[("weight = 2", "weight = 3, state = \"drain\"")]);
    let what = ["state ready -> drain", "weight 2 -> 3"];
    assert_eq!(changes.backends.changed, altered("a/two", &what));
    assert_eq!(changes.pools.kept, ["a", "b"]);

    let changes = changed(&[("10.0.0.2:1", "10.0.0.3:1")]);
    assert_eq!(changes.backends.added, ["a/two"]);
    assert_eq!(changes.backends.removed, removed("a/two", 2, "kept until the last one ends"));

    let close = "[pool.a]\nclose = { removed = \"90s\" }";
    let changes = changed(&[("[pool.a]", close), ("\"10.0.0.1:1\", ", "")]);
    let then = "ended over 90s, idle ones first";
    assert_eq!(changes.backends.removed, removed("a/10.0.0.1:1", 1, then));
    assert_eq!(changes.pools.changed, altered("a", &["close.removed keep -> 90s"]));

    let swapped = "{ address = \"10.0.0.2:1\", name = \"two\", weight = 2 }, \"10.0.0.1:1\"]";
    let (_, list) = BASE.split_once("backends = [").unwrap();
    let (list, _) = list.split_once('\n').unwrap();
    let changes = changed(&[(list, swapped)]);
    assert_eq!(changes.pools.changed, altered("a", &["order of backends"]));
}

#[test]
fn a_pool_that_goes_takes_its_backends_along() {
    let (text, _) = BASE.split_once("[pool.a]").unwrap();
    let text =
        text.replace("pool = \"a\"", "pool = \"b\"") + "[pool.b]\nbackends = [\"b.example:1\"]";
    let changes = between(&config(BASE), &config(&text), &|whose| match whose {
        Whose::Backend("a", "two") => 40,
        Whose::Backend("a", _) => 2,
        other => panic!("{other:?}"),
    });
    assert_eq!(changes.pools.removed, removed("a", 42, "kept until the last one ends"));
    let sessions: Vec<_> = changes.backends.removed.iter().map(|one| one.sessions).collect();
    assert_eq!(sessions, [2, 40]);
}

#[test]
fn keys_are_named_with_their_values_where_those_are_short_and_no_secrets() {
    let long = "x".repeat(50);
    let health = |lines: &str| config(&format!("{BASE}[pool.b.health]\nprobe = \"http\"\n{lines}"));
    let old = health("headers = { authorization = \"secret\" }");
    let new = health(&format!(
        "headers = {{ authorization = \"terces\" }}\ninterval = \"9s\"\nhost = \"{long}\""
    ));
    let changes = between(&old, &new, &|_| 0);
    let what = ["health.headers", "health.host", "health.interval 2s -> 9s"];
    assert_eq!(changes.pools.changed, altered("b", &what));
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_takes_effect() {
    let top = "[process]\nthreads = 3\nuser = \"nobody\"\nshutdown_timeout = \"1s\"\n\
               [log]\nlevel = \"debug\"\n[admin]\nbind = \"off\"\n[listener.front]";
    let changes = changed(&[("[listener.front]", top)]);
    assert_eq!(changes.restart, ["admin.bind", "process.threads", "process.user"]);
    let settings = ["process.shutdown_timeout 30s -> 1s", "log.level info -> debug"];
    assert_eq!(changes.settings, settings);
}

#[test]
fn a_pool_is_the_same_whether_or_not_its_keys_of_requests_are_written() {
    let http =
        "[listener.web]\nbind = \"127.0.0.1:1\"\nprotocol = \"http\"\npool = \"b\"\n[pool.a]";
    let changes = changed(&[("[pool.a]", http)]);
    assert_eq!(changes.pools.kept, ["a", "b"]);
    assert_eq!(changes.listeners.added, ["web"]);
}

fn is_nothing(changes: &Changes) -> bool {
    let is_nothing = |sorted: &Sorted| {
        sorted.added.is_empty() && sorted.changed.is_empty() && sorted.removed.is_empty()
    };
    [&changes.listeners, &changes.pools, &changes.backends].into_iter().all(is_nothing)
        && changes.settings.is_empty()
        && changes.restart.is_empty()
}

/// Some listeners and pools of few names and addresses, so that two files have much in common.
fn files() -> impl Strategy<Value = Config> {
    let listener =
        (0..4_u8, prop::collection::btree_set(1..6_u16, 1..3), 0..3_usize, any::<bool>());
    let pool = prop::collection::btree_map((0..3_u8, 1..4_u16), 0..3_u16, 1..4);
    let listeners = prop::collection::vec(listener, 1..4);
    (listeners, prop::collection::vec(pool, 3)).prop_map(|(listeners, pools)| {
        let mut text = String::new();
        let (mut names, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for (name, ports, pool, is_slow) in listeners {
            let ports: Vec<_> = ports.into_iter().filter(|port| taken.insert(*port)).collect();
            if ports.is_empty() || !names.insert(name) {
                continue;
            }
            let bind: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
            let idle = if is_slow { "2h" } else { "1h" };
            text += &format!(
                "[listener.l{name}]\nbind = {bind:?}\npool = \"p{pool}\"\nidle_timeout = \"{idle}\"\n"
            );
        }
        for (index, members) in pools.iter().enumerate() {
            let mut names = BTreeSet::new();
            let members = members.iter().filter(|((name, _), _)| names.insert(*name));
            let members: Vec<_> = members
                .map(|((name, port), weight)| format!(
                    "{{ name = \"b{name}\", address = \"10.0.0.1:{port}\", weight = {weight} }}"
                ))
                .collect();
            text += &format!("[pool.p{index}]\nbackends = [{}]\n", members.join(", "));
        }
        config(&text)
    })
}

fn names(removed: &[Removed]) -> Vec<String> {
    removed.iter().map(|one| one.name.clone()).collect()
}

proptest! {
    #[test]
    fn nothing_lies_between_a_file_and_itself(one in files()) {
        prop_assert!(is_nothing(&between(&one, &one, &|_| 0)));
    }

    #[test]
    fn what_one_way_adds_the_other_way_removes(one in files(), other in files()) {
        let (there, back) = (between(&one, &other, &|_| 0), between(&other, &one, &|_| 0));
        prop_assert_eq!(&there.listeners.added, &names(&back.listeners.removed));
        prop_assert_eq!(&there.pools.added, &names(&back.pools.removed));
        prop_assert_eq!(&there.backends.added, &names(&back.backends.removed));
        prop_assert_eq!(there.listeners.changed.len(), back.listeners.changed.len());
        let sorted = there.listeners.kept.len() + there.listeners.changed.len() + there.listeners.added.len();
        prop_assert_eq!(sorted, other.listeners.len());
    }
}
