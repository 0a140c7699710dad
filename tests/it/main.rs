//! The integration tests: the real binary, seen from outside.
fn main() {}
