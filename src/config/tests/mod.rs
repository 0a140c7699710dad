//! The loader as a whole: what people write, and what they are told.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod failing;
mod names;
mod security;
mod web;

const SMALLEST: &str = r#"
[listener.postgres]
bind = "0.0.0.0:5432"
pool = "postgres"

[pool.postgres]
backends = ["10.0.0.11:5432", "10.0.0.12:5432"]
"#;

fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("7000".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Loaded, Refused> {
    parse("test.toml", text, &env)
}

fn good(text: &str) -> Loaded {
    read(text).unwrap_or_else(|refused| panic!("{:#?}", refused.problems))
}

fn refused(text: &str) -> Vec<Problem> {
    read(text).map(|_| ()).unwrap_err().problems
}

/// The one problem of the smallest file with `more` behind it.
fn refusal(more: &str) -> Problem {
    let mut problems = refused(&format!("{SMALLEST}{more}"));
    assert_eq!(problems.len(), 1, "{more}: {problems:#?}");
    problems.remove(0)
}

fn warnings(more: &str) -> Vec<String> {
    good(&format!("{SMALLEST}{more}")).warnings.into_iter().map(|w| w.message).collect()
}

/// Everything but where it came from.
fn shape(config: &Config) -> String {
    format!("{:#?}", Config { origin: Origin::default(), ..config.clone() })
}

#[test]
fn the_smallest_file_has_the_defaults_of_the_contract_and_no_warning() {
    let Loaded { config, warnings, .. } = good(SMALLEST);
    assert_eq!(warnings, []);
    let (listener, pool) = (&config.listeners[0], &config.pools[0]);
    assert_eq!(listener.idle_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(listener.keepalive, Some(Duration::from_secs(60)));
    assert_eq!((listener.max_lifetime, listener.max_sessions, listener.backlog), (None, 0, 4096));
    assert_eq!(pool.policy, Policy::LeastConnections);
    assert_eq!(pool.connect_timeout, Duration::from_secs(1));
    assert_eq!(pool.retry.attempts, 3);
    assert_eq!(pool.retry.window, Duration::from_secs(5));
    assert_eq!(pool.health.interval, Duration::from_secs(2));
    assert_eq!((pool.health.rise, pool.health.fall), (2, 3));
    assert!(matches!(pool.health.probe, Probe::Tcp));
    assert_eq!(&*pool.members[0].name, "10.0.0.11:5432");
    assert_eq!(config.process.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(config.admin, Admin::default());
    assert_eq!(config.origin.hash.len(), 16);
}

#[test]
fn six_mistakes_are_six_errors_each_in_its_place() {
    let problems = refused(
        "[process]\nthreds = 2\n\n[listener.a]\nbind = \"0.0.0.0:5432\"\npool = \"postgress\"\n\
         idle_timeout = \"5\"\n\n[listener.b]\nbind = \"0.0.0.0:5432\"\npool = \"postgres\"\n\
         backlog = \"many\"\n\n[pool.postgres]\nbackends = [\"10.0.0.7\"]\n",
    );
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(2, 1), (6, 8), (7, 16), (10, 8), (12, 11), (15, 13)]);
    let suggested = |index: usize| problems[index].suggestion.clone().unwrap();
    assert_eq!(suggested(0), "did you mean \"threads\"?");
    assert_eq!(suggested(1), "did you mean \"postgres\"?");
    assert_eq!(suggested(2), "write \"5s\"");
    assert_eq!(
        problems[5].to_string(),
        "test.toml:15:13: pool \"postgres\", backend 1: address \"10.0.0.7\" has no port; \
         write \"10.0.0.7:8080\""
    );
    assert_eq!(problems[5].source_line, "backends = [\"10.0.0.7\"]");
}

#[test]
fn broken_syntax_hides_no_other_mistake_and_invents_none() {
    let problems = refused(
        "[listener.a]\nbind = \npool = \"p\"\nbacklog = 0\n[pool.p]\nbackends = [\"a:1\", \"b:1\"]\n",
    );
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 4], "{problems:#?}");
}

#[test]
fn columns_count_characters_and_long_lines_are_cut() {
    let problem = refusal("retry = { \"äöü\" = 1 }\n");
    assert_eq!(problem.column, 11);
    let long = format!("source = [{}\"x\"]\n", "\"10.0.0.1\", ".repeat(500));
    let problem = refusal(&long);
    assert_eq!(problem.column, 6011);
    assert!(problem.source_line.chars().count() <= 130);
    assert_eq!(&problem.source_line[problem.mark.clone()], "\"x\"");
    let shown = text(&[problem], &[], false);
    assert!(shown.starts_with("test.toml:8:6011: error: "), "{shown}");
    assert!(shown.contains("\"x\"]") && shown.len() < 1000, "{shown}");
}

#[test]
fn what_is_shown_stays_under_20_kb() {
    let many: String = (0..900).map(|n| format!("unknown{n} = \"{}\"\n", "x".repeat(50))).collect();
    let problems = refused(&format!("{SMALLEST}{many}"));
    for colour in [false, true] {
        let shown = text(&problems, &[], colour);
        assert!(shown.len() < 20_000 && shown.contains("more problems"));
    }
    let shown = json(false, &problems, &[]);
    assert!(shown.len() < 20_000);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["omitted"].as_u64().unwrap() > 0);
}

#[test]
fn json_has_the_shape_that_programs_read() {
    let problems = refused("[listener.a]\nbind = \"0.0.0.0:1\"\npool = \"p\"\n");
    let shown: serde_json::Value = serde_json::from_str(&json(false, &problems, &[])).unwrap();
    assert_eq!(shown["ok"], false);
    assert_eq!(shown["warnings"], serde_json::json!([]));
    let error = &shown["errors"][0];
    assert_eq!((&error["file"], &error["line"]), (&"test.toml".into(), &3.into()));
    assert!(error["message"].as_str().unwrap().contains("\"p\" is not a pool"));
    assert!(error["suggestion"].as_str().unwrap().contains("[pool.p]"));
}

