//! A wildcard listener on a machine with several addresses of an interface, and a client beyond it.
//!
//! Both live in network namespaces of their own.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use super::datagrams;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::namespace::{ip, leave};
use crate::harness::process::finish;
use crate::harness::udp::{Server, socket_on};
use crate::harness::wait::PATIENCE;
use crate::real::installed;

/// The client's side: an interface, then a question to each address that arrives by the channel.
fn visit(here: mpsc::Sender<String>, asked: mpsc::Receiver<Vec<SocketAddr>>) {
    let Some(name) = leave() else { return };
    here.send(name).unwrap();
    let Ok(addresses) = asked.recv() else { return };
    ip("link set v1 up");
    ip("addr add 192.0.2.9/24 dev v1");
    ip("-6 addr add 2001:db8::9/64 dev v1 nodad");
    for family in [false, true] {
        let from = if family { "2001:db8::9" } else { "192.0.2.9" };
        let client = socket_on(from.parse().unwrap());
        for &at in addresses.iter().filter(|at| at.is_ipv6() == family) {
            ask(&client, at);
        }
    }
}

#[track_caller]
fn ask(client: &UdpSocket, at: SocketAddr) {
    let mut buffer = [0; 64];
    for _ in 0..2 {
        client.send_to(b"hello", at).unwrap();
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"hello"[..], at));
    }
}

/// The balancer's side: two addresses of each family on an interface that leads to the client.
fn host(client: &str, asked: &mpsc::Sender<Vec<SocketAddr>>, done: &mpsc::Receiver<()>) {
    if leave().is_none() {
        return;
    }
    let words = format!("link add v0 type veth peer name v1 netns {client}");
    if finish(Command::new("ip").args(words.split(' ')), PATIENCE).code != Some(0) {
        eprintln!("skipped: no pair of interfaces can be made here");
        return;
    }
    for line in ["link set lo up", "link set v0 up"] {
        ip(line);
    }
    for address in ["192.0.2.1/24", "192.0.2.2/24"] {
        ip(&format!("addr add {address} dev v0"));
    }
    for address in ["2001:db8::1/64", "2001:db8::2/64"] {
        ip(&format!("-6 addr add {address} dev v0 nodad"));
    }
    let server = Server::echo("s");
    let toml = datagrams(std::slice::from_ref(&server), "", "");
    let toml = toml.replace("\"127.0.0.1:0\"", "[\"0.0.0.0:0\", \"[::]:0\"]");
    let proxy = Evenkeel::start(&toml);
    let [four, six] = [false, true].map(|family| {
        let all = proxy.addresses("l");
        all.iter().find(|at| at.is_ipv6() == family).unwrap().port()
    });
    let addresses =
        [("192.0.2.1", four), ("192.0.2.2", four), ("2001:db8::1", six), ("2001:db8::2", six)];
    let list = addresses.map(|(ip, port)| SocketAddr::new(ip.parse().unwrap(), port));
    asked.send(list.to_vec()).unwrap();
    // The balancer has to live until the client is done.
    done.recv().ok();
}

#[test]
fn answers_leave_from_the_address_of_the_interface_that_was_asked() {
    if installed("ip", &[]).is_none() {
        return;
    }
    let ((here, there), (asked, questions)) = (mpsc::channel(), mpsc::channel());
    let client = thread::spawn(move || visit(here, questions));
    let Ok(name) = there.recv() else { return client.join().unwrap() };
    let (done, wait) = mpsc::channel();
    let balancer = thread::spawn(move || host(&name, &asked, &wait));
    let client = client.join();
    // Where the test is skipped, nobody waits.
    done.send(()).ok();
    balancer.join().unwrap();
    client.unwrap();
}
