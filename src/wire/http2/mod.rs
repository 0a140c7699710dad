//! What a client says in HTTP/2, counted frame by frame before a parser sees it (RFC 9113).
//!
//! Some frames cost the sender little and the receiver much. Who sends many of them and asks for
//! little else is shut out.

/// What an HTTP/2 connection begins with (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