#[test]
fn a_file_without_a_listener_is_an_error() {
    assert_eq!(refused("")[0].message, "the file has no listener");
    assert!(
        refused("[listner.a]\nbind = \"0.0.0.0:1\"")
            .iter()
            .any(|p| p.suggestion.as_deref() == Some("did you mean \"listener\"?"))
    );
}

#[test]
fn what_this_version_has_not_is_refused_by_name() {
    for (more, path) in [
        ("single_writer = true\n", "`pool.postgres.single_writer`"),
        ("[pool.postgres.health]\nmax_lag = \"1s\"\n", "`pool.postgres.health.max_lag`"),
    ] {
        let problem = refusal(more);
        assert!(problem.message.starts_with(path), "{problem}");
        assert!(problem.message.contains("not available in this version"), "{problem}");
    }
    for more in ["probe = \"redis\"", "probe = \"postgres\"", "probe = \"mysql\""] {
        let problem = refusal(&format!("[pool.postgres.health]\n{more}\n"));
        assert!(problem.message.contains("not available in this version"), "{problem}");
    }
}

#[test]
fn a_value_that_asks_for_nothing_is_taken() {
    let off = "slow_start = \"0s\"\nsingle_writer = false\nqueue = { size = 0 }\n\
               passive = { failures = 0 }\nsticky = { client_ip = false }\n";
    let pool = &good(&format!("{SMALLEST}{off}")).config.pools[0];
    assert_eq!((pool.slow_start, pool.queue.size, pool.passive.failures), (Duration::ZERO, 0, 0));
    assert_eq!(pool.sticky, None);
}

#[test]
fn values_out_of_range_or_of_the_wrong_type_are_refused() {
    for (more, part) in [
        ("connect_timeout = \"0s\"\n", "does not switch this off"),
        ("connect_timeout = 5\n", "is an integer and must be a duration"),
        ("max_sessions = -1\n", "-1 is out of range"),
        ("max_sessions = 99999999999999999999999\n", "out of range"),
        ("fail_open = \"yes\"\n", "is a string and must be a boolean"),
        ("balance = \"hash\"\n", "is not a valid value"),
        ("balance = { policy = \"consistent-hash\", key = \"path\" }\n", "is about requests"),
        ("balance = { policy = \"consistent-hash\", bounded_load = 0.5 }\n", "out of range"),
        ("balance = { policy = \"consistent-hash\", bounded_load = nan }\n", "out of range"),
        ("balance = { policy = \"random\", key = \"client-ip\" }\n", "belongs to"),
        ("fallback = \"postgres\"\n", "leads back"),
        ("retry = 3\n", "must be a table"),
        ("source = \"10.0.0.1:0\"\n", "is not an IP address"),
        ("[pool.postgres.retry]\nattempts = 0\n", "0 is out of range"),
        ("[pool.postgres.health]\npath = \"/\"\n", "belongs to probe"),
        ("[pool.postgres.health]\nprobe = \"http\"\nexpect_status = \"2x\"\n", "is not a status"),
        ("[pool.postgres.health]\nprobe = \"http\"\nexpect_body = \"(\"\n", "regular expression"),
        ("[pool.postgres.health]\nprobe = \"http\"\npath = \"x\"\n", "does not start with"),
        ("[pool.postgres.health]\nprobe = \"exec\"\ncommand = \"true\"\n", "list of words"),
        ("[pool.postgres.health]\nprobe = \"exec\"\n", "has no command"),
        ("[pool.postgres.health]\nprobe = \"https\"\ntls = { cert = \"c\" }\n", "without key"),
        ("[admin]\nbind = \"0.0.0.0:9900\"\n", "without a token"),
        ("[admin]\nbind = \"0.0.0.0:5432\"\ntoken_file = \"t\"\n", "is taken by the admin"),
        ("[log]\nlevel = \"warning\"\n", "is not a valid value"),
        ("[pool.\"a b\"]\nbackends = [\"a:1\", \"b:1\"]\n", "is not valid"),
    ] {
        let problem = refusal(more);
        assert!(problem.message.contains(part), "{more}: {problem}");
        assert!(problem.suggestion.is_some());
    }
}

#[test]
fn times_that_may_be_off_are_off_at_zero() {
    let text = "[listener.a]\nbind = \"0.0.0.0:0\"\npool = \"p\"\nidle_timeout = \"0s\"\n\
                keepalive = \"0s\"\n[pool.p]\nbackends = [\"a:1\", \"b:1\"]\nkeepalive = \"0s\"\n\
                retry = { backoff = \"0ms\" }\n";
    let config = good(text).config;
    assert_eq!((config.listeners[0].idle_timeout, config.listeners[0].keepalive), (None, None));
    assert_eq!((config.pools[0].keepalive, config.pools[0].retry.backoff), (None, Duration::ZERO));
}

#[test]
fn port_zero_may_be_bound_twice_and_nothing_else_may() {
    let listener =
        |bind: &str| format!("{SMALLEST}[listener.b]\nbind = {bind}\npool = \"postgres\"\n");
    good(&listener("[\"127.0.0.1:0\", \"127.0.0.1:0\"]"));
    good(&listener("[\"[::]:5432\", \"127.0.0.1:5432\"]"));
    assert!(refused(&listener("\"0.0.0.0:5432\""))[0].message.contains("(test.toml:3)"));
    assert_eq!(refused(&listener("[\"1.1.1.1:1\", \"1.1.1.1:1\"]")).len(), 1);
    assert_eq!(refused(&listener("\"127.0.0.1:9900\""))[0].line, 9);
}

