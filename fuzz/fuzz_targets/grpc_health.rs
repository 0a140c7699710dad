//! Any bytes are the answer of a health service or refused, never a panic; and what comes behind a
//! whole answer is never overlooked.
//!
//! Run with: cargo fuzz run -s none grpc_health

#![no_main]

use evenkeel::wire::grpc_health::{Flaw, MOST, answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if answer(bytes).is_ok() {
        assert!(bytes.len() <= MOST);
        let longer = [bytes, b"x"].concat();
        assert!(matches!(answer(&longer), Err(Flaw::Length | Flaw::Long)));
    }
});
