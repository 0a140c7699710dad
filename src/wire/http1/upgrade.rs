//! When a request asks for another protocol (RFC 9110, 7.8).

use http::Version;
use http::header::{CONNECTION, HeaderMap, UPGRADE};

use super::bytes::elements;

/// HTTP/2 in cleartext by upgrade, which is history (RFC 9113, 3.1). A proxy that passes it on opens
/// a way to the backend that it does not look into.
const H2C: &[u8] = b"h2c";

/// True if a request asks to leave HTTP/1 for a protocol that may be passed on. [`super::Screen`] holds
/// back what follows such a request, until it is told how it was answered.
pub fn asks_for_upgrade(version: Version, headers: &HeaderMap) -> bool {
    let mut connection = headers.get_all(CONNECTION).iter();
    let mut upgrade = headers.get_all(UPGRADE).iter();
    version == Version::HTTP_11
        && connection.any(|value| names(value.as_bytes(), b"upgrade"))
        && upgrade.any(|value| offers(value.as_bytes()))
}

/// True if a list names this.
pub(super) fn names(value: &[u8], what: &[u8]) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(what))
}

/// True if an `Upgrade` names a protocol that may be passed on.
pub(super) fn offers(value: &[u8]) -> bool {
    elements(value).any(|element| !element.eq_ignore_ascii_case(H2C))
}
