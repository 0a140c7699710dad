//! TLS and routes: what is taken, what is refused, and what is only known where files are read.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

/// A listener that ends TLS, in front of the smallest file's pool.
const ENDED: &str = r#"
[listener.web]
bind = "0.0.0.0:443"
pool = "postgres"
[listener.web.tls]
certificates = [{ cert = "/c.pem", key = "/k.pem" }]
"#;

fn listener(more: &str) -> Listener {
    good(&format!("{SMALLEST}{more}")).config.listeners.remove(1)
}

fn told(more: &str, message: &str, way_out: &str) {
    let problem = refusal(more);
    assert!(problem.message.contains(message), "{more}: {problem}");
    let suggestion = problem.suggestion.unwrap_or_default();
    assert!(suggestion.contains(way_out), "{more}: {suggestion}");
}

#[test]
fn a_tls_table_has_the_defaults_of_the_contract() {
    let tls = listener(ENDED).tls.unwrap();
    let identity = Identity { cert: "/c.pem".into(), key: "/k.pem".into() };
    let expected = ListenerTls {
        certificates: vec![identity],
        acme: None,
        min_version: TlsVersion::V1_2,
        alpn: Vec::new(),
        client_auth: None,
        starttls: None,
    };
    assert_eq!(tls, expected);
    let acme = ENDED.replace(
        "certificates = [{ cert = \"/c.pem\", key = \"/k.pem\" }]",
        "acme = { domains = \"A.example.\", storage = \"x\", contact = [\"a@b\", \"mailto:c@d\"] }",
    );
    let tls = listener(&acme).tls.unwrap();
    assert!(tls.terminates() && tls.certificates.is_empty());
    let expected = Acme {
        domains: vec!["a.example".to_owned()],
        contact: vec!["mailto:a@b".to_owned(), "mailto:c@d".to_owned()],
        directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
        directory_ca: None,
        challenge: Challenge::TlsAlpn01,
        storage: "/x".into(),
    };
    assert_eq!(tls.acme.unwrap(), expected);
}

#[test]
fn an_authority_alone_makes_its_certificate_required() {
    let auth = |more: &str| listener(&format!("{ENDED}{more}\n")).tls.unwrap().client_auth;
    let ca = PathBuf::from("/ca.pem");
    let required = Some(ClientAuth { ca: ca.clone(), required: true });
    assert_eq!(auth("client_ca = \"/ca.pem\""), required);
    assert_eq!(auth("client_ca = \"/ca.pem\"\nclient_auth = \"required\""), required);
    let optional = Some(ClientAuth { ca, required: false });
    assert_eq!(auth("client_ca = \"/ca.pem\"\nclient_auth = \"optional\""), optional);
}

#[test]
fn a_tls_table_that_cannot_work_is_told_what_is_missing() {
    let with = |more: &str| format!("{ENDED}{more}\n");
    told(&with("client_auth = \"optional\""), "is there without client_ca", "client_ca = ");
    told(&with("min_version = \"1.1\""), "not spoken", "\"1.2\" or \"1.3\"");
    told(&with("min_version = 1.3"), "must be a string", "1.2, 1.3");
    told(&with("starttls = \"smtp\""), "is not a valid value", "postgres");
    told(&with("alpn = [\"\"]"), "1 to 255 bytes", "\"h2\"");
    told(&with(&format!("alpn = \"{}\"", "a".repeat(256))), "1 to 255 bytes", "\"h2\"");
    told(&with("alpn = \"acme-tls/1\""), "acme table answers", "remove");
    told(&with("ciphers = \"x\""), "unknown key", "valid keys");
    let other =
        |tls: &str| ENDED.replace("certificates = [{ cert = \"/c.pem\", key = \"/k.pem\" }]", tls);
    told(
        &other(""),
        "has no certificates to end TLS with",
        "routes by sni or alpn need no tls table",
    );
    told(&other("certificates = []"), "is an empty list", "fullchain.pem");
    told(
        &other("certificates = { cert = \"c\", key = \"k\" }"),
        "must be a list",
        "square brackets",
    );
    told(&other("certificates = [\"c.pem\"]"), "certificate 1: is a string", "cert = ");
    told(&other("certificates = [{ cert = \"c\" }]"), "certificate 1 has no key", "privkey.pem");
    told(
        &other("starttls = \"postgres\"\nmin_version = \"1.3\""),
        "goes on to the backends",
        "certificates",
    );
    told(
        &other("starttls = \"postgres\"\nclient_ca = \"c\""),
        "goes on to the backends",
        "certificates",
    );
    let plain =
        "[listener.a]\nbind = \"0.0.0.0:1\"\npool = \"postgres\"\nplain_pool = \"postgres\"\n";
    told(plain, "there is no tls table", "write it as pool");
}

