//! Bytes whose place in a stream can be told from their value.
//!
//! A block of prime length is repeated, so that a lost, doubled or misplaced piece shows at once;
//! comparing every byte costs less than a checksum would in a build that is not optimised.

use std::io::{self, Read, Write};

const BLOCK: usize = 1_048_573;

/// An endless stream, different for each seed.
pub(crate) struct Pattern {
    block: Vec<u8>,
}

impl Pattern {
    /// The stream of `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut word = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut block = Vec::with_capacity(BLOCK + 8);
        while block.len() < BLOCK {
            // xorshift64: no quality asked of it but that neighbours differ.
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            block.extend_from_slice(&word.to_le_bytes());
        }
        block.truncate(BLOCK);
        Self { block }
    }

    /// Writes the first `total` bytes in pieces of at most `piece`.
    pub(crate) fn send(&self, to: &mut impl Write, total: usize, piece: usize) -> io::Result<()> {
        let mut done = 0;
        while done < total {
            let rest = &self.block[done % BLOCK..];
            let len = rest.len().min(piece).min(total - done);
            to.write_all(&rest[..len])?;
            done += len;
        }
        Ok(())
    }

    /// Reads to the end of the stream, checks every byte, and says how many there were.
    pub(crate) fn expect(&self, from: &mut impl Read) -> io::Result<usize> {
        let mut buffer = vec![0; 256 * 1024];
        let mut done = 0;
        loop {
            let len = match from.read(&mut buffer) {
                // A read with a time limit ends so when the process was stopped and goes on.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if len == 0 {
                return Ok(done);
            }
            self.check(done, &buffer[..len]);
            done += len;
        }
    }

    /// Fails unless `bytes` are what stands at `at`.
    pub(crate) fn check(&self, mut at: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let rest = &self.block[at % BLOCK..];
            let len = rest.len().min(bytes.len());
            assert!(rest[..len] == bytes[..len], "the stream differs after byte {at}");
            at += len;
            bytes = &bytes[len..];
        }
    }
}

#[test]
fn a_stream_is_recognised_and_a_lost_byte_is_noticed() {
    let pattern = Pattern::new(7);
    let mut sent = Vec::new();
    pattern.send(&mut sent, 3_000_001, 70_000).unwrap();
    assert_eq!(pattern.expect(&mut sent.as_slice()).unwrap(), 3_000_001);
    sent.remove(2_000_000);
    let torn = std::panic::catch_unwind(|| pattern.expect(&mut sent.as_slice()).unwrap());
    assert!(torn.is_err());
}
