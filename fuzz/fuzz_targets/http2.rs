//! Any bytes of a client in HTTP/2 are counted, never with a panic, and in whatever pieces they come:
//! with the same result.
//!
//! Run with: cargo fuzz run -s none http2

#![no_main]

use evenkeel::wire::http2::{Flood, Meter, PREFACE};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, bytes)) = bytes.split_first() else { return };
    let whole = in_pieces(bytes, bytes.len().max(1));
    assert_eq!(in_pieces(bytes, 1), whole);
    assert_eq!(in_pieces(bytes, usize::from(*seed).max(1)), whole);
});

fn in_pieces(bytes: &[u8], piece: usize) -> Result<(), Flood> {
    let mut meter = Meter::default();
    meter.pass(PREFACE, 0)?;
    bytes.chunks(piece).try_for_each(|piece| meter.pass(piece, 0))
}
