//! `probe = "dns"`: one question, and an answer to that question with an accepted code.
//!
//! What stands in the answer does not matter, so the records in it are not read.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::{DnsProbe, Protocol};
use crate::health::StartError;
use crate::health::probe::{Answer, Miss, Peer, connect, datagram, hang_up, why_broken};

/// Length of the part that every message begins with.
const HEADER: usize = 12;
/// The server could not read the question, so that it need not repeat it.
const FORMERR: u8 = 1;

/// One pool's question, ready to be asked.
#[derive(Debug)]
pub(in crate::health) struct Query {
    spec: DnsProbe,
    /// Name, type and class, as they stand in a message.
    question: Vec<u8>,
}

impl Query {
    /// Checks what the type of the configuration leaves open.
    pub(super) fn new(pool: &Arc<str>, spec: &DnsProbe) -> Result<Self, StartError> {
        let question = question(&spec.query, spec.query_type);
        let question = question.ok_or_else(|| StartError::Request {
            pool: Arc::clone(pool),
            key: "query",
            value: spec.query.clone(),
            why: "no message can hold this name".to_owned(),
        })?;
        Ok(Self { spec: spec.clone(), question })
    }

    pub(super) async fn ask(&self, peer: Peer, until: Instant) -> Result<Answer, Miss> {
        let id = fastrand::u16(..);
        let message = message(id, &self.question);
        let code = match self.spec.over {
            Protocol::Udp => {
                let judge = |heard: &[u8]| code(heard, id, &self.question);
                datagram::converse(peer, until, &message, judge).await?
            }
            Protocol::Tcp | Protocol::Http => self.over_connection(peer, id, &message).await?,
        };
        self.judge(code)
    }

    async fn over_connection(&self, peer: Peer, id: u16, message: &[u8]) -> Result<u8, Miss> {
        let mut stream = connect(peer).await?;
        let heard = exchange(&mut stream, message).await;
        let heard = heard.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Miss::Failed("closed before the answer was complete".to_owned())
            }
            _ => Miss::Failed(why_broken(&error)),
        })?;
        hang_up(stream).await;
        let strange = || Miss::Failed("the answer is not to the question".to_owned());
        code(&heard, id, &self.question).ok_or_else(strange)
    }

    fn judge(&self, code: u8) -> Result<Answer, Miss> {
        let seen = DnsProbe::rcode_name(code);
        if self.spec.expect_rcode.contains(&code) {
            return Ok(Answer::up(format!("answered {seen}")));
        }
        let expected: Vec<_> =
            self.spec.expect_rcode.iter().map(|code| DnsProbe::rcode_name(*code)).collect();
        Err(Miss::Failed(format!("answered {seen}, expected {}", expected.join(" or "))))
    }
}

/// Over a connection each message comes behind its length.
async fn exchange(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    let length = stream.read_u16().await?;
    let mut heard = vec![0; length.into()];
    stream.read_exact(&mut heard).await?;
    Ok(heard)
}

/// Name, type and class; `None` if the name does not fit.
fn question(name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let name = name.strip_suffix('.').unwrap_or(name);
    for label in name.split('.').filter(|_| !name.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    if bytes.len() > 255 {
        return None;
    }
    let internet: u16 = 1;
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&internet.to_be_bytes());
    Some(bytes)
}

/// A query for one question that wants recursion.
fn message(id: u16, question: &[u8]) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut message = vec![high, low, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(question);
    message
}

/// The code of an answer to this query; `None` if it is something else.
fn code(heard: &[u8], id: u16, question: &[u8]) -> Option<u8> {
    let (header, rest) = heard.split_at_checked(HEADER)?;
    let word = |at: usize| Some(u16::from_be_bytes([*header.get(at)?, *header.get(at + 1)?]));
    let (is_answer, opcode, code) =
        (header.get(2)? & 0x80 != 0, header.get(2)? & 0x78, header.get(3)? & 0x0f);
    if word(0)? != id || !is_answer || opcode != 0 {
        return None;
    }
    let is_echoed = match word(4)? {
        1 => rest.get(..question.len()).is_some_and(|echo| is_same(echo, question)),
        0 => code == FORMERR,
        _ => false,
    };
    is_echoed.then_some(code)
}

