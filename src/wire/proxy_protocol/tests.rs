//! Both versions: what is read, what is refused, and what the other implementation says of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ppp::{v1, v2};
use proptest::prelude::*;

use super::crc32c::crc32c;
use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn header(bytes: &[u8]) -> Option<Addresses> {
    match decode(bytes).unwrap() {
        Decoded::Header { addresses, length } if length == bytes.len() => addresses,
        other => panic!("{other:?} of {}", bytes.escape_ascii()),
    }
}

fn refused(bytes: &[u8]) -> String {
    decode(bytes).expect_err(&format!("taken: {}", bytes.escape_ascii())).to_string()
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

const BLOCK4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0, 80];

/// TCP over IPv4 with these facts.
fn with_facts(facts: &[(u8, &[u8])]) -> Vec<u8> {
    let mut block = BLOCK4.to_vec();
    for (kind, value) in facts {
        block.push(*kind);
        block.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        block.extend_from_slice(value);
    }
    v2(0x21, 0x11, &block)
}

/// Puts the right checksum in the place of the zeros that begin `at` bytes before the end.
fn sealed(mut header: Vec<u8>, at: usize) -> Vec<u8> {
    let sum = crc32c(header.iter().copied()).to_be_bytes();
    let place = header.len() - at;
    header[place..place + 4].copy_from_slice(&sum);
    header
}

/// Every proper beginning wants more, and never more than there is.
fn is_incomplete_until_its_last_byte(whole: &[u8]) {
    for end in 0..whole.len() {
        match decode(&whole[..end]) {
            Ok(Decoded::Incomplete { more }) => {
                assert!(more > 0 && more <= whole.len() - end, "{more} at {end} of {whole:?}");
            }
            other => panic!("{other:?} at {end} of {}", whole.escape_ascii()),
        }
    }
    let payload = [whole, b"PROXY payload\r\n"].concat();
    assert_eq!(decode(&payload), decode(whole));
}

#[test]
fn a_line_names_both_ends() {
    let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n";
    let ends = addresses("192.168.0.1:56324", "192.168.0.11:443");
    assert_eq!(header(line), Some(ends));
    assert_eq!(encode_v1(&ends), line);
    let line = b"PROXY TCP6 2001:db8::1 FE80:0:0:0:0:0:0:1 0 65535\r\n";
    assert_eq!(header(line), Some(addresses("[2001:db8::1]:0", "[fe80::1]:65535")));
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n";
    assert_eq!(header(mapped), Some(addresses("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2")));
}

#[test]
fn a_line_may_name_nobody() {
    let longest = [&b"PROXY UNKNOWN "[..], &[0xff; 91], b"\r\n"].concat();
    assert_eq!(longest.len(), 107);
    let others = [UNKNOWN, b"PROXY UNKNOWN 1 2 \n \r x\r\n", b"PROXY UNKNOWN \r\n", &longest];
    for line in others {
        assert_eq!(header(line), None);
    }
    // No line can hold two families.
    assert_eq!(encode_v1(&addresses("192.0.2.1:1", "[::1]:2")), UNKNOWN);
}

#[test]
fn a_line_that_is_not_to_the_letter_is_refused() {
    for line in [
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX",
        "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY TCP4 1.2.3.4\t5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 00 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8  2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n",
        "PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP6 ::1::2 ::1 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n",
        "PROXY TCP6 ::00001 ::1 1 2\r\n",
        "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN\r\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        " PROXY UNKNOWN\r\n",
    ] {
        refused(line.as_bytes());
    }
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 92], b"\r\n".to_vec()].concat();
    assert!(refused(&long).contains("107 bytes"));
}

#[test]
fn what_cannot_become_a_line_is_refused_before_its_end() {
    for (line, at) in [
        ("GET", 1),
        ("PROXY TLS", 8),
        ("PROXY TCP4 1.2.3.4\n", 19),
        ("PROXY TCP4 1.2.3.4 x", 20),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ", 31),
        ("PROXY UNKNOWN\n", 14),
    ] {
        let bytes = line.as_bytes();
        assert_eq!(bytes.len(), at.max(line.len()));
        refused(bytes);
        if at > 1 {
            assert!(decode(&bytes[..at - 1]).is_ok(), "{line}");
        }
    }
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 92]].concat();
    assert!(decode(&endless[..105]).is_ok());
    refused(&endless);
}

