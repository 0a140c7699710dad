//! The line between two processes of an upgrade: whole messages, and descriptors that go with them.
//!
//! A message is two numbers of four bytes, its length and how many descriptors come with it, and then
//! JSON. The descriptors travel beside the first byte. Nothing is believed of the other side: a message
//! or a batch of descriptors that is too large, torn or no JSON ends the conversation with words.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Descriptors that one message carries at most; the kernel takes 253.
pub(in crate::server) const BATCH: usize = 200;
/// Bytes of the longest message: long lists are sent in parts.
const LONGEST: usize = 8 << 20;
/// Bytes ahead of each message.
const HEAD: usize = 8;
/// Bytes that are read at once: no more than that is made room for before it has come.
const PIECE: usize = 64 << 10;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The other side is gone.
    #[error("the other process is gone")]
    Gone,
    /// It ended in the middle of a message.
    #[error("the other process ended in the middle of a message")]
    Torn,
    /// What it says is too long.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// More descriptors than a message may carry.
    #[error("{0} descriptors with one message are too many")]
    TooMany(usize),
    /// Descriptors have been lost: as a rule the process has as many open as it may.
    #[error(
        "{promised} descriptors were sent and {came} came; is the open-file limit large enough?"
    )]
    Lost {
        /// That the message speaks of.
        promised: usize,
        /// That were there.
        came: usize,
    },
    /// It is not what an evenkeel says.
    #[error("a message cannot be understood: {0}")]
    Garbled(#[from] serde_json::Error),
    /// The kernel says no.
    #[error("cannot talk to the other process: {0}")]
    Io(#[from] io::Error),
}

/// One end of the line.
#[derive(Debug)]
pub(in crate::server) struct Channel {
    stream: UnixStream,
    /// Of the message that is being received: a wait for it may be dropped and begun again.
    head: [u8; HEAD],
    received: usize,
    body: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Channel {
    /// Takes an end over. Must be called inside a runtime.
    ///
    /// # Errors
    /// It is no socket of this kind.
    pub(super) fn new(stream: StdStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        let (head, received) = ([0; HEAD], 0);
        Ok(Self { stream, head, received, body: Vec::new(), fds: Vec::new() })
    }

    /// The end by itself, to be used in another runtime. Between two messages only.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn into_std(self) -> io::Result<StdStream> {
        self.stream.into_std()
    }

    /// Says something, with at most [`BATCH`] descriptors, which stay open here.
    ///
    /// # Errors
    /// The other side is gone, or it is too much for one message.
    pub(super) async fn send<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Broken> {
        let body = serde_json::to_vec(message)?;
        if body.len() > LONGEST {
            return Err(Broken::TooLong(body.len()));
        }
        if fds.len() > BATCH {
            return Err(Broken::TooMany(fds.len()));
        }
        let mut bytes = Vec::with_capacity(HEAD + body.len());
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&(fds.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&body);
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let fds = if sent == 0 { fds } else { &[] };
            let send = || send_some(&self.stream, rest, fds);
            sent += self.stream.async_io(Interest::WRITABLE, send).await.map_err(gone)?;
        }
        Ok(())
    }

    /// Waits for what the other side says next, and the descriptors that come with it. Nothing is lost
    /// if the wait is dropped.
    ///
    /// # Errors
    /// The other side is gone, or what it sends is of no use.
    pub(super) async fn receive<T: DeserializeOwned>(
        &mut self,
    ) -> Result<(T, Vec<OwnedFd>), Broken> {
        while self.received < HEAD {
            self.fill().await?;
        }
        let [length, count] = self.announced();
        if length > LONGEST {
            return Err(Broken::TooLong(length));
        }
        if count > BATCH {
            return Err(Broken::TooMany(count));
        }
        while self.received < HEAD + length {
            self.fill().await?;
        }
        self.received = 0;
        let (body, fds) = (std::mem::take(&mut self.body), std::mem::take(&mut self.fds));
        if fds.len() != count {
            return Err(Broken::Lost { promised: count, came: fds.len() });
        }
        Ok((serde_json::from_slice(&body)?, fds))
    }

    fn announced(&self) -> [usize; 2] {
        let [a, b, c, d, e, f, g, h] = self.head;
        [[a, b, c, d], [e, f, g, h]].map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    /// Reads some of what belongs to the message under way, and never beyond its end: descriptors of
    /// the next one stay with that.
    async fn fill(&mut self) -> Result<(), Broken> {
        let mut fds = Vec::new();
        let count = if let Some(head) =
            self.head.get_mut(self.received..).filter(|_| self.received < HEAD)
        {
            let receive = || receive_some(&self.stream, head, &mut fds);
            self.stream.async_io(Interest::READABLE, receive).await
        } else {
            let [length, _] = self.announced();
            let filled = self.received - HEAD;
            self.body.resize(filled + PIECE.min(length - filled), 0);
            let rest = self.body.get_mut(filled..).unwrap_or_default();
            let receive = || receive_some(&self.stream, rest, &mut fds);
            let count = self.stream.async_io(Interest::READABLE, receive).await;
            self.body.truncate(filled + count.as_ref().map_or(0, |count| *count));
            count
        };
        let count = count.map_err(gone)?;
        self.fds.append(&mut fds);
        if count == 0 {
            return Err(if self.received == 0 { Broken::Gone } else { Broken::Torn });
        }
        self.received += count;
        if self.fds.len() > BATCH {
            return Err(Broken::TooMany(self.fds.len()));
        }
        Ok(())
    }
}

/// An end that was closed tells of itself in several ways.
fn gone(error: io::Error) -> Broken {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Broken::Gone,
        _ => Broken::Io(error),
    }
}

