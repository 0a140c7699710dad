//! Any bytes of a client in HTTP/1 pass or are refused, never with a panic, and in whatever pieces they
//! come: as much of them, and for the same reason.
//!
//! Run with: cargo fuzz run -s none http1

#![no_main]

use evenkeel::wire::http1::{Refusal, Screen};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, bytes)) = bytes.split_first() else { return };
    let whole = in_pieces(bytes, bytes.len().max(1));
    assert!(whole.0 <= bytes.len());
    assert_eq!(in_pieces(bytes, 1), whole);
    assert_eq!(in_pieces(bytes, usize::from(*seed).max(1)), whole);
});

/// How much passes in all, and why no more.
fn in_pieces(bytes: &[u8], piece: usize) -> (usize, Option<Refusal>) {
    let (mut screen, mut come, mut passed) = (Screen::default(), 0, 0);
    while come < bytes.len() {
        come = (come + piece).min(bytes.len());
        match screen.pass(&bytes[passed..come]) {
            Ok(more) => passed += more,
            Err((more, why)) => return (passed + more, Some(why)),
        }
    }
    (passed, None)
}
