//! Floods of each kind, and what no flood is.

use proptest::prelude::*;

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// How many of these frames pass at once, up to a lot, and what there is too much of then.
fn flood(meter: &mut Meter, frames: &[Vec<u8>], now: u64) -> (usize, Option<Flood>) {
    for count in 0..100_000 {
        for frame in frames {
            if let Err(flood) = meter.pass(frame, now) {
                return (count, Some(flood));
            }
        }
    }
    (100_000, None)
}

fn begun() -> Meter {
    let mut meter = Meter::default();
    meter.pass(PREFACE, 0).unwrap();
    meter
}

#[test]
fn each_cheap_frame_has_its_measure() {
    let ping = frame(PING, 0, &[0; 8]);
    let open = frame(HEADERS, 5, &[0x82; 30]);
    let cases: [(&[Vec<u8>], usize, Flood); 10] = [
        (&[open.clone(), frame(RESET, 0, &[0; 4])], 100, Flood::RapidReset),
        (&[ping], 1000, Flood::Ping),
        (&[frame(SETTINGS, 0, &[])], 32, Flood::Settings),
        (&[frame(PRIORITY, 0, &[0; 5])], 100, Flood::Priority),
        (&[frame(16, 0, b"\0\0\0\x01u=1")], 100, Flood::Priority),
        (&[frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1])], 1000, Flood::WindowUpdate),
        (&[open, frame(WINDOW_UPDATE, 0, &[0; 4])], 100, Flood::RapidReset),
        (&[frame(DATA, 0, &[])], 100, Flood::EmptyData),
        (&[frame(DATA, 8, &[3, 0, 0, 0])], 100, Flood::EmptyData),
        (&[frame(0xbb, 0xff, &[1; 100])], 100, Flood::UnknownFrame),
    ];
    for (frames, most, kind) in cases {
        assert_eq!(flood(&mut begun(), frames, 5), (most, Some(kind)));
    }
    let mut meter = begun();
    meter.pass(&frame(HEADERS, 0, &[0x82]), 0).unwrap();
    let more = [frame(CONTINUATION, 0, &[0x82])];
    assert_eq!(flood(&mut meter, &more, 0), (5, Some(Flood::Continuations)));
}

#[test]
fn what_comes_with_work_is_no_flood() {
    let open = frame(HEADERS, 5, &[0x82; 30]);
    let end = frame(DATA, 1, &[]);
    let plain: [&[Vec<u8>]; 5] = [
        std::slice::from_ref(&open),
        &[open.clone(), frame(PRIORITY, 0, &[0; 5])],
        &[open.clone(), frame(DATA, 0, b"x"), end],
        &[frame(WINDOW_UPDATE, 0, &[0, 1, 0, 0])],
        &[frame(HEADERS, 0, b"a"), frame(CONTINUATION, 0, b"b"), frame(CONTINUATION, 4, b"c")],
    ];
    for frames in plain {
        assert_eq!(flood(&mut begun(), frames, 5), (100_000, None), "{frames:?}");
    }
}

#[test]
fn what_is_received_and_answered_makes_room() {
    let reset = [frame(HEADERS, 5, &[0x82]), frame(RESET, 0, &[0; 4])];
    let mut meter = begun();
    (0..50).for_each(|_| meter.answered());
    assert_eq!(flood(&mut meter, &reset, 5), (150, Some(Flood::RapidReset)));
    let mut meter = begun();
    meter.sent(16_000);
    assert_eq!(flood(&mut meter, &[frame(PING, 0, &[0; 8])], 5), (2000, Some(Flood::Ping)));
}

#[test]
fn a_span_later_the_measure_is_whole_again() {
    let ping = frame(PING, 0, &[0; 8]);
    let mut meter = begun();
    (0..1000).for_each(|_| meter.pass(&ping, 9_999).unwrap());
    assert_eq!(meter.pass(&ping, 9_999), Err(Flood::Ping));
    let mut meter = begun();
    for now in (0..10).map(|span| span * 10_000) {
        (0..1000).for_each(|_| meter.pass(&ping, now).unwrap());
    }
    // But for what the parser counts for as long as the connection lives.
    let (empty, mut meter) = (frame(DATA, 0, &[]), begun());
    (0..100).for_each(|round| meter.pass(&empty, round * 10_000).unwrap());
    assert_eq!(meter.pass(&empty, 10_000_000), Err(Flood::EmptyData));
}

#[test]
fn the_last_word_is_a_frame() {
    let [_, _, length, ..] = GO_AWAY;
    assert_eq!(usize::from(length) + 9, GO_AWAY.len());
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    let one = (0..11_u8, any::<u8>(), payload).prop_map(|(kind, flags, payload)| {
        frame(kind, flags, &payload).repeat(usize::from(flags % 60))
    });
    prop::collection::vec(one, 0..12).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        frames in frames(),
        pieces in prop::collection::vec(1..60_usize, 1..5),
    ) {
        let bytes = [PREFACE, &frames].concat();
        let (mut whole, mut cut, mut rest) = (Meter::default(), Meter::default(), &bytes[..]);
        let at_once = whole.pass(&bytes, 7);
        let mut one_by_one = Ok(());
        for piece in pieces.iter().cycle() {
            if rest.is_empty() || one_by_one.is_err() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(*piece));
            one_by_one = cut.pass(now, 7);
            rest = later;
        }
        prop_assert_eq!(at_once, one_by_one);
    }
}
