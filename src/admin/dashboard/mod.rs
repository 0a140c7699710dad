//! The page that a browser is shown at `/`.
//!
//! It is one document, style and script included, so that there is nothing to install and nothing
//! to load. The policy that goes with it names its style and its script by their hashes and lets
//! the page talk to this interface alone: whatever a name in the file might smuggle in stays text.

use std::sync::LazyLock;

use aws_lc_rs::digest as hash;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
};
use hyper::{Request, StatusCode};

use crate::admin::answer::{Answer, whole};

const STYLE: &str = include_str!("style.css");

const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("figures.js"),
    include_str!("words.js"),
    include_str!("elements.js"),
    include_str!("view.js"),
    include_str!("steer.js"),
    include_str!("live.js"),
);

/// The document and what is said with it.
struct Page {
    document: Bytes,
    tag: HeaderValue,
    policy: HeaderValue,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let document = [
        include_str!("head.html"),
        "<style>",
        STYLE,
        "</style>\n",
        include_str!("body.html"),
        "<script type=\"module\">",
        SCRIPT,
        "</script>\n",
        include_str!("foot.html"),
    ]
    .concat();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(STYLE),
        digest(SCRIPT)
    );
    let tag = format!("\"{}\"", digest(&document));
    // Base64 and ASCII make valid values, as the test shows.
    let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    Page { tag: value(&tag), policy: value(&policy), document: document.into() }
});

/// The page, or that it is still the one which the browser has.
pub(super) fn page<B>(request: &Request<B>) -> Answer {
    let page = &*PAGE;
    let known = request.headers().get_all(IF_NONE_MATCH).iter();
    let mut known = known.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(','));
    let same = known.any(|tag| page.tag == tag.trim().trim_start_matches("W/"));
    let mut answer = if same {
        whole(StatusCode::NOT_MODIFIED, "text/html; charset=utf-8", Bytes::new())
    } else {
        whole(StatusCode::OK, "text/html; charset=utf-8", page.document.clone())
    };
    let headers = answer.headers_mut();
    headers.insert(ETAG, page.tag.clone());
    headers.insert(CONTENT_SECURITY_POLICY, page.policy.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Kept, but asked for each time: another version may run by now.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// SHA-256 in base64, as a policy names what it allows.
fn digest(text: &str) -> String {
    BASE64.encode(hash::digest(&hash::SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(tag: Option<&str>) -> Answer {
        let request =
            tag.into_iter().fold(Request::builder(), |r, tag| r.header(IF_NONE_MATCH, tag));
        page(&request.body(()).unwrap())
    }

    #[test]
    fn hashes_are_written_as_a_policy_wants_them() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(BASE64.encode(text), coded);
        }
        assert_eq!(digest("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn the_page_is_sent_once_and_then_known_by_its_tag() {
        let first = ask(None);
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        assert_eq!((first.status(), tag.len()), (StatusCode::OK, 46));
        let policy = first.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}")] {
            assert_eq!(ask(Some(&known)).status(), StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_eq!(ask(Some("\"x\"")).status(), StatusCode::OK);
    }

    #[test]
    fn the_script_puts_no_text_in_as_markup_and_names_no_other_place() {
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        let page = std::str::from_utf8(&PAGE.document).unwrap();
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("://"), "the page names another place");
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
    }
}
