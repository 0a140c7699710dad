//! Queries as forms write them: keys and values with `&` between them, percent-encoded, and with `+`
//! for a space.

use crate::route::onward::decoded;

/// True if the query has this key and, unless that is empty, one of these values with it. Both are
/// compared as they are once decoded.
pub(super) fn has<T: AsRef<str>>(query: &str, name: &str, values: &[T]) -> bool {
    query.split('&').filter(|pair| !pair.is_empty()).any(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_wanted = |wanted: &T| is(value, wanted.as_ref());
        is(key, name) && (values.is_empty() || values.iter().any(is_wanted))
    })
}

/// True if `encoded` is this text.
fn is(encoded: &str, text: &str) -> bool {
    let mut rest = encoded.as_bytes();
    let bytes = std::iter::from_fn(|| {
        let (first, behind) = rest.split_first()?;
        let (byte, behind) = match first {
            b'+' => (b' ', behind),
            b'%' => decoded(rest)
                .map_or((b'%', behind), |byte| (byte, behind.get(2..).unwrap_or_default())),
            _ => (*first, behind),
        };
        rest = behind;
        Some(byte)
    });
    bytes.eq(text.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_decoded_and_compared_exactly() {
        for (query, name, values, is_there) in [
            ("v=2", "v", &["2"][..], true),
            ("v=2", "v", &["1", "2"], true),
            ("v=1&v=2", "v", &["2"], true),
            ("v=22", "v", &["2"], false),
            ("V=2", "v", &["2"], false),
            ("vv=2", "v", &["2"], false),
            ("a=v=2", "v", &["2"], false),
            ("v=2=3", "v", &["2=3"], true),
            ("%76=%32", "v", &["2"], true),
            ("q=a+b%2Bc", "q", &["a b+c"], true),
            ("q=%C3%a4", "q", &["ä"], true),
            ("q=100%", "q", &["100%"], true),
            ("q=%zz", "q", &["%zz"], true),
            ("q=%ff", "q", &["\u{ff}"], false),
            ("debug", "debug", &[], true),
            ("debug", "debug", &[""], true),
            ("debug=", "debug", &[], true),
            ("debug=1", "debug", &[], true),
            ("debug=1", "debug", &[""], false),
            ("&&a", "", &[], false),
            ("", "v", &[], false),
        ] {
            assert_eq!(has(query, name, values), is_there, "{query} {name} {values:?}");
        }
    }
}
