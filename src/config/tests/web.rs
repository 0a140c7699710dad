//! Http: what listeners, routes and pools may say, and what they are told where they may not.

use super::*;

/// A listener of http, behind the smallest file.
const SITE: &str = r#"
[pool.site]
backends = ["10.0.0.1:80", "10.0.0.2:80"]
[listener.site]
bind = "0.0.0.0:80"
protocol = "http"
"#;

const LED: &str = "pool = \"site\"\n";

fn site(more: &str) -> Loaded {
    good(&format!("{SMALLEST}{SITE}{more}\n"))
}

fn listener(more: &str) -> Listener {
    site(more).config.listeners.remove(1)
}

/// The pool, in front of what the listener says.
fn pool(more: &str) -> Pool {
    let text = SITE.replace("[listener.site]", &format!("{more}\n[listener.site]"));
    good(&format!("{SMALLEST}{text}{LED}")).config.pools.remove(1)
}

fn told(text: &str, message: &str, way_out: &str) {
    let problem = refusal(text);
    assert!(problem.message.contains(message), "{text}: {problem}");
    let suggestion = problem.suggestion.unwrap_or_default();
    assert!(suggestion.contains(way_out), "{text}: {suggestion}");
}

fn route(keys: &str) -> String {
    format!("[[listener.site.route]]\n{keys}\n")
}

fn routed(keys: &str) -> Route {
    listener(&route(keys)).routes.remove(0)
}

/// What is wrong with a route that leads to the pool.
fn wrong(keys: &str, message: &str, way_out: &str) {
    told(&format!("{SITE}{}pool = \"site\"\n", route(keys)), message, way_out);
}

#[test]
fn a_listener_of_http_has_the_defaults_of_the_contract() {
    let Loaded { config, warnings, .. } = site(LED);
    assert_eq!(warnings, []);
    let read = &config.listeners[1];
    assert_eq!(read.protocol, Protocol::Http);
    assert_eq!(read.idle_timeout, Some(Duration::from_secs(75)));
    assert_eq!(read.handshake_timeout, Duration::from_secs(10));
    let http = Http {
        header_timeout: Duration::from_secs(10),
        tunnel_timeout: Some(Duration::from_secs(3600)),
        trusted_proxies: Vec::new(),
        max_streams: 128,
        debug_headers: false,
    };
    assert_eq!(read.http, Some(http));
    assert_eq!(config.listeners[0].http, None);
    let pool = &config.pools[1];
    assert_eq!((pool.response_timeout, &pool.cookie), (None, &None));
    let http = PoolHttp {
        version: HttpVersion::V1,
        keepalive: 64,
        keepalive_timeout: Duration::from_secs(60),
    };
    assert_eq!(pool.http, http);
    let on = RetryOn { connect: true, reset: true, timeout: true, statuses: [true; 3] };
    let retry = RetryHttp { on, non_idempotent: false, body: 65_536, budget: 20 };
    assert_eq!(pool.retry.http, retry);
    let tls = "tls = { certificates = [{ cert = \"/c\", key = \"/k\" }] }\n";
    assert_eq!(listener_tls(&format!("{LED}{tls}")), ["h2", "http/1.1"]);
    let own = tls.replace("] }", "], alpn = \"http/1.1\" }");
    assert_eq!(listener_tls(&format!("{LED}{own}")), ["http/1.1"]);
    let off = listener(&format!("{LED}tunnel_timeout = \"0s\"\nidle_timeout = \"0s\"\n"));
    assert_eq!((off.http.unwrap().tunnel_timeout, off.idle_timeout), (None, None));
}

fn listener_tls(more: &str) -> Vec<String> {
    listener(more).tls.unwrap().alpn
}

