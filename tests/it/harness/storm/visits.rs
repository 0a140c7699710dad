//! Clients that come, say something, hear it again and go.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Beat, PIECE, Sky, Storm, piece, torn};
use crate::harness::client::try_hold;

/// Clients at once.
const LANES: u32 = 6;

/// Up to so many times a second, several at once, with a number that is another each time.
pub(crate) fn repeated(
    per_second: u32,
    act: impl Fn(u64) -> io::Result<()> + Send + Sync + 'static,
) -> Storm {
    let gap = Duration::from_secs(1) * LANES / per_second;
    let act = Arc::new(act);
    let lane = |turn: u32| {
        let act = Arc::clone(&act);
        move |sky: &Arc<Sky>| {
            let mut beat = Beat::new(gap, turn, LANES);
            let mut number = u64::from(turn) << 32;
            while !sky.is_over() {
                beat.wait();
                number += 1;
                match act(number) {
                    Ok(()) => sky.well(),
                    Err(error) => sky.fail(format!("a connection: {error} ({:?})", error.kind())),
                }
            }
        }
    };
    Storm::of((0..LANES).map(lane).collect())
}

/// Up to so many connections a second to servers that greet: each sends a KiB, ends its side, and must
/// hear all of it and then the end.
pub(crate) fn visits(at: SocketAddr, per_second: u32) -> Storm {
    repeated(per_second, move |number| visit(at, number))
}

fn visit(at: SocketAddr, number: u64) -> io::Result<()> {
    let mut held = try_hold(at)?;
    let said = piece(number);
    held.stream.write_all(&said)?;
    held.stream.shutdown(Shutdown::Write)?;
    let mut heard = Vec::with_capacity(PIECE);
    held.stream.read_to_end(&mut heard)?;
    if heard == said { Ok(()) } else { Err(torn()) }
}
