//! Any bytes are a header, the beginning of one, or refused, never a panic. What is read of a header
//! does not depend on how much of it came at once or what is behind it, and survives being written
//! and read again.
//!
//! Run with: cargo fuzz run -s none proxy_protocol

#![no_main]

use evenkeel::wire::proxy_protocol::{Decoded, decode, encode_v1, encode_v2};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Decoded::Header { addresses, length }) = decode(bytes) else { return };
    assert_eq!(decode(&bytes[..length]), decode(bytes));
    // As a reader goes along that takes no more than is wanted, and one byte at a time.
    let (mut wanted, mut least) = (0, 0);
    while let Ok(Decoded::Incomplete { more }) = decode(&bytes[..wanted]) {
        wanted += more;
        assert!(more > 0 && wanted <= length);
    }
    assert_eq!(wanted, length);
    while least < length {
        assert!(matches!(decode(&bytes[..least]), Ok(Decoded::Incomplete { .. })));
        least += 1;
    }
    for written in addresses.iter().flat_map(|ends| [encode_v1(ends), encode_v2(ends)]) {
        let length = written.len();
        assert_eq!(decode(&written), Ok(Decoded::Header { addresses, length }));
    }
});
