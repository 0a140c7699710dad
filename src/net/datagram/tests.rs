//! Runs are cut so that nobody's datagrams are joined with somebody else's, and none is lost.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn meta(from: u8, len: usize, stride: usize) -> RecvMeta {
    let mut meta = RecvMeta::default();
    meta.addr = SocketAddr::from(([10, 0, 0, from], 9));
    (meta.len, meta.stride) = (len, stride);
    meta
}

/// Senders, lengths, and whether the kernel has merged what came.
fn arrivals() -> impl Strategy<Value = Vec<RecvMeta>> {
    let length = prop_oneof![Just(0_usize), Just(1), Just(500), Just(1_200), 0..65_507_usize];
    let one = (0..3_u8, length, any::<bool>()).prop_map(|(from, len, is_merged)| {
        let stride = if is_merged && len > 10 { len / 7 } else { len };
        meta(from, len, stride)
    });
    prop::collection::vec(one, 0..=BATCH_SIZE)
}

/// Slots in which every byte tells where it stands.
fn slots() -> &'static [u8] {
    static SLOTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
        (0..SLOT * BATCH_SIZE).map(|at| (at / SLOT * 7 + at % SLOT) as u8).collect()
    });
    &SLOTS
}

proptest! {
    #[test]
    fn runs_hold_every_datagram_once_in_order(meta in arrivals()) {
        let all = Arrivals { slots: slots(), meta: &meta };
        let mut rest = meta.iter();
        for run in all.runs() {
            let datagrams: Vec<&[u8]> = run.datagrams().collect();
            prop_assert_eq!(datagrams.len(), run.count());
            // The kernel's rule for segments: one size, the last may be shorter, none is empty.
            if datagrams.len() > 1 {
                let (last, others) = datagrams.split_last().unwrap();
                prop_assert!(others.iter().all(|datagram| datagram.len() == run.size));
                prop_assert!((1..=run.size).contains(&last.len()));
            }
            let held = run.arrivals.meta;
            prop_assert!(datagrams.iter().map(|one| one.len()).sum::<usize>() <= LONGEST_RUN);
            prop_assert!(held.len() <= MOST_SEGMENTS);
            for (slot, held) in run.arrivals.filled().zip(held) {
                let next = rest.next().unwrap();
                prop_assert_eq!((next.addr, next.len), (held.addr, held.len));
                prop_assert_eq!(run.from, held.addr);
                prop_assert_eq!(slot.len(), held.len);
            }
            prop_assert!(datagrams.concat() == run.arrivals.filled().collect::<Vec<_>>().concat());
        }
        prop_assert!(rest.next().is_none());
    }
}

#[test]
fn an_empty_datagram_is_one_datagram_of_its_own() {
    let slots = vec![0; SLOT * 3];
    let meta = [meta(1, 0, 0), meta(1, 0, 0), meta(1, 5, 5)];
    let counts: Vec<_> =
        Arrivals { slots: &slots, meta: &meta }.runs().map(|run| (run.count(), run.size)).collect();
    assert_eq!(counts, [(1, 0), (1, 0), (1, 5)]);
}