#[test]
fn keys_of_one_protocol_are_refused_by_name_with_another() {
    for (key, owner) in [
        ("responses = 1", "udp"),
        ("max_lifetime = \"1h\"", "tcp"),
        ("plain_pool = \"site\"", "tcp"),
    ] {
        let name = key.split(' ').next().unwrap_or_default();
        let message = format!("`listener.site.{name}` is for {owner}, and this listener is http");
        told(&format!("{SITE}{LED}{key}\n"), &message, "");
    }
    let tcp = "[listener.t]\nbind = \"0.0.0.0:1\"\npool = \"postgres\"\n";
    for key in [
        "header_timeout = \"1s\"",
        "tunnel_timeout = \"1s\"",
        "trusted_proxies = \"10.0.0.0/8\"",
        "max_streams = 5",
        "debug_headers = true",
    ] {
        let message = "is for http, and this listener is tcp";
        told(&format!("{tcp}{key}\n"), message, "protocol = \"http\"");
        told(&format!("{DATAGRAMS}{key}\n"), "is for http, and this listener is udp", "remove");
    }
    wrong("sni = \"a\"", "`listener.site.route[1].sni` is for tcp", "`host`");
    wrong("alpn = \"h2\"", "`listener.site.route[1].alpn` is for tcp", "remove");
    // A word that was refused says nothing of the other keys.
    let unknown = SITE.replace("\"http\"", "\"htp\"");
    told(
        &format!("{unknown}{LED}max_streams = 5\n{}{LED}", route("path = \"/\"")),
        "\"htp\" is not a valid value",
        "\"http\"",
    );
    let tls = |more: &str| format!("{SITE}{LED}[listener.site.tls]\n{more}\n");
    let pair = "certificates = [{ cert = \"/c\", key = \"/k\" }]\n";
    told(&tls(&format!("{pair}starttls = \"postgres\"")), "is for databases", "remove it");
    told(&tls(&format!("{pair}alpn = [\"h2\", \"h3\"]")), "\"h3\" is not spoken", "\"http/1.1\"");
    told(&tls(""), "has no certificates", "acme table");
    told(&format!("{SITE}{LED}max_streams = 0\n"), "0 is out of range", "from 1");
    told(SITE, "has no pool and no routes", "pool = ");
    told(
        &format!("{SITE}{LED}[listener.t]\nbind = \"0.0.0.0:80\"\npool = \"postgres\"\n"),
        "is taken by listener \"site\"",
        "its own address",
    );
}

#[test]
fn routes_match_requests() {
    let when = routed(
        "host = [\"WWW.Example.com.\", \"*.example.com\", \"10.0.0.1\", \"[::1]\", \"*\"]\n\
         path = [\"/api/*\", \"/a/./b/../%7Ec\", \"/*\", \"/x/\"]\nmethod = [\"GET\", \"Purge\"]\n\
         header = { X-Canary = \"1\", accept = [\"a\", \"*\"], upgrade = [\"websocket\", \"h2c\"] }\n\
         query = { \"a b\" = \"\", v = [\"1\", \"2\"] }\nclient = \"10.0.0.0/8\"\npool = \"site\"",
    )
    .when;
    let host: Vec<_> = when.host.iter().map(ToString::to_string).collect();
    assert_eq!(host, ["www.example.com", "*.example.com", "10.0.0.1", "[::1]", "*"]);
    let path: Vec<_> = when.path.iter().map(ToString::to_string).collect();
    assert_eq!(path, ["/api/*", "/a/~c", "/*", "/x/"]);
    assert_eq!(when.path[2], PathPattern::Under("".into()));
    assert_eq!(when.method, ["GET", "Purge"]);
    let shown = |fields: &[Field]| fields.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&when.header), ["x-canary = 1", "accept = *", "upgrade = websocket or h2c"]);
    assert_eq!(shown(&when.query), ["a b = ", "v = 1 or 2"]);
    assert_eq!(when.client.len(), 1);
}

