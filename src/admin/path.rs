//! Paths and queries taken apart: segments before decoding, so that an encoded slash stays a name's.

/// The segments of `path` that stand where `pattern` has `{…}`, decoded; `None` if it does not match.
pub(super) fn matched(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut wanted = pattern.split('/');
    let mut given = path.split('/');
    let mut names = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(names),
            (Some(wanted), Some(given)) if wanted.starts_with('{') => {
                names.push(decoded(given).filter(|name| !name.is_empty())?);
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}

/// What a query says for a key, decoded, the first time it does; `None` if it does not, or if what it
/// says is broken.
pub(super) fn value(query: Option<&str>, key: &str) -> Option<String> {
    values_as_sent(query, key).next().and_then(decoded)
}

/// All that a query says for a key, decoded; what is broken is left out.
pub(super) fn values<'a>(
    query: Option<&'a str>,
    key: &'a str,
) -> impl Iterator<Item = String> + use<'a> {
    values_as_sent(query, key).filter_map(decoded)
}

fn values_as_sent<'a>(query: Option<&'a str>, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = query.into_iter().flat_map(|query| query.split('&'));
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(name, _)| *name == key).map(|(_, value)| value)
}

/// Undoes percent-encoding; `None` if it is broken or no text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|v| u8::try_from(v).ok());
        let [high, low] = digits else { return None };
        bytes.push(value(*high)? << 4 | value(*low)?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: &str = "/api/v1/pools/{pool}/backends/{backend}";

    #[test]
    fn names_are_decoded_and_segments_stay_apart() {
        let names = |path| matched(BACKEND, path);
        let both = |pool: &str, backend: &str| Some(vec![pool.to_owned(), backend.to_owned()]);
        assert_eq!(names("/api/v1/pools/db/backends/10.0.0.1:5432"), both("db", "10.0.0.1:5432"));
        assert_eq!(names("/api/v1/pools/db/backends/%5B::1%5d%3a80"), both("db", "[::1]:80"));
        assert_eq!(names("/api/v1/pools/db/backends/[::1]:80"), both("db", "[::1]:80"));
        assert_eq!(names("/api/v1/pools/a%2fb/backends/c"), both("a/b", "c"));
        assert_eq!(names("/api/v1/pools/a/b/backends/c"), None);
        assert_eq!(names("/api/v1/pools/db/backends/"), None);
        assert_eq!(names("/api/v1/pools/db/backends/b1/"), None);
        assert_eq!(matched("/", "/"), Some(vec![]));
        assert_eq!(matched("/healthz", "/healthz/"), None);
    }

    #[test]
    fn what_is_broken_is_no_name_and_no_value() {
        for text in ["%", "%4", "%zz", "%+1", "%ff", "a%2"] {
            assert_eq!(decoded(text), None, "{text}");
        }
        assert_eq!(decoded("b%C3%A9").as_deref(), Some("bé"));
        let query = Some("a=1&listener=front%20door&a=2&b&c=%zz");
        assert_eq!(value(query, "listener").as_deref(), Some("front door"));
        assert_eq!(value(query, "a").as_deref(), Some("1"));
        assert_eq!(value(query, "b").as_deref(), Some(""));
        assert_eq!((value(query, "c"), value(query, "d"), value(None, "a")), (None, None, None));
    }
}
