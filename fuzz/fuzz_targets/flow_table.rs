//! Any order of datagrams, replies, moves and waits leaves a table whose parts agree.
//!
//! Run with: cargo fuzz run -s none flow_table

#![no_main]

use std::net::SocketAddr;

use evenkeel::udp::table::{Key, PATIENCE, Rules, Table};
use libfuzzer_sys::fuzz_target;

/// Clients that take part.
const CLIENTS: u8 = 16;

fuzz_target!(|actions: Vec<(u8, u8, u16)>| {
    let mut table = Table::new(Rules { idle: Some(5_000), responses: 1 });
    let (mut now, mut flows) = (0_u64, 0_usize);
    for (what, who, time) in actions {
        now += u64::from(time);
        let client = SocketAddr::from(([10, 0, 0, who % CLIENTS], 9));
        let key = Key { client, local: None };
        match (what % 5, table.find(&key)) {
            (0, None) => {
                let expected = table.next_slot();
                assert_eq!(table.insert(now, key, now), expected);
                flows += 1;
            }
            (0 | 1, Some(slot)) => table.on_datagrams(slot, now, 1),
            (2, Some(slot)) if table.on_replies(slot, now, 1) => {
                flows -= usize::from(table.remove(slot).is_some());
            }
            (3, None) => {
                if let Some(stale) = table.stale(now) {
                    let old = table.replace(stale, now, key, now).expect("it is there");
                    assert!(old.load + PATIENCE < now, "only who has waited for long makes room");
                }
            }
            (4, _) => {
                let mut overdue = Vec::new();
                table.overdue(now, &mut overdue);
                for slot in overdue {
                    flows -= usize::from(table.remove(slot).is_some());
                }
            }
            _ => {}
        }
        assert_eq!(table.len(), flows);
        let found = (0..CLIENTS).filter(|who| {
            let client = SocketAddr::from(([10, 0, 0, *who], 9));
            table.find(&Key { client, local: None }).is_some()
        });
        assert_eq!(found.count(), flows);
    }
});