#[test]
fn a_binary_header_names_both_ends() {
    let ends = addresses("192.0.2.1:4660", "192.0.2.2:80");
    let whole = v2(0x21, 0x11, &BLOCK4);
    assert_eq!((header(&whole), encode_v2(&ends)), (Some(ends), whole));
    let ends = addresses("[2001:db8::1]:1", "[2001:db8::2]:65535");
    assert_eq!(header(&encode_v2(&ends)), Some(ends));
    let mixed = encode_v2(&addresses("192.0.2.1:1", "[::1]:2"));
    assert_eq!(header(&mixed), Some(addresses("[::ffff:192.0.2.1]:1", "[::1]:2")));
}

#[test]
fn what_is_local_or_of_another_kind_names_nobody() {
    assert_eq!(header(LOCAL), None);
    // Of LOCAL everything behind the command is skipped.
    for (family, block) in [(0x11, &BLOCK4[..]), (0xff, b"x"), (0x11, b""), (0, &[3; 3])] {
        assert_eq!(header(&v2(0x20, family, block)), None);
    }
    for (family, length) in [(0x00, 0), (0x00, 7), (0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)]
    {
        assert_eq!(header(&v2(0x21, family, &vec![1; length])), None, "{family:#x}");
    }
}

#[test]
fn a_binary_header_that_breaks_the_specification_is_refused() {
    for (command, family) in
        [(0x22, 0x11), (0x2f, 0), (0x11, 0x11), (0x31, 0x11), (0x21, 0x41), (0x21, 0x13)]
    {
        let whole = v2(command, family, &[0; 300]);
        refused(&whole);
        refused(&whole[..14]);
    }
    refused(&v2(0x21, 0x11, &BLOCK4[..11]));
    refused(&v2(0x21, 0x11, &BLOCK4[..11])[..16]);
    refused(&v2(0x21, 0x21, &[0; 35]));
    refused(&v2(0x21, 0x31, &[0; 215]));
    let mut broken = v2(0x21, 0x11, &BLOCK4);
    broken[4] = 1;
    refused(&broken[..5]);
}

#[test]
fn facts_are_skipped_when_they_are_whole() {
    let many = vec![7; 20_000];
    let tls = [&[1, 0, 0, 0, 0][..], &[0x21, 0, 3], b"TLS"].concat();
    let whole = with_facts(&[
        (0x04, &[]),
        (0xe0, &many),
        (0x05, &[9; 128]),
        (0x20, &tls),
        (0x01, b"h2"),
        (0xff, &[]),
    ]);
    assert_eq!(header(&whole), Some(addresses("192.0.2.1:4660", "192.0.2.2:80")));
    let longest = v2(0x21, 0x31, &[vec![1; 216], vec![4, 0xff, 0x24], vec![0; 65_316]].concat());
    assert_eq!((longest.len(), header(&longest)), (16 + 65_535, None));
}

#[test]
fn facts_that_are_torn_are_refused() {
    let with = |rest: &[u8]| v2(0x21, 0x11, &[&BLOCK4[..], rest].concat());
    for rest in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0, 0, 4], &[4, 0xff, 0xff, 1]] {
        refused(&with(rest));
    }
    refused(&with_facts(&[(0x05, &[9; 129])]));
    refused(&with_facts(&[(0x20, &[0; 4])]));
    refused(&with_facts(&[(0x20, &[0, 0, 0, 0, 0, 0x21, 0, 9])]));
    refused(&v2(0x21, 0x32, &[vec![1; 216], vec![4, 0, 1]].concat()));
}

#[test]
fn a_checksum_has_to_be_right() {
    let last = sealed(with_facts(&[(0x04, b"abc"), (0x03, &[0; 4])]), 4);
    let first = sealed(with_facts(&[(0x03, &[0; 4]), (0x04, b"abc")]), 10);
    for whole in [last, first] {
        assert!(header(&whole).is_some());
        is_incomplete_until_its_last_byte(&whole);
        for at in 16..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            let other = decode(&flipped);
            // Another type may hide the checksum; whatever is still one has to be right.
            let is_hidden = whole[at] == 3 && whole[at + 1..at + 3] == [0, 4];
            assert!(is_hidden || other.is_err(), "byte {at}: {other:?}");
        }
    }
    assert!(refused(&with_facts(&[(0x03, &[0; 4])])).contains("checksum"));
    refused(&with_facts(&[(0x03, &[0; 3])]));
    refused(&with_facts(&[(0x03, &[0; 5])]));
}

