//! `probe = "send-expect"`: bytes sent, bytes awaited, over a connection or as datagrams.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::config::Protocol;
use crate::health::probe::{Answer, Miss, Peer, connect, datagram, hang_up, why_broken};

/// How much of an answer is looked at.
const MOST: usize = 64 * 1024;

/// What is sent and what must come back.
#[derive(Debug)]
pub(in crate::health) struct Dialogue {
    send: Vec<u8>,
    expect: Vec<u8>,
    over: Protocol,
}

impl Dialogue {
    pub(super) fn new(send: &[u8], expect: &[u8], over: Protocol) -> Self {
        Self { send: send.to_owned(), expect: expect.to_owned(), over }
    }

    pub(super) async fn ask(&self, peer: Peer, until: Instant) -> Result<Answer, Miss> {
        match self.over {
            Protocol::Tcp | Protocol::Http => self.over_connection(peer).await,
            Protocol::Udp => self.over_datagrams(peer, until).await,
        }
    }

    /// Unlike over a connection nothing shows that the backend is there but an answer.
    async fn over_datagrams(&self, peer: Peer, until: Instant) -> Result<Answer, Miss> {
        let mut seen = 0;
        let asked = datagram::converse(peer, until, &self.send, |heard| {
            seen += heard.len();
            let is_met = self.expect.is_empty() || contains(heard, &self.expect);
            is_met.then(|| Answer::up("the expected answer came"))
        });
        match timeout_at(until, asked).await {
            Ok(answer) => answer,
            // That nothing came at all is said by whoever bounds the probe.
            Err(_) if seen == 0 => std::future::pending().await,
            Err(_) => Err(Miss::Failed(self.not_found(seen))),
        }
    }

    async fn over_connection(&self, peer: Peer) -> Result<Answer, Miss> {
        let mut stream = connect(peer).await?;
        let sent = stream.write_all(&self.send).await;
        sent.map_err(|error| Miss::Failed(why_broken(&error)))?;
        let answer = self.listen(&mut stream).await?;
        hang_up(stream).await;
        Ok(answer)
    }

    async fn listen(&self, stream: &mut TcpStream) -> Result<Answer, Miss> {
        if self.expect.is_empty() {
            return Ok(Answer::up(if self.send.is_empty() { "connected" } else { "sent" }));
        }
        let mut seen = Vec::new();
        loop {
            // What was searched already can only matter as the beginning of a match.
            let from = seen.len().saturating_sub(self.expect.len() - 1);
            let room = (MOST - seen.len()) as u64;
            let read = (&mut *stream).take(room).read_buf(&mut seen).await;
            let read = read.map_err(|error| Miss::Failed(why_broken(&error)))?;
            if contains(&seen[from..], &self.expect) {
                return Ok(Answer::up("the expected answer came"));
            }
            if read == 0 {
                return Err(Miss::Failed(self.not_found(seen.len())));
            }
        }
    }

    fn not_found(&self, seen: usize) -> String {
        let expect = self.expect.escape_ascii();
        format!("no \"{expect}\" in the answer of {seen} bytes")
    }
}

fn contains(heap: &[u8], needle: &[u8]) -> bool {
    heap.windows(needle.len()).any(|window| window == needle)
}
