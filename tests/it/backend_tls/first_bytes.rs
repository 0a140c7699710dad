//! What goes ahead of a handshake, and what comes right behind it.

use std::io::Read;

use super::backend::{Backend, Plan};
use super::file;
use crate::harness::authority::Authority;
use crate::harness::client::{close, connect, ping, read_line, who};
use crate::harness::evenkeel::Evenkeel;
use crate::proxy_protocol::{v1, v2};

#[test]
fn the_proxy_header_goes_ahead_of_the_handshake_in_the_clear() {
    type Codec = fn(&str, &str) -> Vec<u8>;
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    for (version, codec) in [("v1", v1 as Codec), ("v2", v2)] {
        let plan = Plan::new("b", &signed);
        let backend = match version {
            "v1" => Plan { prelude: |stream| read_line(stream).map(String::into_bytes), ..plan },
            _ => Plan {
                prelude: |stream| {
                    let mut header = vec![0; 28];
                    stream.read_exact(&mut header).map(|()| header)
                },
                ..plan
            },
        }
        .start();
        let pool = format!("send_proxy_protocol = \"{version}\"");
        let proxy = Evenkeel::start(&file(&[&backend], &authority.ca(), &pool));
        let mut stream = connect(proxy.at());
        let client = stream.local_addr().unwrap().to_string();
        assert_eq!(read_line(&mut stream).unwrap(), "b");
        ping(&mut stream, "hello");
        close(stream);
        let mut header = backend.seen().ahead;
        if version == "v1" {
            header.push(b'\n');
        }
        assert_eq!(header, codec(&client, &proxy.at().to_string()), "{version}");
        proxy.wait_outcome("ok", 1);
        // Neither the header nor the framing is the client's.
        let metrics = proxy.metrics();
        assert_eq!(metrics.count("bytes_total", &[("direction", "in")]), 5);
        assert_eq!(metrics.count("bytes_total", &[("direction", "out")]), 7);
    }
}

#[test]
fn a_backend_that_speaks_first_is_heard_by_a_client_that_waits() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign(&["127.0.0.1"]));
    let proxy = Evenkeel::start(&file(&[&backend], &authority.ca(), ""));
    // Often, since its greeting comes with the last of the handshake or behind it, as it happens.
    for _ in 0..30 {
        assert_eq!(who(proxy.at()), "b");
    }
    proxy.wait_outcome("ok", 30);
}
