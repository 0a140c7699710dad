//! Clients that keep their backend by a cookie: what its values are, and what they mean.
//!
//! A value is a keyed hash of what the backend is, so that it names nobody to those who read it,
//! means the same after a restart and at another balancer with the same file, and is worth nothing
//! once its backend has gone. Nothing is remembered here: a client carries its own place.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::config::{SameSite, StickyCookie};
use crate::pool::{Backend, Member};

/// Without a secret. Whoever knows the file can then make a value up, and pick a backend by it.
const PUBLIC: (u64, u64) = (0x6576_656e_6b65_656c, 0x7374_6963_6b79_636b);
/// What turns a secret into a key.
const SECRET: (u64, u64) = (0x6576_656e_6b65_656c, 0x7374_6963_6b79_6b65);

/// The cookie of a pool, whoever its members are.
#[derive(Debug)]
pub(super) struct Cookies {
    pool: Arc<str>,
    rules: StickyCookie,
    key: (u64, u64),
}

/// What the values of a pool's cookie are, and whom they mean.
#[derive(Debug)]
pub(super) struct Values {
    name: Arc<str>,
    /// The backends' numbers by what their values are.
    homes: HashMap<u128, u64>,
    /// What a client is told, by the number of its backend.
    set: HashMap<u64, HeaderValue>,
}

impl Cookies {
    /// For the members of `pool`; `secret` keys the values.
    pub(super) fn new(pool: &Arc<str>, rules: &StickyCookie, secret: Option<&[u8]>) -> Self {
        let key = secret.map_or(PUBLIC, |secret| {
            let key = SipHasher24::new_with_keys(SECRET.0, SECRET.1).hash(secret);
            (key.h1, key.h2)
        });
        Self { pool: Arc::clone(pool), rules: rules.clone(), key }
    }

    /// The values of these members; those of the `last` list if its members were the same.
    pub(super) fn values(&self, members: &[Member], last: Option<&Arc<Values>>) -> Arc<Values> {
        let is_same = |last: &&Arc<Values>| {
            let known = |member: &Member| last.set.contains_key(&member.backend.id());
            last.set.len() == members.len() && members.iter().all(known)
        };
        last.filter(is_same).map_or_else(|| Arc::new(self.made(members)), Arc::clone)
    }

    fn made(&self, members: &[Member]) -> Values {
        let value = |member: &Member| {
            let value = value_of(self.key, &self.pool, &self.rules.name, member);
            (member.backend.id(), value)
        };
        let values: Vec<_> = members.iter().map(value).collect();
        // A name and an address are made of what may stand in a header.
        let told = |&(id, value): &(u64, u128)| {
            Some((id, HeaderValue::try_from(set_cookie(&self.rules, value)).ok()?))
        };
        Values {
            name: Arc::clone(&self.rules.name),
            set: values.iter().filter_map(told).collect(),
            homes: values.into_iter().map(|(id, value)| (value, id)).collect(),
        }
    }
}

impl Values {
    /// The number of the backend that the client's cookie names: of several values the first that
    /// names one.
    pub(super) fn home(&self, headers: &HeaderMap) -> Option<u64> {
        values(headers, &self.name).find_map(|value| self.homes.get(&parse(value)?).copied())
    }

    /// What tells a client that it belongs to a backend from now on.
    pub(super) fn set(&self, backend: &Backend) -> Option<&HeaderValue> {
        self.set.get(&backend.id())
    }
}

/// The values of a cookie in the order in which they came: clients may send several of one name.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = |line: &'a HeaderValue| line.as_bytes().split(|byte| *byte == b';');
    let named = |pair: &'a [u8]| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=");
        value.map(<[u8]>::trim_ascii)
    };
    headers.get_all(COOKIE).iter().flat_map(pairs).filter_map(named)
}

fn value_of(key: (u64, u64), pool: &str, cookie: &str, member: &Member) -> u128 {
    let mut hasher = SipHasher24::new_with_keys(key.0, key.1);
    let address = member.backend.address().to_string();
    for part in [pool, cookie, member.backend.name(), &address] {
        // With their lengths, so that no two lists of parts are the same bytes.
        hasher.write(&(part.len() as u64).to_be_bytes());
        hasher.write(part.as_bytes());
    }
    hasher.finish128().as_u128()
}

/// The value that stands in a cookie: 32 digits, as [`set_cookie`] writes them.
fn parse(value: &[u8]) -> Option<u128> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let text = std::str::from_utf8(value).ok()?;
    let is_ours = value.len() == 32 && value.iter().all(is_digit);
    is_ours.then(|| u128::from_str_radix(text, 16).ok())?
}

fn set_cookie(rules: &StickyCookie, value: u128) -> String {
    let mut text = format!("{}={value:032x}; Path=/", rules.name);
    if let Some(ttl) = rules.ttl {
        text += &format!("; Max-Age={}", ttl.as_secs());
    }
    if rules.secure {
        text += "; Secure";
    }
    if rules.http_only {
        text += "; HttpOnly";
    }
    text += match rules.same_site {
        Some(SameSite::Strict) => "; SameSite=Strict",
        Some(SameSite::Lax) => "; SameSite=Lax",
        Some(SameSite::None) => "; SameSite=None",
        None => "",
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let line = |line: &&str| (COOKIE, HeaderValue::from_str(line).unwrap());
        lines.iter().map(line).collect()
    }

    #[test]
    fn one_name_is_found_among_many_cookies_and_lines() {
        let lines = ["a=1; stick=x ;b=2", "stick=;xstick=9; sticky=8", "stick =7;stick=a=b"];
        let headers = headers(&lines);
        let found: Vec<_> = values(&headers, "stick").collect();
        assert_eq!(found, [&b"x"[..], b"", b"a=b"]);
        assert_eq!(values(&headers, "STICK").count(), 0, "case counts");
    }

    #[test]
    fn only_what_is_written_here_is_read_here() {
        let value = 0x00ab_cdef_u128;
        let text = format!("{value:032x}");
        assert_eq!(parse(text.as_bytes()), Some(value));
        for other in [&text[1..], &text.to_uppercase(), &format!("+{}", &text[1..]), "", "ä"] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }
}
