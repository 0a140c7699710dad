//! Clients that keep their backend by a cookie.

use crate::harness::evenkeel::Evenkeel;
use crate::harness::http::{Answer, send};
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::whoami::{answering, whoami};

const LISTENER: &str = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n";

fn pool(name: &str, servers: &[Server], keys: &str) -> String {
    let entries = entries(servers);
    format!(
        "[pool.{name}]\nbackends = {entries}\nbalance = \"round-robin\"\n{keys}\n\
         [pool.{name}.health]\nprobe = \"none\"\n"
    )
}

fn file(servers: &[Server], sticky: &str) -> String {
    let keys = format!("[pool.p.sticky]\ncookie = \"keel\"\n{sticky}");
    format!("{LISTENER}pool = \"p\"\n{}", pool("p", servers, &keys))
}

/// A client as browsers are: it sends what it was told last.
#[derive(Default)]
struct Jar(Option<String>);

impl Jar {
    /// Asks once; gives who answered, and whether there was a new cookie.
    #[track_caller]
    fn ask(&mut self, proxy: &Evenkeel) -> (String, bool) {
        let answer = self.answer(proxy);
        assert_eq!(answer.status, 200, "{answer:?}");
        let told = answer.header("set-cookie").map(|set| set.split(';').next().unwrap().to_owned());
        let is_new = told.is_some();
        if is_new {
            self.0 = told;
        }
        (answer.body, is_new)
    }

    #[track_caller]
    fn answer(&self, proxy: &Evenkeel) -> Answer {
        let own = self.0.as_ref().map(|pair| format!("cookie: theme=dark; {pair}; x=y"));
        let fields: Vec<_> = own.iter().map(String::as_str).collect();
        send(proxy.at(), "GET", "/", &fields, "")
    }
}

#[test]
fn a_client_stays_where_it_was_first_and_is_told_once() {
    let servers = ["one", "two", "three"].map(whoami);
    let proxy = Evenkeel::start(&file(&servers, ""));
    let mut clients = [(); 3].map(|()| Jar::default());
    let first: Vec<_> = clients.iter_mut().map(|client| client.ask(&proxy)).collect();
    assert!(first.iter().all(|(_, is_new)| *is_new));
    let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["one", "two", "three"]);
    for _ in 0..3 {
        for (client, (name, _)) in clients.iter_mut().zip(&first) {
            assert_eq!(client.ask(&proxy), (name.clone(), false));
        }
    }
    // The value says nothing to those who read it.
    let pair = clients[0].0.as_deref().unwrap();
    let value = pair.strip_prefix("keel=").unwrap();
    assert!(value.len() >= 16 && value.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{value}");
    // Whoever has none, or one that is nobody's, takes turns.
    let strangers: Vec<_> = (0..3).map(|_| Jar(Some("keel=abc".into())).ask(&proxy)).collect();
    assert_eq!(strangers.iter().filter(|(_, is_new)| *is_new).count(), 3);
    assert_eq!(strangers[0].0, "one");
}

#[test]
fn the_cookie_is_as_the_file_wants_it_and_the_backend_sees_it() {
    let servers = [answering("echo", str::to_owned)];
    let sticky = "secure = true\nhttp_only = true\nsame_site = \"lax\"\nttl = \"1h\"";
    let proxy = Evenkeel::start(&file(&servers, sticky));
    let told = Jar::default().answer(&proxy);
    let set = told.header("set-cookie").unwrap();
    let parts: Vec<_> = set.split("; ").skip(1).collect();
    assert_eq!(parts, ["Path=/", "Max-Age=3600", "Secure", "HttpOnly", "SameSite=Lax"], "{set}");
    let pair = set.split(';').next().unwrap().to_owned();
    let seen = Jar(Some(pair.clone())).answer(&proxy).body;
    assert!(seen.contains(&format!("cookie: theme=dark; {pair}; x=y")), "{seen}");
}