#[test]
fn backends_take_what_their_pool_says_where_they_say_nothing() {
    let text = "[listener.a]\nbind = \"0.0.0.0:1\"\npool = \"p\"\n[pool.p]\nmax_sessions = 10\n\
                backends = [\"a:1\", { address = \"b:1\", name = \"b\", max_sessions = 0, weight = 256 }]\n";
    let pool = &good(text).config.pools[0];
    let caps: Vec<_> = pool.members.iter().map(|member| member.max_sessions).collect();
    assert_eq!(caps, [10, 0]);
    assert_eq!((&*pool.members[1].name, pool.members[1].weight), ("b", 256));
}

#[test]
fn the_environment_fills_strings() {
    let text = SMALLEST.replace("0.0.0.0:5432", "${HOST:-127.0.0.1}:${PORT}");
    assert_eq!(good(&text).config.listeners[0].bind[0].to_string(), "127.0.0.1:7000");
    let problem = refused(&SMALLEST.replace(":5432\"\npool", ":${GONE}\"\npool")).remove(0);
    assert_eq!((problem.line, problem.column), (3, 8));
    assert!(problem.message.contains("GONE is not set"));
}

#[test]
fn what_is_seldom_meant_is_a_warning() {
    for (more, part) in [
        ("[pool.spare]\nbackends = [\"a:1\", \"b:1\"]\n", "is used by no listener"),
        ("[pool.postgres.health]\ntimeout = \"3s\"\n", "interval 2s is shorter than timeout 3s"),
        ("[admin]\nbind = \"[::]:9900\"\ntoken_file = \"t\"\n", "every network"),
        (
            "fail_open = true\npassive = { failures = 0 }\n\
             [pool.postgres.health]\nprobe = \"none\"\n",
            "no effect",
        ),
    ] {
        let warnings = warnings(more);
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{more}: {warnings:?}");
    }
    let one = good(&SMALLEST.replace(", \"10.0.0.12:5432\"", "")).warnings;
    assert!(one[0].message.contains("one backend only"));
}

#[test]
fn a_fallback_cycle_is_reported_once() {
    let pool = |name: &str, next: &str| {
        format!("[pool.{name}]\nbackends = [\"a:1\", \"b:1\"]\nfallback = \"{next}\"\n")
    };
    let more = [pool("a", "b"), pool("b", "c"), pool("c", "b")].concat();
    let problem = refusal(&more);
    assert!(problem.message.contains("b -> c -> b"), "{problem}");
}

#[test]
fn host_names_are_listed_for_a_look_up() {
    let loaded = good(&SMALLEST.replace("10.0.0.12", "db.internal"));
    assert_eq!(loaded.lookups.len(), 1);
    assert_eq!(loaded.lookups[0].host, "db.internal");
    assert_eq!(loaded.lookups[0].warning.line, 7);
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Loaded, Refused> {
        load(&self.path("main.toml"), &env)
    }
}

#[test]
fn included_files_join_in_name_order_and_see_their_own_folder() {
    let folder = Folder::with(&[
        (
            "main.toml",
            "include = [\"conf.d/*.toml\", \"log.toml\"]\n[pool.p]\nbackends = [\"a:1\", \"b:1\"]\n",
        ),
        ("conf.d/2.toml", "[listener.b]\nbind = \"0.0.0.0:0\"\npool = \"p\"\n"),
        (
            "conf.d/1.toml",
            "[listener.a]\nbind = \"0.0.0.0:0\"\npool = \"p\"\n[process]\npid_file = \"x.pid\"\n",
        ),
        ("log.toml", "[log]\naccess = \"${NONE:-access.log}\"\n"),
    ]);
    let Loaded { config, warnings, .. } = folder.load().unwrap();
    assert_eq!(warnings, []);
    let names: Vec<_> = config.listeners.iter().map(|listener| &*listener.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(config.process.pid_file, Some(folder.path("conf.d/x.pid")));
    assert_eq!(config.log.access, Access::File(folder.path("access.log")));
}

#[test]
fn the_same_table_in_two_files_names_both() {
    let more = "[listener.postgres]\nbind = \"0.0.0.0:1\"\npool = \"postgres\"\n[log]\n[log.x]\n";
    let folder = Folder::with(&[
        ("main.toml", &format!("include = \"more.toml\"\n[log]\n{SMALLEST}")),
        ("more.toml", more),
    ]);
    let problems = folder.load().unwrap_err().problems;
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:#?}");
    assert!(text[0].contains("more.toml:1:11: \"listener.postgres\" is here for the second time"));
    assert!(text[0].contains("main.toml:4"), "{}", text[0]);
    assert!(text[1].contains("\"log\""));
}

#[test]
fn a_pattern_may_match_the_file_that_it_stands_in() {
    let main = format!("include = \"*.toml\"\n{SMALLEST}");
    let folder = Folder::with(&[("main.toml", &main), ("log.toml", "[log]\nlevel = \"warn\"\n")]);
    assert_eq!(folder.load().unwrap().config.log.level, Level::Warn);
}

#[test]
fn what_one_file_says_twice_names_both_places() {
    let problem = refusal("[log]\n[pool.postgres]\n");
    assert!(problem.message.contains("\"pool.postgres\""), "{problem}");
    assert!(problem.message.ends_with("after test.toml:6"), "{problem}");
    let problem = refusal("fail_open = true\nfail_open = true\n");
    assert_eq!(problem.line, 9);
    assert!(problem.message.ends_with("after test.toml:8"), "{problem}");
}

#[test]
fn only_the_main_file_includes_and_what_it_names_must_exist() {
    let main = format!("include = [\"a.toml\", \"gone.toml\", \"none/*.toml\"]\n{SMALLEST}");
    let folder = Folder::with(&[("main.toml", &main), ("a.toml", "include = [\"b.toml\"]\n")]);
    let Refused { problems, warnings } = folder.load().unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].message.contains("gone.toml"));
    assert!(problems[1].file.ends_with("a.toml") && problems[1].message.contains("main file"));
    assert!(warnings[0].message.contains("matches no file"));
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let problem = load(Path::new("/gone/x.toml"), &env).unwrap_err().problems.remove(0);
    assert!(problem.message.contains("No such file") && problem.file == "/gone/x.toml");
    let folder = Folder::with(&[("main.toml", "")]);
    fs::write(folder.path("main.toml"), b"[log]\nlevel = \"\xff\"\n").unwrap();
    let problem = folder.load().unwrap_err().problems.remove(0);
    assert_eq!((problem.line, problem.column), (2, 10));
}

