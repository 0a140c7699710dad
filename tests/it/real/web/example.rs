//! `config/web.toml` at work, asked by curl: only addresses and certificate files are other ones.

use std::process::Command;

use regex::{Captures, Regex};

use crate::harness::authority::Authority;
use crate::harness::evenkeel::{Evenkeel, evenkeel};
use crate::harness::files::Written;
use crate::harness::process::finish;
use crate::harness::servers::Server;
use crate::harness::wait::PATIENCE;
use crate::harness::whoami::whoami;
use crate::real::installed;

const EXAMPLE: &str = include_str!("../../../../config/web.toml");
const NAMES: [&str; 4] = ["www.example.com", "example.com", "old.example.com", "api.example.com"];

/// The example with a server for each of its backends, which says which one it stands for.
fn staged(authority: &Authority) -> (String, Vec<Server>) {
    let bind = Regex::new(r"bind = \[.*\]").unwrap();
    let text = bind.replace_all(EXAMPLE, "bind = \"127.0.0.1:0\"");
    let text = ["www", "api"].iter().fold(text.into_owned(), |text, name| {
        let (cert, key) = authority.write(name, &authority.sign(&NAMES));
        text.replace(&format!("/etc/evenkeel/{name}/fullchain.pem"), cert.to_str().unwrap())
            .replace(&format!("/etc/evenkeel/{name}/privkey.pem"), key.to_str().unwrap())
    });
    let mut servers = Vec::new();
    let backend = Regex::new(r#""(10\.0\.\d\.\d+):\d+""#).unwrap();
    let text = backend.replace_all(&text, |found: &Captures<'_>| {
        servers.push(whoami(&found[1]));
        format!("\"{}\"", servers.last().unwrap().address())
    });
    (text.into_owned(), servers)
}

/// What curl is told of `https://HOST/PATH`, with the head.
fn ask(proxy: &Evenkeel, authority: &Authority, args: &[&str], host: &str, path: &str) -> String {
    let port = proxy.address("web").port();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--include"]);
    curl.arg("--cacert").arg(authority.ca_file());
    curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1")]).args(args);
    curl.arg(format!("https://{host}:{port}{path}"));
    finish(&mut curl, PATIENCE).expect_code(0).stdout
}

/// Status, body, and the head in lower case.
fn parts(told: &str) -> (u16, &str, String) {
    let (head, body) = told.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body, head.to_lowercase())
}

#[test]
fn the_example_of_a_web_site_does_what_its_comments_say() {
    if installed("curl", &[]).is_none() {
        return;
    }
    let authority = Authority::new();
    let (file, _servers) = staged(&authority);
    Written::new(&file).command(&["check", "--deny-warnings"]).expect_code(0);
    let proxy = Evenkeel::start(&file);
    let ask = |args: &[&str], host: &str, path: &str| ask(&proxy, &authority, args, host, path);

    // In cleartext: over there.
    let clear = proxy.address("cleartext");
    let told = crate::harness::http::request(clear, "GET", "/a?b=1", "www.example.com:80");
    assert_eq!(told.status, 308);
    assert_eq!(told.header("location"), Some("https://www.example.com/a?b=1"));

    // The canary by a header, on both versions.
    for version in ["--http1.1", "--http2"] {
        let told = ask(&[version, "--header", "x-canary: 1"], "api.example.com", "/v1");
        assert_eq!(parts(&told).1, "10.0.2.21", "{told}");
    }
    // Others are sent to either, and each key is limited by itself.
    let limited = |key: &str| {
        let key = format!("x-api-key: {key}");
        let told = ask(&["--header", &key], "api.example.com", "/v1?n=[1-120]");
        told.matches("429").count()
    };
    let refused = limited("one");
    assert!(refused >= 1, "120 in a row from one client, and none of them was too many");
    let told = ask(&["--header", "x-api-key: two"], "api.example.com", "/v1");
    assert_eq!(parts(&told).0, 200, "{told}");
    assert!(parts(&told).1.starts_with("10.0.2."), "{told}");

    // The same file from the same server, with its field.
    let server = |path: &str| {
        let told = ask(&[], "www.example.com", path);
        let (status, body, head) = parts(&told);
        assert_eq!(status, 200, "{told}");
        assert!(head.contains("cache-control: public, max-age=3600"), "{told}");
        assert!(body.starts_with("10.0.3."), "{told}");
        body.to_owned()
    };
    let paths: Vec<_> = (0..12).map(|number| format!("/static/{number}.css")).collect();
    let first: Vec<_> = paths.iter().map(|path| server(path)).collect();
    assert_eq!(paths.iter().map(|path| server(path)).collect::<Vec<_>>(), first);
    assert!(first.iter().any(|name| *name != first[0]), "all of them on {}", first[0]);

    // Names that are written otherwise, and one that is no more.
    let told = ask(&[], "example.com", "/shop?a=1");
    let (status, _, head) = parts(&told);
    assert_eq!(status, 301);
    assert!(head.contains("location: https://www.example.com/shop?a=1"), "{told}");
    let told = ask(&[], "old.example.com", "/");
    let (status, body, head) = parts(&told);
    assert_eq!((status, body), (410, "This site is no more.\n"));
    assert!(head.contains("content-type: text/plain"), "{told}");

    // A browser comes back to where it was.
    let jar = proxy.dir().join("cookies");
    let jar = jar.to_str().unwrap();
    let with = ["--cookie", jar, "--cookie-jar", jar];
    let told = ask(&with, "www.example.com", "/");
    let (status, home, head) = parts(&told);
    assert_eq!(status, 200, "{told}");
    let cookie = head.lines().find(|line| line.starts_with("set-cookie: srv=")).unwrap();
    for attribute in ["secure", "httponly", "samesite=lax"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    for _ in 0..6 {
        let told = ask(&with, "www.example.com", "/");
        assert_eq!(parts(&told).1, home, "{told}");
    }
}

#[test]
fn every_example_is_a_valid_file_but_for_certificates_that_are_not_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let run = evenkeel(&["check", "--json", "-c", path.to_str().unwrap()]);
        let said: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        for error in said["errors"].as_array().unwrap() {
            let message = error["message"].as_str().unwrap();
            let is_missing_file = message.contains("cannot be read: No such file");
            assert!(is_missing_file, "{}: {message}", path.display());
        }
        let others = said["warnings"].as_array().unwrap();
        assert!(others.is_empty(), "{}: {others:?}", path.display());
    }
}
