//! What a backend's answer may not say about its own end (RFC 9112, 6.3).
//!
//! A backend is trusted to speak; it is the parser here that must not be of two minds. hyper refuses
//! most of what is broken, and keeps every line of a head that it takes, so the rest can be seen
//! afterwards, in the fields: no look at the bytes is needed.

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{StatusCode, Version};

use super::head::length;

/// Why an answer cannot be believed, if it cannot: whoever passes it on would say where it ends, and
/// might be wrong. Its client gets a 502, and its connection is not used again.
///
/// It is asked about answers in HTTP/1; in HTTP/2 the frames say where they end.
pub fn doubt(version: Version, status: StatusCode, headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (coding, known) = (codings.next(), lengths.next());
    if coding.is_some() && known.is_some() {
        return Some("both Transfer-Encoding and Content-Length");
    }
    if codings.next().is_some() || lengths.next().is_some() {
        return Some("more than one Transfer-Encoding or Content-Length");
    }
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Some("Transfer-Encoding is not just chunked");
    }
    if coding.is_some() && version == Version::HTTP_10 {
        return Some("Transfer-Encoding in HTTP/1.0");
    }
    let known = known.map(|known| length(known.as_bytes()));
    if known == Some(None) {
        return Some("Content-Length is no plain number below 2^63");
    }
    // hyper expects no body behind it, and would take one for the next answer.
    let has_body = coding.is_some() || known.flatten().is_some_and(|length| length > 0);
    let is_bare = status.is_informational() || status == StatusCode::NO_CONTENT;
    (is_bare && has_body).then_some("a body where none can be")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_doubtful(version: Version, status: u16, fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        doubt(version, StatusCode::from_u16(status).unwrap(), &headers).is_some()
    }

    #[test]
    fn an_answer_that_ends_in_two_places_is_doubtful() {
        const TE: &str = "transfer-encoding";
        const CL: &str = "content-length";
        let doubtful: [&[(&str, &str)]; 11] = [
            &[(TE, "chunked"), (CL, "5")],
            &[(CL, "5"), (CL, "5")],
            &[(CL, "5, 5")],
            &[(CL, "+5")],
            &[(CL, "")],
            &[(CL, "9223372036854775808")],
            &[(TE, "gzip, chunked")],
            &[(TE, "gzip")],
            &[(TE, "identity")],
            &[(TE, "chunked"), (TE, "chunked")],
            &[(TE, "")],
        ];
        for fields in doubtful {
            assert!(is_doubtful(Version::HTTP_11, 200, fields), "{fields:?}");
        }
        let plain: [&[(&str, &str)]; 4] = [&[], &[(CL, "5")], &[(TE, "Chunked")], &[(CL, "05")]];
        for fields in plain {
            assert!(!is_doubtful(Version::HTTP_11, 200, fields), "{fields:?}");
        }
        assert!(is_doubtful(Version::HTTP_10, 200, &[(TE, "chunked")]));
        assert!(is_doubtful(Version::HTTP_11, 204, &[(CL, "5")]));
        assert!(is_doubtful(Version::HTTP_11, 204, &[(TE, "chunked")]));
        // Some servers say so, and send nothing.
        assert!(!is_doubtful(Version::HTTP_11, 204, &[(CL, "0")]));
        // It is about the body that there would have been.
        assert!(!is_doubtful(Version::HTTP_11, 304, &[(CL, "5")]));
    }
}
