//! What a first flight asks for, however it is cut, and what another implementation says of it.

use std::sync::Arc;

use proptest::prelude::*;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// The extension of server names, of one host name.
fn sni(name: &[u8]) -> Vec<u8> {
    extension(0, &list(&[&[0][..], &list(name)].concat()))
}

fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    let listed = |name: &&[u8]| [&[u8::try_from(name.len()).unwrap()], *name].concat();
    extension(16, &list(&protocols.iter().flat_map(listed).collect::<Vec<_>>()))
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &list(content)].concat()
}

fn list(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// What rustls wants of everybody: signature schemes.
fn schemes() -> Vec<u8> {
    extension(13, &list(&[4, 3]))
}

/// A handshake message of the least that there must be, and these extensions.
fn message(extensions: &[&[u8]]) -> Vec<u8> {
    let begin = [&[3, 3][..], &[7; 32], &[0], &list(&[0x13, 1]), &[1, 0]].concat();
    of_body(&[begin, list(&extensions.concat())].concat())
}

fn of_body(body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[..], body].concat()
}

/// A message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &list(part)].concat()).collect()
}

fn flight(extensions: &[&[u8]]) -> Vec<u8> {
    records(&message(extensions), RECORD)
}

fn read(flight: &[u8]) -> Decoded {
    Reader::default().read(flight)
}

fn hello(flight: &[u8]) -> ClientHello {
    match read(flight) {
        Decoded::Hello(hello) => hello,
        other => panic!("{other:?} of {}", flight.escape_ascii()),
    }
}

fn name_of(name: &[u8]) -> Option<String> {
    hello(&flight(&[&sni(name)])).server_name
}

/// What a client of rustls says first.
fn real(name: &'static str, alpn: &[&str], is_hybrid: bool) -> Vec<u8> {
    let mut provider = aws_lc_rs::default_provider();
    if !is_hybrid {
        provider.kx_groups = aws_lc_rs::DEFAULT_KX_GROUPS
            .iter()
            .copied()
            .filter(|group| group.name() != rustls::NamedGroup::X25519MLKEM768)
            .collect();
    }
    let provider: Arc<CryptoProvider> = provider.into();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut flight = Vec::new();
    client.write_tls(&mut flight).unwrap();
    flight
}

/// The name and the protocols that rustls finds; the error is its own word.
fn oracle(flight: &[u8]) -> Result<Option<ClientHello>, rustls::Error> {
    let mut acceptor = Acceptor::default();
    let mut rest = flight;
    loop {
        // It takes some at a time, and must look at these before it takes more.
        let taken = acceptor.read_tls(&mut rest).unwrap_or_default();
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_owned();
                let server_name = hello.server_name().map(plain);
                let alpn = hello.alpn().map(|all| all.map(<[u8]>::to_vec).collect());
                let alpn = alpn.unwrap_or_default();
                return Ok(Some(ClientHello { server_name, alpn }));
            }
            Ok(None) if taken == 0 => return Ok(None),
            Ok(None) => {}
            Err((error, _)) => return Err(error),
        }
    }
}

#[test]
fn real_hellos_are_read_with_and_without_post_quantum_shares() {
    for (is_hybrid, least) in [(false, 200), (true, 1_400)] {
        let flight = real("Db.Example", &["postgresql", "h2"], is_hybrid);
        assert!(flight.len() > least, "{}", flight.len());
        let read = hello(&flight);
        assert_eq!(read.server_name.as_deref(), Some("db.example"));
        assert_eq!(read.alpn, [&b"postgresql"[..], b"h2"]);
        assert_eq!(oracle(&flight), Ok(Some(read)));
    }
    let nameless = hello(&real("192.0.2.7", &[], true));
    assert_eq!(nameless, ClientHello::default());
}

#[test]
fn a_hello_cut_anywhere_reads_the_same() {
    for (is_hybrid, sizes) in [(false, &[1, 2, 3, 4, 5, 100][..]), (true, &[900, RECORD])] {
        let whole = real("db.example", &["h2"], is_hybrid);
        let expected = read(&whole);
        assert!(matches!(expected, Decoded::Hello(_)));
        for size in sizes {
            let flight = records(&whole[RECORD_HEADER..], *size);
            assert_eq!(oracle(&flight).unwrap().map(Decoded::Hello), Some(expected.clone()));
            for cut in 0..flight.len() {
                let mut reader = Reader::default();
                assert_eq!(reader.read(&flight[..cut]), Decoded::Incomplete, "{cut} in {size}");
                assert_eq!(reader.read(&flight), expected, "{cut} in {size}");
            }
        }
    }
}

#[test]
fn a_hello_that_comes_byte_by_byte_is_known_at_its_last() {
    let whole = real("db.example", &["h2"], true);
    // What comes behind it is nobody's concern here.
    let flight = [records(&whole[RECORD_HEADER..], 7), b"early data".to_vec()].concat();
    let mut reader = Reader::default();
    let first = (0..=flight.len()).find_map(|end| match reader.read(&flight[..end]) {
        Decoded::Incomplete => None,
        other => Some((end, other)),
    });
    assert_eq!(first, Some((flight.len() - 10, read(&whole))));
}

