//! Paths in the one form in which they are compared and sent on: what a route asks for and what a
//! request asks for go through the same function, so that no spelling leads around a route.

use std::borrow::Cow;

/// A path without dot segments (RFC 3986, 5.2.4) and with unreserved characters decoded (6.2.2.2);
/// it is without a query, and an empty one is `/`. The same again for what has been through here.
///
/// A dot segment may come percent-encoded. All else that is encoded stays as it is, `%2F` and the
/// case of its digits included, and slashes are not merged.
///
/// `None` if it leads above the root, or does not start with a slash.
pub fn normal_path(path: &str) -> Option<Cow<'_, str>> {
    if path.is_empty() {
        return Some(Cow::Borrowed("/"));
    }
    let segments = path.strip_prefix('/')?;
    if is_normal(path) {
        return Some(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len());
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        let before = out.len();
        out.push('/');
        push_decoded(&mut out, segment);
        match out.get(before + 1..) {
            Some(".") => out.truncate(before),
            Some("..") => {
                out.truncate(before);
                out.truncate(out.rfind('/')?);
            }
            _ => continue,
        }
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    Some(Cow::Owned(out))
}

/// True if there is surely nothing to do, which most paths are found to be in one look.
fn is_normal(path: &str) -> bool {
    let bytes = path.as_bytes();
    !bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'%' => unreserved(bytes.get(at..).unwrap_or_default()).is_some(),
        b'/' => {
            let behind = bytes.get(at + 1..).unwrap_or_default();
            let segment = behind.split(|byte| *byte == b'/').next().unwrap_or_default();
            segment == b"." || segment == b".."
        }
        _ => false,
    })
}

fn push_decoded(out: &mut String, segment: &str) {
    let mut rest = segment;
    while let Some((plain, behind)) = rest.split_once('%') {
        out.push_str(plain);
        let encoded = rest.get(plain.len()..).unwrap_or_default();
        match unreserved(encoded.as_bytes()) {
            Some(character) if !is_begun(out) => {
                out.push(character);
                rest = behind.get(2..).unwrap_or_default();
            }
            Some(_) => {
                let (whole, after) = encoded.split_at(3);
                out.push_str(whole);
                rest = after;
            }
            None => {
                out.push('%');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
}

/// The character that is encoded at the front, if it is one that needs no encoding.
fn unreserved(encoded: &[u8]) -> Option<char> {
    let [b'%', high, low, ..] = encoded else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let character = char::from_u32(digit(high)? * 16 + digit(low)?)?;
    let is_unreserved =
        character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~');
    is_unreserved.then_some(character)
}

/// True if `out` ends with a percent sign that lacks digits: a decoded one would complete it to
/// something that was not there, such as the `e` in `%2%65`.
fn is_begun(out: &str) -> bool {
    match out.as_bytes() {
        [.., b'%'] => true,
        [.., b'%', digit] => digit.is_ascii_hexdigit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dot_segments_are_gone_and_nothing_else() {
        for (path, normal) in [
            ("", "/"),
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/../", "/"),
            ("/a/..", "/"),
            ("/a/b/../../c", "/c"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("//a//", "//a//"),
            ("/...", "/..."),
            ("/.well-known/a.", "/.well-known/a."),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/a/%2e/b", "/a/b"),
            ("/A%2fb/%2F", "/A%2fb/%2F"),
            ("/%61%7E%20%c3%a4", "/a~%20%c3%a4"),
            ("/a%2f../b", "/a%2f../b"),
            ("/a/%252e%252e", "/a/%252e%252e"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
            ("/ä/../ö", "/ö"),
        ] {
            assert_eq!(normal_path(path).as_deref(), Some(normal), "{path}");
        }
    }

    #[test]
    fn nothing_leads_above_the_root() {
        for path in ["/..", "/../a", "/a/../..", "/%2e%2e/a", "/./..", "/.%2E", "*", "a/b", "."] {
            assert_eq!(normal_path(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_decoded_completes_nothing() {
        for path in ["/%2%65%2%65/", "/%%32e", "/%%32%65", "/%2%%65"] {
            let normal = normal_path(path).unwrap();
            assert!(!normal.to_ascii_lowercase().contains("%2e"), "{path} is {normal}");
        }
    }

    #[test]
    fn a_path_with_nothing_to_do_is_not_copied() {
        for path in ["/", "/a/b.c", "/a%20b/%2F", "/.a/..b/c.."] {
            assert!(matches!(normal_path(path), Some(Cow::Borrowed(_))), "{path}");
        }
    }

    proptest! {
        #[test]
        fn twice_is_once(path in "(/|[a.%2eE~-]|%2[eEfF0]|%6[1a]|\\PC){0,12}") {
            let path = format!("/{path}");
            if let Some(once) = normal_path(&path) {
                prop_assert_eq!(normal_path(&once), Some(Cow::Borrowed(&*once)));
                prop_assert!(once.starts_with('/') && once.len() <= path.len() + 1);
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn who_decodes_the_rest_finds_no_way_up(path in "(/|\\.|%2[eE]|%|2|e|a){0,16}") {
            if let Some(normal) = normal_path(&format!("/{path}")) {
                let decoded = normal.replace("%2e", ".").replace("%2E", ".");
                prop_assert!(decoded.split('/').all(|it| it != "..") , "{}", normal);
            }
        }
    }
}
