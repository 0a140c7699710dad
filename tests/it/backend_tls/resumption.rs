//! A session with a backend goes on where an earlier one left off, and only with that backend.

use super::backend::Backend;
use super::file;
use crate::harness::authority::Authority;
use crate::harness::client::{close, hold, ping};
use crate::harness::evenkeel::Evenkeel;

#[test]
fn the_second_session_with_a_backend_resumes_the_first_and_no_other_ones() {
    let authority = Authority::new();
    // The same certificate and the same name: nothing but the address tells them apart.
    let signed = authority.sign(&["127.0.0.1"]);
    let backends = [Backend::start("one", &signed), Backend::start("two", &signed)];
    let [one, two] = &backends;
    let pool = "balance = \"round-robin\"";
    let toml = file(&[one, two], &authority.ca(), pool);
    // Whichever worker and listener a session comes by.
    let more = "[listener.m]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n";
    let proxy = Evenkeel::start(&format!("{toml}{more}"));
    for (round, listener) in ["l", "m", "l"].into_iter().enumerate() {
        for backend in [one, two] {
            let mut held = hold(proxy.address(listener));
            assert_eq!(held.backend, backend.server.name);
            // Its tickets come ahead of its answer.
            ping(&mut held.stream, "hello");
            close(held.stream);
            assert_eq!(backend.seen().resumed, round > 0, "{round}");
        }
    }
}