#[test]
fn acme_asks_only_for_what_can_be_proven() {
    let acme = |more: &str| {
        let rest = if more.contains("domains") { "" } else { "domains = [\"a.example\"]\n" };
        let rest = if more.contains("storage") {
            rest.to_owned()
        } else {
            format!("{rest}storage = \"x\"\n")
        };
        format!(
            "[listener.w]\nbind = \"0.0.0.0:443\"\npool = \"postgres\"\n[listener.w.tls.acme]\n{rest}{more}\n"
        )
    };
    told(&acme("domains = []"), "is an empty list", "example.com");
    told(&acme("domains = \"*.a.example\""), "only a DNS challenge", "one by one");
    told(&acme("domains = \"10.0.0.1\""), "is an IP address", "write a name");
    told(&acme("domains = [\"a.example\", \"A.example.\"]"), "in the list twice", "remove");
    told(&acme("directory = \"http://ca.example\""), "is not an https URL", "https://");
    told(&acme("directory = \"https://\""), "is not an https URL", "https://");
    told(&acme("contact = \"ops\""), "is not a mail address", "@");
    told(&acme("contact = \"mailto:a@b@c\""), "is not a mail address", "@");
    told(&acme("http_bind = \"0.0.0.0:80\""), "belongs to challenge \"http-01\"", "remove it");
    told(&acme("challenge = \"dns-01\""), "is not a valid value", "tls-alpn-01");
    told(&acme("challenge = \"http-01\"\nhttp_bind = []"), "is an empty list", "0.0.0.0:80");
    let bare = "[listener.w]\nbind = \"0.0.0.0:443\"\npool = \"postgres\"\n[listener.w.tls.acme]\n";
    told(&format!("{bare}domains = \"a\"\n"), "has no storage", "storage = ");
    told(&format!("{bare}storage = \"a\"\n"), "has no domains", "domains = ");
    let all: Vec<SocketAddr> = ["0.0.0.0:80", "[::]:80"].map(|it| it.parse().unwrap()).into();
    let tls = listener(&acme("challenge = \"http-01\"")).tls.unwrap();
    assert_eq!(tls.acme.unwrap().challenge, Challenge::Http01(all));
}

#[test]
fn challenges_share_their_address_with_each_other_and_with_nobody_else() {
    let acme = |name: &str, port: u16| {
        format!(
            "[listener.{name}]\nbind = \"0.0.0.0:{port}\"\npool = \"postgres\"\n\
             [listener.{name}.tls.acme]\ndomains = \"{name}.example\"\nstorage = \"x\"\n\
             challenge = \"http-01\"\n"
        )
    };
    let two = format!("{}{}", acme("a", 443), acme("b", 8443));
    good(&format!("{SMALLEST}{two}"));
    let taken = "[listener.c]\nbind = \"0.0.0.0:80\"\npool = \"postgres\"\n";
    let problem = refusal(&format!("{}{taken}", acme("a", 443)));
    assert!(
        problem.message.contains("http_bind \"0.0.0.0:80\" is taken by listener \"c\""),
        "{problem}"
    );
    assert_eq!(problem.source_line, "challenge = \"http-01\"");
    let admin = format!("{}http_bind = [\"127.0.0.1:1\", \"127.0.0.1:9900\"]\n", acme("a", 443));
    let problem = refusal(&admin);
    assert!(problem.message.contains("is taken by the admin interface"), "{problem}");
    assert_eq!(&problem.source_line[problem.mark.clone()], "\"127.0.0.1:9900\"");
}

