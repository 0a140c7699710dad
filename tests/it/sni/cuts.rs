//! However a hello is cut, over segments and over records, it goes the same way.

use std::io::Write;

use super::{answered, before, through};
use crate::harness::client::connect;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::hello::{message, real, records, short};
use crate::harness::servers::Server;

/// Connections that are open at once.
const AT_ONCE: usize = 200;

fn two() -> ([Server; 2], Evenkeel) {
    let servers = ["a", "d"].map(Server::greet);
    let proxy = before(&servers, "pool = \"d\"", &["sni = \"a.example\"\npool = \"a\""]);
    (servers, proxy)
}

/// Sends the flight over many connections, cut at each of `cuts`.
fn cut_at_each(proxy: &Evenkeel, flight: &[u8], cuts: &[usize]) {
    for batch in cuts.chunks(AT_ONCE) {
        let begun: Vec<_> = batch
            .iter()
            .map(|&cut| {
                let mut stream = connect(proxy.at());
                stream.set_nodelay(true).unwrap();
                stream.write_all(&flight[..cut]).unwrap();
                (stream, cut)
            })
            .collect();
        for (mut stream, cut) in begun {
            stream.write_all(&flight[cut..]).unwrap();
            assert_eq!(through(stream, flight), "a", "cut at {cut}");
        }
    }
}

#[test]
fn a_hello_of_more_than_a_segment_may_be_cut_at_any_byte() {
    let (_servers, proxy) = two();
    let flight = real("a.example", &["h2"]);
    assert!(flight.len() > 1_448, "{}", flight.len());
    cut_at_each(&proxy, &flight, &(1..flight.len()).collect::<Vec<_>>());
    assert_eq!(proxy.metrics().count("rejected_total", &[]), 0);
}

#[test]
fn records_of_any_size_carry_the_same_hello() {
    let (_servers, proxy) = two();
    for whole in [real("a.example", &[]), short("a.example", &[])] {
        for size in [1, 2, 3, 4, 5, 63, 64, 1_000] {
            let flight = records(message(&whole), size);
            assert_eq!(answered(proxy.at(), &flight), "a", "records of {size}");
        }
    }
    // Both kinds of cut at once.
    let flight = records(message(&short("a.example", &[])), 1);
    cut_at_each(&proxy, &flight, &(1..flight.len()).step_by(7).collect::<Vec<_>>());
}

#[test]
fn byte_by_byte_it_still_goes_there() {
    let (_servers, proxy) = two();
    let flight = short("a.example", &[]);
    let mut stream = connect(proxy.at());
    stream.set_nodelay(true).unwrap();
    for byte in &flight {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(through(stream, &flight), "a");
}

#[test]
fn what_follows_a_hello_is_relayed_as_ever() {
    let (_servers, proxy) = two();
    let much: Vec<u8> = (0..3_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect();
    let all = [real("a.example", &[]), much].concat();
    let stream = connect(proxy.at());
    let mut writer = stream.try_clone().unwrap();
    let sent = all.clone();
    // The echo fills both ways: who does not read while it writes would wait for itself.
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut reader = stream;
    let name = crate::harness::client::read_line(&mut reader).unwrap();
    let mut back = vec![0; all.len()];
    std::io::Read::read_exact(&mut reader, &mut back).unwrap();
    writing.join().unwrap();
    assert!(name == "a" && back == all);
    // Half-closed, it ends on both sides.
    crate::harness::client::close(reader);
    proxy.wait_outcome("ok", 1);
    let line = proxy.wait_access(1).pop().unwrap();
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&all.len().into(), &(all.len() + 2).into())
    );
}

#[test]
fn a_reset_after_a_hello_is_passed_on() {
    let (servers, proxy) = two();
    let mut stream = connect(proxy.at());
    stream.write_all(&real("a.example", &[])).unwrap();
    assert_eq!(crate::harness::client::read_line(&mut stream).unwrap(), "a");
    crate::harness::client::reset(stream);
    proxy.wait_outcome("client-reset", 1);
    crate::harness::wait::eventually(
        "the backend has seen it",
        crate::harness::wait::PATIENCE,
        || servers[0].open() == 0,
    );
}
