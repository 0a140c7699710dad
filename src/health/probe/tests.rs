//! Every probe against servers that answer, lie, stall and refuse.

use std::fs;
use std::future::pending;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::*;
use crate::addr::BackendAddr;
use crate::config::{BodyPattern, ClientTls, DnsProbe, HttpProbe, Protocol, Role};
use crate::health::fixture::{
    LONG, SHORT, answering, answering_datagrams, head, pool, refusing, refusing_datagrams, server,
    silent,
};

async fn ask_within(limit: Duration, probe: Probe, address: SocketAddr) -> Result<Answer, Miss> {
    let probers = Prober::of_all(&pool([BackendAddr::Ip(address)], probe)).unwrap().unwrap();
    probers[0].ask(Peer { address, source: None, header: None }, limit).await
}

async fn ask(probe: Probe, address: SocketAddr) -> Result<Answer, Miss> {
    ask_within(LONG, probe, address).await
}

fn asking(spec: HttpProbe) -> Probe {
    Probe::Http(Box::new(spec))
}

fn failed<T>(reason: impl Into<String>) -> Result<T, Miss> {
    Err(Miss::Failed(reason.into()))
}

fn up(reason: &str) -> Result<Answer, Miss> {
    Ok(Answer::up(reason))
}

#[tokio::test]
async fn a_tcp_probe_asks_the_kernel_only() {
    let (address, _server) = silent().await;
    assert_eq!(ask(Probe::Tcp, address).await, up("connected"));
    let (address, _socket) = refusing();
    let refused = format!("connection refused by {address}");
    assert_eq!(ask(Probe::Tcp, address).await, failed(refused));
}

#[tokio::test]
async fn every_probe_that_connects_sends_the_header_of_the_pool_first() {
    let tls = ClientTls { verify: false, ..ClientTls::default() };
    let over = Protocol::Tcp;
    for probe in [
        Probe::Tcp,
        asking(HttpProbe::default()),
        asking(HttpProbe { tls: Some(tls), ..HttpProbe::default() }),
        Probe::SendExpect { send: b"ping".to_vec(), expect: b"pong".to_vec(), over },
        Probe::Dns(DnsProbe { over, ..DnsProbe::default() }),
    ] {
        let versions = [
            (ProxyVersion::V1, proxy_protocol::UNKNOWN),
            (ProxyVersion::V2, proxy_protocol::LOCAL),
        ];
        for (version, header) in versions {
            let (tell, mut told) = mpsc::channel(1);
            let (address, _server) = server(move |mut stream| {
                let tell = tell.clone();
                async move {
                    let mut begin = vec![0; header.len()];
                    stream.read_exact(&mut begin).await.ok();
                    tell.send(begin).await.ok();
                }
            })
            .await;
            let spec = pool([BackendAddr::Ip(address)], probe.clone());
            let probers = Prober::of_all(&spec).unwrap().unwrap();
            let peer = Peer { address, source: None, header: Some(version) };
            drop(probers[0].ask(peer, LONG).await);
            assert_eq!(told.recv().await.unwrap(), header, "{probe:?}");
        }
    }
}

#[tokio::test]
async fn a_tcp_probe_ends_with_fin_even_if_it_was_greeted() {
    let (tell, mut told) = mpsc::channel(1);
    let (address, _server) = server(move |mut stream| {
        let tell = tell.clone();
        async move {
            stream.write_all(b"220 hello\r\n").await.ok();
            let mut rest = Vec::new();
            tell.send(stream.read_to_end(&mut rest).await.is_ok()).await.ok();
        }
    })
    .await;
    assert_eq!(ask(Probe::Tcp, address).await, up("connected"));
    told.recv().await.unwrap();
}

#[tokio::test]
async fn a_source_that_is_not_ours_is_our_own_shortage() {
    let (address, _server) = silent().await;
    let spec = pool([BackendAddr::Ip(address)], Probe::Tcp);
    let probers = Prober::of_all(&spec).unwrap().unwrap();
    let peer = Peer { address, source: Some("192.0.2.1".parse().unwrap()), header: None };
    assert!(matches!(probers[0].ask(peer, LONG).await, Err(Miss::Short(_))));
}