#[test]
fn an_http_listener_in_cleartext_answers_challenges_at_its_address() {
    let acme = |keys: &str| {
        format!(
            "[listener.a]\nbind = \"0.0.0.0:443\"\npool = \"postgres\"\n\
             [listener.a.tls.acme]\ndomains = \"a.example\"\nstorage = \"x\"\n\
             challenge = \"http-01\"\n{keys}"
        )
    };
    let web =
        |keys: &str| format!("[listener.w]\nprotocol = \"http\"\npool = \"postgres\"\n{keys}");
    let asked_at = |text: &str| -> Vec<String> {
        let config = good(&format!("{SMALLEST}{text}")).config;
        let listener = config.listeners.into_iter().find(|listener| &*listener.name == "a");
        match listener.unwrap().tls.unwrap().acme.unwrap().challenge {
            Challenge::Http01(at) => at.iter().map(ToString::to_string).collect(),
            Challenge::TlsAlpn01 => Vec::new(),
        }
    };
    let ours = web("bind = [\"10.0.0.1:80\", \"10.0.0.1:8080\"]\n");
    assert_eq!(asked_at(&(acme("") + &ours)), ["10.0.0.1:80"]);
    // What the file says counts, and it may say the address of a listener.
    assert_eq!(asked_at(&(acme("http_bind = \"10.0.0.1:8080\"\n") + &ours)), ["10.0.0.1:8080"]);
    assert_eq!(asked_at(&(acme("http_bind = \"10.0.0.2:80\"\n") + &ours)), ["10.0.0.2:80"]);
    let high = web("bind = \"10.0.0.1:8080\"\n");
    assert_eq!(asked_at(&(acme("") + &high)), ["0.0.0.0:80", "[::]:80"]);
    // With TLS it is not what the authority speaks.
    let table = "[listener.w.tls.acme]\ndomains = \"w.example\"\nstorage = \"x\"\n";
    let ended = web("bind = \"0.0.0.0:80\"\n") + table;
    let problem = refusal(&(acme("") + &ended));
    assert!(problem.message.contains("is taken by listener \"w\""), "{problem}");
}

/// A listener with these routes and no pool of its own.
fn routed(routes: &str) -> String {
    format!("[listener.r]\nbind = \"0.0.0.0:443\"\n{routes}")
}

#[test]
fn routes_are_read_in_their_order() {
    let text = "[[listener.r.route]]\nsni = [\"A.example.\", \"*.b.example\"]\npool = \"postgres\"\n\
                [[listener.r.route]]\nname = \"x\"\nalpn = [\"h2\"]\nclient = \"10.0.0.0/8\"\n\
                split = [{ pool = \"postgres\", weight = 3 }, { pool = \"postgres\", weight = 0 }]\n";
    let read = listener(&routed(text));
    assert_eq!((read.pool, read.needs_hello()), (None, true));
    let names: Vec<&str> = read.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["1", "x"]);
    let sni = vec![NamePattern::Exact("a.example".into()), NamePattern::Below("b.example".into())];
    assert_eq!(read.routes[0].when, Matchers { sni, ..Matchers::default() });
    assert_eq!(read.routes[0].leads, Leads::Pool(0));
    let shares = [3, 0].map(|weight| Share { pool: 0, weight });
    assert_eq!(read.routes[1].leads, Leads::Split(shares.into()));
    assert_eq!(read.routes[1].when.alpn, ["h2"]);
    assert_eq!(read.routes[1].when.client[0].to_string(), "10.0.0.0/8");
}

