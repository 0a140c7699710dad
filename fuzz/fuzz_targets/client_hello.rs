//! Any bytes are a ClientHello, the beginning of one, or neither, never a panic. What is read does
//! not depend on how much of it came at once or on what is behind it; where rustls takes a hello, it
//! is read alike.
//!
//! Run with: cargo fuzz run -s none client_hello

#![no_main]

use evenkeel::wire::client_hello::{ClientHello, Decoded, LONGEST, Reader};
use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;

fuzz_target!(|bytes: &[u8]| {
    let whole = Reader::default().read(bytes);
    let mut reader = Reader::default();
    let first = (0..=bytes.len()).find_map(|end| match reader.read(&bytes[..end]) {
        Decoded::Incomplete => None,
        known => Some(known),
    });
    assert_eq!(first.unwrap_or(Decoded::Incomplete), whole);
    assert!(whole != Decoded::Incomplete || bytes.len() < LONGEST);
    // Longer records than the specification has, and longer flights than we have, are rustls's alone.
    if let Some(theirs) = accepted(bytes)
        && bytes.len() < 1 << 14
    {
        assert_eq!(whole, Decoded::Hello(theirs));
    }
});

fn accepted(mut bytes: &[u8]) -> Option<ClientHello> {
    let mut acceptor = Acceptor::default();
    loop {
        let taken = acceptor.read_tls(&mut bytes).unwrap_or_default();
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_owned();
            let server_name = hello.server_name().map(plain);
            let alpn = hello.alpn().map(|all| all.map(<[u8]>::to_vec).collect());
            return Some(ClientHello { server_name, alpn: alpn.unwrap_or_default() });
        }
        if taken == 0 {
            return None;
        }
    }
}