#[test]
fn a_name_is_in_lower_case_without_its_last_dot() {
    assert_eq!(name_of(b"A.Example").as_deref(), Some("a.example"));
    assert_eq!(name_of(b"a.example.").as_deref(), Some("a.example"));
    assert_eq!(name_of(b"localhost").as_deref(), Some("localhost"));
    assert_eq!(name_of(b"_dmarc.r3---sn.xn--bcher-kva.example").map(|name| name.len()), Some(36));
    let long = [&[b'a'; 63][..], b".", &[b'b'; 63], b".", &[b'c'; 63], b".", &[b'd'; 61]].concat();
    assert_eq!(name_of(&long).map(|name| name.len()), Some(253));
    assert_eq!(hello(&flight(&[])).server_name, None);
}

#[test]
fn what_is_no_host_name_is_no_name() {
    let too_long = [&[b'a'; 64][..], b".example"].concat();
    let endless = [&b"a."[..]; 128].concat();
    let names: &[&[u8]] = &[
        b"192.0.2.7",
        b"2001:db8::7",
        b"[2001:db8::7]",
        b"a b.example",
        b"a\0.example",
        b"*.example",
        b"b\xc3\xbccher.example",
        b".",
        b"a..example",
        b".example",
        b"a.example..",
        b"a/b",
        b"a:443",
        &too_long,
        &endless,
    ];
    for name in names {
        assert_eq!(name_of(name), None, "{}", name.escape_ascii());
    }
}

#[test]
fn what_breaks_the_rules_of_tls_is_foreign() {
    let name = sni(b"a.example");
    let protocols = alpn(&[b"h2"]);
    let two = extension(0, &list(&[&[0][..], &list(b"a.example"), &[0], &list(b"b")].concat()));
    let messages = [
        message(&[&name, &name]),
        message(&[&protocols, &protocols]),
        message(&[&two]),
        message(&[&sni(b"")]),
        message(&[&extension(0, &list(&[]))]),
        message(&[&extension(0, &[])]),
        message(&[&extension(0, &[&list(&[&[0][..], &list(b"a")].concat())[..], b"x"].concat())]),
        message(&[&extension(0, &list(&[0, 0, 9, b'a']))]),
        message(&[&extension(16, &list(&[]))]),
        message(&[&extension(16, &list(&[0]))]),
        message(&[&extension(16, &list(&[3, b'h', b'2']))]),
        message(&[&[0, 43, 0]]),
        [message(&[]), vec![0]].concat(),
        of_body(&[]),
        of_body(&[&[3, 3][..], &[7; 32], &[33], &[1; 33], &list(&[1, 2]), &[1, 0]].concat()),
        of_body(&[&[3, 3][..], &[7; 32], &[0], &list(&[1]), &[1, 0]].concat()),
        of_body(&[&[3, 3][..], &[7; 32], &[0], &list(&[]), &[1, 0]].concat()),
        of_body(&[&[3, 3][..], &[7; 32], &[0], &list(&[1, 2]), &[0]].concat()),
        of_body(&[&[3, 3][..], &[7; 32], &[0], &list(&[1, 2]), &[1, 0], &list(&[]), &[0]].concat()),
        vec![2, 0, 0, 1, 0],
    ];
    for message in messages {
        let flight = records(&message, RECORD);
        assert_eq!(read(&flight), Decoded::Foreign, "{}", message.escape_ascii());
        assert!(oracle(&flight).is_err(), "{}", message.escape_ascii());
    }
    // A name of a type that does not exist ends the list, as others read it.
    let odd = extension(0, &list(&[&[0][..], &list(b"a.example"), &[9, 9]].concat()));
    assert_eq!(hello(&flight(&[&odd])).server_name.as_deref(), Some("a.example"));
    // Before there were extensions.
    let old = of_body(&[&[3, 1][..], &[7; 32], &[0], &list(&[0, 47]), &[1, 0]].concat());
    assert_eq!(hello(&records(&old, RECORD)), ClientHello::default());
}

#[test]
fn what_is_not_tls_is_foreign_at_its_first_byte_that_says_so() {
    for foreign in [
        &b"G"[..],
        b"S",
        b"\0",
        b"\x15",
        b"\x14",
        b"\x17",
        b"\x80",
        b"\x16\x02",
        b"\x16\x04",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\0\x01\x02",
        // A hello that says it is longer than one may be.
        b"\x16\x03\x01\0\x04\x01\x01\0\0",
        // An alert in the middle.
        b"\x16\x03\x01\0\x01\x01\x15",
        // A record that goes on behind the message.
        b"\x16\x03\x01\0\x64\x01\0\0\x20",
    ] {
        assert_eq!(read(foreign), Decoded::Foreign, "{}", foreign.escape_ascii());
        let before = foreign.split_last().unwrap().1;
        assert_eq!(read(before), Decoded::Incomplete, "{}", before.escape_ascii());
    }
}