#[test]
fn a_matcher_that_cannot_be_meant_is_told_what_to_write() {
    for (keys, message, way_out) in [
        ("path = \"api\"", "does not start with a slash", "write \"/api\""),
        ("path = \"https://a/b\"", "does not start with a slash", "write \"/b\""),
        ("path = \"*\"", "is no path", "\"/*\""),
        ("path = \"/api*\"", "a * in the wrong place", "\"/*\""),
        ("path = \"/v1/api*\"", "a * in the wrong place", "\"/v1/*\""),
        ("path = \"/*/b\"", "a * in the wrong place", "at the end"),
        ("path = \"/a/*/*\"", "a * in the wrong place", "\"/a/*\""),
        ("path = \"/a?b=c\"", "has a query", "write \"/a\", and match the query by `query`"),
        ("path = \"/a b\"", "holds what a path may not", "%20"),
        ("path = \"/../a\"", "leads above the root", "\"..\""),
        ("path = \"/%2e%2E/*\"", "leads above the root", "\"..\""),
        ("path = []", "which nothing matches", "\"/api/*\""),
        ("host = \"a:80\"", "has a port", "write \"a\""),
        ("host = \"::1\"", "is an IPv6 address", "[::1]"),
        ("host = \"*.0.0.1\"", "is not a server name", "letters"),
        ("method = \"get\"", "their case counts", "\"GET\""),
        ("method = \"*\"", "is not a method", "remove the key"),
        ("header = {}", "asks for nothing", "remove the key"),
        ("header = { Host = \"a\" }", "has a matcher of its own", "`host`"),
        ("header = { \"a b\" = \"a\" }", "is not the name of a header", "letters"),
        ("header = { a = \"1\", A = \"2\" }", "in the table twice", "remove one"),
        ("header = { a = [] }", "which nothing matches", "\"*\""),
        ("header = { a = 1 }", "must be a string", "\"1\""),
        ("query = { \"\" = \"a\" }", "has no name", "name it"),
        ("query = \"v\"", "must be a table", ""),
    ] {
        wrong(keys, message, way_out);
    }
}

#[test]
fn a_route_leads_one_way() {
    assert_eq!(routed("redirect = \"https\"").leads, Leads::Redirect(Redirect::Https));
    let to = |to: &str, status| Leads::Redirect(Redirect::To { to: to.into(), status });
    let url = "https://new.example.com{path}";
    let keys = format!("redirect = {{ to = \"{url}\", status = 301 }}");
    assert_eq!(routed(&keys).leads, to(url, 301));
    for url in ["/new{path}?{query}", "http://{host}/x", "https://{host}.example.com{path}"] {
        assert_eq!(routed(&format!("redirect = {{ to = \"{url}\" }}")).leads, to(url, 302));
    }
    let respond = Respond { status: 503, body: "closed".into(), content_type: "text/plain".into() };
    let keys = "{ status = 503, body = \"closed\", content_type = \"text/plain\" }";
    assert_eq!(routed(&format!("respond = {keys}")).leads, Leads::Respond(respond));
    let content_type = "text/plain; charset=utf-8".into();
    let bare = Respond { status: 200, body: "".into(), content_type };
    assert_eq!(routed("respond = {}").leads, Leads::Respond(bare));
    for (keys, message, way_out) in [
        ("", "leads nowhere", "redirect = \"https\""),
        ("pool = \"site\"\nredirect = \"https\"", "redirect stands beside pool", "one of them"),
        ("redirect = \"https\"\nrespond = {}", "respond stands beside redirect", "one of them"),
        ("redirect = \"http\"", "is not a valid value", "write \"https\""),
        ("redirect = 301", "must be \"https\" or a table", "status = 301"),
        ("redirect = {}", "has no to", "{path}"),
        ("redirect = { to = \"https://a\", status = 200 }", "leads nobody elsewhere", "301"),
        ("redirect = { to = \"a.example\" }", "neither a URL nor a path", "https://{host}{path}"),
        ("redirect = { to = \"{path}\" }", "neither a URL nor a path", "https://{host}{path}"),
        ("redirect = { to = \"//a{path}\" }", "neither a URL nor a path", "/new{path}"),
        ("redirect = { to = \"/{path}\" }", "neither a URL nor a path", "/new{path}"),
        ("redirect = { to = \"https://\" }", "has no host", "www.example.com"),
        ("redirect = { to = \"https://{path}\" }", "has no host", "https://{host}{path}"),
        ("redirect = { to = \"/a{paht}\" }", "unknown part \"paht\"", "\"path\""),
        ("redirect = { to = \"/a{path\" }", "a brace without its other", "{host}"),
        ("redirect = { to = \"/a}\" }", "a brace without its other", "{host}"),
        ("redirect = { to = \"/a b\" }", "holds what a URL may not", "%20"),
        ("respond = \"closed\"", "must be a table", "status = 503"),
        ("respond = { status = 100 }", "100 is out of range", "from 200"),
        ("respond = { status = 204, body = \"a\" }", "stands beside status 204", "remove it"),
        ("respond = { content_type = \"text\" }", "is not a type of content", "text/plain"),
    ] {
        told(&format!("{SITE}{}", route(keys)), message, way_out);
    }
}

