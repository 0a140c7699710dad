//! The demo's own clients: a few connections a second, and a book of how they fared.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::backend::greeting;

/// Between two new clients.
const EVERY: Duration = Duration::from_millis(150);

/// Lines that a client says before it leaves.
const LINES: usize = 5;

/// Between two lines.
const PAUSE: Duration = Duration::from_millis(400);

/// For each answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A count that only rises.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How the clients fared.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Clients that tried.
    pub(super) tried: Count,
    /// Clients that were not served at all.
    pub(super) refused: Count,
    /// Clients whose connection was cut after they had been greeted.
    pub(super) cut: Count,
    /// Clients greeted, by backend.
    pub(super) served: Vec<(&'static str, Count)>,
}

impl Ledger {
    pub(super) fn new(names: impl Iterator<Item = &'static str>) -> Self {
        Self {
            tried: Count::default(),
            refused: Count::default(),
            cut: Count::default(),
            served: names.map(|name| (name, Count::default())).collect(),
        }
    }

    fn greeted(&self, line: &str) -> bool {
        let found = self.served.iter().find(|(name, _)| greeting(name).trim_end() == line);
        found.map(|(_, count)| count.increment()).is_some()
    }
}

/// Sends clients to `front` until dropped.
pub(super) async fn run(front: SocketAddr, ledger: Arc<Ledger>) {
    let mut clients = JoinSet::new();
    let mut turn = interval(EVERY);
    loop {
        turn.tick().await;
        clients.spawn(visit(front, Arc::clone(&ledger)));
        while clients.try_join_next().is_some() {}
    }
}

async fn visit(front: SocketAddr, ledger: Arc<Ledger>) {
    ledger.tried.increment();
    let stream = timeout(PATIENCE, greet(front, &ledger)).await;
    let Ok(Ok(stream)) = stream else { return ledger.refused.increment() };
    if chat(stream).await.is_err() {
        ledger.cut.increment();
    }
}

async fn greet(front: SocketAddr, ledger: &Ledger) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(front).await?;
    stream.write_all(b"hello\n").await?;
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            byte if line.len() < 256 => line.push(byte),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    if ledger.greeted(&String::from_utf8_lossy(&line)) {
        return Ok(stream);
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Says a few lines and hears them back. The first echo is of the hello.
async fn chat(mut stream: TcpStream) -> io::Result<()> {
    let mut heard = [0; 64];
    for _ in 0..LINES {
        if timeout(PATIENCE, stream.read(&mut heard)).await?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sleep(PAUSE).await;
        stream.write_all(b"still here\n").await?;
    }
    stream.shutdown().await?;
    // Closing with an echo unread would reset the connection.
    while timeout(PATIENCE, stream.read(&mut heard)).await?? > 0 {}
    Ok(())
}