#[test]
fn nothing_is_waited_for_beyond_the_longest_flight() {
    // A message that never ends, in records of one byte.
    let [_, length @ ..] = 60_000_u32.to_be_bytes();
    let endless = records(&[&[1][..], &length, &[3; 60_000]].concat(), 1);
    let mut reader = Reader::default();
    assert_eq!(reader.read(&endless[..LONGEST - RECORD_HEADER]), Decoded::Incomplete);
    assert_eq!(reader.read(&endless[..LONGEST]), Decoded::Foreign);
    // The largest that fits, and the smallest that does not.
    let padded = |padding: usize| flight(&[&sni(b"a.example"), &extension(21, &vec![0; padding])]);
    let rest = LONGEST - padded(3 * RECORD + 9_000).len();
    let largest = padded(3 * RECORD + 9_000 + rest);
    assert_eq!(largest.len(), LONGEST);
    assert_eq!(hello(&largest).server_name.as_deref(), Some("a.example"));
    assert_eq!(read(&padded(3 * RECORD + 9_001 + rest)), Decoded::Foreign);
}

#[test]
fn a_megabyte_of_tiny_records_costs_no_more_than_its_headers() {
    // Quadratic work would be billions of steps.
    let message = message(&[&extension(21, &[0; 9_000])]);
    let flight = records(&message, 1);
    let mut reader = Reader::default();
    for end in 0..flight.len() {
        assert_eq!(reader.read(&flight[..end]), Decoded::Incomplete);
        assert!(end < reader.next + RECORD_HEADER + 1);
    }
    assert!(matches!(reader.read(&flight), Decoded::Hello(_)));
}

/// True if rustls says that these are no records of TLS at all.
fn is_no_tls(error: &rustls::Error) -> bool {
    use rustls::InvalidMessage::{
        InvalidContentType, InvalidEmptyPayload, MessageTooLarge, UnknownProtocolVersion,
    };
    matches!(
        error,
        rustls::Error::InvalidMessage(
            InvalidContentType | InvalidEmptyPayload | MessageTooLarge | UnknownProtocolVersion
        )
    )
}

/// Where rustls takes a hello, it is read alike. Allowed: records of more than 2^14 bytes, which
/// rustls takes though RFC 8446, 5.1 forbids them; flights beyond [`LONGEST`]; and to read hellos that
/// rustls refuses for what a server would have to answer, which is the backend's to judge.
fn agrees(flight: &[u8]) {
    let ours = read(flight);
    match oracle(flight) {
        Ok(Some(theirs)) => assert_eq!(ours, Decoded::Hello(theirs), "{}", flight.escape_ascii()),
        Ok(None) => assert!(!matches!(ours, Decoded::Hello(_)), "{}", flight.escape_ascii()),
        Err(error) if is_no_tls(&error) => assert_eq!(ours, Decoded::Foreign, "{error}"),
        Err(_) => {}
    }
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-zA-Z0-9_-]{1,12}(\\.[a-zA-Z0-9-]{1,12}){0,4}\\.?".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn whatever_is_asked_for_rustls_reads_alike(
        name in prop::option::of(any_name()),
        offered in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 0..4),
        size in 1_usize..300,
        unknown in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let offers: Vec<&[u8]> = offered.iter().map(Vec::as_slice).collect();
        let extensions = [
            name.as_deref().map(sni).unwrap_or_default(),
            schemes(),
            if offers.is_empty() { Vec::new() } else { alpn(&offers) },
            extension(0x1234, &unknown),
        ];
        let whole = message(&extensions.each_ref().map(Vec::as_slice));
        agrees(&records(&whole, size));
    }

    #[test]
    fn a_real_hello_with_some_bytes_changed_never_misleads(
        changes in prop::collection::vec((0_usize..600, any::<u8>()), 1..6),
        size in prop::sample::select(vec![1, 50, RECORD]),
        is_in_the_frames: bool,
    ) {
        let whole = real("db.example", &["h2"], false);
        let message = whole[RECORD_HEADER..].to_vec();
        let mut bytes = if is_in_the_frames { records(&message, size) } else { message };
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        agrees(&if is_in_the_frames { bytes } else { records(&bytes, size) });
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_however_they_come(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(0_usize..200, 0..5),
        begins_well: bool,
    ) {
        let start: &[u8] = if begins_well { &[22, 3, 1, 0, 90, 1, 0, 0, 86, 3, 3] } else { &[] };
        let bytes = [start, &bytes].concat();
        let mut reader = Reader::default();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        let mut seen = Decoded::Incomplete;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            if seen == Decoded::Incomplete {
                seen = reader.read(&bytes[..cut]);
            }
        }
        prop_assert_eq!(seen, read(&bytes));
        agrees(&bytes);
    }
}