#[test]
fn a_route_that_cannot_be_meant_is_refused() {
    let route = |keys: &str| routed(&format!("[[listener.r.route]]\n{keys}\n"));
    told(&route("sni = \"a\""), "listener \"r\", route 1 leads nowhere", "pool = ");
    told(&route("pool = \"postgres\"\nsplit = []"), "stands beside pool", "remove one");
    told(&route("pool = \"postgre\""), "is not a pool of this file", "\"postgres\"");
    told(&route("split = []"), "is an empty list", "weight = 95");
    told(&route("split = [{ pool = \"postgres\", weight = 0 }]"), "no weight above 0", "give one");
    told(&route("split = [{ pool = \"postgres\", weight = -1 }]"), "-1 is out of range", "from 0");
    told(&route("split = [{ weight = 1 }]"), "route 1, share 1 has no pool", "pool = ");
    told(&route("split = [\"postgres\"]"), "share 1: is a string", "weight = 1");
    told(&route("pool = \"postgres\"\nsni = []"), "which nothing matches", "remove the key");
    told(&route("pool = \"postgres\"\nsni = \"a.*\""), "a * in the wrong place", "*.example.com");
    told(&route("pool = \"postgres\"\nalpn = [\"\"]"), "1 to 255 bytes", "h2");
    told(&route("pool = \"postgres\"\nclient = \"x\""), "is not a network", "10.0.0.0/8");
    told(&route("pool = \"postgres\"\nname = \"default\""), "own pool is called", "another");
    told(&route("pool = \"postgres\"\nname = \"plain\""), "its plain_pool is called", "another");
    told(&route("pool = \"postgres\"\nname = \"a b\""), "is not valid", "letters");
    told(&route("pool = \"postgres\"\nsnii = \"a\""), "unknown key", "\"sni\"");
    told(&routed(""), "has no pool and no routes", "pool = ");
    told(&routed("route = []\n"), "has no pool and no routes", "pool = ");
    told(&routed("route = [1]\n"), "route 1: is an integer", "sni = ");
    told(
        &routed("[listener.r.route]\npool = \"postgres\"\n"),
        "must be a list",
        "[[listener.r.route]]",
    );
    let twice = "[[listener.r.route]]\nclient = \"10.0.0.1\"\nname = \"2\"\npool = \"postgres\"\n\
                 [[listener.r.route]]\npool = \"postgres\"\n";
    told(&routed(twice), "the name \"2\" is taken by route 1", "by its position");
    for key in
        ["host", "query", "respond", "strip_prefix", "rate_limit", "request_timeout", "max_body"]
    {
        let problem = refusal(&route(&format!("{key} = 1\npool = \"postgres\"")));
        assert!(problem.message.contains("is for http, and this listener is tcp"), "{problem}");
    }
}

#[test]
fn datagrams_are_led_by_their_client_alone() {
    let route = |keys: &str| format!("{DATAGRAMS}[[listener.dns.route]]\npool = \"dns\"\n{keys}\n");
    let read = listener(&route("client = \"10.0.0.0/8\""));
    assert!(!read.needs_hello() && read.routes[0].when.client.len() == 1);
    told(&route("sni = \"a\""), "`listener.dns.route[1].sni` is for tcp", "remove");
    told(&route("alpn = \"a\""), "is for tcp", "remove");
    told(&route("path = \"/\""), "is for http", "remove");
    told(&format!("{DATAGRAMS}[pool.dns.tls]\n"), "listener \"dns\", which is udp", "remove");
}

#[test]
fn a_probe_over_tls_goes_by_the_pool_unless_it_has_a_table_of_its_own() {
    let probe =
        |more: &str| good(&format!("{SMALLEST}{more}")).config.pools[0].health.probe.clone();
    let pool = "tls = { server_name = \"db\", verify = false, starttls = \"postgres\" }\n";
    let of_pool = ClientTls {
        server_name: Some("db".to_owned()),
        verify: false,
        starttls: Some(StartTls::Postgres),
        ..ClientTls::default()
    };
    let taken = |more: &str| match probe(&format!("{pool}[pool.postgres.health]\n{more}\n")) {
        Probe::Tls(tls) => tls,
        Probe::Http(http) => http.tls.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken("probe = \"tls\""), of_pool);
    assert_eq!(taken("probe = \"https\""), ClientTls { starttls: None, ..of_pool });
    assert_eq!(taken("probe = \"tls\"\ntls = {}"), ClientTls::default());
    let own = ClientTls { server_name: Some("x".to_owned()), ..ClientTls::default() };
    assert_eq!(taken("probe = \"https\"\ntls = { server_name = \"x\" }"), own);
    assert!(
        matches!(probe("health.probe = \"tls\"\n"), Probe::Tls(tls) if tls == ClientTls::default())
    );
    told(
        "health = { probe = \"https\", tls = { starttls = \"postgres\" } }\n",
        "speaks http",
        "tls",
    );
    told(
        "health = { probe = \"tcp\", tls = {} }\n",
        "belongs to probe \"tls\" or \"https\"",
        "tls",
    );
    told("tls = { server_name = \"a b\" }\n", "is not a host name", "db.internal");
    told("tls = { server_name = \"a:1\" }\n", "is not a host name", "without a port");
    told("tls = { key = \"k\" }\n", "without cert", "name both");
}

struct Pair {
    certificate: String,
    key: String,
}