#[test]
fn a_draining_backend_keeps_its_clients_and_one_in_maintenance_does_not() {
    let servers = ["one", "two"].map(whoami);
    let proxy = Evenkeel::start(&file(&servers, ""));
    let (mut held, mut other) = (Jar::default(), Jar::default());
    assert_eq!((held.ask(&proxy).0, other.ask(&proxy).0), ("one".into(), "two".into()));
    assert_eq!(proxy.patch("one", r#"{"state": "drain"}"#).status, 200);
    for _ in 0..3 {
        assert_eq!(held.ask(&proxy), ("one".into(), false));
        assert_eq!(Jar::default().ask(&proxy), ("two".into(), true));
    }
    assert_eq!(proxy.patch("one", r#"{"state": "maintenance"}"#).status, 200);
    assert_eq!(held.ask(&proxy), ("two".into(), true));
    assert_eq!(proxy.patch("one", r#"{"state": "ready"}"#).status, 200);
    assert_eq!(held.ask(&proxy), ("two".into(), false), "for good");
    assert_eq!(proxy.patch("two", r#"{"weight": 0}"#).status, 200);
    assert_eq!(held.ask(&proxy), ("one".into(), true), "weight 0 keeps nobody");
}

#[test]
fn a_client_whose_backend_dies_is_placed_anew_and_remembered() {
    let servers = ["one", "two"].map(whoami);
    let proxy = Evenkeel::start(&file(&servers, ""));
    let mut client = Jar::default();
    assert_eq!(client.ask(&proxy).0, "one");
    servers[0].stop();
    // The connect is refused, and another backend asked in its place.
    assert_eq!(client.ask(&proxy), ("two".into(), true));
    servers[0].start();
    assert_eq!(client.ask(&proxy), ("two".into(), false));
}

#[test]
fn the_same_file_means_the_same_cookies_and_another_secret_others() {
    let servers = ["one", "two"].map(whoami);
    let folder = tempfile::TempDir::new().unwrap();
    let secret = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{}\n", name.repeat(4))).unwrap();
        format!("secret_file = \"{}\"", path.display())
    };
    let files = [String::new(), secret("one-secret"), secret("two-secret")];
    let mut told: Vec<_> = Vec::new();
    for sticky in &files {
        let (first, second) =
            (Evenkeel::start(&file(&servers, sticky)), Evenkeel::start(&file(&servers, sticky)));
        let mut client = Jar::default();
        assert_eq!(client.ask(&first), ("one".into(), true));
        assert_eq!(client.ask(&second), ("one".into(), false), "{sticky}: the other one agrees");
        assert_eq!(Jar::default().ask(&second), ("one".into(), true), "it took no turn");
        told.push(client.0.unwrap());
    }
    assert!(told[0] != told[1] && told[1] != told[2] && told[0] != told[2], "{told:?}");
}

#[test]
fn a_cookie_goes_before_the_draw_of_a_split() {
    let (stable, canary) = ([whoami("stable")], [whoami("canary")]);
    let sticky = |pool: &str| format!("[pool.{pool}.sticky]\ncookie = \"keel\"\n");
    let split = "split = [{ pool = \"s\", weight = 50 }, { pool = \"c\", weight = 50 }]";
    let proxy = Evenkeel::start(&format!(
        "{LISTENER}[[listener.l.route]]\n{split}\n{}{}",
        pool("s", &stable, &sticky("s")),
        pool("c", &canary, &sticky("c")),
    ));
    let mut clients = [(); 8].map(|()| Jar::default());
    let first: Vec<_> = clients.iter_mut().map(|client| client.ask(&proxy).0).collect();
    for _ in 0..8 {
        for (client, name) in clients.iter_mut().zip(&first) {
            assert_eq!(client.ask(&proxy), (name.clone(), false));
        }
    }
}

#[test]
fn a_full_backend_is_missed_this_once() {
    let (opened, shut) = std::sync::mpsc::channel::<()>();
    let shut = std::sync::Mutex::new(shut);
    let one = answering("one", move |head| {
        if head.starts_with("GET /held") {
            shut.lock().unwrap().recv().unwrap();
        }
        "one".to_owned()
    });
    let two = whoami("two");
    let list = format!("[{}, {}]", one.entry("max_sessions = 1"), two.entry(""));
    let proxy = Evenkeel::start(&format!(
        "{LISTENER}pool = \"p\"\n[pool.p]\nbackends = {list}\nbalance = \"first\"\n\
         [pool.p.sticky]\ncookie = \"keel\"\n[pool.p.health]\nprobe = \"none\"\n"
    ));
    let mut client = Jar::default();
    assert_eq!(client.ask(&proxy), ("one".into(), true));
    proxy.wait_idle();
    let at = proxy.at();
    let holding = std::thread::spawn(move || send(at, "GET", "/held", &[], ""));
    eventually("it is full", PATIENCE, || proxy.backend("one")["sessions"] == 1);
    assert_eq!(client.ask(&proxy), ("two".into(), false), "a guest");
    opened.send(()).unwrap();
    holding.join().unwrap();
    proxy.wait_idle();
    assert_eq!(client.ask(&proxy), ("one".into(), false));
}

#[test]
fn the_dry_run_follows_a_cookie() {
    let servers = ["one", "two"].map(whoami);
    let proxy = Evenkeel::start(&file(&servers, ""));
    let (mut first, mut second) = (Jar::default(), Jar::default());
    first.ask(&proxy);
    second.ask(&proxy);
    let header = second.0.as_deref().unwrap().replace('=', "%3D");
    let path = format!("/api/v1/route?listener=l&client=192.0.2.1&header=cookie%3A%20{header}");
    eventually("the dry run follows the cookie", PATIENCE, || {
        proxy.get(&path).json()["backend"] == "two"
    });
    assert!(proxy.get(&path).body.contains("cookie"), "{}", proxy.get(&path).body);
}