#[test]
fn certificates_and_tokens_must_be_there_and_be_what_they_should() {
    let health = "[pool.postgres.health]\nprobe = \"https\"\ntls = { ca = \"ca.pem\", cert = \"c.pem\", key = \"k.pem\" }\n[admin]\ntoken_file = \"token\"\n";
    let main = format!("{SMALLEST}{health}");
    let own = rcgen::generate_simple_self_signed(["db.example".to_owned()]).unwrap();
    let certificate = own.cert.pem();
    let broken = "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n";
    let folder = Folder::with(&[
        ("main.toml", &main),
        ("ca.pem", broken),
        ("c.pem", "nothing"),
        ("k.pem", " \n"),
        ("token", "\n"),
    ]);
    let refused = || -> Vec<String> {
        folder.load().unwrap_err().problems.iter().map(ToString::to_string).collect()
    };
    let text = refused();
    assert_eq!(text.len(), 4, "{text:#?}");
    assert!(text[0].contains("no usable authority") && text[1].contains("no certificate"));
    assert!(text[2].contains("k.pem is empty") && text[3].contains("first line is empty"));
    for name in ["ca.pem", "c.pem"] {
        fs::write(folder.path(name), &certificate).unwrap();
    }
    fs::write(folder.path("token"), "secret\n").unwrap();
    fs::write(folder.path("k.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let text = refused();
    assert!(text.len() == 1 && text[0].contains("is not the key of its certificate"), "{text:#?}");
    assert!(
        text[0].contains("name the key that the first certificate of cert was made for"),
        "{text:#?}"
    );
    // What is wrong with a key is not always its form.
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nbm90aGluZw==\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nbm90aGluZw==\n-----END RSA PRIVATE KEY-----\n";
    for key in [locked, older] {
        fs::write(folder.path("k.pem"), key).unwrap();
        assert!(
            refused()[0].contains("holds an encrypted key; nobody is there to type its password")
        );
    }
    fs::write(folder.path("k.pem"), locked.replace("ENCRYPTED ", "")).unwrap();
    let text = refused();
    assert!(
        text[0].contains("holds no usable key") && text[0].contains("name an RSA key"),
        "{text:#?}"
    );
    fs::remove_file(folder.path("k.pem")).unwrap();
    assert!(refused()[0].contains("k.pem cannot be read"));
    fs::write(folder.path("k.pem"), own.signing_key.serialize_pem()).unwrap();
    let Probe::Http(probe) = folder.load().unwrap().config.pools[0].health.probe.clone() else {
        panic!("no http probe");
    };
    let identity = Some((folder.path("c.pem"), folder.path("k.pem")));
    assert_eq!(probe.tls.unwrap().identity, identity);
}

/// A pool that only datagrams go to, in front of which any tables may stand.
const DATAGRAMS: &str = r#"
[pool.dns]
backends = ["10.0.0.53:53", "10.0.0.54:53"]
[listener.dns]
bind = "0.0.0.0:53"
protocol = "udp"
pool = "dns"
"#;

const NEITHER: &str = "is noticed only if ICMP says port unreachable";

/// What is wrong with a listener of datagrams that has `more`.
fn udp_refusal(more: &str) -> Problem {
    refusal(&format!("{DATAGRAMS}{more}\n"))
}

#[test]
fn a_udp_listener_has_defaults_of_its_own() {
    let Loaded { config, warnings, .. } = good(&format!("{SMALLEST}{DATAGRAMS}"));
    let listener = &config.listeners[1];
    assert_eq!((listener.protocol, listener.responses), (Protocol::Udp, 0));
    assert_eq!(listener.idle_timeout, Some(Duration::from_secs(30)));
    assert_eq!((listener.keepalive, listener.connection_rate), (None, None));
    assert!(matches!(config.pools[1].health.probe, Probe::None));
    assert!(warnings.len() == 1 && warnings[0].message.contains(NEITHER), "{warnings:#?}");
    assert!(warnings[0].message.starts_with("pool \"dns\""), "{warnings:#?}");
    let with =
        |more: &str| good(&format!("{SMALLEST}{DATAGRAMS}{more}")).config.listeners[1].clone();
    assert_eq!(with("responses = 1\nidle_timeout = \"0s\"").idle_timeout, None);
    assert_eq!(with("responses = 1\nkeepalive = \"0s\"").responses, 1);
}

#[test]
fn keys_of_connections_are_refused_with_udp() {
    for (more, key, owner) in [
        ("keepalive = \"60s\"", "keepalive", "is for tcp"),
        ("backlog = 5", "backlog", "is for tcp"),
        ("max_lifetime = \"1h\"", "max_lifetime", "is for tcp"),
        ("handshake_timeout = \"1s\"", "handshake_timeout", "is for tcp"),
        ("tls = { alpn = [] }", "tls", "is for tcp"),
        ("accept_proxy_protocol = true", "accept_proxy_protocol", "is for tcp"),
        ("plain_pool = \"postgres\"", "plain_pool", "is for tcp"),
        ("header_timeout = \"1s\"", "header_timeout", "is for http"),
        ("tunnel_timeout = \"1s\"", "tunnel_timeout", "is for http"),
        ("trusted_proxies = [\"10.0.0.0/8\"]", "trusted_proxies", "is for http"),
    ] {
        let problem = udp_refusal(more);
        let path = format!("`listener.dns.{key}` {owner}");
        assert!(problem.message.starts_with(&path), "{problem}");
        assert_eq!(problem.suggestion.as_deref(), Some("remove the key"));
    }
    assert!(udp_refusal("respones = 1").suggestion.unwrap().contains("\"responses\""));
    let tcp = "[listener.t]\nbind = \"0.0.0.0:1\"\npool = \"postgres\"\n";
    good(&format!("{SMALLEST}{tcp}responses = 0\n"));
    let problem = refusal(&format!("{tcp}responses = 1\n"));
    let path = "`listener.t.responses` is for udp, and this listener is tcp";
    assert!(problem.message.contains(path), "{problem}");
}

#[test]
fn an_address_is_taken_once_for_each_protocol() {
    let tcp = "[listener.t]\nbind = \"0.0.0.0:53\"\npool = \"dns\"\n";
    let config = good(&format!("{SMALLEST}{DATAGRAMS}{tcp}")).config;
    assert_eq!(config.listeners[1].bind, config.listeners[2].bind);
    let problem = refusal(&format!("{DATAGRAMS}{tcp}protocol = \"udp\"\n"));
    assert!(problem.message.contains("is taken by listener \"dns\""), "{problem}");
    let admin = DATAGRAMS.replace("0.0.0.0:53\"\nprotocol", "127.0.0.1:9900\"\nprotocol");
    good(&format!("{SMALLEST}{admin}"));
}

#[test]
fn a_rate_is_a_number_in_a_time_and_a_burst() {
    let with = |rate: &str| {
        let text = format!("{SMALLEST}{DATAGRAMS}connection_rate = {rate}\n");
        good(&text).config.listeners[1].connection_rate.unwrap()
    };
    let second = Duration::from_secs(1);
    let rate = Rate { count: 50, per: second, burst: 100 };
    assert_eq!(with("{ rate = \"50/s\", burst = 100 }"), rate);
    let rate = Rate { count: 10, per: second * 60, burst: 10 };
    assert_eq!(with("{ rate = \"10/m\" }"), rate);
    for (rate, part) in [
        ("\"50/s\"", "must be a table"),
        ("{ burst = 5 }", "has no rate"),
        ("{ rate = \"50\" }", "has no time"),
        ("{ rate = \"0/s\" }", "lets nothing through"),
        ("{ rate = \"5/d\" }", "unknown unit"),
        ("{ rate = 5 }", "must be a string"),
        ("{ rate = \"5/s\", burst = 0 }", "0 is out of range"),
        ("{ rate = \"5/s\", bursts = 1 }", "unknown key"),
    ] {
        let problem = udp_refusal(&format!("connection_rate = {rate}"));
        assert!(problem.message.contains(part), "{problem}");
        assert!(problem.suggestion.is_some());
    }
}

#[test]
fn the_listeners_decide_how_a_pool_is_probed() {
    let health = |more: &str| {
        let config = good(&format!("{SMALLEST}{more}")).config;
        let pool = config.pools.iter().find(|pool| &*pool.name == "dns").unwrap();
        pool.health.probe.clone()
    };
    let tcp = "[listener.t]\nbind = \"0.0.0.0:53\"\npool = \"dns\"\n";
    assert!(matches!(health(&format!("{DATAGRAMS}{tcp}")), Probe::Tcp));
    let unused = DATAGRAMS.replace("pool = \"dns\"", "pool = \"postgres\"");
    assert!(matches!(health(&unused), Probe::Tcp));
    // By way of a fallback too.
    let front = "[pool.front]\nbackends = [\"a:1\", \"b:1\"]\nfallback = \"dns\"\nhealth.probe = \"none\"\n";
    let fallback = DATAGRAMS.replace("pool = \"dns\"", "pool = \"front\"");
    assert!(matches!(health(&format!("{front}{fallback}")), Probe::None));
    let also = "[listener.t]\nbind = \"0.0.0.0:1\"\npool = \"front\"\n";
    assert!(matches!(health(&format!("{front}{fallback}{also}")), Probe::Tcp));

    for (more, over) in [
        (DATAGRAMS.to_owned(), Protocol::Udp),
        (format!("{DATAGRAMS}{tcp}"), Protocol::Udp),
        (unused, Protocol::Tcp),
    ] {
        let dns = health(&format!("{more}[pool.dns.health]\nprobe = \"dns\"\n"));
        let Probe::Dns(probe) = dns else { panic!("{dns:?}") };
        assert_eq!(probe, DnsProbe { over, ..DnsProbe::default() });
        let bytes =
            health(&format!("{more}[pool.dns.health]\nprobe = \"send-expect\"\nexpect = \"\"\n"));
        assert!(matches!(bytes, Probe::SendExpect { over: it, .. } if it == over), "{bytes:?}");
    }
}

#[test]
fn no_probe_for_datagrams_is_a_warning() {
    for (more, warned) in [
        ("", true),
        ("[pool.dns.health]\ninterval = \"3s\"\n", true),
        ("[pool.dns.health]\nprobe = \"none\"\n", true),
        ("[pool.dns.health]\nprobe = \"dns\"\n", false),
        ("[pool.dns.health]\nprobe = \"tcp\"\nport = 9\n", false),
        ("[pool.dns.health]\nprobe = \"http\"\n", false),
    ] {
        let warnings = warnings(&format!("{DATAGRAMS}{more}"));
        let said = warnings.iter().any(|warning| warning.contains(NEITHER));
        assert_eq!((said, warnings.len()), (warned, usize::from(warned)), "{more}: {warnings:?}");
    }
    let problem = refusal(&format!("{DATAGRAMS}[pool.dns.health]\nport = 8080\n"));
    assert!(problem.message.contains("not \"none\""), "{problem}");
}

#[test]
fn a_dns_probe_asks_what_can_be_asked() {
    let with = |more: &str| format!("{DATAGRAMS}[pool.dns.health]\nprobe = \"dns\"\n{more}\n");
    for (more, part) in [
        ("query = \"\"", "has an empty label"),
        ("query = \"a..b\"", "has an empty label"),
        ("query = \"bücher.example\"", "holds what a name may not"),
        ("query_type = \"AAAAA\"", "is not a type"),
        ("query_type = 0", "0 is out of range"),
        ("expect_rcode = \"OK\"", "is not a valid value"),
        ("expect_rcode = [\"NOERROR\", 3]", "must be a string"),
        ("expect_rcode = []", "is an empty list"),
    ] {
        let problem = refusal(&with(more));
        assert!(problem.message.contains(part), "{more}: {problem}");
        assert!(problem.suggestion.is_some());
    }
    let read = |more: &str| match good(&format!("{SMALLEST}{}", with(more))).config.pools[1]
        .health
        .probe
    {
        Probe::Dns(ref probe) => probe.clone(),
        ref other => panic!("{other:?}"),
    };
    assert_eq!(read("query_type = \"aaaa\"").query_type, 28);
    assert_eq!(read("query_type = 65535").query_type, 65_535);
    assert_eq!(read("expect_rcode = [\"NXDOMAIN\", \"REFUSED\"]").expect_rcode, [3, 5]);
    let problem = refusal("[pool.postgres.health]\nquery = \".\"\n");
    assert!(problem.message.contains("belongs to probe \"dns\""), "{problem}");
}

/// Uses every key and odd values.
const EVERYTHING: &str = r#"
[process]
threads = 2
pid_file = "run/x.pid"
user = "nobody"
[log]
access = "a$${b}/access.log"
level = "debug"
[admin]
bind = "unix:admin.sock"
[listener.z]
bind = ["[::1]:5", "127.0.0.1:0"]
pool = "second"
max_lifetime = "1h1us"
idle_timeout = "0s"
[listener.a]
bind = "127.0.0.1:0"
pool = "first"
connection_rate = { rate = "5/m", burst = 7 }
allow = ["10.0.0.0/8", "::1"]
deny = "::ffff:10.1.0.0/112"
accept_proxy_protocol = ["192.0.2.7", "2001:db8::/32"]
handshake_timeout = "3s"
[pool.second]
backends = ["db:1", { address = "[::1]:2", name = "x", weight = 0, state = "drain", backup = true }]
balance = { policy = "consistent-hash", key = "client-ip-port", bounded_load = 1 }
fallback = "first"
source = ["10.0.0.1", "::1"]
max_sessions = 7
slow_start = "20s"
send_proxy_protocol = "v2"
max_failover = "1m30s"
close = { down = "now", role = "keep", drain = "90s", removed = "1us", maintenance = "1d" }
passive = { failures = 1, window = "3s", eject_for = "10m", max_ejected = "100%" }
queue = { size = 9, timeout = "250ms" }
sticky = { client_ip = true, ttl = "2h", max_entries = 1 }
[pool.second.health]
probe = "https"
headers = { b = "$${x}", a = "2" }
expect_status = ["200", "3xx", 401, "500-503"]
expect_body = "\\d\"\n"
role = "replica"
address = "[::1]"
tls = { server_name = "x", verify = false, ca = "ca.pem" }
[listener.u]
bind = "127.0.0.1:0"
protocol = "udp"
pool = "third"
responses = 2
connection_rate = { rate = "1/h" }
deny = ["10.0.0.0/8"]
[[listener.u.route]]
client = "192.0.2.0/24"
split = [{ pool = "third", weight = 0 }, { pool = "third" }]
[listener.s]
bind = "127.0.0.1:0"
plain_pool = "first"
[listener.s.tls]
certificates = [{ cert = "a.pem", key = "a.key" }, { cert = "b$${x}.pem", key = "/b.key" }]
min_version = "1.3"
alpn = ["h2", "é"]
client_ca = "clients.pem"
client_auth = "optional"
starttls = "postgres"
[listener.s.tls.acme]
domains = ["Example.com.", "www.example.com"]
contact = "ops@example.com"
directory = "https://localhost:14000/dir"
directory_ca = "pebble.pem"
challenge = "http-01"
http_bind = "127.0.0.1:0"
storage = "acme"
[[listener.s.route]]
sni = ["*", "*.Example.com", "a.example.com."]
alpn = "h2"
client = ["10.0.0.0/8", "::1"]
pool = "first"
[[listener.s.route]]
name = "canary"
split = [{ pool = "second", weight = 95 }, { pool = "first", weight = 5 }]
[listener.p]
bind = "127.0.0.1:0"
pool = "first"
tls.starttls = "postgres"
[listener.q]
bind = "127.0.0.1:0"
pool = "first"
[listener.q.tls.acme]
domains = "a.example"
storage = "acme"
[listener.h]
bind = "127.0.0.1:0"
protocol = "http"
idle_timeout = "1s"
header_timeout = "2s"
tunnel_timeout = "0s"
trusted_proxies = ["10.0.0.0/8", "::1"]
max_streams = 1
debug_headers = true
keepalive = "0s"
tls = { certificates = [{ cert = "a.pem", key = "a.key" }] }
[[listener.h.route]]
host = ["*.Example.com", "10.0.0.1"]
path = ["/*", "/api/*", "/$${x}/%7E"]
method = "GET"
header = { X-A = ["1", "2"], b = "*" }
query = { "a b" = "$${c}" }
client = "10.0.0.0/8"
split = [{ pool = "fourth" }, { pool = "fifth", weight = 2 }]
strip_prefix = "/a"
add_prefix = "/b"
set_request_headers = { X-B = "$${x}", host = "c" }
set_response_headers = { e = "" }
remove_request_headers = "f"
remove_response_headers = ["g", "h"]
rate_limit = { rate = "5/m", burst = 1, key = "header:X-Key" }
request_timeout = "1m30s"
max_body = "1kB"
[[listener.h.route]]
redirect = "https"
host = "a"
[[listener.h.route]]
redirect = { to = "https://a{path}" }
host = "b"
rate_limit = { rate = "5/h" }
[[listener.h.route]]
respond = { status = 404, body = "é\n" }
[pool.fourth]
backends = ["a:1", "b:2"]
balance = { policy = "consistent-hash", key = "header:X-A" }
response_timeout = "1us"
http = { version = "2", keepalive = 0, keepalive_timeout = "1d" }
sticky = { cookie = "a", secure = true, http_only = false, same_site = "strict", ttl = "1s", secret_file = "s" }
retry = { on = ["502", 504], non_idempotent = true, body = "0B", budget = "1%" }
health = { probe = "grpc", service = "a", tls = { verify = false } }
[pool.fifth]
backends = ["a:1", "b:2"]
sticky = { cookie = "b" }
retry = { on = [] }
balance = { policy = "consistent-hash", key = "path" }
[pool.third]
backends = ["10.0.0.1:53", "10.0.0.2:53"]
sticky = { client_ip = true }
[pool.third.health]
probe = "dns"
query = "a.example."
query_type = 99
expect_rcode = ["NXDOMAIN", "NOERROR"]
[pool.first]
backends = ["10.0.0.1:01", "b:2"]
balance = "first"
tls = { server_name = "db", ca = "ca.pem", cert = "c.pem", key = "k.pem", verify = false, starttls = "postgres" }
[pool.first.health]
probe = "send-expect"
send = "a\r\n\u0000\u007f"
expect = "$$${x}"
"#;

#[test]
fn the_effective_file_says_the_same() {
    let exec =
        format!("{SMALLEST}[pool.postgres.health]\nprobe = \"exec\"\ncommand = [\"./x\", \"\"]\n");
    let shared =
        format!("{SMALLEST}{DATAGRAMS}[listener.t]\nbind = \"0.0.0.0:53\"\npool = \"dns\"\n");
    let datagrams = format!("{SMALLEST}{DATAGRAMS}");
    let all = SMALLEST.replacen("pool =", "accept_proxy_protocol = true\npool =", 1);
    let tls = "[pool.postgres.tls]\nstarttls = \"postgres\"\n[pool.postgres.health]\nprobe = ";
    let (tls, https) = (format!("{SMALLEST}{tls}\"tls\"\n"), format!("{SMALLEST}{tls}\"https\"\n"));
    let idle = format!(
        "{SMALLEST}response_timeout = \"1s\"\nhttp = {{ version = \"2\" }}\nretry.on = []\n"
    );
    for text in [SMALLEST, EVERYTHING, &exec, &datagrams, &shared, &all, &tls, &https, &idle] {
        let config = good(text).config;
        let written = effective(&config).unwrap();
        let again = parse("effective", &written, &|_| None);
        let again = again.unwrap_or_else(|e| panic!("{written}\n{:#?}", e.problems)).config;
        assert_eq!(shape(&again), shape(&config), "{written}");
        assert_eq!(effective(&again).unwrap(), written);
    }
}

#[test]
fn the_schema_has_exactly_the_keys_that_the_reader_knows() {
    let schema = schema();
    let keys = |object: &serde_json::Value| {
        assert_eq!(object["additionalProperties"], false);
        let mut keys: Vec<String> =
            object["properties"].as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let sorted = |known: &[&str]| {
        let mut known: Vec<String> = known.iter().map(ToString::to_string).collect();
        known.sort_unstable();
        known
    };
    assert_eq!(keys(&schema), sorted(file::KEYS));
    for (name, known) in [
        ("Process", process::PROCESS_KEYS),
        ("Log", process::LOG_KEYS),
        ("Admin", process::ADMIN_KEYS),
        ("Listener", listener::KEYS),
        ("ConnectionRate", listener::RATE_KEYS),
        ("Pool", pool::KEYS),
        ("Passive", failure::PASSIVE_KEYS),
        ("Queue", failure::QUEUE_KEYS),
        ("Close", failure::CLOSE_KEYS),
        ("Sticky", sticky::KEYS),
        ("Backend", pool::BACKEND_KEYS),
        ("Retry", retry::KEYS),
        ("PoolHttp", pool_http::KEYS),
        ("Balance", balance::KEYS),
        ("Health", health::KEYS),
        ("ClientTls", credentials::TLS_KEYS),
        ("ListenerTls", listener_tls::KEYS),
        ("Certificate", listener_tls::CERTIFICATE_KEYS),
        ("Acme", acme::KEYS),
        ("Route", &routes::keys()),
        ("Redirect", answers::REDIRECT_KEYS),
        ("Respond", answers::RESPOND_KEYS),
        ("RateLimit", treatment::RATE_LIMIT_KEYS),
        ("Share", routes::SHARE_KEYS),
    ] {
        assert_eq!(keys(&schema["$defs"][name]), sorted(known), "{name}");
    }
}

#[test]
fn the_schema_requires_what_the_reader_requires_and_shows_defaults() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let defs = &schema["$defs"];
    assert_eq!(defs["Listener"]["required"], serde_json::json!(["bind"]));
    assert_eq!(defs["Acme"]["required"], serde_json::json!(["domains", "storage"]));
    assert_eq!(defs["Certificate"]["required"], serde_json::json!(["cert", "key"]));
    assert_eq!(defs["Share"]["required"], serde_json::json!(["pool"]));
    assert_eq!(defs["ListenerTls"]["properties"]["min_version"]["default"], "1.2");
    assert_eq!(defs["Pool"].get("required"), None);
    assert_eq!(defs["Discover"].get("required"), None);
    assert_eq!(defs["Backend"]["required"], serde_json::json!(["address"]));
    assert_eq!(defs["Redirect"]["required"], serde_json::json!(["to"]));
    assert_eq!(defs["RateLimit"]["required"], serde_json::json!(["rate"]));
    assert_eq!(defs["Sticky"].get("required"), None);
    assert_eq!(defs["Passive"]["properties"]["max_ejected"]["default"], "50%");
    assert_eq!(defs["Close"]["properties"]["role"]["default"], "now");
    assert_eq!(defs["Listener"]["properties"]["accept_proxy_protocol"]["default"], false);
    assert_eq!(defs["Health"].get("required"), None);
    assert_eq!(schema.get("required"), None);
    assert_eq!(defs["Listener"]["properties"]["idle_timeout"]["default"], "1h");
    assert_eq!(defs["Process"]["properties"]["shutdown_timeout"]["default"], "30s");
    assert_eq!(defs["Health"]["properties"]["fall"]["default"], 3);
    assert_eq!(defs["Pool"]["properties"]["balance"]["default"], "least-connections");
    assert!(defs["Listener"]["properties"]["bind"]["description"].is_string());
    assert!(!schema.to_string().contains("\"null\""));
}

#[test]
fn the_examples_load_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let loaded = load_trusting(&path, &|_| None);
            let loaded = loaded.unwrap_or_else(|e| panic!("{:#?}", e.problems));
            assert_eq!(loaded.warnings, [], "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 6);
}

const REFERENCE: &str = include_str!("../../../config/evenkeel.toml");

#[test]
fn the_reference_names_every_key() {
    let all = [
        file::KEYS,
        process::PROCESS_KEYS,
        process::LOG_KEYS,
        process::ADMIN_KEYS,
        listener::KEYS,
        listener::RATE_KEYS,
        pool::KEYS,
        pool::BACKEND_KEYS,
        discover::KEYS,
        retry::KEYS,
        pool_http::KEYS,
        failure::PASSIVE_KEYS,
        failure::QUEUE_KEYS,
        failure::CLOSE_KEYS,
        sticky::KEYS,
        balance::KEYS,
        health::KEYS,
        credentials::TLS_KEYS,
        listener_tls::KEYS,
        listener_tls::CERTIFICATE_KEYS,
        acme::KEYS,
        &routes::keys(),
        routes::SHARE_KEYS,
        answers::REDIRECT_KEYS,
        answers::RESPOND_KEYS,
        treatment::RATE_LIMIT_KEYS,
    ];
    for key in all.concat() {
        let table = regex::Regex::new(&format!(r"(?m)^\[\[?([a-z-]+\.)*{key}[.\]]")).unwrap();
        let value = regex::Regex::new(&format!(r"(?m)(^#?|[{{,] *){key} = ")).unwrap();
        assert!(table.is_match(REFERENCE) || value.is_match(REFERENCE), "{key} is not explained");
    }
}

/// Leaving out a line that claims to be a default must change nothing.
#[test]
fn the_reference_has_the_true_defaults() {
    let lines: Vec<&str> = REFERENCE.lines().collect();
    let expected = shape(&good(REFERENCE).config);
    let mut tried = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else { continue };
        let claims = !line.starts_with(['#', ' ', '[']) && !line.contains(" # ");
        if !claims || ["bind", "pool", "backends"].contains(&key) {
            continue;
        }
        let without: String = lines
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != at)
            .map(|(_, l)| format!("{l}\n"))
            .collect();
        assert_eq!(shape(&good(&without).config), expected, "line {}: {line}", at + 1);
        tried += 1;
    }
    assert!(tried > 25, "{tried}");
    let full = ", weight = 1, max_sessions = 0, backup = false, state = \"ready\"";
    assert_eq!(shape(&good(&REFERENCE.replace(full, "")).config), expected);
}