/// A certificate that is valid from and until these years.
fn pair(from: i32, until: i32) -> Pair {
    let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    Pair { certificate, key: key.serialize_pem() }
}

const DAY: u64 = 86_400;
/// 2030-01-01.
const THEN: u64 = 1_893_456_000;

#[test]
fn until_when_a_certificate_is_valid_is_for_who_has_a_clock() {
    let Pair { certificate, key } = pair(2020, 2030);
    let text = format!("{SMALLEST}{}", ENDED.replace("\"/", "\""));
    let folder = Folder::with(&[("main.toml", &text), ("c.pem", &certificate), ("k.pem", &key)]);
    let loaded = folder.load().unwrap();
    assert_eq!(loaded.warnings, []);
    let [expiry] = &loaded.expiries[..] else { panic!("{:?}", loaded.expiries) };
    let at = |now: u64| expiry.judge(Duration::from_secs(now));
    assert_eq!(at(THEN - 15 * DAY), None);
    let Some(Judged::Doubtful(soon)) = at(THEN - 2 * DAY - 1) else { panic!("{:?}", at(THEN)) };
    assert!(soon.message.ends_with("c.pem expires on 2030-01-01, in 2 days"), "{soon}");
    assert_eq!((soon.line, &soon.source_line[soon.mark.clone()]), (13, "\"c.pem\""));
    assert!(matches!(at(THEN), Some(Judged::Doubtful(_))));
    let Some(Judged::Expired(over)) = at(THEN + 1) else { panic!("{:?}", at(THEN + 1)) };
    assert!(over.message.contains("certificate 1: cert"), "{over}");
    assert!(over.message.ends_with("c.pem expired on 2030-01-01"), "{over}");
    assert!(
        matches!(at(0), Some(Judged::Doubtful(early)) if early.message.contains("not valid before 2020-01-01"))
    );
    assert_eq!(load_trusting(&folder.path("main.toml"), &env).unwrap().expiries, []);
}

#[test]
fn another_certificate_of_the_chain_is_only_doubtful() {
    let (own, old) = (pair(2020, 2040), pair(2020, 2021));
    let text = format!("{SMALLEST}[pool.postgres.tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n");
    let chain = format!("{}{}", own.certificate, old.certificate);
    let folder = Folder::with(&[("main.toml", &text), ("c.pem", &chain), ("k.pem", &own.key)]);
    let expiries = folder.load().unwrap().expiries;
    let judged: Vec<_> = expiries.iter().map(|it| it.judge(Duration::from_secs(THEN))).collect();
    let [None, Some(Judged::Doubtful(other))] = &judged[..] else { panic!("{judged:?}") };
    assert!(
        other.message.contains("certificate 2 of") && other.message.contains("expired"),
        "{other}"
    );
}

#[test]
fn files_that_cannot_serve_are_errors() {
    let (a, b) = (pair(2020, 2040), pair(2020, 2040));
    let acme = "client_ca = \"ca.pem\"\nacme = { domains = \"a\", storage = \"c.pem\", directory_ca = \"none.pem\" }\n";
    let text = format!("{SMALLEST}{}{acme}", ENDED.replace("\"/", "\""));
    let folder = Folder::with(&[
        ("main.toml", &text),
        ("c.pem", &a.certificate),
        ("k.pem", &b.key),
        ("ca.pem", "\n"),
    ]);
    let problems = folder.load().unwrap_err().problems;
    let text: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
    assert_eq!(text.len(), 4, "{text:#?}");
    for part in
        ["not the key of its", "ca.pem is empty", "is not a folder", "none.pem cannot be read"]
    {
        assert!(text.iter().any(|it| it.contains(part)), "{part}: {text:#?}");
    }
    fs::remove_file(folder.path("c.pem")).unwrap();
    let problems = folder.load().unwrap_err().problems;
    // A folder for certificates is made when it is missing.
    assert!(problems.iter().all(|it| !it.message.contains("folder")), "{problems:#?}");
}

#[test]
fn listeners_share_a_certificate_only_if_they_ask_for_the_same() {
    let acme = |name: &str, more: &str| {
        format!(
            "[listener.{name}]\nbind = \"0.0.0.0:0\"\npool = \"postgres\"\n\
             [listener.{name}.tls.acme]\ndomains = [\"a.example\"{more}]\nstorage = \"x\"\n"
        )
    };
    let other = ", \"b.example\"";
    good(&format!("{SMALLEST}{}{}", acme("a", ""), acme("b", "")));
    let clash = format!("{}{}", acme("a", ""), acme("b", other));
    told(&clash, "certificate of listener \"a\" too", "its own storage");
    good(&format!("{SMALLEST}{}", clash.replacen("\"x\"", "\"y\"", 1)));
}

