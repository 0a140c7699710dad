//! Who may change something: the bearer token, and the pages that may ask a browser for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::{Request, StatusCode};
use subtle::ConstantTimeEq;

use crate::admin::answer::Refusal;
use crate::config::admin_token;

/// The token of `[admin]`, as its file last said it.
#[derive(Debug)]
pub struct Token {
    path: PathBuf,
    value: ArcSwap<Secret>,
}

/// A token that no log shows.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Token {
    /// Reads the token: the file's first line, trimmed.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let value = ArcSwap::from_pointee(Secret(first_line(path)?));
        Ok(Self { path: path.to_owned(), value })
    }

    /// Reads the file again.
    ///
    /// # Errors
    /// The file cannot be read or has no token; the one of before then holds on.
    pub fn read_again(&self) -> io::Result<()> {
        self.value.store(Arc::new(Secret(first_line(&self.path)?)));
        Ok(())
    }

    /// True if the request bears the token, and no other.
    fn is_borne_by<B>(&self, request: &Request<B>) -> bool {
        let mut fields = request.headers().get_all(AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return false };
        let Some((scheme, token)) = field.to_str().ok().and_then(|field| field.split_once(' '))
        else {
            return false;
        };
        // Comparing must not tell by its duration how much of a guess was right.
        let is_same = token.trim().as_bytes().ct_eq(self.value.load().0.as_bytes());
        scheme.eq_ignore_ascii_case("bearer") && is_same.into()
    }
}

fn first_line(path: &Path) -> io::Result<String> {
    let token = admin_token(&fs::read(path)?);
    token.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Refuses a change that somebody else's page asks for, or that does not bear the token.
pub(super) fn check<B>(token: Option<&Token>, request: &Request<B>) -> Result<(), Refusal> {
    check_page(request)?;
    match token {
        Some(token) if !token.is_borne_by(request) => {
            let error = "this changes something: send the token of admin.token_file as \
                         \"Authorization: Bearer TOKEN\" (evenkeel commands: --token-file FILE)";
            Err(Refusal::new(StatusCode::UNAUTHORIZED, error).asking_for_token())
        }
        _ => Ok(()),
    }
}

/// Refuses what somebody else's page asks for.
pub(super) fn check_page<B>(request: &Request<B>) -> Result<(), Refusal> {
    if is_own_page(request) {
        return Ok(());
    }
    let error = "a page from elsewhere (Origin) may not change anything here";
    Err(Refusal::new(StatusCode::FORBIDDEN, error))
}

/// True if no page asks, or one that was loaded from the very host that is asked.
fn is_own_page<B>(request: &Request<B>) -> bool {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    request.headers().get_all(ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        page.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder();
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_the_very_token_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "  s3cret \nsecond line\n").unwrap();
        let token = Token::read(&path).unwrap();
        let opens = |values: &[&str]| {
            let fields: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            check(Some(&token), &request(&fields)).is_ok()
        };
        assert!(opens(&["Bearer s3cret"]) && opens(&["bearer  s3cret"]));
        for wrong in ["", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Basic s3cret"] {
            assert!(!opens(&[wrong]), "{wrong}");
        }
        assert!(!opens(&[]) && !opens(&["Bearer s3cret", "Bearer other"]));

        fs::write(&path, "other").unwrap();
        token.read_again().unwrap();
        assert!(opens(&["Bearer other"]) && !opens(&["Bearer s3cret"]));
        for none in [&b""[..], b"\n", b" \r\nother\n", b"\xc3\xa9\n", b"a\x00b\n"] {
            fs::write(&path, none).unwrap();
            assert!(token.read_again().is_err() && opens(&["Bearer other"]), "{none:?}");
        }
        fs::write(&path, b"dos\r\n\xff\xfe").unwrap();
        token.read_again().unwrap();
        assert!(opens(&["Bearer dos"]));
        assert!(!format!("{token:?}").contains("dos"));
    }

    #[test]
    fn a_page_from_elsewhere_is_foreign() {
        let may = |origin: &str| {
            check(None, &request(&[("host", "localhost:9900"), ("origin", origin)])).is_ok()
        };
        assert!(may("http://localhost:9900") && may("http://LOCALHOST:9900"));
        for origin in ["http://evil.example", "http://localhost:3000", "http://localhost", "null"] {
            assert!(!may(origin), "{origin}");
        }
        assert!(check(None, &request(&[("host", "localhost")])).is_ok());
        assert!(check(None, &request(&[("origin", "http://localhost")])).is_err());
    }
}
