//! Which bytes may stand where (RFC 9110, 5.5 and 5.6).

/// True for what a method and a name of a field are made of.
const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
/// True for what the name in an authority is made of: what RFC 3986, 3.2.2 allows, but for `%`, which
/// no resolver decodes, and `,`, which joins two fields.
const NAME: [bool; 256] = table(b"-._~!$&'()*+;=");
/// What the path of a target is made of: more than RFC 3986 allows, as clients send more, and the
/// parser behind takes as much.
const PATH: [bool; 256] = table(b"!$%&'()*+,-./:;=@_~\"[\\]^{|}");
/// What its query is made of.
const QUERY: [bool; 256] = table(b"!$%&'()*+,-./:;=@_~[\\]^{|}?`");

const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

fn is_of(table: &[bool; 256], byte: u8) -> bool {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

pub(super) fn is_token(byte: u8) -> bool {
    is_of(&TOKEN, byte)
}

pub(super) fn is_name(byte: u8) -> bool {
    is_of(&NAME, byte)
}

pub(super) fn is_path(byte: u8) -> bool {
    is_of(&PATH, byte)
}

pub(super) fn is_query(byte: u8) -> bool {
    is_of(&QUERY, byte)
}

/// True for what the value of a field is made of.
pub(super) fn is_text(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// True if all of it is text. Looks at every byte whatever it is, which the compiler does many at a
/// time.
pub(super) fn are_text(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & is_text(*byte))
}

/// Without the white space around it.
pub(super) fn trimmed(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// The elements of a list, without the empty ones.
pub(super) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trimmed).filter(|element| !element.is_empty())
}
