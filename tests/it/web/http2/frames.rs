//! Frames and fields of HTTP/2 as bytes (RFC 9113, 4.1; RFC 7541, 6).

pub(in crate::web) const DATA: u8 = 0;
pub(in crate::web) const HEADERS: u8 = 1;
pub(in crate::web) const PRIORITY: u8 = 2;
pub(in crate::web) const RST_STREAM: u8 = 3;
pub(in crate::web) const SETTINGS: u8 = 4;
pub(in crate::web) const PUSH_PROMISE: u8 = 5;
pub(in crate::web) const PING: u8 = 6;
pub(in crate::web) const GOAWAY: u8 = 7;
pub(in crate::web) const WINDOW_UPDATE: u8 = 8;
pub(in crate::web) const CONTINUATION: u8 = 9;

pub(in crate::web) const ACK: u8 = 1;
pub(in crate::web) const END_STREAM: u8 = 1;
pub(in crate::web) const END_HEADERS: u8 = 4;
pub(in crate::web) const PADDED: u8 = 8;
pub(in crate::web) const WITH_PRIORITY: u8 = 0x20;

/// A head that is whole, of a request without a body.
pub(in crate::web) const WHOLE: u8 = END_HEADERS | END_STREAM;

/// `:status: 200`, as the static table has it.
pub(in crate::web) const OK: u8 = 0x88;
/// `:status: 400`.
pub(in crate::web) const BAD_REQUEST: u8 = 0x8c;

#[derive(Debug)]
pub(in crate::web) struct Frame {
    pub(in crate::web) kind: u8,
    pub(in crate::web) flags: u8,
    pub(in crate::web) stream: u32,
    pub(in crate::web) payload: Vec<u8>,
}

impl Frame {
    /// The code of a frame that ends something.
    pub(in crate::web) fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap()))
    }
}

pub(in crate::web) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field in words of its own, not remembered.
pub(in crate::web) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for word in [name, value] {
        // Short enough for one byte of length.
        bytes.push(u8::try_from(word.len()).ok().filter(|length| *length < 127).unwrap());
        bytes.extend(word.as_bytes());
    }
    bytes
}

/// The fields of a `GET`.
pub(in crate::web) fn get() -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x.example")])
}

/// The fields of a `POST`.
pub(in crate::web) fn post() -> Vec<u8> {
    fields(&[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x.example")])
}

pub(in crate::web) fn fields(of: &[(&str, &str)]) -> Vec<u8> {
    of.iter().flat_map(|(name, value)| field(name, value)).collect()
}

pub(in crate::web) fn setting(key: u16, value: u32) -> Vec<u8> {
    [&key.to_be_bytes()[..], &value.to_be_bytes()].concat()
}
