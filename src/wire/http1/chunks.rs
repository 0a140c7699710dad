//! A chunked body: sizes, extensions, data, and the fields at its end (RFC 9112, 7.1).
//!
//! Byte by byte but for the data, as lines here are short and few.

use super::MOST_FIELDS;
use super::bytes::{is_text, is_token};
use super::head::{BARE_CR, BARE_LF, LONGEST_BODY};
use super::refusal::{Refusal, ambiguous, excessive, malformed};

/// So many digits may a size have.
const MOST_DIGITS: u8 = 16;
/// The extensions of a body and the fields at its end may each be so long: a little less than what the
/// parser behind takes, so that it is not the one who ends it.
const LONGEST_REST: usize = 16 * 1024 - 2;

const SIZE: Refusal = ambiguous("the size of a chunk is no hexadecimal number");
const TOO_BIG: Refusal = ambiguous("a chunk is too big");
const EXTENSION: Refusal = malformed("a control character in the extension of a chunk");
const EXTENSIONS: Refusal = excessive_body("the extensions of the chunks are too long");
const END: Refusal = ambiguous("a chunk does not end where it should");
const FOLDED: Refusal = ambiguous("a line behind the chunks begins with white space");
const NAME: Refusal = malformed("the name of a field behind the chunks is no token");
const VALUE: Refusal = malformed("a control character in a field behind the chunks");
const TOO_LONG: Refusal = excessive_body("the fields behind the chunks are too long");
const TOO_MANY: Refusal = excessive_body("there are too many fields behind the chunks");

/// Too much, but in a body: that is no longer about a head.
const fn excessive_body(why: &'static str) -> Refusal {
    Refusal { status: 400, ..excessive(why) }
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEnded,
    /// The beginning of a line behind the chunks.
    Line,
    Name,
    Value,
    LineEnd,
    LastEnd,
    Over,
}

/// A chunked body while it comes.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    part: Part,
    /// Digits of the size so far.
    digits: u8,
    /// What is left of the chunk.
    size: u64,
    /// Bytes in extensions, of all chunks.
    extensions: usize,
    /// Bytes behind the chunks.
    length: usize,
    fields: usize,
}

impl Chunks {
    /// True once its last byte has passed.
    pub(super) fn is_over(&self) -> bool {
        self.part == Part::Over
    }

    /// How many of the bytes belong to the body.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<usize, (usize, Refusal)> {
        let mut passed = 0;
        while let Some(byte) = bytes.get(passed).filter(|_| !self.is_over()) {
            if self.part == Part::Data {
                passed += self.data(bytes.len() - passed);
            } else {
                self.part = self.take(*byte).map_err(|refusal| (passed, refusal))?;
                passed += 1;
            }
        }
        Ok(passed)
    }

    /// How many of so many bytes are data of this chunk.
    fn data(&mut self, come: usize) -> usize {
        let length = usize::try_from(self.size).map_or(come, |size| size.min(come));
        self.size -= length as u64;
        if self.size == 0 {
            self.part = Part::DataEnd;
        }
        length
    }

    fn take(&mut self, byte: u8) -> Result<Part, Refusal> {
        match (self.part, byte) {
            (Part::Size, _) => self.size(byte),
            (Part::Extension, b'\r') => Ok(Part::SizeEnd),
            (Part::Extension, _) => self.extension(byte),
            (Part::SizeEnd, b'\n') => {
                self.digits = 0;
                Ok(if self.size == 0 { Part::Line } else { Part::Data })
            }
            (Part::SizeEnd | Part::LineEnd | Part::LastEnd, _) if byte != b'\n' => Err(BARE_CR),
            (Part::DataEnd, b'\r') => Ok(Part::DataEnded),
            (Part::DataEnded, b'\n') => Ok(Part::Size),
            (Part::DataEnd | Part::DataEnded, _) => Err(END),
            (Part::LastEnd, _) => Ok(Part::Over),
            _ => self.behind(byte),
        }
    }

    fn size(&mut self, byte: u8) -> Result<Part, Refusal> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.digits += 1;
            let size = self.size.checked_mul(16).map(|size| size | u64::from(digit));
            let size = size.filter(|size| *size <= LONGEST_BODY && self.digits <= MOST_DIGITS);
            self.size = size.ok_or(TOO_BIG)?;
            return Ok(Part::Size);
        }
        match byte {
            _ if self.digits == 0 => Err(SIZE),
            b'\r' => Ok(Part::SizeEnd),
            b';' => Ok(Part::Extension),
            b'\n' => Err(BARE_LF),
            _ => Err(SIZE),
        }
    }

    fn extension(&mut self, byte: u8) -> Result<Part, Refusal> {
        self.extensions += 1;
        match byte {
            b'\n' => Err(BARE_LF),
            _ if !is_text(byte) => Err(EXTENSION),
            _ if self.extensions > LONGEST_REST => Err(EXTENSIONS),
            _ => Ok(Part::Extension),
        }
    }

    /// A byte of the lines behind the chunks.
    fn behind(&mut self, byte: u8) -> Result<Part, Refusal> {
        self.length += 1;
        if self.length > LONGEST_REST {
            return Err(TOO_LONG);
        }
        match (self.part, byte) {
            (_, b'\n') if self.part == Part::LineEnd => Ok(Part::Line),
            (_, b'\n') => Err(BARE_LF),
            (Part::Line, b'\r') => Ok(Part::LastEnd),
            (Part::Line, b' ' | b'\t') => Err(FOLDED),
            (Part::Line, _) if is_token(byte) => {
                self.fields += 1;
                if self.fields > MOST_FIELDS { Err(TOO_MANY) } else { Ok(Part::Name) }
            }
            (Part::Name, b':') => Ok(Part::Value),
            (Part::Name, _) if is_token(byte) => Ok(Part::Name),
            (Part::Value, b'\r') => Ok(Part::LineEnd),
            (Part::Value, _) if is_text(byte) => Ok(Part::Value),
            (Part::Value, _) => Err(VALUE),
            _ => Err(NAME),
        }
    }
}
