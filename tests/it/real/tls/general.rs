//! OpenSSL, GnuTLS and curl: two implementations that are not ours, and how each sees an end.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::{authority, ca, converse, ending, issue, pool};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::process::{Finished, finish};
use crate::harness::servers::Server;
use crate::harness::wait::PATIENCE;
use crate::real::installed;
use crate::real::nginx::Nginx;

const NAME: &str = "one.example";

/// Greets, and is through.
fn parting() -> Server {
    Server::new("parting", |mut stream| drop(stream.write_all(b"farewell\n")))
}

/// Reads until the other side ends, which without a close_notify is an error to it.
fn s_client(openssl: &Path, proxy: &Evenkeel, authority: &Authority, words: &[&str]) -> Finished {
    let mut command = Command::new(openssl);
    command.args(["s_client", "-connect", &proxy.at().to_string(), "-servername", NAME]);
    command.args(["-verify_return_error", "-verify_hostname", NAME, "-ign_eof", "-CAfile"]);
    finish(command.arg(ca(authority)).args(words), PATIENCE)
}

#[test]
fn openssl_verifies_resumes_and_sees_a_whole_stream_in_both_versions() {
    let Some(openssl) = installed("openssl", &[]) else { return };
    let (authority, server) = (authority(), parting());
    let proxy = Evenkeel::start(&ending(&authority, NAME, "", server.address()));
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let kept = authority.folder().join(version);
        let kept = kept.to_str().unwrap();
        let first = s_client(&openssl, &proxy, &authority, &[flag, "-sess_out", kept]);
        let first = first.expect_code(0).text();
        let again = s_client(&openssl, &proxy, &authority, &[flag, "-sess_in", kept]);
        let again = again.expect_code(0).text();
        for (said, kind) in [(first, "New"), (again, "Reused")] {
            assert!(said.contains(&format!("{kind}, {version}, ")), "{version} {kind}: {said}");
            assert!(said.contains("farewell\n"), "{said}");
        }
    }
    proxy.wait_outcome("ok", 4);
}

#[test]
fn what_is_older_than_tls_1_2_is_refused_and_counted() {
    let Some(openssl) = installed("openssl", &[]) else { return };
    let (authority, server) = (authority(), parting());
    let proxy = Evenkeel::start(&ending(&authority, NAME, "", server.address()));
    // At level 0 OpenSSL itself would still speak them.
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let said = s_client(&openssl, &proxy, &authority, &old).expect_code(1).text();
    assert!(said.contains("SSL alert number"), "{said}");
    crate::harness::wait::eventually("it is counted", PATIENCE, || proxy.rejected("tls") == 1);
    assert_eq!(server.accepted(), 0);
}

#[test]
fn gnutls_verifies_resumes_and_talks_in_both_versions() {
    let Some(gnutls) = installed("gnutls-cli", &[]) else { return };
    let (authority, server) = (authority(), Server::echo("e"));
    let proxy = Evenkeel::start(&ending(&authority, NAME, "", server.address()));
    for version in ["1.2", "1.3"] {
        let mut command = Command::new(&gnutls);
        command.arg("127.0.0.1").args(["--port", &proxy.at().port().to_string()]);
        command.args(["--sni-hostname", NAME, "--verify-hostname", NAME]);
        command.args(["--resume", "--waitresumption", "--x509cafile"]).arg(ca(&authority));
        command.arg(format!("--priority=NORMAL:-VERS-ALL:+VERS-TLS{version}"));
        let said = converse(&mut command, "a word\n", "\na word\n");
        assert!(said.contains("The certificate is trusted"), "{said}");
        assert!(said.contains(&format!("(TLS{version}-")), "{said}");
        assert!(said.contains("This is a resumed session"), "{said}");
    }
    proxy.wait_idle();
    assert_eq!(proxy.rejected("tls"), 0);
}

/// curl to a name that is the proxy's; it wants a certificate for it.
fn curl(proxy: &Evenkeel, authority: &Authority, name: &str) -> Finished {
    let port = proxy.at().port();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "15", "--cacert"]);
    command.arg(ca(authority)).args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
    finish(command.arg(format!("https://{name}:{port}/")), PATIENCE)
}

#[test]
fn curl_fetches_a_page_that_ends_with_its_connection_from_a_plain_server() {
    if installed("curl", &[]).is_none() {
        return;
    }
    // No length: only the way the connection ends tells that it was all.
    let page = |count: usize| -> String {
        (0..count).map(|line| format!("line {line} of a page\n")).collect()
    };
    let server = Server::http("web", move |_| format!("HTTP/1.1 200 OK\r\n\r\n{}", page(100_000)));
    let authority = authority();
    let proxy = Evenkeel::start(&ending(&authority, NAME, "", server.address()));
    let got = curl(&proxy, &authority, NAME).expect_code(0);
    assert!(got.stdout == page(100_000), "{} bytes came", got.stdout.len());
    // The certificate is not for another name, and curl says so itself.
    let other = curl(&proxy, &authority, "other.example").expect_code(60);
    assert!(other.stderr.contains("other.example"), "{}", other.stderr);
}

#[test]
fn curl_reaches_two_web_servers_by_name_each_with_its_own_certificate() {
    if installed("curl", &[]).is_none() {
        return;
    }
    let authority = authority();
    let web = |name: &str| {
        let (cert, key) = issue(&authority, name);
        let words = format!(
            "ssl_certificate {}; ssl_certificate_key {}; location / {{ return 200 \"{name} $ssl_protocol\"; }}",
            cert.display(),
            key.display()
        );
        Nginx::serving(name, &words, "ssl")
    };
    let (Some(one), Some(two)) = (web("one.example"), web("two.example")) else { return };
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\n\
         [[listener.l.route]]\nsni = \"one.example\"\npool = \"one\"\n\
         [[listener.l.route]]\nsni = \"*.example\"\npool = \"two\"\n{}{}",
        pool("one", one.address()),
        pool("two", two.address())
    ));
    for name in ["one.example", "two.example", "ONE.example"] {
        let page = curl(&proxy, &authority, name).expect_code(0).stdout;
        assert!(
            page.starts_with(&name.to_lowercase()) && page.contains("TLSv1."),
            "{name}: {page}"
        );
    }
    // Nobody is there for it, and no certificate is shown.
    curl(&proxy, &authority, "three.elsewhere").expect_code(35);
    crate::harness::wait::eventually("it is counted", PATIENCE, || proxy.rejected("no-route") == 1);
}
