//! What a client of HTTP/2 may and may not send (RFC 9113), frame by frame, and what it hears.

pub(super) mod frames;
mod malformed;
mod refused;
mod taken;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::client::{connect, is_reset};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;
use frames::{Frame, HEADERS, PING, SETTINGS, frame};

/// One http listener `l` on one backend that nobody probes.
pub(crate) fn start(server: &Server, keys: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"p\"\n{keys}\n\
         [pool.p]\nbackends = [{}]\n[pool.p.health]\nprobe = \"none\"\n",
        server.entry("")
    ))
}

/// A connection that has said and heard what each begins with.
pub(crate) struct Peer {
    stream: TcpStream,
}

/// What a connection can bring.
#[derive(Debug)]
pub(crate) enum Heard {
    Frame(Frame),
    /// It is over.
    End,
}

impl Peer {
    #[track_caller]
    pub(crate) fn open(to: SocketAddr) -> Self {
        let mut stream = connect(to);
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, b"")).unwrap();
        let mut peer = Self { stream };
        let Heard::Frame(first) = peer.next() else { panic!("it ended at once") };
        assert_eq!((first.kind, first.flags, first.stream), (SETTINGS, 0, 0));
        peer.say(&frame(SETTINGS, frames::ACK, 0, b""));
        peer.until("our settings are acknowledged", |heard| {
            matches!(heard, Heard::Frame(frame) if frame.kind == SETTINGS && frame.flags == frames::ACK)
        });
        peer
    }

    /// Sends bytes, which the other side may refuse to take.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    #[track_caller]
    pub(crate) fn next(&mut self) -> Heard {
        match self.read() {
            Ok(frame) => Heard::Frame(frame),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Heard::End,
            Err(error) if is_reset(&error) => Heard::End,
            Err(error) => panic!("nothing more came: {error}"),
        }
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Reads until `fits`; the end where nothing fits fails the test.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, fits: impl Fn(&Heard) -> bool) -> Heard {
        let mut seen = Vec::new();
        loop {
            let heard = self.next();
            if fits(&heard) {
                return heard;
            }
            let is_over = matches!(heard, Heard::End);
            seen.push(heard);
            assert!(!is_over, "not {what}, but {seen:?}");
        }
    }

    /// Waits for the head of an answer on a stream, which must begin with this field.
    #[track_caller]
    pub(crate) fn answered(&mut self, what: &str, stream: u32, status: u8) {
        let heard = self.until(what, |heard| {
            matches!(heard, Heard::Frame(frame) if frame.kind == HEADERS && frame.stream == stream)
        });
        let Heard::Frame(frame) = heard else { unreachable!() };
        assert_eq!(frame.payload.first(), Some(&status), "{what}: {frame:?}");
    }

    /// Asks whether it still hears us.
    #[track_caller]
    pub(crate) fn lives(&mut self, what: &str) {
        self.say(&frame(PING, 0, 0, b"stillyou"));
        self.until(what, |heard| {
            matches!(heard, Heard::Frame(frame) if frame.kind == PING
                && frame.flags == frames::ACK && frame.payload == b"stillyou")
        });
    }
}
