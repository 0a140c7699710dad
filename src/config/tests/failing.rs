//! What the keys about failing, waiting, ending and being let in take, and what they refuse.

use super::*;

fn pool(more: &str) -> Pool {
    good(&format!("{SMALLEST}{more}")).config.pools.remove(0)
}

/// The listener of the smallest file with `more` in its table.
fn with_listener(more: &str) -> String {
    SMALLEST.replacen("pool =", &format!("{more}\npool ="), 1)
}

fn listener(more: &str) -> Listener {
    good(&with_listener(more)).config.listeners.remove(0)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_smallest_file_has_the_defaults_of_the_contract() {
    let pool = pool("");
    let passive = Passive {
        failures: 3,
        window: SECOND * 10,
        eject_for: SECOND * 10,
        eject_max: SECOND * 300,
        max_ejected: 50,
    };
    assert_eq!(pool.passive, passive);
    assert_eq!(pool.queue, Queue { size: 0, timeout: SECOND * 5 });
    let (keep, now) = (Closing::Keep, Closing::Now);
    let close = Close { down: keep, role: now, drain: keep, removed: keep, maintenance: now };
    assert_eq!(pool.close, close);
    assert_eq!((pool.sticky, pool.slow_start), (None, Duration::ZERO));
    assert_eq!((pool.send_proxy_protocol, pool.max_failover), (None, None));
    let listener = listener("");
    assert_eq!(listener.clients, Clients::default());
    assert_eq!(listener.accept_proxy_protocol, AcceptProxy::Off);
    assert_eq!(listener.handshake_timeout, SECOND * 10);
}

#[test]
fn every_key_of_a_pool_is_taken() {
    let pool = pool(
        "slow_start = \"30s\"\nsend_proxy_protocol = \"v1\"\nmax_failover = \"8s\"\n\
         passive = { failures = 5, window = \"1m\", eject_for = \"1s\", eject_max = \"1s\", max_ejected = \"0%\" }\n\
         queue = { size = 100, timeout = \"50ms\" }\nsticky = { client_ip = true }\n\
         close = { down = \"now\", role = \"keep\", drain = \"60s\" }\n",
    );
    assert_eq!((pool.slow_start, pool.max_failover), (SECOND * 30, Some(SECOND * 8)));
    assert_eq!(pool.send_proxy_protocol, Some(ProxyVersion::V1));
    let passive = Passive {
        failures: 5,
        window: SECOND * 60,
        eject_for: SECOND,
        eject_max: SECOND,
        max_ejected: 0,
    };
    assert_eq!(pool.passive, passive);
    assert_eq!(pool.queue, Queue { size: 100, timeout: Duration::from_millis(50) });
    assert_eq!(pool.sticky, Some(Sticky { ttl: SECOND * 1800, max_entries: 100_000 }));
    let close = Close {
        down: Closing::Now,
        role: Closing::Keep,
        drain: Closing::Over(SECOND * 60),
        ..Close::default()
    };
    assert_eq!(pool.close, close);
}

#[test]
fn what_a_pool_cannot_hold_is_refused_with_the_way_out() {
    for (more, message, way_out) in [
        ("passive = { failures = 1001 }", "1001 is out of range", "a number from 0 to 1000"),
        ("passive = { max_ejected = 50 }", "is an integer and must be a share", "\"50%\""),
        ("passive = { max_ejected = \"50\" }", "is not in percent", "\"50%\""),
        ("passive = { max_ejected = \"101%\" }", "is more than all", "at most \"100%\""),
        ("passive = { max_ejected = 0.5 }", "is a float and must be a share", "\"50%\""),
        (
            "passive = { eject_for = \"1m\", eject_max = \"30s\" }",
            "passive: eject_max is 30s, shorter than eject_for, 60s",
            "write eject_max = \"60s\" or longer",
        ),
        ("passive = { eject_max = \"1s\" }", "eject_for, 10s, which is the default", "shorter"),
        ("passive = { window = \"0s\" }", "does not switch this off", "longer time"),
        ("passive = { fails = 3 }", "unknown key \"fails\"", "\"failures\""),
        ("passive = false", "must be a table", "[pool.postgres.passive]"),
        ("queue = { size = -1 }", "-1 is out of range", "from 0"),
        ("queue = { timeout = \"0s\" }", "does not switch this off", "longer time"),
        ("queue = 5", "must be a table", "[pool.postgres.queue]"),
        ("close = { drain = \"0s\" }", "close: drain is no time at all", "\"now\""),
        ("close = { drain = \"kept\" }", "\"kept\" is not a valid value", "mean \"keep\"?"),
        ("close = { down = \"at once\" }", "not a valid value", "\"keep\", \"now\", or a time"),
        ("close = { down = \"5\" }", "has no unit", "\"5s\""),
        ("close = { down = 5 }", "must be a string", "\"5s\""),
        ("close = { down = true }", "must be a string", "\"keep\", \"now\", or a time"),
        ("close = { up = \"now\" }", "unknown key", "down, role, drain, removed, maintenance"),
        ("sticky = {}", "sticky does not say what a client is known by", "client_ip = true"),
        ("sticky = { ttl = \"1h\" }", "does not say", "client_ip = true"),
        ("sticky = { client_ip = true, max_entries = 0 }", "0 is out of range", "from 1"),
        ("sticky = { client_ip = \"yes\" }", "must be a boolean", "true or false"),
        ("sticky = { client_ip = true, ttl = \"0s\" }", "does not switch", "longer time"),
        ("sticky = { cookie = \"lb\" }", "a tcp listener that uses this pool", "client_ip = true"),
        ("sticky = { client_ip = true, secure = true }", "secure is about a cookie", "cookie = "),
        ("sticky = true", "must be a table", "[pool.postgres.sticky]"),
        ("slow_start = 30", "must be a duration", "\"30s\""),
        ("send_proxy_protocol = true", "must be a string", "v1, v2"),
        ("passive = { eject_for = 20, eject_max = \"5s\" }", "must be a duration", "\"20s\""),
        ("max_failover = \"5s\"\nhealth = { interval = 1 }", "must be a duration", "\"1s\""),
        ("send_proxy_protocol = \"3\"", "\"3\" is not a valid value", "v1, v2"),
        ("max_failover = \"0s\"", "does not switch this off", "remove the key"),
    ] {
        let problem = refusal(&format!("{more}\n"));
        assert!(problem.message.contains(message), "{more}: {problem}");
        assert!(problem.suggestion.as_ref().unwrap().contains(way_out), "{more}: {problem}");
        assert_eq!(problem.line, 8 + more.matches('\n').count(), "{more}: {problem}");
    }
}

#[test]
fn who_asks_for_a_long_ejection_alone_gets_it() {
    let passive = pool("passive = { eject_for = \"1h\" }\n").passive;
    assert_eq!((passive.eject_for, passive.eject_max), (SECOND * 3600, SECOND * 3600));
}

#[test]
fn every_key_of_a_listener_is_taken() {
    let networks = |texts: &[&str]| -> Vec<ipnet::IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let listener = listener(
        "allow = [\"10.0.0.0/8\", \"::1\", \"::ffff:192.0.2.0/120\"]\ndeny = \"10.0.0.7\"\n\
         accept_proxy_protocol = [\"127.0.0.1\"]\nhandshake_timeout = \"2s\"",
    );
    assert_eq!(listener.clients.allow, networks(&["10.0.0.0/8", "::1/128", "192.0.2.0/24"]));
    assert_eq!(listener.clients.deny, networks(&["10.0.0.7/32"]));
    let from = AcceptProxy::From(networks(&["127.0.0.1/32"]));
    assert_eq!(listener.accept_proxy_protocol, from);
    assert_eq!(listener.handshake_timeout, SECOND * 2);
    for (value, accept) in [("true", AcceptProxy::All), ("false", AcceptProxy::Off)] {
        let listener = self::listener(&format!("accept_proxy_protocol = {value}"));
        assert_eq!(listener.accept_proxy_protocol, accept);
    }
    let none = self::listener("accept_proxy_protocol = []\nallow = []\ndeny = []");
    assert_eq!(none.accept_proxy_protocol, AcceptProxy::Off);
    assert_eq!(none.clients, Clients::default());
    let udp = good(&format!("{SMALLEST}{DATAGRAMS}deny = [\"10.0.0.0/8\"]\n")).config;
    assert_eq!(udp.listeners[1].clients.deny, networks(&["10.0.0.0/8"]));
}

#[test]
fn what_a_listener_cannot_hold_is_refused_with_the_way_out() {
    for (more, message, way_out) in [
        ("allow = [\"10.0.0/8\"]", "allow entry 1 \"10.0.0/8\" is not a network", "10.0.0.0/8"),
        ("deny = [\"::1\", \"10.0.0.0/33\"]", "deny entry 2 \"10.0.0.0/33\"", "10.0.0.0/8"),
        ("deny = \"10.0.0.7:80\"", "has a port", "write \"10.0.0.7\""),
        ("allow = [\"10.0.0.0/255.0.0.0\"]", "has a netmask", "write \"10.0.0.0/8\""),
        ("allow = [\"office.example\"]", "is not a network", "10.0.0.0/8"),
        ("allow = true", "must be a string", "double quotes"),
        ("allow = [10]", "must be a string", "\"10\""),
        ("accept_proxy_protocol = 1", "neither a boolean nor a list", "true, false"),
        ("accept_proxy_protocol = \"yes\"", "\"yes\" is not a network", "10.0.0.0/8"),
        ("handshake_timeout = \"0s\"", "does not switch this off", "longer time"),
    ] {
        let problems = refused(&with_listener(more));
        let [problem] = problems.as_slice() else { panic!("{more}: {problems:#?}") };
        assert!(problem.message.contains(message), "{more}: {problem}");
        assert!(problem.suggestion.as_ref().unwrap().contains(way_out), "{more}: {problem}");
        assert_eq!(problem.line, 4, "{more}: {problem}");
    }
}

#[test]
fn a_network_with_an_address_in_it_is_taken_with_a_warning() {
    for (written, taken) in [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("2001:db8::7/32", "2001:db8::/32"),
        ("::ffff:10.0.0.1/104", "10.0.0.0/8"),
    ] {
        let Loaded { config, warnings, .. } =
            good(&with_listener(&format!("allow = [\"{written}\"]")));
        assert_eq!(config.listeners[0].clients.allow[0].to_string(), taken);
        let [warning] = warnings.as_slice() else { panic!("{warnings:#?}") };
        let words = format!("\"{written}\" has an address behind its prefix");
        assert!(warning.message.contains(&words) && warning.message.contains(taken), "{warning}");
    }
}

#[test]
fn what_datagrams_cannot_have_is_refused_in_their_pools() {
    let front = "[pool.front]\nbackends = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\nfallback = \"dns\"\n";
    let by_fallback = DATAGRAMS.replace("pool = \"dns\"", "pool = \"front\"");
    let shared = format!("{DATAGRAMS}[listener.t]\nbind = \"0.0.0.0:53\"\npool = \"dns\"\n");
    for file in [DATAGRAMS.to_owned(), shared, format!("{front}{by_fallback}")] {
        for (key, part) in [
            ("queue = { size = 1 }", "queue: size cannot hold for listener \"dns\", which is udp"),
            (
                "send_proxy_protocol = \"v2\"",
                "send_proxy_protocol cannot hold for listener \"dns\"",
            ),
        ] {
            let text = file.replacen("[pool.dns]\n", &format!("[pool.dns]\n{key}\n"), 1);
            let problem = refusal(&text);
            assert!(problem.message.starts_with("pool \"dns\""), "{problem}");
            assert!(problem.message.contains(part), "{problem}");
            assert!(problem.suggestion.unwrap().contains("a pool without it"));
        }
        let fine = "queue = { size = 0, timeout = \"1s\" }\nsticky = { client_ip = true }\n";
        good(&format!(
            "{SMALLEST}{}",
            file.replacen("[pool.dns]\n", &format!("[pool.dns]\n{fine}"), 1)
        ));
    }
    // Two listeners say it once, and a circle of fallbacks ends.
    let twice = DATAGRAMS.replace("pool.dns]\n", "pool.dns]\nsend_proxy_protocol = \"v1\"\n");
    let again = "[listener.d]\nbind = \"0.0.0.0:54\"\nprotocol = \"udp\"\npool = \"dns\"\n";
    refusal(&format!("{twice}{again}"));
    let circle = DATAGRAMS.replace("pool.dns]\n", "pool.dns]\nfallback = \"dns\"\n");
    assert!(refusal(&circle).message.contains("leads back"));
}
