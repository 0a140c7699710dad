//! The corpus of requests, whole and in pieces, and hyper's reading of what passes.

#[path = "../../../../tests/it/web/smuggling/corpus.rs"]
mod corpus;
mod oracle;
mod stages;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A request that nobody can take for anything else.
const PLAIN: &[u8] = b"GET /first HTTP/1.1\r\nHost: web.example\r\n\r\n";

/// How much passes in all, and why no more.
type Verdict = (usize, Option<Refusal>);

fn whole(bytes: &[u8]) -> Verdict {
    match Screen::default().pass(bytes) {
        Ok(passed) => (passed, None),
        Err((passed, why)) => (passed, Some(why)),
    }
}

/// The same, where it comes in pieces of these lengths, over and over.
fn in_pieces(bytes: &[u8], pieces: &[usize]) -> Verdict {
    let (mut screen, mut come, mut passed) = (Screen::default(), 0, 0);
    for piece in pieces.iter().cycle() {
        come = (come + piece).min(bytes.len());
        match screen.pass(&bytes[passed..come]) {
            Ok(more) => passed += more,
            Err((more, why)) => return (passed + more, Some(why)),
        }
        if come == bytes.len() {
            break;
        }
    }
    (passed, None)
}

#[test]
fn what_is_malformed_or_ambiguous_is_refused() {
    for case in corpus::refused() {
        let says = corpus::bytes(&case.says);
        let (passed, why) = whole(&says);
        let why = why.unwrap_or_else(|| panic!("it passes: {}", case.name));
        assert_eq!(why.status, case.status, "{}: {}", case.name, why.why);
        assert!(KINDS.contains(&why.kind));
        assert_eq!(passed > 0, case.begun, "{}: {passed} bytes pass", case.name);
        // What may be taken for another request does not pass in any case.
        let smuggled = says.windows(13).position(|here| here == b"GET /smuggled");
        assert!(smuggled.is_none_or(|at| passed < at + 5), "{}", case.name);
    }
}

#[test]
fn what_comes_before_it_passes() {
    for case in corpus::refused() {
        let says = corpus::bytes(&case.says);
        let (passed, why) = whole(&[PLAIN, &says].concat());
        assert_eq!((passed - PLAIN.len(), why), whole(&says), "{}", case.name);
    }
}

#[test]
fn what_has_one_meaning_passes() {
    for case in corpus::passed() {
        let says = corpus::bytes(&case.says);
        assert_eq!(whole(&says), (says.len(), None), "{}", case.name);
    }
}

#[test]
fn a_request_of_the_corpus_is_judged_alike_byte_by_byte() {
    let refused = corpus::refused().into_iter().map(|case| case.says);
    for says in refused.chain(corpus::passed().into_iter().map(|case| case.says)) {
        let says = [PLAIN, &corpus::bytes(&says)].concat();
        let step = 1 + says.len() / 5000;
        assert_eq!(in_pieces(&says, &[step]), whole(&says), "{}", says.escape_ascii());
    }
}

/// What heads are made of, sound and not.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let parts: Vec<&[u8]> = vec![
        b"GET ",
        b"POST ",
        b"OPTIONS ",
        b"/",
        b"*",
        b"/a?b",
        b"http://a/",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"Host:a:80\r\n",
        b"host: b\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 10\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0;a\r\nX: y\r\n\r\n",
        b"\xff",
        b"5\r\n",
        b"5 \r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    prop::collection::vec(select(parts), 0..12).prop_map(|parts| parts.concat())
}

/// A request of the corpus behind another, with a few bytes changed, taken out, or put in.
fn mutants() -> impl Strategy<Value = Vec<u8>> {
    let refused = corpus::refused().into_iter().map(|case| case.says);
    let says = refused.chain(corpus::passed().into_iter().map(|case| case.says));
    let sane: Vec<Vec<u8>> =
        says.map(|says| corpus::bytes(&says)).filter(|says| says.len() < 2000).collect();
    let byte = prop_oneof![select(b"\r\n\t :;,/0159afAF\0\x0b\x7f\xa0".to_vec()), any::<u8>()];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), byte, 0..3_u8), 0..3);
    (select(sane.clone()), select(sane), changes).prop_map(|(first, second, changes)| {
        let mut bytes = [first, second].concat();
        for (at, byte, what) in changes {
            let at = at.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        bytes in prop_oneof![fragments(), mutants()],
        pieces in prop::collection::vec(1..40_usize, 1..6),
    ) {
        prop_assert_eq!(in_pieces(&bytes, &pieces), whole(&bytes));
        prop_assert_eq!(in_pieces(&bytes, &[1]), whole(&bytes));
    }

    #[test]
    fn hyper_hears_the_same(bytes in prop_oneof![fragments(), mutants()]) {
        oracle::compare(&bytes);
    }
}

#[test]
fn hyper_hears_the_corpus_as_it_is_meant() {
    for case in corpus::passed() {
        let heard = oracle::compare(&corpus::bytes(&case.says));
        let [only] = &heard[..] else { panic!("{}: {heard:?}", case.name) };
        assert!(authority::Authority::read(case.host.as_bytes()).is_some(), "{}", case.name);
        assert_eq!(only.method, case.method, "{}", case.name);
        assert_eq!(only.target, corpus_text(&case.target), "{}", case.name);
        assert_eq!(only.body, corpus::bytes(&case.body), "{}", case.name);
    }
}

fn corpus_text(text: &str) -> String {
    String::from_utf8(corpus::bytes(text)).unwrap()
}
