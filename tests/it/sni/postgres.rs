//! `starttls = "postgres"` in front of servers that end TLS themselves.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::{file, route};
use crate::harness::client::{End, connect, end_of, read_line};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::hello::{real, short};
use crate::harness::servers::{Server, echo};
use crate::harness::wait::{PATIENCE, eventually};

const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 47];
const GSS_REQUEST: &[u8] = &[0, 0, 0, 8, 4, 210, 22, 48];
const CANCEL: &[u8] = &[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2];
const STARTUP: &[u8] = b"\0\0\0\x15\0\x03\0\0user\0frank\0\0";

/// Answers a question for TLS if it comes first, says what it is and how it was asked, then echoes.
fn database(name: &str) -> Server {
    let (upgraded, direct) = (format!("{name} upgraded\n"), format!("{name} direct\n"));
    Server::new(name, move |mut stream| {
        let mut first = [0; 8];
        let asks = stream.peek(&mut first).is_ok_and(|len| first[..len].starts_with(&[0, 0, 0, 8]));
        if asks && (stream.read_exact(&mut first).is_err() || stream.write_all(b"S").is_err()) {
            return;
        }
        let words = if asks { &upgraded } else { &direct };
        if stream.write_all(words.as_bytes()).is_ok() {
            drop(echo(stream));
        }
    })
}

fn two() -> [Server; 2] {
    ["a", "d"].map(database)
}

fn before(servers: &[Server], keys: &str) -> Evenkeel {
    let routes = route("sni = \"a.example\"\npool = \"a\"");
    let table = "[listener.l.tls]\nstarttls = \"postgres\"\n";
    Evenkeel::start(&file(keys, &(table.to_owned() + &routes), servers))
}

/// Asks, and wants this answer.
fn ask(stream: &mut TcpStream, question: &[u8], answer: u8) {
    stream.write_all(question).unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [answer]);
}

/// Sends the flight, and checks that the server got it unchanged; what the server is.
fn through(mut stream: TcpStream, flight: &[u8]) -> String {
    stream.write_all(flight).unwrap();
    let name = read_line(&mut stream).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back, flight);
    name
}

fn upgraded(at: SocketAddr) -> TcpStream {
    let mut stream = connect(at);
    ask(&mut stream, SSL_REQUEST, b'S');
    stream
}

#[test]
fn the_question_is_answered_and_the_hello_leads_on() {
    let servers = two();
    let proxy = before(&servers, "pool = \"d\"");
    let (known, other) = (real("a.example", &[]), short("b.example", &[]));
    assert_eq!(through(upgraded(proxy.at()), &known), "a upgraded");
    assert_eq!(through(upgraded(proxy.at()), &other), "d upgraded");
    // Encryption by GSSAPI is asked for first.
    let mut stream = connect(proxy.at());
    ask(&mut stream, GSS_REQUEST, b'N');
    ask(&mut stream, SSL_REQUEST, b'S');
    assert_eq!(through(stream, &known), "a upgraded");
    // Byte by byte.
    let mut stream = connect(proxy.at());
    stream.set_nodelay(true).unwrap();
    SSL_REQUEST[..7].iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
    ask(&mut stream, &SSL_REQUEST[7..], b'S');
    assert_eq!(through(stream, &known), "a upgraded");
    // TLS from the first byte.
    assert_eq!(through(connect(proxy.at()), &real("a.example", &["postgresql"])), "a direct");
    let lines = proxy.wait_access(5);
    assert_eq!(
        (&lines[0]["bytes_in"], &lines[0]["sni"]),
        (&known.len().into(), &"a.example".into())
    );
    assert_eq!(lines[4]["alpn"], "postgresql");
    assert_eq!(proxy.metrics().count("rejected_total", &[]), 0);
}

#[test]
fn cleartext_is_told_that_tls_is_required() {
    let servers = two();
    let proxy = before(&servers, "pool = \"d\"\nhandshake_timeout = \"1h\"");
    for question in [None, Some(GSS_REQUEST)] {
        let mut stream = connect(proxy.at());
        if let Some(question) = question {
            ask(&mut stream, question, b'N');
        }
        stream.write_all(STARTUP).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        let text = said.escape_ascii().to_string();
        assert!(
            text.contains("SFATAL\\x00VFATAL\\x00C28000\\x00Mthis listener requires TLS"),
            "{text}"
        );
        assert_eq!(usize::from(said[4]) + 1, said.len());
    }
    for other in [CANCEL, b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = connect(proxy.at());
        stream.write_all(other).unwrap();
        assert_eq!(end_of(&mut stream), End::Reset);
    }
    eventually("each is counted", PATIENCE, || proxy.rejected("tls") == 4);
    assert!(proxy.wait_access(4).iter().all(|line| line["outcome"] == "tls"));
    assert_eq!(servers.iter().map(Server::accepted).sum::<usize>(), 0);
}

#[test]
fn cleartext_goes_to_the_plain_pool_as_it_came() {
    let servers = two();
    let proxy = before(&servers, "plain_pool = \"d\"");
    for flight in [STARTUP, CANCEL, b"GET / HTTP/1.1\r\n\r\n"] {
        assert_eq!(through(connect(proxy.at()), flight), "d direct");
    }
    let mut stream = connect(proxy.at());
    ask(&mut stream, GSS_REQUEST, b'N');
    assert_eq!(through(stream, STARTUP), "d direct");
    assert!(proxy.wait_access(4).iter().all(|line| line["route"] == "plain"));
    assert_eq!(through(upgraded(proxy.at()), &short("a.example", &[])), "a upgraded");
}

#[test]
fn who_goes_on_before_the_answer_or_breaks_its_word_is_refused() {
    let servers = two();
    let proxy = before(&servers, "pool = \"d\"\nplain_pool = \"d\"\nhandshake_timeout = \"1h\"");
    let hello = real("a.example", &[]);
    let injected = [SSL_REQUEST, &hello].concat();
    let behind_gss = [GSS_REQUEST, SSL_REQUEST].concat();
    for bytes in [&injected, &behind_gss] {
        let mut stream = connect(proxy.at());
        stream.write_all(bytes).unwrap();
        assert_eq!(end_of(&mut stream), End::Reset);
    }
    for word in [STARTUP, SSL_REQUEST, b"hello"] {
        let mut stream = upgraded(proxy.at());
        stream.write_all(word).unwrap();
        assert_eq!(end_of(&mut stream), End::Reset, "{}", word.escape_ascii());
    }
    let mut twice = connect(proxy.at());
    ask(&mut twice, GSS_REQUEST, b'N');
    twice.write_all(GSS_REQUEST).unwrap();
    assert_eq!(end_of(&mut twice), End::Reset);
    drop(upgraded(proxy.at()));
    eventually("each is counted", PATIENCE, || proxy.rejected("tls") == 7);
    assert_eq!(servers.iter().map(Server::accepted).sum::<usize>(), 0);
}
