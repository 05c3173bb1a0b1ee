//! The words that other programs have for our keys, and which key was meant.
//!
//! A key that is not known is looked up among those that are to come, then among the words of
//! other programs (`words.txt`), then by its letters.
#![forbid(unsafe_code)]

use crate::config::tree::cut;

/// What is wrong with a key that its object does not have, and which key was meant.
pub(super) fn unknown_key<'a>(
    object: &str,
    key: &str,
    known: &[&'a str],
) -> (String, Option<&'a str>) {
    let plain = squash(key);
    let shown = cut(key);
    if let Some(later) = later(object, &plain) {
        let message = if squash(later) == plain {
            format!("`{shown}` is not available in this version")
        } else {
            format!("unknown key `{shown}`; `{later}` is not available in this version")
        };
        return (message, None);
    }
    let spelled = known.iter().find(|known| squash(known) == plain).copied();
    let meant = spelled
        .or_else(|| foreign(object, &plain))
        .or_else(|| nearest(key, known));
    let message = match meant {
        Some(meant) => format!("unknown key `{shown}`; did you mean `{meant}`?"),
        None => format!("unknown key `{shown}`; expected {}", known.join(", ")),
    };
    (message, meant)
}

/// The word that looks most like another, if one does: one letter in three may differ, or the
/// beginning is the same.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let most = (word.chars().count() / 3).max(1);
    let distances = known.iter().map(|known| {
        let distance = strsim::osa_distance(&word, known);
        let likeness = strsim::jaro_winkler(&word, known);
        (distance, likeness, *known)
    });
    let near = distances.filter(|(distance, likeness, known)| {
        (*distance <= most && *distance < known.len()) || *likeness >= LIKENESS_MIN
    });
    near.min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, known)| known)
}

/// Of two words that begin alike; 1 is the same.
const LIKENESS_MIN: f64 = 0.85;

/// What a word is without case and punctuation: `send-proxy`, `sendProxy` and `send_proxy` are one.
fn squash(word: &str) -> String {
    let letters = word.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

fn later(object: &str, plain: &str) -> Option<&'static str> {
    let mut rows = rows().filter(|row| row.object == object && row.is_later);
    rows.find(|row| row.has(plain) || squash(row.ours) == plain)
        .map(|row| row.ours)
}

fn foreign(object: &str, plain: &str) -> Option<&'static str> {
    let mut rows = rows().filter(|row| row.object == object && !row.is_later);
    rows.find(|row| row.has(plain)).map(|row| row.ours)
}

/// Words for a key.
struct Row {
    /// The object in which the words are met.
    object: &'static str,
    /// Our key: of that object, or with its path from the root.
    ours: &'static str,
    /// Whether this version does not have it.
    is_later: bool,
    /// Their words for it, between spaces.
    theirs: &'static str,
}

impl Row {
    fn has(&self, plain: &str) -> bool {
        let mut words = self.theirs.split_whitespace();
        words.any(|word| squash(word) == plain)
    }
}

/// The rows of the table, each line of it one; a long row goes on in a line that begins with spaces.
fn rows() -> impl Iterator<Item = Row> {
    let mut object = "";
    let mut ours = "";
    let lines = WORDS.lines();
    lines.filter_map(move |line| {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            object = name;
            return None;
        }
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let theirs = match line.split_once(':') {
            Some((key, theirs)) => {
                ours = key;
                theirs
            }
            None => line,
        };
        let later = ours.strip_suffix(" (later)");
        Some(Row {
            object,
            ours: later.unwrap_or(ours),
            is_later: later.is_some(),
            theirs,
        })
    })
}

/// See its head for the form.
const WORDS: &str = include_str!("words.txt");

/// No key is longer.
const WORD_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config;

    #[test]
    fn every_word_leads_to_a_key_that_there_is() {
        let reference = include_bytes!("../../config/reference.jsonc");
        let keys: HashSet<String> = config::keys(reference).into_iter().collect();
        let path = |object: &str, key: &str| match object {
            "" => key.to_string(),
            _ => format!("{object}.{key}"),
        };
        let is_key = |object: &str, key: &str| keys.contains(&path(object, key));
        let mut count = 0;
        for row in rows() {
            let known = is_key(row.object, row.ours) || is_key("", row.ours);
            assert_ne!(known, row.is_later, "{}: {}", row.object, row.ours);
            for word in row.theirs.split_whitespace() {
                let is_own = is_key(row.object, word);
                assert!(!is_own, "{}: {word} is a key of its own", row.object);
                count += 1;
            }
        }
        assert!(count > 400, "{count} words were read");
    }

    #[test]
    fn no_word_is_given_twice_for_one_object() {
        let mut seen = HashSet::new();
        for row in rows() {
            for word in row.theirs.split_whitespace() {
                let is_new = seen.insert((row.object, squash(word)));
                assert!(is_new, "{}: {word} is there twice", row.object);
            }
        }
    }

    #[test]
    fn spelling_is_forgiven() {
        let check = |word: &str, expected: Option<&str>| {
            let known = ["endpoints", "balance", "keepalive", "tcp"];
            assert_eq!(nearest(word, &known), expected, "{word}");
        };
        check("endpoint", Some("endpoints"));
        check("enpdoints", Some("endpoints"));
        check("Balanced", Some("balance"));
        check("keep-alive", Some("keepalive"));
        check("tpc", Some("tcp"));
        check("a", None);
        check("weather", None);
    }
}