fn dialogue(send: &str, expect: &str) -> Probe {
    Probe::SendExpect { send: send.into(), expect: expect.into(), over: Protocol::Tcp }
}

fn datagrams(send: &str, expect: &str) -> Probe {
    Probe::SendExpect { send: send.into(), expect: expect.into(), over: Protocol::Udp }
}

#[tokio::test]
async fn send_expect_over_udp_searches_the_datagrams_that_come_back() {
    let (address, _server) = answering_datagrams(|heard, _| match heard {
        b"PING" => vec![b"busy".to_vec(), b"+PONG\r\n".to_vec()],
        b"" => vec![b"so empty".to_vec()],
        _ => Vec::new(),
    })
    .await;
    let came = up("the expected answer came");
    assert_eq!(ask(datagrams("PING", "PONG"), address).await, came);
    assert_eq!(ask(datagrams("PING", ""), address).await, came);
    assert_eq!(ask(datagrams("", "empty"), address).await, came);
    let late = ask_within(SHORT, datagrams("hello", ""), address).await;
    assert_eq!(late, failed("timed out after 100ms"));
}

#[tokio::test]
async fn send_expect_over_udp_says_that_the_answer_was_another() {
    let (address, _server) = answering_datagrams(|_, _| vec![b"no".to_vec()]).await;
    let Err(Miss::Failed(reason)) = ask_within(SHORT, datagrams("a", "yes"), address).await else {
        panic!("it was found");
    };
    // Asked a second time, it may have answered a second time, or, stalled, not in time at all.
    let is_known =
        reason.starts_with("no \"yes\" in the answer of ") || reason.starts_with("timed");
    assert!(is_known, "{reason}");
}

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let second = |said: &'static [u8]| {
        move |_: &[u8], turn| if turn == 2 { vec![said.to_vec()] } else { Vec::new() }
    };
    let limit = Duration::from_secs(4);
    let (address, _server) = answering_datagrams(second(b"PONG")).await;
    let came = up("the expected answer came");
    assert_eq!(ask_within(limit, datagrams("PING", "PONG"), address).await, came);
    let (address, _server) =
        answering_datagrams(
            |heard, turn| {
                if turn == 2 { vec![reply(heard, 0)] } else { Vec::new() }
            },
        )
        .await;
    assert_eq!(
        ask_within(limit, query(&[0], Protocol::Udp), address).await,
        up("answered NOERROR")
    );
}

#[tokio::test]
async fn a_port_without_a_listener_is_known_by_what_icmp_says() {
    let (address, _socket) = refusing_datagrams();
    let refused = format!("{address} says that nobody listens on the port");
    assert_eq!(ask(datagrams("a", ""), address).await, failed(refused.clone()));
    assert_eq!(ask(query(&[0], Protocol::Udp), address).await, failed(refused));
}

#[tokio::test]
async fn a_source_that_is_not_ours_is_our_own_shortage_over_udp_too() {
    let address = "127.0.0.1:9".parse().unwrap();
    let spec = pool([BackendAddr::Ip(address)], query(&[0], Protocol::Udp));
    let probers = Prober::of_all(&spec).unwrap().unwrap();
    let peer = Peer { address, source: Some("192.0.2.1".parse().unwrap()), header: None };
    assert!(matches!(probers[0].ask(peer, LONG).await, Err(Miss::Short(_))));
}

fn query(expect_rcode: &[u8], over: Protocol) -> Probe {
    let query = "health.example".to_owned();
    Probe::Dns(DnsProbe { query, query_type: 1, expect_rcode: expect_rcode.into(), over })
}

/// The answer to a query, with this code and no records.
fn reply(query: &[u8], code: u8) -> Vec<u8> {
    let mut reply = query.to_vec();
    reply[2] |= 0x80;
    reply[3] = 0x80 | code;
    reply
}

