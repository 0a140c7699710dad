//! Why there is no new certificate, in words for whoever reads the log.

use instant_acme::{Error, Problem};

use crate::acme::client::Lost;
use crate::acme::place;
use crate::tls;

/// What is kept of a text that the authority wrote.
const LONGEST: usize = 500;

/// What is kept of all that it has to say about one order.
const LONGEST_IN_ALL: usize = 4000;

/// Why an order failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Our own files.
    #[error(transparent)]
    Place(#[from] place::Error),
    /// `directory_ca`, or the system's authorities.
    #[error("acme.directory_ca: {0}")]
    Trust(tls::Error),
    /// No request can be sent there.
    #[error("acme.directory {0:?} is no https address of a host")]
    Directory(String),
    /// The authority refused, or could not be asked.
    #[error("cannot {what}: {}", words(.why))]
    Authority {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        why: Error,
    },
    /// Names that we could not prove to be ours.
    #[error("{}", .0.join("; "))]
    Unproven(Vec<String>),
    /// The authority offers other challenges.
    #[error("the authority does not offer {wanted} for {domain}; set another acme.challenge")]
    NotOffered {
        /// The name to be proven.
        domain: String,
        /// The challenge we can answer.
        wanted: &'static str,
    },
    /// What came as a certificate is not what was ordered.
    #[error("the certificate that came is of no use: {0}")]
    Certificate(String),
    /// The library refuses to make a key or a certificate for a challenge.
    #[error("cannot make the answer to a challenge: {0}")]
    Answer(String),
    /// The whole took too long.
    #[error("the order was not complete after {0} s")]
    Slow(u64),
}

impl Failure {
    /// The whole on one line of bounded length, however much of it the authority wrote.
    pub(super) fn said(&self) -> String {
        cut(&self.to_string(), LONGEST_IN_ALL)
    }

    /// The authority has nothing against us but how often we ask.
    pub(super) fn is_rate(&self) -> bool {
        self.kind() == Some("rateLimited")
    }

    /// The authority was asked and did not answer, so that it has nothing to count.
    pub(super) fn is_unheard(&self) -> bool {
        matches!(self, Self::Authority { why: Error::Other(why), .. } if why.is::<Lost>())
    }

    /// The authority does not know the account.
    pub(super) fn is_unknown_account(&self) -> bool {
        self.kind() == Some("accountDoesNotExist")
    }

    fn kind(&self) -> Option<&str> {
        match self {
            Self::Authority { why: Error::Api(problem), .. } => kind(problem.r#type.as_deref()),
            _ => None,
        }
    }
}

/// The last word of an error's type, such as `rateLimited`.
fn kind(name: Option<&str>) -> Option<&str> {
    name?.strip_prefix("urn:ietf:params:acme:error:")
}

fn words(error: &Error) -> String {
    match error {
        Error::Api(found) => problem(found),
        Error::Json(why) => format!("the answer is not what RFC 8555 says: {why}"),
        Error::Timeout(_) => "the authority did not come to an end in time".to_owned(),
        error => error.to_string(),
    }
}

/// What a problem document says.
pub(super) fn problem(problem: &Problem) -> String {
    let mut text = said(problem.detail.as_deref(), problem.r#type.as_deref());
    for part in &problem.subproblems {
        let of = part.identifier.as_ref().map(|name| name.authorized(false).to_string());
        let what = said(part.detail.as_deref(), part.r#type.as_deref());
        text += &format!("; {}: {what}", clean(of.as_deref().unwrap_or("also")));
    }
    text
}

fn said(detail: Option<&str>, name: Option<&str>) -> String {
    let detail = clean(detail.unwrap_or("refused without a word"));
    match kind(name).or(name) {
        Some(kind) => format!("{detail} ({})", clean(kind)),
        None => detail,
    }
}

/// A foreign text on one line of bounded length.
fn clean(text: &str) -> String {
    cut(text, LONGEST)
}

fn cut(text: &str, longest: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(longest).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Problem {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_problem_is_told_with_every_name_it_is_about() {
        let found = parsed(
            r#"{"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "No.\nNever.",
                "subproblems": [{"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids",
                    "identifier": {"type": "dns", "value": "b.example"}}]}"#,
        );
        let said = problem(&found);
        assert_eq!(said, "No. Never. (rejectedIdentifier); b.example: CAA forbids (caa)");
        assert_eq!(problem(&parsed("{}")), "refused without a word");
        let long = parsed(&format!(r#"{{"detail": "{}"}}"#, "x".repeat(100_000)));
        assert_eq!(problem(&long).len(), LONGEST);
    }

    #[test]
    fn what_is_said_of_a_failure_is_one_short_line_whatever_the_authority_wrote() {
        // The JSON library repeats what it did not expect.
        let why = serde_json::from_str::<bool>(&format!("\"{}\"", "x\\n".repeat(300_000)));
        let answer = Failure::Authority { what: "order", why: Error::Json(why.unwrap_err()) };
        let names = vec!["a\n".repeat(3000); 3];
        for failure in [answer, Failure::Unproven(names)] {
            let said = failure.said();
            assert!(said.len() <= LONGEST_IN_ALL && !said.contains('\n'), "{}", said.len());
        }
    }

    #[test]
    fn the_kinds_that_we_act_on_are_known() {
        let failure = |kind: &str| {
            let json = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}"}}"#);
            Failure::Authority { what: "order", why: Error::Api(parsed(&json)) }
        };
        assert!(failure("rateLimited").is_rate());
        assert!(failure("accountDoesNotExist").is_unknown_account());
        assert!(!failure("unauthorized").is_rate() && !failure("x").is_unknown_account());
    }
}
