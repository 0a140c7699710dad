//! HTTP/2 backends that say of a request that they have not looked at it (RFC 9113, 8.7): it is sent
//! again, whatever its method.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{all, file};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END: u8 = 0x1;
const END_OF_HEAD: u8 = 0x4;
const ACK: u8 = 0x1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Kind, flags and stream of the next frame.
fn read_frame(stream: &mut TcpStream) -> io::Result<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
    io::copy(&mut stream.take(length), &mut io::sink())?;
    Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
}

/// What the server says to the n-th request, counted from 0: frames, or `None` to serve it.
type Refusal = fn(usize, u32) -> Option<Vec<u8>>;

/// Refuses as it is told, and serves the rest with an empty 200; gives how many it has served.
fn refusing(refusal: Refusal) -> (Server, Arc<AtomicUsize>) {
    let (asked, served) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&served);
    let server = Server::new("one", move |mut stream| {
        let mut talk = || -> io::Result<()> {
            stream.read_exact(&mut [0; PREFACE])?;
            stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
            loop {
                match read_frame(&mut stream)? {
                    (SETTINGS, 0, _) => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
                    (HEADERS, _, id) => match refusal(asked.fetch_add(1, Ordering::SeqCst), id) {
                        Some(frames) => stream.write_all(&frames)?,
                        None => {
                            count.fetch_add(1, Ordering::SeqCst);
                            // The eighth entry of HPACK's table: `:status: 200`.
                            stream.write_all(&frame(HEADERS, END | END_OF_HEAD, id, &[0x88]))?;
                        }
                    },
                    _ => {}
                }
            }
        };
        drop(talk());
    });
    (server, served)
}

fn refuse_stream(request: usize, id: u32) -> Option<Vec<u8>> {
    let refused: u32 = 7;
    request.is_multiple_of(2).then(|| frame(RST_STREAM, 0, id, &refused.to_be_bytes()))
}

fn go_away(request: usize, _: u32) -> Option<Vec<u8>> {
    // No stream was looked at, and nothing is wrong.
    request.is_multiple_of(2).then(|| frame(GOAWAY, 0, 0, &[0; 8]))
}

#[test]
fn what_a_backend_has_not_looked_at_is_sent_again() {
    for refusal in [refuse_stream as Refusal, go_away] {
        for method in ["GET", "POST"] {
            let (server, served) = refusing(refusal);
            let proxy =
                Evenkeel::start(&file(std::slice::from_ref(&server), "http = { version = \"2\" }"));
            let request = format!(
                "{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            for _ in 0..10 {
                let (answer, _) = all(proxy.at(), &request);
                assert!(answer.starts_with("HTTP/1.1 200 "), "{method}: {answer:?}");
            }
            assert_eq!(served.load(Ordering::SeqCst), 10);
        }
    }
}
