//! Name servers and backends that are looked up.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{SMALLEST, good, refused};
use crate::config::{Discover, DiscoverSource, effective, explain, listed, load, parse};

const FRONT: &str = "[listener.a]\nbind = \"0.0.0.0:1\"\npool = \"p\"\n[pool.p]\n";

fn discover(text: &str) -> Discover {
    let loaded = good(&format!("{FRONT}discover = {{ {text} }}\n"));
    loaded.config.pools[0].discover.clone().unwrap()
}

fn refusal(text: &str) -> (String, String) {
    let problems = refused(&format!("{FRONT}{text}\n"));
    assert_eq!(problems.len(), 1, "{problems:?}");
    (problems[0].message.clone(), problems[0].suggestion.clone().unwrap())
}

#[test]
fn backends_are_looked_up_in_one_of_three_places() {
    let source = |text: &str| discover(text).source;
    assert_eq!(
        source("dns = \"db.internal:5432\""),
        DiscoverSource::Dns("db.internal".into(), 5432)
    );
    let srv = "_postgres._tcp.db.internal";
    assert_eq!(source(&format!("srv = \"{srv}\"")), DiscoverSource::Srv(srv.into()));
    assert_eq!(source("file = \"b.json\""), DiscoverSource::File("/b.json".into()));
    assert_eq!(discover("dns = \"a:1\"").refresh, None);
    let refresh = discover("dns = \"a:1\", refresh = \"1500ms\"").refresh;
    assert_eq!(refresh, Some(Duration::from_millis(1500)));
}

#[test]
fn what_cannot_be_looked_up_is_refused_with_the_way_out() {
    for (text, message, way_out) in [
        ("discover = {}", "says not where", "dns = "),
        ("discover = { refresh = \"5s\" }", "says not where", "srv = "),
        (
            "discover = { dns = \"a:1\", srv = \"b\" }",
            "srv is there beside dns",
            "remove dns or srv",
        ),
        ("discover = { dns = \"db\" }", "has no port", "write \"db:8080\""),
        ("discover = { dns = \"10.0.0.7:1\" }", "is an address", "`backends`"),
        ("discover = { srv = \"db:1\" }", "has a port", "write \"db\""),
        ("discover = { srv = \"a b\" }", "is no name", "_postgres._tcp"),
        ("discover = { file = \"\" }", "is empty", "value"),
        ("discover = { dns = \"a:1\", refresh = \"999ms\" }", "shorter than a second", "\"1s\""),
        ("discover = { dsn = \"a:1\" }", "unknown key \"dsn\"", "valid keys: dns, srv"),
        ("discover = \"db:1\"", "is a string and must be a table", "[pool.p.discover]"),
        ("backends = []\ndiscover = { dns = \"a:1\" }", "is an empty list", "name at least one"),
    ] {
        let problems = refused(&format!("{FRONT}{text}\n"));
        let (said, offered) = (&problems[0].message, problems[0].suggestion.as_deref());
        assert!(said.contains(message), "{text}: {said}");
        assert!(offered.unwrap().contains(way_out), "{text}: {offered:?}");
    }
    assert!(refusal("").0.contains("has no backends"));
}

#[test]
fn backends_that_are_named_stand_beside_those_that_are_found() {
    let both = "backends = [\"10.0.0.1:1\"]\ndiscover = { dns = \"a:1\" }\n";
    let loaded = good(&format!("{FRONT}{both}"));
    let pool = &loaded.config.pools[0];
    assert!(pool.discover.is_some());
    assert_eq!(pool.members.len(), 1);
    // One backend is not all there will be.
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let asked: Vec<_> = loaded.lookups.iter().map(|it| (&*it.host, it.is_service)).collect();
    assert_eq!(asked, [("a", false)]);
    let srv = good(&format!("{FRONT}discover = {{ srv = \"_a._tcp.b\" }}\n"));
    assert!(srv.lookups[0].is_service);
    assert!(srv.lookups[0].warning.message.contains("no SRV records"));
}

#[test]
fn a_pool_whose_backends_are_looked_up_is_reckoned_with_as_such() {
    let file = format!(
        "{FRONT}max_failover = \"9s\"\nfail_open = true\ndiscover = {{ dns = \"a:1\" }}\n\
         [pool.p.health]\nprobe = \"tcp\"\n"
    );
    let loaded = good(&file);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let text = explain(&loaded.config, Duration::from_millis(10)).text();
    assert!(text.contains("pool \"p\" (backends that are looked up)"), "{text}");
    assert!(text.contains("50% of those that are found"), "{text}");
}

