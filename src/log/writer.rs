//! One destination: a thread that writes, and the bounded queue before it.
//!
//! Whoever has a line to say offers it and goes on. The thread alone waits for disks and readers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::metric::Counter;

/// Lines that may wait: a second of a busy balancer, and a few megabytes at most.
const ROOM: usize = 8192;

/// Lines are gathered up to this size before they are written at once.
const BATCH: usize = 64 * 1024;

/// Pause before trying again on a stream that somebody has made non-blocking.
const RETRY: Duration = Duration::from_millis(10);

/// Which log a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// What the program says of itself.
    Program,
    /// A finished session.
    Access,
}

impl Source {
    const ALL: [Self; 2] = [Self::Program, Self::Access];
}

/// Lines that were not written, by log; shared by all destinations.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost {
    pub(super) program: Arc<Counter>,
    pub(super) access: Arc<Counter>,
}

impl Lost {
    fn add(&self, source: Source, lines: u64) {
        match source {
            Source::Program => self.program.add(lines),
            Source::Access => self.access.add(lines),
        }
    }
}

/// Something that lines can be appended to.
#[derive(Debug)]
pub(super) struct Sink(File);

impl Sink {
    /// Standard error. A duplicate: the lock that the standard library keeps on its own handle
    /// would make a panicking worker wait for whoever reads.
    pub(super) fn stderr() -> io::Result<Self> {
        Self::duplicate(&io::stderr())
    }

    /// Standard output, as a duplicate.
    pub(super) fn stdout() -> io::Result<Self> {
        Self::duplicate(&io::stdout())
    }

    fn duplicate(stream: &impl AsFd) -> io::Result<Self> {
        Ok(Self(File::from(stream.as_fd().try_clone_to_owned()?)))
    }

    /// A file, created if it is not there. The error names it.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
        file.map(Self).map_err(|error| {
            let what = format!("cannot open the access log {}: {error}", path.display());
            io::Error::new(error.kind(), what)
        })
    }
}

impl From<File> for Sink {
    fn from(file: File) -> Self {
        Self(file)
    }
}

enum Message {
    Line(Source, Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to one destination; clones lead to the same one.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    lost: Lost,
}

impl Queue {
    /// Starts the thread of one destination; it ends when the last clone of the queue is gone.
    pub(super) fn start(name: &str, sink: Sink, lost: Lost) -> io::Result<Self> {
        Self::with_room(name, sink, lost, ROOM)
    }

    pub(super) fn with_room(name: &str, sink: Sink, lost: Lost, room: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(room);
        let count = lost.clone();
        let thread = thread::Builder::new().name(format!("log-{name}"));
        thread.spawn(move || write_all(&receiver, sink, &count))?;
        Ok(Self { sender, lost })
    }

    /// Offers a line, line end included. It is counted as lost if there is no room.
    pub(super) fn offer(&self, source: Source, line: Vec<u8>) {
        if self.sender.try_send(Message::Line(source, line)).is_err() {
            self.lost.add(source, 1);
        }
    }

    /// Waits at most `patience` until what was offered before has been written or lost.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        loop {
            match self.sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            if Instant::now() >= until {
                return false;
            }
            thread::park_timeout(RETRY);
        }
        written.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// Lines gathered for one write.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: [u64; 2],
    /// The last write stopped within a line: the next must not continue that line.
    torn: bool,
}

impl Batch {
    fn add(&mut self, source: Source, line: &[u8]) {
        if std::mem::take(&mut self.torn) {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(line);
        self.lines[source as usize] += 1;
    }

    fn write(&mut self, sink: &mut Sink, lost: &Lost) {
        let (written, result) = write_patiently(&mut sink.0, &self.bytes);
        if result.is_err() {
            // How many lines of the batch got through is not worth knowing.
            for (source, lines) in Source::ALL.into_iter().zip(self.lines) {
                lost.add(source, lines);
            }
            self.torn = written > 0;
        }
        self.bytes.clear();
        self.lines = [0, 0];
    }
}

fn write_patiently(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest @ [_, ..]) = bytes.get(written..) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(RETRY),
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn write_all(receiver: &Receiver<Message>, mut sink: Sink, lost: &Lost) {
    let mut batch = Batch::default();
    while let Ok(first) = receiver.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(source, line) => batch.add(source, &line),
                Message::Flush(done) => {
                    batch.write(&mut sink, lost);
                    // Whoever asked may have lost patience.
                    done.try_send(()).unwrap_or_default();
                }
            }
            let room = batch.bytes.len() < BATCH;
            next = if room { receiver.try_recv().ok() } else { None };
        }
        batch.write(&mut sink, lost);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader};
    use std::os::fd::OwnedFd;

    use super::*;

    fn pipe() -> (PipeReader, Sink) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, File::from(OwnedFd::from(writer)).into())
    }

    #[test]
    fn a_reader_that_blocks_costs_lines_and_no_time() {
        let (reader, sink) = pipe();
        let lost = Lost::default();
        let queue = Queue::with_room("test", sink, lost.clone(), 8).unwrap();
        // More than a pipe takes: the first one blocks the writer.
        let line = vec![b'x'; 256 * 1024];
        let before = Instant::now();
        for _ in 0..200 {
            queue.offer(Source::Access, line.clone());
        }
        assert!(before.elapsed() < Duration::from_secs(20), "it waited for the reader");
        assert!(lost.access.get() > 100, "{}", lost.access.get());
        assert_eq!(lost.program.get(), 0);
        assert!(!queue.flush(Duration::from_millis(50)), "nobody reads");
        drop(reader);
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines() {
        let (reader, sink) = pipe();
        drop(reader);
        let lost = Lost::default();
        let queue = Queue::start("test", sink, lost.clone()).unwrap();
        for source in Source::ALL {
            queue.offer(source, b"nobody hears this\n".to_vec());
        }
        assert!(queue.flush(Duration::from_secs(5)));
        assert_eq!((lost.program.get(), lost.access.get()), (1, 1));
    }

    #[test]
    fn what_was_said_before_a_flush_is_written_in_order() {
        let (reader, sink) = pipe();
        let queue = Queue::start("test", sink, Lost::default()).unwrap();
        for n in 0..100 {
            queue.offer(Source::Program, format!("{n}\n").into_bytes());
        }
        assert!(queue.flush(Duration::from_secs(5)));
        drop(queue);
        let lines: Vec<_> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert_eq!(lines, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