fn send_some(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("no room for descriptors"));
    }
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(sent)
}

fn receive_some(stream: &UnixStream, room: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [IoSliceMut::new(room)];
    let received = recvmsg(stream.as_fd(), into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = message {
            fds.extend(came);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        tracing::warn!(
            "descriptors of the process before were lost; is the open-file limit large enough?"
        );
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustix::pipe::pipe;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = StdStream::pair().unwrap();
        (Channel::new(one).unwrap(), Channel::new(other).unwrap())
    }

    /// A channel, and the raw other end of it.
    fn raw() -> (Channel, StdStream) {
        let (one, other) = StdStream::pair().unwrap();
        (Channel::new(one).unwrap(), other)
    }

    #[tokio::test]
    async fn what_is_said_arrives_whole_and_in_order_with_its_descriptors() {
        let (one, mut other) = pair();
        let long = "x".repeat(3 << 20);
        let (read, write) = pipe().unwrap();
        let send = async {
            one.send(&"first", &[write.as_fd()]).await.unwrap();
            one.send(&long, &[]).await.unwrap();
            one.send(&"last", &[read.as_fd(), write.as_fd()]).await.unwrap();
        };
        let receive = async {
            let first = other.receive::<String>().await.unwrap();
            let second = other.receive::<String>().await.unwrap();
            (first, second, other.receive::<String>().await.unwrap())
        };
        let ((), (first, second, last)) = tokio::join!(send, receive);
        assert_eq!((&*first.0, first.1.len()), ("first", 1));
        assert!(second.0 == long && second.1.is_empty());
        assert_eq!((&*last.0, last.1.len()), ("last", 2));
        drop((read, write));
        // They are the very pipe: what goes in at one comes out at the other.
        let mut fds = last.1.into_iter().map(std::fs::File::from);
        let (mut read, mut write) = (fds.next().unwrap(), fds.next().unwrap());
        write.write_all(b"through").unwrap();
        drop((write, first.1));
        let mut through = String::new();
        read.read_to_string(&mut through).unwrap();
        assert_eq!(through, "through");
    }

    #[tokio::test]
    async fn many_batches_of_descriptors_arrive() {
        let (one, mut other) = pair();
        let (read, _write) = pipe().unwrap();
        let batch = vec![read.as_fd(); BATCH];
        for round in 0..3 {
            one.send(&round, &batch).await.unwrap();
            let (number, fds) = other.receive::<u32>().await.unwrap();
            assert_eq!((number, fds.len()), (round, BATCH));
        }
        let more = vec![read.as_fd(); BATCH + 1];
        assert!(matches!(one.send(&0, &more).await, Err(Broken::TooMany(_))));
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_in_the_middle_of_a_message_loses_nothing() {
        let (mut one, mut other) = raw();
        let body = br#""in two halves""#;
        let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(body);
        let (first, second) = bytes.split_at(11);
        other.write_all(first).unwrap();
        for _ in 0..3 {
            let wait =
                tokio::time::timeout(std::time::Duration::from_millis(5), one.receive::<String>());
            assert!(wait.await.is_err());
        }
        other.write_all(second).unwrap();
        assert_eq!(one.receive::<String>().await.unwrap().0, "in two halves");
    }

    #[tokio::test]
    async fn a_peer_that_goes_is_seen_between_messages_and_within_one() {
        let (mut one, other) = raw();
        drop(other);
        assert!(matches!(one.receive::<String>().await, Err(Broken::Gone)));
        assert!(matches!(one.send(&"", &[]).await, Err(Broken::Gone)));

        let (mut one, mut other) = raw();
        other.write_all(&[0, 0, 0, 9, 0, 0, 0, 0, b'"']).unwrap();
        drop(other);
        assert!(matches!(one.receive::<String>().await, Err(Broken::Torn)));
    }

    #[tokio::test]
    async fn garbage_ends_the_conversation() {
        type Case<'a> = (&'a [u8], fn(&Broken) -> bool);
        let cases: [Case<'_>; 4] = [
            (&[0, 0, 0, 2, 0, 0, 0, 0, b'?', b'?'], |why| matches!(why, Broken::Garbled(_))),
            (&[255; 8], |why| matches!(why, Broken::TooLong(_))),
            (&[0, 0, 0, 2, 0, 0, 1, 0, b'"', b'"'], |why| matches!(why, Broken::TooMany(256))),
            (&[0, 0, 0, 2, 0, 0, 0, 1, b'"', b'"'], |why| {
                matches!(why, Broken::Lost { promised: 1, came: 0 })
            }),
        ];
        for (bytes, is_expected) in cases {
            let (mut one, mut other) = raw();
            other.write_all(bytes).unwrap();
            let why = one.receive::<String>().await.unwrap_err();
            assert!(is_expected(&why), "{why}");
        }
    }

    #[tokio::test]
    async fn more_descriptors_than_were_announced_are_refused() {
        let (mut one, other) = raw();
        let other = Channel::new(other).unwrap();
        let (read, _write) = pipe().unwrap();
        let bytes = [0, 0, 0, 2, 0, 0, 0, 1, b'"', b'"'];
        let fds = vec![read.as_fd(); 2];
        let sent =
            other.stream.async_io(Interest::WRITABLE, || send_some(&other.stream, &bytes, &fds));
        assert_eq!(sent.await.unwrap(), bytes.len());
        let why = one.receive::<String>().await.unwrap_err();
        assert!(matches!(why, Broken::Lost { promised: 1, came: 2 }), "{why}");
    }
}
