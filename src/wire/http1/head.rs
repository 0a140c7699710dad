//! The head of a request, line by line, while it comes (RFC 9112, 2 to 6).

use std::ops::Range;

use memchr::memchr3;

use super::authority::Authority;
use super::bytes::{are_text, is_token, trimmed};
use super::refusal::{Refusal, ambiguous, excessive, malformed};
use super::request_line::{RequestLine, may_begin};
use super::upgrade::{names, offers};
use super::{LONGEST_HEAD, MOST_FIELDS};

/// A body may be so long as is said of it: what fits into a signed number, too.
pub(super) const LONGEST_BODY: u64 = i64::MAX as u64;

const TOO_LONG: Refusal = excessive("the head is longer than 64 KiB");
const TOO_MANY: Refusal = excessive("the head has more than 100 fields");
const BEGIN: Refusal = malformed("no request begins so");
const BLANK: Refusal = malformed("more than one empty line before a request");
pub(super) const BARE_LF: Refusal = ambiguous("a line feed without a carriage return");
pub(super) const BARE_CR: Refusal = ambiguous("a carriage return without a line feed");
const NUL: Refusal = malformed("a zero byte");
const FOLDED: Refusal = ambiguous("a line begins with white space");
const NO_NAME: Refusal = malformed("a field has no name");
const SPACED: Refusal = ambiguous("white space before a colon");
const NAME: Refusal = malformed("the name of a field is no token");
const VALUE: Refusal = malformed("a control character in the value of a field");
const ALIKE: Refusal = ambiguous("the name of a field looks like one that says where a body ends");
const LENGTH: Refusal = ambiguous("Content-Length is no plain number below 2^63");
const LENGTHS: Refusal = ambiguous("more than one Content-Length");
const CODING: Refusal = ambiguous("Transfer-Encoding is not just chunked");
const CODINGS: Refusal = ambiguous("more than one Transfer-Encoding");
const CODING_IN_10: Refusal = ambiguous("Transfer-Encoding in HTTP/1.0");
const BOTH: Refusal = ambiguous("both Transfer-Encoding and Content-Length");
const NO_HOST: Refusal = ambiguous("no Host");
const HOSTS: Refusal = ambiguous("more than one Host");
const HOST: Refusal = ambiguous("Host is no name and port");
const OTHER_HOST: Refusal = ambiguous("Host is not the one in the target");
const CONNECTION: Refusal = malformed("Connection is no list of words");

/// What a whole head says about what follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) framing: Framing,
    pub(super) asks_for_upgrade: bool,
    /// The client has said that it sends no other request.
    pub(super) is_last: bool,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// What is known of a head so far. It keeps places in it, no bytes: they are shown again.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// How much has been looked at.
    looked: usize,
    /// Where the line begins that is looked at.
    line: usize,
    has_begun: bool,
    has_blank: bool,
    first: Option<RequestLine>,
    fields: usize,
    host: Option<Range<usize>>,
    length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
    says_upgrade: bool,
    offers: bool,
}

