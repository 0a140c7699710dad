//! Clients that stay: long sessions with data that flows both ways.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Beat, PIECE, Sky, Storm, piece, torn};
use crate::harness::client::{Held, hold, try_hold};

const LANES: u32 = 4;

/// Each session sends a piece so often.
const GAP: Duration = Duration::from_millis(250);

/// A session and what it is bound to.
struct Long {
    held: Held,
    seed: u64,
    sent: u64,
}

/// So many sessions through `at` to servers that greet, all of which are there when this returns. A
/// session whose backend `may_lose` names is begun anew when it breaks; for any other that is a
/// failure.
#[track_caller]
pub(crate) fn sessions(at: SocketAddr, count: u32, may_lose: fn(&str) -> bool) -> Storm {
    let open = |seed| Long { held: hold(at), seed, sent: 0 };
    let mut all: Vec<_> = (0..u64::from(count)).map(open).collect();
    let share = all.len().div_ceil(LANES as usize);
    let lane = |turn: u32| {
        let mut mine: Vec<_> = all.drain(..share.min(all.len())).collect();
        move |sky: &Arc<Sky>| {
            let mut beat = Beat::new(GAP, turn, LANES);
            while !sky.is_over() {
                beat.wait();
                round(sky, at, &mut mine, may_lose);
            }
            for long in mine {
                if let Err(error) = end(long.held) {
                    sky.fail(format!("the end of a session: {error} ({:?})", error.kind()));
                }
            }
        }
    };
    Storm::of((0..LANES).map(lane).collect())
}

/// All send a piece before any reads, so that data is under way most of the time.
fn round(sky: &Sky, at: SocketAddr, all: &mut Vec<Long>, may_lose: fn(&str) -> bool) {
    let said: Vec<_> = all.iter_mut().map(Long::say).collect();
    let mut kept = Vec::with_capacity(all.len());
    for (mut long, said) in all.drain(..).zip(said) {
        let Err(error) = said.and_then(|()| long.hear()) else {
            sky.well();
            kept.push(long);
            continue;
        };
        let backend = &long.held.backend;
        let is_lost = may_lose(backend);
        if is_lost {
            sky.moved();
        } else {
            sky.fail(format!("a session of {backend}: {error} ({:?})", error.kind()));
        }
        let mut opened = try_hold(at);
        // It may come to one that goes, and be cut before it has heard whom it has.
        while is_lost && opened.as_ref().is_err_and(|it| it.kind() == ErrorKind::ConnectionReset) {
            sky.moved();
            opened = try_hold(at);
        }
        match opened {
            Ok(held) => kept.push(Long { held, seed: long.seed, sent: 0 }),
            Err(error) => sky.fail(format!("a new session: {error} ({:?})", error.kind())),
        }
    }
    *all = kept;
}

impl Long {
    /// What piece it is at.
    fn piece(&self) -> [u8; PIECE] {
        piece(self.seed << 32 | self.sent)
    }

    fn say(&mut self) -> io::Result<()> {
        let said = self.piece();
        self.held.stream.write_all(&said)
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut heard = [0; PIECE];
        self.held.stream.read_exact(&mut heard)?;
        let is_same = heard == self.piece();
        self.sent += 1;
        if is_same { Ok(()) } else { Err(torn()) }
    }
}

/// Ends it, and hears the end.
fn end(mut held: Held) -> io::Result<()> {
    held.stream.shutdown(std::net::Shutdown::Write)?;
    match held.stream.read(&mut [0; 1])? {
        0 => Ok(()),
        _ => Err(torn()),
    }
}