/// The one warning of these routes, if there is any.
fn doubt(routes: &str) -> Option<String> {
    let spare = "[pool.spare]\nbackends = [\"a:1\", \"b:1\"]\n[listener.spare]\n\
                 bind = \"0.0.0.0:1\"\npool = \"spare\"\n";
    let mut warnings = warnings(&format!("{spare}{}", routed(routes)));
    assert!(warnings.len() < 2, "{warnings:#?}");
    warnings.pop()
}

#[test]
fn a_route_that_nothing_comes_to_is_a_warning() {
    let two = |one: &str, other: &str| {
        let route = |keys: &str| format!("[[listener.r.route]]\n{keys}\npool = \"postgres\"\n");
        doubt(&format!("{}{}", route(one), route(other)))
    };
    for (one, other) in [
        ("sni = \"*\"", "sni = \"a\""),
        ("sni = \"*.b\"", "sni = [\"a.B.\", \"*.b\"]\nalpn = \"h2\""),
        ("", "client = \"10.0.0.1\""),
        ("client = [\"10.0.0.0/9\", \"10.128.0.0/9\"]", "client = \"10.0.0.0/8\""),
        ("alpn = [\"h2\", \"x\"]", "alpn = \"x\"\nsni = \"*\""),
    ] {
        let said = two(one, other).unwrap_or_default();
        assert!(said.contains("route 2: can never match: route \"1\""), "{one}; {other}: {said}");
    }
    for (one, other) in [
        ("sni = \"a\"", "sni = \"*\""),
        ("sni = \"*.b\"", "sni = \"a.a.b\""),
        ("sni = \"*.b\"", "sni = [\"a.b\", \"b\"]"),
        ("sni = \"*\"", "client = \"10.0.0.1\""),
        ("sni = \"*\"\nalpn = \"h2\"", "sni = \"a\""),
        ("client = \"10.0.0.0/9\"", "client = \"10.0.0.0/8\""),
        ("alpn = \"h2\"", "alpn = [\"h2\", \"x\"]"),
    ] {
        assert_eq!(two(one, other), None, "{one}; {other}");
    }
    let all = "pool = \"spare\"\n[[listener.r.route]]\npool = \"postgres\"\n";
    assert!(doubt(all).unwrap().contains("pool is never used: route \"1\" has no matcher"));
}

#[test]
fn tls_within_tls_and_tls_that_nobody_verifies_are_warnings() {
    let tls = "tls = {}\nhealth.probe = \"tls\"\n";
    let said = |more: &str| warnings(more);
    assert_eq!(said(tls), [""; 0]);
    let by_name = routed("[[listener.r.route]]\nsni = \"a\"\npool = \"postgres\"\n");
    let twice = said(&format!("{tls}{by_name}"));
    assert!(twice.len() == 1 && twice[0].contains("TLS within TLS"), "{twice:?}");
    let by_client = by_name.replace("sni = \"a\"", "client = \"10.0.0.1\"");
    assert_eq!(said(&format!("{tls}{by_client}")), [""; 0]);
    let ended =
        format!("{by_name}[listener.r.tls]\ncertificates = [{{ cert = \"c\", key = \"k\" }}]\n");
    assert_eq!(said(&format!("{tls}{ended}")), [""; 0]);
    let upgraded =
        "[listener.r]\nbind = \"0.0.0.0:1\"\npool = \"postgres\"\ntls.starttls = \"postgres\"\n";
    let twice = said(&format!("{tls}{upgraded}"));
    assert!(twice.len() == 1 && twice[0].contains("TLS within TLS"), "{twice:?}");
    let unseen = said("tls = {}\n");
    assert!(unseen.len() == 1 && unseen[0].contains("probe \"tcp\" sees no broken"), "{unseen:?}");
    let anybody = said("tls = { verify = false }\nhealth.probe = \"https\"\n");
    assert!(anybody.len() == 1 && anybody[0].contains("verify lets anybody"), "{anybody:?}");
}
