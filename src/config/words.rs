//! Words of the file in messages: quoted safely, and matched with those that were probably meant.

/// A value in quotes for a message, cut when long, control characters made visible.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// The candidate that a mistyped word most likely means.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // The measure is quadratic, and nobody mistypes a name of this length.
    if word.len() > 200 {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// A question with the nearest candidate, or else all of them.
pub(super) fn did_you_mean<'a>(
    word: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean \"{near}\"?");
    }
    let mut all: Vec<&str> = candidates.into_iter().collect();
    let more = if all.len() > 20 { ", …" } else { "" };
    all.truncate(20);
    if all.is_empty() {
        format!("there is no {what}")
    } else {
        format!("{what}: {}{more}", all.join(", "))
    }
}
