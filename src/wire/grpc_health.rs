//! The two messages of the standard health service of gRPC, each in the frame that gRPC puts around it
//! (gRPC over HTTP/2, "Length-Prefixed-Message"; GRPC Health Checking Protocol).

/// Where the service is asked.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// No answer needs more bytes than this, its frame and fields of a later version included.
pub const MOST: usize = 4096;

/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Field 1 of the question, of the wire type of strings.
const SERVICE: u8 = (1 << 3) | 2;

/// Field 1 of the answer, of the wire type of numbers.
const STATUS: u64 = 1 << 3;

/// The question how `service` is; an empty one means the whole server.
///
/// # Errors
///
/// A name that is too long for any message.
pub fn question(service: &str) -> Result<Vec<u8>, Flaw> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(SERVICE);
        varint(service.len(), &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).map_err(|_| Flaw::Long)?;
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    Ok(framed)
}

fn varint(mut value: usize, into: &mut Vec<u8>) {
    while value >= 0x80 {
        // The low seven bits, and the sign that more follow.
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// How a service says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// It cannot tell.
    Unknown,
    /// It takes requests.
    Yes,
    /// It does not.
    No,
    /// Nobody has heard of it.
    Nobody,
    /// A number that this version has no word for.
    Other(u64),
}

/// Why bytes are not the one message of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Nobody asked for compression.
    #[error("it is compressed")]
    Compressed,
    /// The frame and what is in it end at different places.
    #[error("its length is wrong")]
    Length,
    /// Not what protobuf writes.
    #[error("its fields cannot be read")]
    Fields,
    /// Longer than a message may be.
    #[error("it is too long")]
    Long,
}

/// What a whole body answers.
///
/// # Errors
///
/// It is not exactly one message with such a content.
pub fn answer(body: &[u8]) -> Result<Serving, Flaw> {
    if body.len() > MOST {
        return Err(Flaw::Long);
    }
    let (prefix, message) = body.split_first_chunk::<PREFIX>().ok_or(Flaw::Length)?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(Flaw::Compressed);
    }
    if usize::try_from(u32::from_be_bytes(length)).ok() != Some(message.len()) {
        return Err(Flaw::Length);
    }
    Ok(match status(message).ok_or(Flaw::Fields)? {
        0 => Serving::Unknown,
        1 => Serving::Yes,
        2 => Serving::No,
        3 => Serving::Nobody,
        other => Serving::Other(other),
    })
}

/// The last value of the field; without it, its default. Fields of other versions are passed over.
fn status(mut rest: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !rest.is_empty() {
        let key = number(&mut rest)?;
        let skipped = match key & 7 {
            0 => {
                let value = number(&mut rest)?;
                if key == STATUS {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(number(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        rest = rest.get(skipped..)?;
    }
    Some(status)
}

/// A number in groups of seven bits, lowest first (protobuf, "Base 128 Varints"), at most ten.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        // Of the tenth, one bit is left.
        value |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_question_names_its_service_in_one_frame() {
        assert_eq!(question("").unwrap(), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B").unwrap(), b"\0\0\0\0\x05\x0a\x03a.B");
        let long = question(&"x".repeat(300)).unwrap();
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 5 + 303);
    }

    #[test]
    fn an_answer_is_the_number_of_its_one_field() {
        for (body, expected) in [
            (&b"\0\0\0\0\0"[..], Serving::Unknown),
            (b"\0\0\0\0\x02\x08\0", Serving::Unknown),
            (b"\0\0\0\0\x02\x08\x01", Serving::Yes),
            (b"\0\0\0\0\x02\x08\x02", Serving::No),
            (b"\0\0\0\0\x02\x08\x03", Serving::Nobody),
            (b"\0\0\0\0\x03\x08\xac\x02", Serving::Other(300)),
            // The last one counts, and what is not known is passed over.
            (b"\0\0\0\0\x04\x08\x02\x08\x01", Serving::Yes),
            (b"\0\0\0\0\x08\x12\x02hi\x18\x07\x08\x01", Serving::Yes),
            (b"\0\0\0\0\x10\x08\x01\x11abcdefgh\x1dabcd", Serving::Yes),
        ] {
            assert_eq!(answer(body), Ok(expected), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_answer_says_why() {
        let endless = [&b"\0\0\0\0\x0c\x08"[..], &[0xff; 11]].concat();
        let beyond = [&b"\0\0\0\0\x0b\x08"[..], &[0xff; 9], &[2]].concat();
        for (body, flaw) in [
            (&b""[..], Flaw::Length),
            (b"\0\0\0\0", Flaw::Length),
            (b"\0\0\0\0\x02\x08", Flaw::Length),
            (b"\0\0\0\0\x01\x08\x01", Flaw::Length),
            (b"\x01\0\0\0\x02\x08\x01", Flaw::Compressed),
            (b"\0\0\0\0\x01\x08", Flaw::Fields),
            (b"\0\0\0\0\x02\x12\x05", Flaw::Fields),
            (b"\0\0\0\0\x02\x0b\x0c", Flaw::Fields),
            (&endless, Flaw::Fields),
            (&beyond, Flaw::Fields),
            (&[0; MOST + 1], Flaw::Long),
        ] {
            assert_eq!(answer(body), Err(flaw), "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_refused(body: Vec<u8>) {
            prop_assert!(answer(&body).is_err() || (5..=MOST).contains(&body.len()));
        }

        #[test]
        fn any_number_is_read_as_it_was_written(value: u64) {
            let mut message = vec![0x08];
            let mut left = value;
            while left >= 0x80 {
                message.push((left as u8) | 0x80);
                left >>= 7;
            }
            message.push(left as u8);
            prop_assert_eq!(status(&message), Some(value));
        }
    }
}