#[test]
fn the_effective_file_says_the_same() {
    for source in ["dns = \"a.b:1\"", "srv = \"_a._tcp.b\"", "file = \"/b.json\""] {
        let file = format!(
            "{FRONT}discover = {{ {source}, refresh = \"1m\" }}\n[process]\nupgrade_timeout = \"1h\"\n\
             nameservers = [\"127.0.0.1:5353\", \"::1\"]\n"
        );
        let first = good(&file).config;
        let again = parse("again", &effective(&first).unwrap(), &|_| None).unwrap().config;
        assert_eq!((&first.process, &first.pools), (&again.process, &again.pools));
        assert_eq!(first.process.upgrade_timeout, Some(Duration::from_secs(3600)));
        let asked = ["127.0.0.1:5353", "[::1]:53"].map(|it| it.parse().unwrap());
        assert_eq!(first.process.nameservers, asked);
    }
}

#[test]
fn a_name_server_is_an_address() {
    for (text, message) in [
        ("\"dns.internal\"", "is not an IP address"),
        ("\"10.0.0.2:0\"", "has port 0"),
        ("\"0.0.0.0\"", "is no single address"),
        ("53", "must be a string"),
    ] {
        let problems = refused(&format!("{SMALLEST}[process]\nnameservers = [{text}]\n"));
        assert!(problems[0].message.contains(message), "{problems:?}");
    }
    let problems = refused(&format!("{SMALLEST}[process]\nnameservers = \"10.0.0.2\"\n"));
    assert!(problems[0].message.contains("must be a list"), "{problems:?}");
    let problems = refused(&format!("{SMALLEST}[process]\nupgrade_timeout = \"0s\"\n"));
    assert!(problems[0].message.contains("upgrade_timeout is \"0s\""), "{problems:?}");
}

#[test]
fn a_file_lists_backends_as_the_key_does() {
    let found = |text: &str| listed(Path::new("/b.json"), text.as_bytes(), 7);
    let members = found(
        "[\"10.0.0.1:80\", {\"address\": \"db:81\", \"name\": \"two\", \"weight\": 3, \
         \"backup\": true, \"state\": \"drain\", \"max_sessions\": 9}]",
    );
    let members = members.unwrap();
    assert_eq!((&*members[0].name, members[0].max_sessions), ("10.0.0.1:80", 7));
    let two = &members[1];
    assert_eq!((&*two.name, two.weight, two.max_sessions, two.backup), ("two", 3, 9, true));
    assert_eq!(found("[]").unwrap(), []);
    for (text, part) in [
        ("[\"10.0.0.1:80\"", "it is no JSON: EOF"),
        ("{\"backends\": []}", "must be a list"),
        ("[\"10.0.0.1\"]", "backend 1: address \"10.0.0.1\" has no port; write"),
        ("[\"a:1\", {\"address\": \"b:1\", \"wieght\": 1}]", "did you mean \"weight\""),
        ("[{\"name\": \"a\"}]", "has no address"),
        ("[{\"address\": \"a:1\", \"weight\": 257}]", "257 is out of range"),
        ("[{\"address\": \"a:1\", \"weight\": null}]", "weight"),
        ("[\"a:1\", \"a:1\"]", "is taken by another backend"),
    ] {
        let why = found(text).unwrap_err();
        assert!(why.contains(part), "{text}: {why}");
    }
}

#[test]
fn a_file_of_no_use_is_a_warning_since_it_may_be_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("evenkeel.toml");
    fs::write(&main, format!("{FRONT}discover = {{ file = \"b.json\" }}\n")).unwrap();
    let warnings = || load(&main, &|_| None).unwrap().warnings;
    let found = folder.path().join("b.json");
    for (text, message) in [
        (None, "cannot be read"),
        (Some("[\"a\"]"), "is of no use"),
        (Some("[]"), "lists no backend"),
    ] {
        if let Some(text) = text {
            fs::write(&found, text).unwrap();
        }
        let warnings = warnings();
        assert!(warnings[0].message.contains(message), "{warnings:?}");
        assert!(warnings[0].message.contains(found.to_str().unwrap()), "{warnings:?}");
    }
    fs::write(&found, "[\"10.0.0.1:1\"]").unwrap();
    assert!(warnings().is_empty());
}