proptest! {
    #[test]
    fn arbitrary_text_is_read_or_refused(text in "\\PC{0,200}") {
        let shown = read(&text).map(|_| String::new()).unwrap_or_else(|e| super::text(&e.problems, &e.warnings, false));
        prop_assert!(shown.len() < 20_000);
    }

    #[test]
    fn a_file_with_anything_in_any_place_is_read_or_refused(
        at in 0usize..EVERYTHING.len(), drop in 0usize..40, put in "[\\[\\]{}\"'=,.#$a-z0-9 \n\\\\é]{0,12}",
    ) {
        let start = EVERYTHING.floor_char_boundary(at);
        let end = EVERYTHING.floor_char_boundary((at + drop).min(EVERYTHING.len()));
        let text = format!("{}{put}{}", &EVERYTHING[..start], &EVERYTHING[end..]);
        match read(&text) {
            Ok(loaded) => {
                prop_assert!(!explain(&loaded.config, Duration::from_millis(100)).text().is_empty());
                let written = effective(&loaded.config).unwrap();
                let again = parse("effective", &written, &|_| None).map(|again| shape(&again.config));
                prop_assert_eq!(again.ok(), Some(shape(&loaded.config)));
            }
            Err(refused) => {
                prop_assert!(!refused.problems.is_empty());
                prop_assert!(super::text(&refused.problems, &refused.warnings, true).len() < 20_000);
            }
        }
    }
}