/// Names are the same in capitals; what is behind them is no text.
fn is_same(echo: &[u8], question: &[u8]) -> bool {
    let behind = question.len().saturating_sub(4);
    echo.len() == question.len()
        && echo.get(..behind).is_some_and(|name| {
            question.get(..behind).is_some_and(|ours| name.eq_ignore_ascii_case(ours))
        })
        && echo.get(behind..) == question.get(behind..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(id: u16, question: &[u8], code: u8) -> Vec<u8> {
        let mut answer = message(id, question);
        answer[2] |= 0x80;
        answer[3] = 0x80 | code;
        answer
    }

    #[test]
    fn a_query_is_as_the_standard_has_it() {
        let root = question(".", 2).unwrap();
        assert_eq!(root, [0, 0, 2, 0, 1]);
        assert_eq!(message(0x1234, &root), b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01");
        let name = question("a.example.", 257).unwrap();
        assert_eq!(name, b"\x01a\x07example\0\x01\x01\0\x01");
        assert_eq!(question("a.example", 257).unwrap(), name);
    }

    #[test]
    fn what_no_message_can_hold_is_not_asked() {
        let long = |labels: usize| vec!["a".repeat(49); labels].join(".");
        assert!(question(&"a".repeat(63), 1).is_some() && question(&long(5), 1).is_some());
        for name in ["a..b", "", ".a", &"a".repeat(64), &long(6)] {
            // Without a name it is the root.
            assert_eq!(question(name, 1).is_some(), name.is_empty(), "{name}");
        }
    }

    #[test]
    fn only_an_answer_to_the_question_has_a_code() {
        let asked = question("a.example", 65).unwrap();
        let good = answer(7, &asked, 3);
        assert_eq!(code(&good, 7, &asked), Some(3));
        assert_eq!(code(&[&good[..], b"records"].concat(), 7, &asked), Some(3));
        let capitals = question("A.exAMple", 65).unwrap();
        assert_eq!(code(&answer(7, &capitals, 0), 7, &asked), Some(0));

        assert_eq!(code(&good, 8, &asked), None, "another id");
        assert_eq!(code(&message(7, &asked), 7, &asked), None, "a query");
        for other in [question("b.example", 65), question("a.example", 97)] {
            assert_eq!(code(&answer(7, &other.unwrap(), 0), 7, &asked), None);
        }
        for length in 0..good.len() {
            assert_eq!(code(&good[..length], 7, &asked), None, "cut to {length}");
        }
        let mut status = good.clone();
        status[2] |= 0x10;
        assert_eq!(code(&status, 7, &asked), None, "another operation");
    }

    #[test]
    fn who_cannot_read_the_question_need_not_repeat_it() {
        let asked = question(".", 2).unwrap();
        for (said, seen) in [(FORMERR, Some(FORMERR)), (0, None), (5, None)] {
            let mut bare = answer(7, &[], said);
            bare[5] = 0;
            assert_eq!(code(&bare, 7, &asked), seen);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(heard: Vec<u8>, id: u16, name in "\\PC{0,80}", kind: u16) {
            let asked = question(&name, kind).unwrap_or_default();
            let seen = code(&heard, id, &asked);
            prop_assert!(seen.is_none_or(|code| code < 16));
            let answered = answer(id, &asked, 5);
            prop_assert_eq!(code(&answered, id, &asked), Some(5));
            // One flipped bit of the header, all but the flags that do not matter.
            let mut near = answered;
            near[usize::from(kind) % 2] ^= 1 << (id % 8);
            prop_assert_eq!(code(&near, id, &asked), None);
        }
    }
}
