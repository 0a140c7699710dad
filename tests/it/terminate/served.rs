//! Sessions behind a handshake: nothing is lost, and all else that a listener does still holds.

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::client::{Secured, ask, both, modern};
use super::{Scene, entry};
use crate::harness::authority::Authority;
use crate::harness::client::{connect, try_connect};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::{Server, entries};

#[test]
fn what_comes_with_the_end_of_the_handshake_is_the_first_that_the_backend_gets() {
    let scene = Scene::new("", "");
    for config in both(&scene.authority) {
        let name = ServerName::try_from("db.example").unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = try_connect(scene.proxy.at()).unwrap();
        // Sent as soon as it may be: in TLS 1.3 in one segment with the last of the handshake.
        connection.writer().write_all(b"early").unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).unwrap();
        }
        let mut stream = Secured::new(connection, socket);
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"early");
    }
}

#[test]
fn a_handshake_that_comes_byte_by_byte_is_a_handshake() {
    let scene = Scene::new("", "");
    let config = Arc::new(modern(&scene.authority));
    let name = ServerName::try_from("db.example").unwrap();
    let mut connection = ClientConnection::new(config, name).unwrap();
    let mut socket = connect(scene.proxy.at());
    socket.set_nodelay(true).unwrap();
    while connection.is_handshaking() {
        let mut flight = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut flight).unwrap();
        }
        for byte in flight {
            socket.write_all(&[byte]).unwrap();
        }
        if connection.is_handshaking() {
            connection.read_tls(&mut socket).unwrap();
            connection.process_new_packets().unwrap();
        }
    }
    let mut stream = Secured::new(connection, socket);
    super::client::echo(&mut stream, b"hello").unwrap();
}

#[test]
fn much_passes_whole_in_both_directions_at_once() {
    let scene = Scene::new("", "");
    let much: Vec<u8> = (0..5_000_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    for config in both(&scene.authority) {
        let stream = ask(scene.proxy.at(), &Arc::new(config), "db.example").unwrap();
        let Secured { mut conn, sock } = stream;
        let mut writing = sock.try_clone().unwrap();
        let mut reading = sock;
        // The connection cannot be in two hands: what is to be sent is made first.
        let mut sealed = Vec::new();
        conn.set_buffer_limit(None);
        conn.writer().write_all(&much).unwrap();
        while conn.wants_write() {
            conn.write_tls(&mut sealed).unwrap();
        }
        let sending = thread::spawn(move || writing.write_all(&sealed));
        let mut back = Vec::new();
        while back.len() < much.len() {
            assert!(conn.read_tls(&mut reading).unwrap() > 0, "it ended early");
            let state = conn.process_new_packets().unwrap();
            let known = back.len();
            back.resize(known + state.plaintext_bytes_to_read(), 0);
            conn.reader().read_exact(&mut back[known..]).unwrap();
        }
        sending.join().unwrap().unwrap();
        assert!(back == much, "it came back changed");
    }
}

#[test]
fn the_name_leads_to_a_pool_and_the_client_may_be_named_by_a_header() {
    let authority = Authority::new();
    let certificate = entry(&authority, "all", &authority.sign(&["a.example", "b.example"]));
    let (a, b) = ([Server::greet("a")], [Server::greet("b")]);
    let pool = |name: &str, servers: &[Server]| {
        let backends = entries(servers);
        format!("[pool.{name}]\nbackends = {backends}\nhealth = {{ probe = \"none\" }}\n")
    };
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\naccept_proxy_protocol = true\n\
         [[listener.l.route]]\nsni = [\"a.example\"]\npool = \"a\"\n\
         [[listener.l.route]]\nsni = [\"*.example\"]\npool = \"b\"\n\
         [listener.l.tls]\ncertificates = [{certificate}]\n{}{}",
        pool("a", &a),
        pool("b", &b)
    ));
    for (name, greeting) in [("a.example", "a\n"), ("b.example", "b\n")] {
        let config = Arc::new(modern(&authority));
        let server = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(config, server).unwrap();
        let mut socket = connect(proxy.at());
        socket.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.8 1111 443\r\n").unwrap();
        connection.complete_io(&mut socket).unwrap();
        let mut back = [0; 2];
        Secured::new(connection, socket).read_exact(&mut back).unwrap();
        assert_eq!(back, greeting.as_bytes());
    }
    for line in proxy.wait_access(2) {
        assert_eq!(line["client"], "192.0.2.7:1111");
        assert_eq!(line["sni"], format!("{}.example", line["pool"].as_str().unwrap()));
    }
}