#[test]
fn requests_are_treated_on_their_way() {
    let treatment = routed(
        "pool = \"site\"\nstrip_prefix = \"/api/\"\nadd_prefix = \"/v%32\"\n\
         set_request_headers = { X-A = \"b c\", host = \"internal\" }\n\
         set_response_headers = { Server = \"\" }\nremove_request_headers = \"Cookie\"\n\
         remove_response_headers = [\"X-Powered-By\", \"via\"]\n\
         rate_limit = { rate = \"10/m\", key = \"header:X-Api-Key\" }\n\
         request_timeout = \"30s\"\nmax_body = \"1MiB\"",
    )
    .treatment;
    let pair = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
    let expected = Treatment {
        strip_prefix: Some("/api".into()),
        add_prefix: Some("/v2".into()),
        set_request_headers: vec![pair("x-a", "b c"), pair("host", "internal")],
        set_response_headers: vec![pair("server", "")],
        remove_request_headers: vec!["cookie".into()],
        remove_response_headers: vec!["x-powered-by".into(), "via".into()],
        rate_limit: Some(RateLimit {
            rate: Rate { count: 10, per: Duration::from_secs(60), burst: 10 },
            key: RateKey::Header("x-api-key".into()),
        }),
        request_timeout: Some(Duration::from_secs(30)),
        max_body: Some(1 << 20),
    };
    assert_eq!(*treatment, expected);
    for (keys, message, way_out) in [
        ("strip_prefix = \"api\"", "does not start with a slash", "\"/api\""),
        ("strip_prefix = \"/\"", "changes nothing", "remove the key"),
        ("strip_prefix = \"/api/*\"", "belongs to `path`", "write \"/api\""),
        ("add_prefix = \"/a?b\"", "has a query", "\"/a\""),
        ("add_prefix = \"/..\"", "leads above the root", "\"..\""),
        ("set_request_headers = { Content-Length = \"1\" }", "frames the body", "leave it out"),
        ("set_response_headers = { connection = \"a\" }", "belongs to the connection", "leave it"),
        ("remove_request_headers = \"TE\"", "belongs to the connection", "leave it out"),
        ("remove_request_headers = \"host\"", "must be there in every request", "remove it"),
        ("remove_response_headers = \"x-*\"", "has a *", "in full"),
        ("set_request_headers = { a = \"b\\nc\" }", "holds what a header may not", "ASCII"),
        ("set_request_headers = { a = \" b\" }", "begins or ends with a space", "remove"),
        ("set_request_headers = { a = 1 }", "must be a string", "\"1\""),
        ("set_request_headers = [\"a\"]", "must be a table", ""),
        (
            "set_request_headers = { a = \"1\" }\nremove_request_headers = [\"A\"]",
            "\"a\" is set as well",
            "remove one",
        ),
        ("rate_limit = { key = \"client-ip\" }", "rate_limit has no rate", "\"10/s\""),
        ("rate_limit = { rate = \"10\" }", "has no time", "\"10/s\""),
        ("rate_limit = { rate = \"1/s\", key = \"ip\" }", "is not a valid value", "client-ip"),
        ("rate_limit = { rate = \"1/s\", key = \"header:\" }", "not the name of", "letters"),
        ("rate_limit = \"10/s\"", "must be a table", ""),
        ("request_timeout = \"0s\"", "does not switch this off", "remove the key"),
        ("max_body = 10", "must be a size", "\"10B\""),
        ("max_body = \"10MB/s\"", "more than one size", "one unit"),
    ] {
        wrong(keys, message, way_out);
    }
}