#[tokio::test]
async fn a_dns_probe_takes_the_answer_to_its_own_question() {
    let (address, _server) = answering_datagrams(|heard, _| {
        let mut forged = reply(heard, 0);
        forged[0] ^= 1;
        // Noise, the answer to somebody else, the question itself, and at last the answer.
        vec![b"noise".to_vec(), forged, heard.to_vec(), reply(heard, 3)]
    })
    .await;
    assert_eq!(ask(query(&[0, 3], Protocol::Udp), address).await, up("answered NXDOMAIN"));
    let other = failed("answered NXDOMAIN, expected NOERROR or REFUSED");
    assert_eq!(ask(query(&[0, 5], Protocol::Udp), address).await, other);
    let (address, _server) = answering_datagrams(|_, _| vec![b"noise".to_vec()]).await;
    let late = ask_within(SHORT, query(&[0], Protocol::Udp), address).await;
    assert_eq!(late, failed("timed out after 100ms"));
}

#[tokio::test]
async fn a_dns_probe_over_a_connection_counts_its_bytes() {
    let (address, _server) = server(|mut stream| async move {
        let Ok(length) = stream.read_u16().await else { return };
        let mut heard = vec![0; length.into()];
        stream.read_exact(&mut heard).await.ok();
        stream.write_u16(length).await.ok();
        stream.write_all(&reply(&heard, 2)).await.ok();
        pending().await
    })
    .await;
    assert_eq!(ask(query(&[2], Protocol::Tcp), address).await, up("answered SERVFAIL"));
    let other = failed("answered SERVFAIL, expected NOERROR");
    assert_eq!(ask(query(&[0], Protocol::Tcp), address).await, other);
    for (said, reason) in [
        (&b"\0\x20short"[..], "closed before the answer was complete"),
        (&b"\0\x05noise"[..], "the answer is not to the question"),
    ] {
        let (address, _server) = server(move |mut stream| async move {
            stream.write_all(said).await.ok();
            // With the question unread the close would be a reset.
            stream.read_exact(&mut [0; 34]).await.ok();
        })
        .await;
        assert_eq!(ask(query(&[0], Protocol::Tcp), address).await, failed(reason));
    }
    let (address, _socket) = refusing();
    let refused = format!("connection refused by {address}");
    assert_eq!(ask(query(&[0], Protocol::Tcp), address).await, failed(refused));
}

#[tokio::test]
async fn send_expect_waits_for_its_word() {
    let (address, _server) = server(|mut stream| async move {
        stream.write_all(b"220 re").await.ok();
        stream.flush().await.ok();
        tokio::task::yield_now().await;
        stream.write_all(b"ady\r\n").await.ok();
        let mut heard = [0; 4];
        if stream.read_exact(&mut heard).await.is_ok() && heard == *b"PING" {
            stream.write_all(b"+PONG\r\n").await.ok();
        }
        pending().await
    })
    .await;
    let came = up("the expected answer came");
    assert_eq!(ask(dialogue("", "ready"), address).await, came);
    assert_eq!(ask(dialogue("PING", "PONG"), address).await, came);
    assert_eq!(ask(dialogue("PING", ""), address).await, up("sent"));
    let late = ask_within(SHORT, dialogue("", "never"), address).await;
    assert_eq!(late, failed("timed out after 100ms"));
}

#[tokio::test]
async fn send_expect_looks_at_64_kib_and_no_further() {
    let (address, _server) = server(|mut stream| async move {
        let mut flood = vec![b'.'; 64 * 1024];
        flood.extend_from_slice(b"ready");
        stream.write_all(&flood).await.ok();
        pending().await
    })
    .await;
    let missed = failed("no \"ready\" in the answer of 65536 bytes");
    assert_eq!(ask(dialogue("", "ready"), address).await, missed);
    let (address, _server) = server(|mut stream| async move {
        stream.write_all(b"no").await.ok();
    })
    .await;
    let missed = failed("no \"yes\" in the answer of 2 bytes");
    assert_eq!(ask(dialogue("", "yes"), address).await, missed);
}

