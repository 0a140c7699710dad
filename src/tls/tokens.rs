//! What an authority is shown over http that wants to see that a name is ours (RFC 8555, 8.3).

use std::collections::BTreeMap;

use arc_swap::ArcSwap;

/// What the path of a token begins with.
const FOLDER: &str = "/.well-known/acme-challenge/";

/// The tokens that are shown, each with its answer.
#[derive(Debug, Default)]
pub struct Tokens(ArcSwap<BTreeMap<String, String>>);

impl Tokens {
    /// Answers `token` with `answer` until it is hidden.
    pub fn show(&self, token: &str, answer: &str) {
        self.0.rcu(|shown| {
            let mut shown = BTreeMap::clone(shown);
            shown.insert(token.to_owned(), answer.to_owned());
            shown
        });
    }

    /// Answers `token` no more.
    pub fn hide(&self, token: &str) {
        self.0.rcu(|shown| {
            let mut shown = BTreeMap::clone(shown);
            shown.remove(token);
            shown
        });
    }

    /// The answer to whoever gets this path; `None` = it is no token's. Any other path costs no more
    /// than a look at how it begins.
    pub fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(FOLDER)?;
        self.0.load().get(token).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_answered_at_its_path_while_it_is_shown() {
        let tokens = Tokens::default();
        let path = format!("{FOLDER}token");
        assert_eq!(tokens.answer(&path), None);
        tokens.show("token", "token.thumb");
        tokens.show("other", "other.thumb");
        assert_eq!(tokens.answer(&path).as_deref(), Some("token.thumb"));
        for other in ["/", "token", "/token", FOLDER, &format!("{path}/"), &format!("/{path}")] {
            assert_eq!(tokens.answer(other), None, "{other}");
        }
        tokens.hide("token");
        assert_eq!(tokens.answer(&path), None);
        assert!(tokens.answer(&format!("{FOLDER}other")).is_some());
    }
}
