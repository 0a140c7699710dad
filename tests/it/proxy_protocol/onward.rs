//! Backends are told who the client is, ahead of its first byte.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr};
use std::sync::mpsc::{self, Receiver};

use super::{v1, v2};
use crate::harness::client::{close, connect, read_line};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::PATIENCE;

/// Greets, and reports all that it heard.
fn recorder(ip: std::net::IpAddr) -> (Server, Receiver<Vec<u8>>) {
    let (tell, told) = mpsc::channel();
    let server = Server::on(ip, "s", move |mut stream| {
        let mut heard = Vec::new();
        drop(stream.write_all(b"s\n"));
        drop(stream.read_to_end(&mut heard));
        drop(tell.send(heard));
    });
    (server, told)
}

fn heard(told: &Receiver<Vec<u8>>) -> Vec<u8> {
    told.recv_timeout(PATIENCE).unwrap()
}

type Codec = fn(&str, &str) -> Vec<u8>;

#[test]
fn the_header_names_the_client_and_where_it_connected_to() {
    for (version, codec) in [("v1", v1 as Codec), ("v2", v2)] {
        for ip in [[127, 0, 0, 1].into(), Ipv6Addr::LOCALHOST.into()] {
            // Whatever the family towards the backend is: the client's counts.
            let (server, told) = recorder([127, 0, 0, 1].into());
            let send = format!("send_proxy_protocol = \"{version}\"");
            let toml = unprobed(&entries(std::slice::from_ref(&server)), "", &send);
            let bind = SocketAddr::new(ip, 0).to_string();
            let proxy = Evenkeel::start(&toml.replacen("127.0.0.1:0", &bind, 1));
            let mut stream = connect(proxy.at());
            let client = stream.local_addr().unwrap().to_string();
            assert_eq!(read_line(&mut stream).unwrap(), "s");
            stream.write_all(b"hello").unwrap();
            close(stream);
            let expected = [codec(&client, &proxy.at().to_string()), b"hello".to_vec()].concat();
            assert_eq!(heard(&told), expected, "{version} {ip}");
            let line = proxy.wait_access(1).remove(0);
            assert_eq!((&line["bytes_in"], &line["client"]), (&5.into(), &client.into()));
            assert_eq!(proxy.metrics().count("bytes_total", &[("direction", "in")]), 5);
        }
    }
}

#[test]
fn it_goes_ahead_of_a_client_that_says_nothing() {
    let (server, told) = recorder([127, 0, 0, 1].into());
    let send = "send_proxy_protocol = \"v1\"";
    let proxy = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), "", send));
    let stream = connect(proxy.at());
    let client = stream.local_addr().unwrap().to_string();
    stream.shutdown(Shutdown::Write).unwrap();
    io::copy(&mut &stream, &mut io::sink()).unwrap();
    assert_eq!(heard(&told), v1(&client, &proxy.at().to_string()));
}

#[test]
fn each_pool_has_its_own_way_also_after_a_retry() {
    let (server, told) = recorder([127, 0, 0, 1].into());
    let gone = crate::harness::seat::Seat::take();
    let list = format!("[\"{}\", {}]", gone.address(), server.entry(""));
    let pool = "send_proxy_protocol = \"v2\"\nbalance = \"first\"";
    let proxy = Evenkeel::start(&unprobed(&list, "", pool));
    let mut stream = connect(proxy.at());
    let client = stream.local_addr().unwrap().to_string();
    assert_eq!(read_line(&mut stream).unwrap(), "s");
    close(stream);
    assert_eq!(
        heard(&told),
        v2(&client, &proxy.at().to_string()),
        "once, to the one that is there"
    );
    assert_eq!(proxy.wait_access(1)[0]["attempts"], 2);
}
