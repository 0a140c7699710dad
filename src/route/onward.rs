//! Paths as they go on to a backend: without dot segments, and otherwise as they were sent.

use std::borrow::Cow;

/// What percent-encoding a byte makes of it.
const ENCODED: usize = "%61".len();

/// A path without dot segments, however these are written (RFC 3986, 5.2.4). `None` if it leads above
/// the root, or does not start with a slash.
pub(super) fn without_dots(path: &str) -> Option<Cow<'_, str>> {
    let segments = path.strip_prefix('/')?;
    if !segments.split('/').any(|segment| dots(segment) > 0) {
        return Some(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        match dots(segment) {
            0 => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
            1 => {}
            _ => out.truncate(out.rfind('/')?),
        }
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    Some(Cow::Owned(out))
}

/// How many dots a segment is, if it is one or two and nothing else; else 0.
fn dots(segment: &str) -> usize {
    let (mut rest, mut dots) = (segment.as_bytes(), 0);
    while let [b'.', behind @ ..] | [b'%', b'2', b'e' | b'E', behind @ ..] = rest {
        (rest, dots) = (behind, dots + 1);
    }
    if rest.is_empty() && dots <= 2 { dots } else { 0 }
}

/// What stands behind `prefix`, which has unreserved characters decoded, where the path starts with
/// it on a segment border: empty, or from the slash on.
pub(super) fn behind<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let mut at = 0;
    for wanted in prefix.bytes() {
        let rest = path.as_bytes().get(at..)?;
        at += match rest.first()? {
            first if *first == wanted => 1,
            b'%' if is_unreserved(wanted) && decoded(rest) == Some(wanted) => ENCODED,
            _ => return None,
        };
    }
    path.get(at..).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that is encoded at the front.
pub(super) fn decoded(encoded: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = encoded else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::addr::normal_path;

    #[test]
    fn dot_segments_go_and_all_else_stays_as_it_was_sent() {
        for (path, sent) in [
            ("/", Some("/")),
            ("/%61/./%7E", Some("/%61/%7E")),
            ("/a/%2e%2E/%62", Some("/%62")),
            ("/a/b/..", Some("/a/")),
            ("/a/.%2e", Some("/")),
            ("/...%2e", Some("/...%2e")),
            ("//a//%2E//", Some("//a///")),
            ("/..", None),
            ("/a/%2e./../b", None),
            ("*", None),
        ] {
            assert_eq!(without_dots(path).as_deref(), sent, "{path}");
        }
        assert!(matches!(without_dots("/.a/%2ee"), Some(Cow::Borrowed(_))), "nothing is copied");
    }

    #[test]
    fn a_prefix_is_found_on_segment_borders_however_it_is_written() {
        for (path, prefix, rest) in [
            ("/api", "/api", Some("")),
            ("/api/x", "/api", Some("/x")),
            ("/apix", "/api", None),
            ("/%61p%69/%7e", "/api", Some("/%7e")),
            ("/ap", "/api", None),
            ("/a%2Fb/c", "/a%2Fb", Some("/c")),
            ("/a/b", "/a%2Fb", None),
            ("/a%2Fb", "/a/b", None),
            ("/x", "", Some("/x")),
            ("*", "", None),
        ] {
            assert_eq!(behind(path, prefix), rest, "{path} {prefix}");
        }
    }

    proptest! {
        #[test]
        fn what_goes_on_is_the_path_that_was_compared(
            path in "(/|\\.|%2[eEfF]|%6[1a]|[a%2e]|ä){0,12}",
        ) {
            let path = format!("/{path}");
            let sent = without_dots(&path);
            prop_assert_eq!(sent.is_some(), normal_path(&path).is_some(), "{}", path);
            if let Some(sent) = sent {
                prop_assert_eq!(normal_path(&sent), normal_path(&path));
                prop_assert_eq!(without_dots(&sent), Some(Cow::Borrowed(&*sent)));
            }
        }
    }
}