#[test]
fn every_header_wants_exactly_what_it_is() {
    for whole in [
        UNKNOWN.to_vec(),
        b"PROXY UNKNOWN anything \n at \r all\r\n".to_vec(),
        b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".to_vec(),
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_vec(),
        b"PROXY TCP6 :: :: 0 0\r\n".to_vec(),
        b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8:1:2:3:4:5:6 1 23\r\n".to_vec(),
        LOCAL.to_vec(),
        v2(0x20, 0x77, &[1; 40]),
        v2(0x21, 0, &[1; 5]),
        v2(0x21, 0x31, &[1; 216]),
        with_facts(&[(0x04, &[0; 300])]),
    ] {
        is_incomplete_until_its_last_byte(&whole);
    }
}

fn socket() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<Ipv4Addr>().prop_map(IpAddr::from);
    let v6 = any::<Ipv6Addr>().prop_map(IpAddr::from);
    let sparse = any::<u16>().prop_map(|low| IpAddr::from(Ipv6Addr::from(u128::from(low))));
    (prop_oneof![v4, v6, sparse], any::<u16>()).prop_map(SocketAddr::from)
}

fn of_ppp(addresses: v1::Addresses) -> Option<Addresses> {
    match addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(ends) => Some(Addresses {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
        }),
        v1::Addresses::Tcp6(ends) => Some(Addresses {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
        }),
    }
}

fn of_ppp2(addresses: v2::Addresses) -> Option<Addresses> {
    match addresses {
        v2::Addresses::IPv4(ends) => Some(Addresses {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
        }),
        v2::Addresses::IPv6(ends) => Some(Addresses {
            source: (ends.source_address, ends.source_port).into(),
            destination: (ends.destination_address, ends.destination_port).into(),
        }),
        _ => None,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_here_and_elsewhere(source in socket(), destination in socket()) {
        let ends = Addresses { source, destination };
        let line = encode_v1(&ends);
        let is_one_family = source.is_ipv4() == destination.is_ipv4();
        prop_assert_eq!(header(&line), is_one_family.then_some(ends));
        let theirs = v1::Header::try_from(&line[..]).unwrap();
        prop_assert_eq!(of_ppp(theirs.addresses), is_one_family.then_some(ends));
        is_incomplete_until_its_last_byte(&line);

        let binary = encode_v2(&ends);
        let read = header(&binary).unwrap();
        prop_assert_eq!(read.source.ip().to_canonical(), source.ip().to_canonical());
        prop_assert_eq!(read.destination.ip().to_canonical(), destination.ip().to_canonical());
        let theirs = v2::Header::try_from(&binary[..]).unwrap();
        prop_assert_eq!(of_ppp2(theirs.addresses), Some(read));
        is_incomplete_until_its_last_byte(&binary);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        what in 0..5_usize,
        bytes: Vec<u8>,
        text in "[0-9a-f.: \r\n]{0,110}",
    ) {
        let begin: [&[u8]; 5] = [
            b"", b"PROXY TCP4 ", b"PROXY TCP6 ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", SIGNATURE,
        ];
        for rest in [&bytes[..], text.as_bytes()] {
            let bytes = [begin[what], rest].concat();
            if let Ok(Decoded::Header { addresses, length }) = decode(&bytes) {
                is_incomplete_until_its_last_byte(&bytes[..length]);
                if let (Some(ours), Ok(theirs)) = (addresses, v1::Header::try_from(&bytes[..length])) {
                    prop_assert_eq!(of_ppp(theirs.addresses), Some(ours));
                }
                if let (Some(ours), Ok(theirs)) = (addresses, v2::Header::try_from(&bytes[..length])) {
                    prop_assert_eq!(of_ppp2(theirs.addresses), Some(ours));
                }
            }
        }
    }
}