impl Head {
    /// True if anything but an empty line has come.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// `bytes` are all that have come of it, and maybe more. Returns how long it is and what it says,
    /// once it is complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<(usize, Request)>, Refusal> {
        let window = bytes.get(..LONGEST_HEAD).unwrap_or(bytes);
        loop {
            self.check_begin(window)?;
            let Some(end) = self.end_of_line(window)? else {
                let is_full = window.len() == LONGEST_HEAD;
                return if is_full { Err(TOO_LONG) } else { Ok(None) };
            };
            let line = self.line..end;
            (self.line, self.looked) = (end + 2, end + 2);
            if self.take(window, line)? {
                return Ok(Some((self.line, self.judge(window)?)));
            }
        }
    }

    /// What is no http at all is known by its first byte, and need not be waited for.
    fn check_begin(&mut self, window: &[u8]) -> Result<(), Refusal> {
        let first = window.get(self.line).filter(|_| !self.has_begun);
        match first {
            None | Some(b'\r') => Ok(()),
            Some(b'\n') => Err(BARE_LF),
            Some(byte) => {
                self.has_begun = true;
                if may_begin(*byte) { Ok(()) } else { Err(BEGIN) }
            }
        }
    }

    /// Where the line ends that is looked at, if that has come.
    fn end_of_line(&mut self, window: &[u8]) -> Result<Option<usize>, Refusal> {
        let rest = window.get(self.looked..).unwrap_or_default();
        let Some(at) = memchr3(b'\r', b'\n', 0, rest) else {
            self.looked = window.len();
            return Ok(None);
        };
        let at = self.looked + at;
        match (window.get(at), window.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => Ok(Some(at)),
            (Some(b'\r'), None) => {
                self.looked = at;
                Ok(None)
            }
            (Some(b'\r'), _) => Err(BARE_CR),
            (Some(b'\n'), _) => Err(BARE_LF),
            _ => Err(NUL),
        }
    }

    /// Takes a line; true if it is the last of the head.
    fn take(&mut self, window: &[u8], place: Range<usize>) -> Result<bool, Refusal> {
        let start = place.start;
        let line = window.get(place).unwrap_or_default();
        match (&self.first, line) {
            (None, []) if self.has_blank => Err(BLANK),
            (None, []) => {
                self.has_blank = true;
                Ok(false)
            }
            (None, _) => {
                let mut first = RequestLine::read(line)?;
                if let Some((place, _)) = &mut first.authority {
                    *place = start + place.start..start + place.end;
                }
                self.first = Some(first);
                Ok(false)
            }
            (Some(_), []) => Ok(true),
            (Some(_), _) => {
                self.fields += 1;
                if self.fields > MOST_FIELDS {
                    return Err(TOO_MANY);
                }
                let (name, value) = field(line)?;
                // The value is a part of the line, at its end but for white space.
                let from = start + line.len() - trimmed_start(line.get(name.len() + 1..)).len();
                self.note(name, value, from)?;
                Ok(false)
            }
        }
    }

    /// Takes a field whose value begins at `from`.
    fn note(&mut self, name: &[u8], value: &[u8], from: usize) -> Result<(), Refusal> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.replace(from..from + value.len()).is_some() {
                    return Err(HOSTS);
                }
                Authority::read(value).map(drop).ok_or(HOST)
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.offers |= offers(value);
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.note_connection(value),
            14 if is_like(name, b"content-length") => self.note_length(name, value),
            17 if is_like(name, b"transfer-encoding") => self.note_coding(name, value),
            _ => Ok(()),
        }
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if !value.is_ascii() {
            return Err(CONNECTION);
        }
        self.says_close |= names(value, b"close");
        self.says_keep_alive |= names(value, b"keep-alive");
        self.says_upgrade |= names(value, b"upgrade");
        Ok(())
    }

    fn note_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name.contains(&b'_') {
            return Err(ALIKE);
        }
        if self.length.replace(length(value).ok_or(LENGTH)?).is_some() {
            return Err(LENGTHS);
        }
        if self.is_chunked { Err(BOTH) } else { Ok(()) }
    }

    fn note_coding(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if name.contains(&b'_') {
            return Err(ALIKE);
        }
        if self.first.as_ref().is_some_and(|first| !first.is_http11) {
            return Err(CODING_IN_10);
        }
        if std::mem::replace(&mut self.is_chunked, true) {
            return Err(CODINGS);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(CODING);
        }
        if self.length.is_some() { Err(BOTH) } else { Ok(()) }
    }

    /// What all lines together say.
    fn judge(&self, window: &[u8]) -> Result<Request, Refusal> {
        let Some(first) = &self.first else { return Err(BLANK) };
        let host = self.host.clone().and_then(|place| window.get(place));
        if host.is_none() && first.is_http11 {
            return Err(NO_HOST);
        }
        if let (Some(host), Some((place, usual))) = (host, first.authority.clone()) {
            let target = window.get(place).and_then(Authority::read);
            let is_same = Authority::read(host).zip(target).is_some_and(|(a, b)| a.is(&b, usual));
            if !is_same {
                return Err(OTHER_HOST);
            }
        }
        let framing = match (self.is_chunked, self.length) {
            (true, _) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or_default()),
        };
        Ok(Request {
            framing,
            asks_for_upgrade: first.is_http11 && self.says_upgrade && self.offers,
            is_last: self.says_close || !(first.is_http11 || self.says_keep_alive),
        })
    }
}

/// The name and the value of a field.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let end = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    match (end, line.get(end)) {
        (0, Some(b' ' | b'\t')) => Err(FOLDED),
        (0, Some(b':')) => Err(NO_NAME),
        (_, Some(b':')) => {
            let (name, value) = line.split_at_checked(end).unwrap_or_default();
            let value = value.get(1..).unwrap_or_default();
            if are_text(value) { Ok((name, trimmed(value))) } else { Err(VALUE) }
        }
        (_, Some(b' ' | b'\t')) => Err(SPACED),
        _ => Err(NAME),
    }
}

/// Without the white space before it.
fn trimmed_start(value: Option<&[u8]>) -> &[u8] {
    let value = value.unwrap_or_default();
    let start = value.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    value.get(start.unwrap_or(value.len())..).unwrap_or_default()
}

/// True if this is the name, or what a server takes for it that cannot tell `_` from `-`.
pub(super) fn is_like(name: &[u8], known: &[u8]) -> bool {
    let plain =
        name.iter().map(|byte| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() });
    plain.eq(known.iter().copied())
}

/// Digits and nothing else.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    let is_plain = value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_plain)?;
    text.parse().ok().filter(|length| *length <= LONGEST_BODY)
}
