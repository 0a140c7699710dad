//! Clients of UDP: many flows, each a question and its answer in turn.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Beat, Sky, Storm};
use crate::harness::udp::{Server, answer, socket_on};

const LANES: u32 = 3;

/// Each flow sends a datagram so often.
const GAP: Duration = Duration::from_millis(100);

/// A datagram that was not answered by then is lost: longer than any machine stands still.
const LOST: Duration = Duration::from_secs(8);

/// A server that tells with each answer who it is and where the question came from.
pub(crate) fn telling(name: &str) -> Server {
    let own = name.to_owned();
    Server::new(name, move |socket, payload, peer| {
        let told = format!("{own} {} {}", peer.port(), String::from_utf8_lossy(payload));
        answer(socket, told.as_bytes(), peer);
    })
}

/// A flow, and what it is bound to: the backend, and the port that the balancer sends from.
struct Flow {
    socket: UdpSocket,
    bound: Option<(String, String)>,
}

/// So many flows through `at` to servers that are [`telling`]. Each datagram must be answered, once, and
/// as long as `may_move` does not name its backend a flow stays with it, on the same port.
pub(crate) fn flows(at: SocketAddr, count: u32, may_move: fn(&str) -> bool) -> Storm {
    let open = |_| {
        let socket = socket_on(if at.is_ipv6() { "::1" } else { "127.0.0.1" }.parse().unwrap());
        socket.connect(at).unwrap();
        socket.set_read_timeout(Some(LOST)).unwrap();
        Flow { socket, bound: None }
    };
    let mut all: Vec<_> = (0..count).map(open).collect();
    let share = all.len().div_ceil(LANES as usize);
    let lane = |turn: u32| {
        let mut mine: Vec<_> = all.drain(..share.min(all.len())).collect();
        move |sky: &Arc<Sky>| {
            let mut beat = Beat::new(GAP, turn, LANES);
            let mut number = 0_u64;
            while !sky.is_over() {
                beat.wait();
                number += 1;
                let word = number.to_string();
                let said: Vec<_> =
                    mine.iter().map(|flow| flow.socket.send(word.as_bytes())).collect();
                for (flow, said) in mine.iter_mut().zip(said) {
                    match said.and_then(|_| flow.hear(&word)) {
                        Ok(heard) => flow.judge(sky, heard, may_move),
                        Err(error) => {
                            sky.fail(format!(
                                "flow {:?}: {error} ({:?})",
                                flow.bound,
                                error.kind()
                            ));
                        }
                    }
                }
            }
        }
    };
    Storm::of((0..LANES).map(lane).collect())
}

impl Flow {
    /// The answer to `word`, which is the next that comes: who gave it, and what port was asked.
    fn hear(&self, word: &str) -> io::Result<(String, String)> {
        let (began, mut buffer) = (Instant::now(), [0; 512]);
        let len = loop {
            match self.socket.recv(&mut buffer) {
                // A wait begins anew when the process was stopped and goes on.
                Err(error)
                    if error.kind() == io::ErrorKind::Interrupted && began.elapsed() < LOST => {}
                heard => break heard?,
            }
        };
        let text = String::from_utf8_lossy(&buffer[..len]);
        let mut words = text.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some(name), Some(port), Some(same)) if same == word => Ok((name.into(), port.into())),
            _ => Err(io::Error::other(format!("{text:?} is no answer to {word}"))),
        }
    }

    fn judge(&mut self, sky: &Sky, heard: (String, String), may_move: fn(&str) -> bool) {
        match self.bound.replace(heard) {
            Some(before) if Some(&before) != self.bound.as_ref() => {
                if may_move(&before.0) {
                    sky.moved();
                } else {
                    return sky.fail(format!("a flow went from {before:?} to {:?}", self.bound));
                }
            }
            _ => {}
        }
        sky.well();
    }
}
