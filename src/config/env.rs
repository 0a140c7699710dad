//! `${NAME}` in string values: the one way in for what differs between machines.
//!
//! A value is expanded once; what the environment holds is never read again for more.

/// What stands in the way of an expansion, with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unset {
    pub(super) message: String,
    pub(super) suggestion: String,
}

/// Replaces `${NAME}` and `${NAME:-default}`, and makes `$${` a literal `${`.
pub(super) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Unset> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(kept) = before.strip_suffix('$') {
            out.push_str(kept);
            out.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        out.push_str(before);
        let Some((inside, after)) = from.get(2..).and_then(|inside| inside.split_once('}')) else {
            return Err(unset("\"${\" is never closed", "write ${NAME}, or $${ for a plain ${"));
        };
        out.push_str(&value_of(inside, env)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Writes text so that [`expand`] gives it back.
pub(super) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn value_of(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Unset> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first || !letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let name: String = name.chars().take(60).collect();
        return Err(unset(
            &format!("{name:?} is no name of an environment variable"),
            "use letters, digits and _, not starting with a digit; $${ is a plain ${",
        ));
    }
    match (env(name), default) {
        // Set but empty takes the default: that is what an unfilled template leaves behind.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(unset(
            &format!("the environment variable {name} is not set"),
            &format!("set it, or write ${{{name}:-default}}"),
        )),
    }
}

fn unset(message: &str, suggestion: &str) -> Unset {
    Unset { message: message.to_owned(), suggestion: suggestion.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db1".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> String {
        expand(text, &env).unwrap()
    }

    #[test]
    fn names_defaults_and_escapes_are_replaced_once() {
        assert_eq!(expanded("${HOST}:${PORT:-5432}"), "db1:5432");
        assert_eq!(expanded("[${EMPTY:-x}][${EMPTY}][${GONE:-}]"), "[x][][]");
        assert_eq!(expanded("$${HOST} $5 $$ ${NESTED}"), "${HOST} $5 $$ ${HOST}");
        assert_eq!(expanded("$$${HOST}"), "$${HOST}");
    }

    #[test]
    fn what_cannot_be_replaced_says_why() {
        assert!(expand("${GONE}", &env).unwrap_err().message.contains("GONE is not set"));
        assert!(expand("a${HOST", &env).unwrap_err().message.contains("never closed"));
        assert!(expand("${1x}", &env).unwrap_err().message.contains("no name"));
        assert!(expand("${}", &env).is_err());
    }

    proptest::proptest! {
        #[test]
        fn escaping_is_undone_by_expansion(text in "[a$\\{\\}]{0,12}") {
            proptest::prop_assert_eq!(expanded(&escape(&text)), text);
        }
    }
}