#[tokio::test]
async fn the_request_says_who_asks_and_whom() {
    let (tell, mut told) = mpsc::channel(1);
    let (address, _server) = server(move |mut stream| {
        let tell = tell.clone();
        async move {
            tell.send(head(&mut stream).await).await.ok();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
        }
    })
    .await;
    let headers = vec![("X-Probe".to_owned(), "1".to_owned())];
    let spec = HttpProbe { path: "/live?full=1".to_owned(), headers, ..HttpProbe::default() };
    assert_eq!(ask(asking(spec), address).await, up("status 204"));
    let seen = told.recv().await.unwrap();
    assert!(seen.starts_with("GET /live?full=1 HTTP/1.1\r\n"), "{seen}");
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        format!("host: {address}"),
        format!("user-agent: evenkeel/{version}"),
        "x-probe: 1".to_owned(),
        "connection: close".to_owned(),
    ] {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line} in {seen}");
    }
    let headers = vec![("Host".to_owned(), "db.example".to_owned())];
    let spec = HttpProbe { method: "HEAD".to_owned(), headers, ..HttpProbe::default() };
    assert_eq!(ask(asking(spec), address).await, up("status 204"));
    let seen = told.recv().await.unwrap();
    assert!(seen.starts_with("HEAD / HTTP/1.1\r\n"), "{seen}");
    assert_eq!(seen.matches("host:").count(), 1, "{seen}");
    assert!(seen.contains("host: db.example\r\n"), "{seen}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let (address, _server) = answering(moved).await;
    assert_eq!(
        ask(asking(HttpProbe::default()), address).await,
        failed("status 302, expected 2xx")
    );
    let expect_status = vec![(200, 200), (300, 399)];
    let spec = HttpProbe { expect_status, ..HttpProbe::default() };
    assert_eq!(ask(asking(spec), address).await, up("status 302"));
}

#[tokio::test]
async fn garbage_and_silence_are_failures() {
    let cases: [(&[u8], &str); 4] = [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not valid http/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "closed before the answer was complete"),
        (b"", "closed before the answer was complete"),
        (b"HTTP/1.1 99999 No\r\n\r\n", "the answer is not valid http/1.1"),
    ];
    for (bytes, reason) in cases {
        let (address, _server) = answering(bytes).await;
        let spec = HttpProbe { role: Some(Role::Primary), ..HttpProbe::default() };
        assert_eq!(ask(asking(spec), address).await, failed(reason));
    }
    let (address, _server) = silent().await;
    let late = ask_within(SHORT, asking(HttpProbe::default()), address).await;
    assert_eq!(late, failed("timed out after 100ms"));
}

#[tokio::test]
async fn with_a_role_an_unexpected_status_is_standby() {
    let (address, _server) = answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
    let spec = HttpProbe { role: Some(Role::Primary), ..HttpProbe::default() };
    let reason = "status 503, expected 2xx".to_owned();
    let standby = Answer { verdict: Verdict::Standby, reason };
    assert_eq!(ask(asking(spec), address).await, Ok(standby));
}

fn wanting(body: &str) -> Probe {
    asking(HttpProbe {
        expect_body: Some(BodyPattern(regex::bytes::Regex::new(body).unwrap())),
        ..HttpProbe::default()
    })
}

#[tokio::test]
async fn the_body_must_match_within_64_kib() {
    let (address, _server) = answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready").await;
    assert_eq!(ask(wanting("^ready$"), address).await, up("status 200, the body matches"));
    let reason = "the body does not match \"steady\"";
    assert_eq!(ask(wanting("steady"), address).await, failed(reason));

    let mut long = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n".to_vec();
    long.resize(long.len() + 64 * 1024, b'.');
    long.extend_from_slice(b"ready");
    let (address, _server) = answering(long).await;
    let reason = "the body does not match \"ready\"";
    assert_eq!(ask(wanting("ready"), address).await, failed(reason));
}

#[tokio::test]
async fn a_body_without_end_stalls_nobody_beyond_the_timeout() {
    let (address, _server) = server(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nready").await.ok();
        pending().await
    })
    .await;
    assert_eq!(ask(asking(HttpProbe::default()), address).await, up("status 200"));
    let late = ask_within(SHORT, wanting("ready"), address).await;
    assert_eq!(late, failed("timed out after 100ms"));
}

#[test]
fn what_cannot_be_sent_is_an_error_that_names_the_key() {
    let headers = vec![("bad name".to_owned(), "1".to_owned())];
    let spec = pool(
        [BackendAddr::Host("a.example".into(), 80)],
        asking(HttpProbe { headers, ..HttpProbe::default() }),
    );
    let said = Prober::of_all(&spec).unwrap_err().to_string();
    assert!(said.starts_with("[pool.db.health] headers: \"bad name\" cannot be sent"), "{said}");
}