#[test]
fn pools_say_how_requests_go_to_their_backends() {
    let read = pool(
        "response_timeout = \"3s\"\nhttp = { version = \"2\", keepalive = 0, keepalive_timeout = \"1s\" }\n\
         retry = { on = [\"connect\", 503], non_idempotent = true, body = \"1kB\", budget = \"0%\" }\n\
         sticky = { cookie = \"srv\", secure = true, http_only = false, same_site = \"none\", ttl = \"1d\" }",
    );
    assert_eq!(read.response_timeout, Some(Duration::from_secs(3)));
    let second = Duration::from_secs(1);
    let http = PoolHttp { version: HttpVersion::V2, keepalive: 0, keepalive_timeout: second };
    assert_eq!(read.http, http);
    let statuses = [false, true, false];
    let on = RetryOn { connect: true, reset: false, timeout: false, statuses };
    assert_eq!(read.retry.http, RetryHttp { on, non_idempotent: true, body: 1000, budget: 0 });
    let cookie = StickyCookie {
        name: "srv".into(),
        secure: true,
        http_only: false,
        same_site: Some(SameSite::None),
        ttl: Some(Duration::from_secs(86_400)),
        secret_file: None,
    };
    assert_eq!((read.cookie, read.sticky), (Some(cookie), None));
    let default = pool("sticky.cookie = \"a\"\nsticky.client_ip = false").cookie.unwrap();
    assert_eq!((default.secure, default.http_only), (false, true));
    assert_eq!((default.same_site, default.ttl), (None, None));
    let key = |key: &str| match pool(&format!(
        "balance = {{ policy = \"consistent-hash\", key = \"{key}\" }}"
    ))
    .policy
    {
        Policy::ConsistentHash { key, .. } => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(key("header:X-User"), HashKey::Header("x-user".into()));
    assert_eq!(key("cookie:Sid"), HashKey::Cookie("Sid".into()));
    assert_eq!(key("path"), HashKey::Path);
}

#[test]
fn what_a_pool_cannot_mean_by_requests_is_refused() {
    for (more, message, way_out) in [
        ("http = { version = 2 }", "must be a string", "1.1, 2"),
        ("http = { version = \"3\" }", "is not a valid value", "1.1, 2"),
        ("http = { keepalive_timeout = \"0s\" }", "does not switch this off", "longer"),
        ("retry.on = \"500\"", "\"500\" is not a valid value", "50"),
        ("retry.on = [\"refused\"]", "is not a valid value", "\"reset\""),
        ("retry.budget = 20", "must be a share", "\"20%\""),
        ("retry.body = \"64\"", "has no unit", "\"64B\""),
        ("sticky = { cookie = \"a\", client_ip = true }", "beside client_ip", "one of them"),
        ("sticky = { cookie = \"a\", max_entries = 5 }", "belongs to client_ip", "remove it"),
        ("sticky = { client_ip = true, same_site = \"lax\" }", "is about a cookie", "cookie = "),
        ("sticky = { cookie = \"a=b\" }", "is not the name of a cookie", "letters"),
        ("sticky = { cookie = \"a\", ttl = \"500ms\" }", "shorter than a second", "\"1s\""),
        ("sticky = { cookie = \"a\", same_site = \"all\" }", "is not a valid value", "lax"),
        ("balance = { policy = \"consistent-hash\", key = \"header:a b\" }", "name of a h", "-"),
        ("balance = { policy = \"consistent-hash\", key = \"cookie:\" }", "name of a cookie", "-"),
        (
            "balance = { policy = \"consistent-hash\", key = \"host\" }",
            "not a valid",
            "header:NAME",
        ),
        (
            "tls = { starttls = \"postgres\" }\nhealth.probe = \"tls\"",
            "is for databases",
            "remove it",
        ),
    ] {
        let text = SITE.replace("[listener.site]", &format!("{more}\n[listener.site]"));
        told(&format!("{text}{LED}"), message, way_out);
    }
}

#[test]
fn what_is_about_requests_is_refused_or_idle_where_there_are_none() {
    let hash =
        |key: &str| format!("balance = {{ policy = \"consistent-hash\", key = \"{key}\" }}\n");
    for key in ["header:a", "cookie:a", "path"] {
        told(&hash(key), "a tcp listener that uses this pool", "a pool of their own");
    }
    told("sticky.cookie = \"a\"\n", "a tcp listener that uses this pool", "client_ip = true");
    // By way of a fallback too, and beside a listener of http.
    let text = SITE.replace("[listener.site]", "sticky.cookie = \"a\"\n[listener.site]");
    told(&format!("fallback = \"site\"\n{text}{LED}"), "a tcp listener that uses", "client_ip");
    let udp = format!("{}{LED}", text.replace("\"http\"", "\"udp\""));
    told(&udp, "a udp listener that uses this pool", "client_ip = true");
    for (more, key) in [
        ("response_timeout = \"1s\"", "response_timeout"),
        ("http = {}", "http"),
        ("retry.on = []", "on"),
        ("retry.budget = \"20%\"", "budget"),
    ] {
        let said = warnings(&format!("{more}\n"));
        let message = format!("{key} has no effect: no http listener uses this pool");
        assert!(said.len() == 1 && said[0].contains(&message), "{more}: {said:?}");
        let udp = SITE.replace("\"http\"", "\"udp\"");
        let udp = udp.replace("[listener.site]", &format!("{more}\n[listener.site]"));
        told(&format!("{udp}{LED}"), &format!("{key} is for http"), "remove it");
        let text = SITE.replace("[listener.site]", &format!("{more}\n[listener.site]"));
        assert_eq!(warnings(&format!("{text}{LED}")), [""; 0]);
    }
    let cookie = |more: &str| {
        let more = format!("[pool.site.sticky]\n{more}\n[listener.site]");
        warnings(&format!("{}{LED}", SITE.replace("[listener.site]", &more)))
    };
    for more in ["cookie = \"a\"\nsame_site = \"none\"", "cookie = \"__Host-a\""] {
        let said = cookie(more);
        assert!(said.len() == 1 && said[0].contains("browsers refuse"), "{said:?}");
        assert_eq!(cookie(&format!("{more}\nsecure = true")), [""; 0]);
    }
}

#[test]
fn a_secret_is_a_line_that_nobody_guesses() {
    let sticky = "sticky = { cookie = \"a\", secret_file = \"secret\" }\n";
    let text = SITE.replace("[listener.site]", &format!("{sticky}[listener.site]"));
    let text = format!("{SMALLEST}{text}{LED}");
    let with = |secret: &str| Folder::with(&[("main.toml", &text), ("secret", secret)]).load();
    let folder_is_named = with("0123456789abcdef\n").unwrap().config.pools.remove(1);
    assert!(folder_is_named.cookie.unwrap().secret_file.unwrap().is_absolute());
    for (secret, why) in [("0123456789abcde\n", "shorter than 16"), ("\n", "is empty")] {
        let problems = with(secret).unwrap_err().problems;
        assert!(problems[0].message.contains(why), "{problems:#?}");
    }
}

#[test]
fn a_grpc_probe_asks_for_a_service() {
    let probe = |more: &str| pool(&format!("{more}\n")).health.probe;
    let of = |more: &str| match probe(more) {
        Probe::Grpc { service, tls } => (service, tls),
        other => panic!("{other:?}"),
    };
    assert_eq!(of("health.probe = \"grpc\""), (String::new(), None));
    let (service, tls) = of("health = { probe = \"grpc\", service = \"a.B\", tls = {} }");
    assert_eq!((service.as_str(), tls), ("a.B", Some(ClientTls::default())));
    let by_pool = of("tls = { server_name = \"x\" }\nhealth.probe = \"grpc\"").1.unwrap();
    assert_eq!(by_pool.server_name.as_deref(), Some("x"));
    told("[pool.postgres.health]\nservice = \"a\"\n", "belongs to probe \"grpc\"", "\"grpc\"");
}

/// The warnings of these routes.
fn doubts(routes: &[&str], more: &str) -> Vec<String> {
    let routes: String = routes.iter().map(|keys| route(keys)).collect();
    let spare = "[listener.spare]\nbind = \"0.0.0.0:1\"\nprotocol = \"http\"\npool = \"site\"\n";
    warnings(&format!("{SITE}{more}{routes}{spare}"))
}

#[test]
fn a_request_that_an_earlier_route_takes_is_a_warning() {
    let two = |one: &str, other: &str| {
        let led = |keys: &str| format!("{keys}\npool = \"site\"");
        doubts(&[&led(one), &led(other)], "")
    };
    for (one, other) in [
        ("path = \"/*\"", "path = \"/a\""),
        ("path = \"/a/*\"", "path = [\"/a\", \"/a/b/*\", \"/x/../a/b\"]"),
        ("host = \"*\"", "host = \"a\"\npath = \"/\""),
        ("host = [\"*.b\", \"c\"]", "host = [\"a.b\", \"c\"]"),
        ("method = [\"GET\", \"HEAD\"]", "method = \"HEAD\""),
        ("header = { a = \"*\" }", "header = { A = \"1\", b = \"2\" }"),
        ("header = { a = [\"1\", \"2\"] }", "header = { a = \"2\" }"),
        ("query = { v = \"1\" }", "query = { v = \"1\" }\nmethod = \"GET\""),
        ("", "path = \"/a\""),
    ] {
        let said = two(one, other);
        let message = "route 2: can never match: route \"1\"";
        assert!(said.len() == 1 && said[0].contains(message), "{one}; {other}: {said:?}");
    }
    for (one, other) in [
        ("path = \"/a\"", "path = \"/a/*\""),
        ("path = \"/a/*\"", "path = \"/ab\""),
        ("path = \"/*\"", "host = \"a\""),
        ("host = \"*\"", "path = \"/a\""),
        ("host = \"a\"\npath = \"/x/*\"", "host = \"a\""),
        ("method = \"GET\"", "method = [\"GET\", \"POST\"]"),
        ("header = { a = \"1\" }", "header = { a = \"*\" }"),
        ("header = { a = \"1\" }", "header = { a = [\"1\", \"2\"] }"),
        ("header = { a = \"1\", b = \"2\" }", "header = { a = \"1\" }"),
        ("query = { v = \"*\" }", "query = { V = \"1\" }"),
        ("query = { v = \"*\" }", "header = { v = \"1\" }"),
    ] {
        assert_eq!(two(one, other), [""; 0], "{one}; {other}");
    }
}

#[test]
fn a_redirect_that_leads_back_is_a_warning() {
    let tls = "[listener.site.tls]\ncertificates = [{ cert = \"c\", key = \"k\" }]\n";
    let back = |routes: &[&str], more: &str| {
        let said = doubts(routes, more);
        assert!(said.len() < 2, "{said:?}");
        said.first().is_some_and(|said| said.contains("leads back to itself"))
    };
    let to = |to: &str| format!("redirect = {{ to = \"{to}\" }}");
    assert!(!back(&["redirect = \"https\""], ""));
    assert!(back(&["redirect = \"https\""], tls));
    assert!(back(&[&to("http://{host}{path}?{query}")], ""));
    assert!(!back(&[&to("https://{host}{path}")], ""));
    assert!(!back(&[&to("https://{host}{path}")], tls), "another port");
    assert!(back(&[&format!("path = \"/a/*\"\n{}", to("/a/b"))], ""));
    assert!(!back(&[&format!("path = \"/a\"\n{}", to("/a/b"))], ""));
    assert!(!back(&[&format!("path = \"/a/*\"\nmethod = \"POST\"\n{}", to("/a/b"))], ""));
    let www = to("http://www.example.com{path}");
    assert!(back(&[&www], ""));
    assert!(back(&[&format!("host = \"*.example.com\"\n{www}")], ""));
    assert!(!back(&[&format!("host = \"example.com\"\n{www}")], ""));
    assert!(!back(&["host = \"www.example.com\"\npool = \"site\"", &www], ""));
    assert!(back(&["host = \"a\"\npool = \"site\"", &www], ""));
    let said = doubts(&["redirect = \"https\"\nstrip_prefix = \"/a\""], "");
    assert!(said.len() == 1 && said[0].contains("no effect beside redirect"), "{said:?}");
}
