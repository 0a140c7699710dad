//! Requests that are malformed, ambiguous or merely odd, read from the files beside this one. The
//! module that decides on them is held against the same ones, without sockets.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A request that is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refused {
    pub(crate) name: String,
    pub(crate) says: String,
    /// What is answered.
    pub(crate) status: u16,
    /// The head is sound: a backend may see the request begin.
    #[serde(default)]
    pub(crate) begun: bool,
}

/// A request that has one meaning.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Passed {
    pub(crate) name: String,
    pub(crate) says: String,
    pub(crate) method: String,
    pub(crate) target: String,
    #[serde(default = "web_example")]
    pub(crate) host: String,
    #[serde(default)]
    pub(crate) body: String,
}

fn web_example() -> String {
    "web.example".to_owned()
}

pub(crate) fn refused() -> Vec<Refused> {
    let topics: BTreeMap<String, Vec<Refused>> =
        toml::from_str(include_str!("refused.toml")).unwrap();
    topics.into_values().flatten().collect()
}

pub(crate) fn passed() -> Vec<Passed> {
    let topics: BTreeMap<String, Vec<Passed>> =
        toml::from_str(include_str!("passed.toml")).unwrap();
    topics.into_values().flatten().collect()
}

/// The bytes that a text of the corpus stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut plain = text.to_owned();
    // The innermost first: what is repeated may hold another.
    while let Some((at, repeated, length)) = last_repetition(&plain) {
        plain.replace_range(at..at + length, &repeated);
    }
    plain.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

/// Where the last `{…*N}` is, what it stands for, and how long it is.
fn last_repetition(text: &str) -> Option<(usize, String, usize)> {
    text.rmatch_indices('{').find_map(|(at, _)| {
        let inside = &text[at + 1..];
        let inside = &inside[..inside.find('}')?];
        let (what, times) = inside.rsplit_once('*')?;
        let times: usize = times.parse().ok()?;
        Some((at, what.repeat(times), inside.len() + 2))
    })
}