/// An authority with a certificate for `names`, as files and as a server.
struct Authority {
    _folder: tempfile::TempDir,
    ca: PathBuf,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl Authority {
    fn new(names: &[&str]) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, names.join(" and "));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, issuer.pem()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Self { _folder: folder, ca, acceptor: Arc::new(config).into() }
    }

    async fn serve(&self) -> (SocketAddr, tokio::task::JoinSet<()>) {
        let acceptor = self.acceptor.clone();
        server(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok();
                stream.shutdown().await.ok();
            }
        })
        .await
    }
}

fn over(tls: ClientTls) -> Probe {
    asking(HttpProbe { tls: Some(tls), ..HttpProbe::default() })
}

#[tokio::test]
async fn https_trusts_its_authority_and_nobody_else() {
    let ours = Authority::new(&["db.example", "127.0.0.1"]);
    let theirs = Authority::new(&["127.0.0.1"]);
    let (address, _server) = ours.serve().await;
    let trusting = |ca: &PathBuf| ClientTls {
        server_name: None,
        ca: Some(ca.clone()),
        identity: None,
        verify: true,
        starttls: None,
    };
    let good = up("status 200");
    assert_eq!(ask(over(trusting(&ours.ca)), address).await, good);
    let named = |name: &str| ClientTls { server_name: Some(name.to_owned()), ..trusting(&ours.ca) };
    assert_eq!(ask(over(named("db.example")), address).await, good);
    let wrong = failed("certificate: not valid for \"other.example\"");
    assert_eq!(ask(over(named("other.example")), address).await, wrong);
    let unknown = failed("certificate: unknown issuer");
    assert_eq!(ask(over(trusting(&theirs.ca)), address).await, unknown);
    let blind = ClientTls { ca: None, verify: false, ..named("other.example") };
    assert_eq!(ask(over(blind), address).await, good);
}

#[tokio::test]
async fn https_to_a_server_without_tls_fails_in_words() {
    let (address, _server) = answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let blind =
        ClientTls { server_name: None, ca: None, identity: None, verify: false, starttls: None };
    // The server waits for an empty line that a ClientHello need not hold.
    let Err(Miss::Failed(reason)) = ask_within(SHORT, over(blind), address).await else {
        panic!("it went well");
    };
    assert!(reason.starts_with("tls: ") || reason.starts_with("timed out"), "{reason}");
}

fn shell(script: &str) -> Probe {
    Probe::Exec(["/bin/sh", "-c", script].map(str::to_owned).into())
}

#[tokio::test]
async fn a_command_speaks_by_its_exit_code() {
    let address = "127.0.0.1:5432".parse().unwrap();
    assert_eq!(ask(shell("exit 0"), address).await, up("exit code 0"));
    assert_eq!(ask(shell("exit 2"), address).await, failed("exit code 2"));
    assert_eq!(ask(shell("kill -9 $$"), address).await, failed("ended by signal 9"));
    let told = "test \"$EVENKEEL_POOL $EVENKEEL_BACKEND $EVENKEEL_ADDRESS $EVENKEEL_PORT\" = \
                'db 127.0.0.1:5432 127.0.0.1 5432'";
    assert_eq!(ask(shell(told), address).await, up("exit code 0"));
    let Err(Miss::Failed(reason)) =
        ask(Probe::Exec(vec!["/nowhere/check".to_owned()]), address).await
    else {
        panic!("it ran");
    };
    assert!(reason.starts_with("cannot run \"/nowhere/check\": "), "{reason}");
}

#[tokio::test]
async fn a_command_that_is_too_slow_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // The end of the pipe comes when nobody is left who could write to it.
    let reader = {
        let pipe = pipe.clone();
        tokio::task::spawn_blocking(move || fs::read(pipe).unwrap())
    };
    let script = format!("exec >'{}'; echo began; sleep 1000 & wait", pipe.display());
    // Long enough for a shell to start, on a machine that stalls too.
    let limit = Duration::from_secs(3);
    let late = ask_within(limit, shell(&script), "127.0.0.1:1".parse().unwrap()).await;
    assert_eq!(late, failed("timed out after 3s"));
    let read = tokio::time::timeout(LONG, reader).await.expect("somebody lives").unwrap();
    assert_eq!(read, b"began\n");
}
