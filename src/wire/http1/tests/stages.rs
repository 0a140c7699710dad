//! Where a connection is, on which its timeouts and its upgrades hang.

use http::{HeaderMap, HeaderValue, Version};

use super::*;

const UPGRADE: &[u8] = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\n\r\n";

#[test]
fn a_head_begins_with_its_first_byte_and_not_with_an_empty_line() {
    let mut screen = Screen::default();
    assert_eq!(screen.stage(), Stage::Idle);
    for empty in [&b""[..], b"\r", b"\r\n"] {
        assert_eq!(screen.pass(empty), Ok(0));
        assert_eq!(screen.stage(), Stage::Idle);
    }
    assert_eq!(screen.pass(b"\r\nG"), Ok(0));
    assert_eq!(screen.stage(), Stage::Head);
    let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(screen.pass(head), Ok(head.len()));
    assert_eq!(screen.stage(), Stage::Idle);
}

#[test]
fn a_body_lasts_to_its_last_byte() {
    let mut screen = Screen::default();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(screen.pass(head), Ok(head.len()));
    assert_eq!(screen.stage(), Stage::Body);
    assert_eq!(screen.pass(b"hell"), Ok(4));
    assert_eq!(screen.stage(), Stage::Body);
    assert_eq!(screen.pass(b"oGET"), Ok(1));
    assert_eq!(screen.stage(), Stage::Head);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r";
    let mut screen = Screen::default();
    assert_eq!(screen.pass(head), Ok(head.len()));
    assert_eq!(screen.stage(), Stage::Body);
    assert_eq!(screen.pass(b"\n"), Ok(1));
    assert_eq!(screen.stage(), Stage::Idle);
}

#[test]
fn what_follows_a_wish_for_another_protocol_waits_for_the_answer() {
    let behind: &[u8] = b"\x81\x05hello\0\n";
    let mut screen = Screen::default();
    assert_eq!(screen.pass(&[UPGRADE, behind].concat()), Ok(UPGRADE.len()));
    assert_eq!(screen.stage(), Stage::Upgrade);
    assert_eq!(screen.pass(behind), Ok(0));
    screen.upgraded();
    assert_eq!(screen.stage(), Stage::Foreign);
    assert_eq!(screen.pass(behind), Ok(behind.len()));
}

#[test]
fn what_follows_a_wish_that_was_refused_is_http() {
    let mut screen = Screen::default();
    let both = [UPGRADE, PLAIN, b"\n"].concat();
    let passed = screen.pass(&both).unwrap();
    screen.refused();
    let (more, why) = screen.pass(&both[passed..]).unwrap_err();
    assert_eq!((passed + more, why.status), (UPGRADE.len() + PLAIN.len(), 400));
    // To say it elsewhere changes nothing: not even that the client is not heard any longer.
    screen.refused();
    assert_eq!(screen.pass(PLAIN), Err((0, why)));
}

#[test]
fn a_body_comes_before_the_other_protocol() {
    let wish = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x/1\r\n\
        Content-Length: 2\r\n\r\nhi";
    let mut screen = Screen::default();
    assert_eq!(screen.pass(&[wish, PLAIN].concat()), Ok(wish.len()));
    assert_eq!(screen.stage(), Stage::Upgrade);
}

#[test]
fn what_follows_the_last_request_is_for_nobody() {
    let last: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    ];
    for request in last {
        for behind in [PLAIN, b"\0garbage\n"] {
            let mut screen = Screen::default();
            assert_eq!(screen.pass(&[request, behind].concat()), Ok(request.len()));
            assert_eq!(screen.stage(), Stage::Last);
        }
    }
    let kept = b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(whole(&[kept, PLAIN].concat()), (kept.len() + PLAIN.len(), None));
    let wish = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\r\n";
    let mut screen = Screen::default();
    assert_eq!(screen.pass(&[wish, PLAIN].concat()), Ok(wish.len()));
    screen.refused();
    assert_eq!((screen.stage(), screen.pass(PLAIN)), (Stage::Last, Ok(0)));
}

#[test]
fn a_head_of_just_64_kib_passes() {
    let head = |length: usize| {
        let begin = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        let value = "a".repeat(length - begin.len() - "\r\n\r\n".len());
        format!("{begin}{value}\r\n\r\n").into_bytes()
    };
    let fits = head(LONGEST_HEAD);
    assert_eq!(whole(&fits), (LONGEST_HEAD, None));
    assert_eq!(in_pieces(&fits, &[1]), whole(&fits));
    let longer = head(LONGEST_HEAD + 1);
    assert_eq!(whole(&longer).1.map(|why| why.status), Some(431));
    assert_eq!(in_pieces(&longer, &[1]), whole(&longer));
    // It is known with the last byte that fits, and not only with the one that does not.
    assert_eq!(whole(&longer[..LONGEST_HEAD]), whole(&longer));
}

#[test]
fn who_asks_for_an_upgrade_is_told_alike_by_bytes_and_by_fields() {
    let connections =
        [None, Some("upgrade"), Some("close"), Some("a, UPGRADE ,b"), Some("upgraded")];
    let upgrades = [None, Some("websocket"), Some("h2c"), Some("H2C, "), Some("h2c, websocket")];
    let versions = [(Version::HTTP_11, "1.1"), (Version::HTTP_10, "1.0")];
    let mut wishes = 0;
    for (version, text) in versions {
        for connection in connections {
            for upgrade in upgrades {
                let mut headers = HeaderMap::new();
                let mut head = format!("GET / HTTP/{text}\r\nHost: a\r\n");
                for (name, value) in [("connection", connection), ("upgrade", upgrade)] {
                    let Some(value) = value else { continue };
                    headers.append(name, HeaderValue::from_static(value));
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                let mut screen = Screen::default();
                screen.pass(format!("{head}\r\n").as_bytes()).unwrap();
                let asks = asks_for_upgrade(version, &headers);
                assert_eq!(screen.stage() == Stage::Upgrade, asks, "{head}");
                wishes += usize::from(asks);
            }
        }
    }
    assert_eq!(wishes, 4);
}
