//! Single values: what a node has to be, and what is said if it is something else.
//!
//! Each function here reads one kind of value and returns nothing after it has told the error, so
//! that whoever calls it goes on with the next key.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::config::errors::Found;
use crate::config::tree::{Node, Value, cut};
use crate::config::words;

/// Says what was expected instead of what is there.
pub(super) fn wrong(node: &Node, expected: &str, found: &mut Found) {
    // What is broken has its error already.
    if !matches!(node.value, Value::Broken) {
        let message = format!("expected {expected}, found {}", node.describe());
        found.add(node.mark, message);
    }
}

/// A string, of which `expected` says what it is for.
pub(super) fn text<'a>(node: &'a Node, expected: &str, found: &mut Found) -> Option<&'a str> {
    if let Value::Text(text) = &node.value {
        return Some(text);
    }
    wrong(node, expected, found);
    None
}

/// A name, of whatever.
pub(super) fn name(node: &Node, found: &mut Found) -> Option<String> {
    let name = text(node, "a name in quotes", found)?;
    if name.is_empty() {
        found.add(node.mark, "a name must not be empty");
        return None;
    }
    Some(name.to_string())
}

/// A text of any kind.
pub(super) fn string(node: &Node, found: &mut Found) -> Option<String> {
    text(node, "a text in quotes", found).map(str::to_string)
}

/// `true` or `false`.
pub(super) fn flag(node: &Node, found: &mut Found) -> Option<bool> {
    if let Value::Flag(flag) = node.value {
        return Some(flag);
    }
    wrong(node, "true or false", found);
    None
}

/// A whole number of a range.
pub(super) fn number<T>(node: &Node, range: RangeInclusive<T>, found: &mut Found) -> Option<T>
where
    T: FromStr + PartialOrd + Display,
{
    if let Value::Number(text) = &node.value
        && let Ok(number) = text.parse()
        && range.contains(&number)
    {
        return Some(number);
    }
    let (first, last) = (range.start(), range.end());
    wrong(
        node,
        &format!("a whole number from {first} to {last}"),
        found,
    );
    None
}

/// A time with its unit.
pub(super) fn duration(node: &Node, found: &mut Found) -> Option<Duration> {
    match &node.value {
        // Capital M would be a month; whoever writes it means minutes.
        Value::Text(text) if !text.contains('M') => {
            if let Ok(duration) = humantime::parse_duration(text) {
                return Some(duration);
            }
            wrong(node, TIME, found);
        }
        Value::Number(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = cut(number);
            let message = format!(
                "expected a time with a unit, found the number {number}; write \"{number}s\" for \
                 seconds, \"{number}ms\" for milliseconds"
            );
            found.add(node.mark, message);
        }
        _ => wrong(node, TIME, found),
    }
    None
}

const TIME: &str = "a time with a unit, such as \"250ms\", \"30s\", \"5m\" or \"1h\"";

/// What has a text form of its own: an address, a network, a list of CPUs.
pub(super) fn parsed<T>(node: &Node, expected: &str, found: &mut Found) -> Option<T>
where
    T: FromStr<Err = String>,
{
    let text = text(node, expected, found)?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(message) => {
            found.add(node.mark, message);
            None
        }
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    node: &Node,
    choices: &[(&'static str, T)],
    found: &mut Found,
) -> Option<T> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let expected = match quoted.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    };
    let word = text(node, &expected, found)?;
    if let Some((_, value)) = choices.iter().find(|(known, _)| *known == word) {
        return Some(*value);
    }
    let meant = words::nearest(word, &words);
    let meant = meant.map(|meant| format!("; did you mean \"{meant}\"?"));
    let message = format!(
        "expected {expected}, found {}{}",
        node.describe(),
        meant.unwrap_or_default()
    );
    found.add(node.mark, message);
    None
}

/// The elements of a list of at most `most`. More is an error, and what is beyond is not looked
/// at.
pub(super) fn list<'a>(
    node: &'a Node,
    expected: &str,
    most: usize,
    found: &mut Found,
) -> Option<&'a [Node]> {
    let Value::List(nodes) = &node.value else {
        wrong(node, expected, found);
        return None;
    };
    if let Some(beyond) = nodes.get(most) {
        let message = format!("there may be at most {most} here, found {}", nodes.len());
        found.add(beyond.mark, message);
    }
    Some(&nodes[..nodes.len().min(most)])
}

/// One value, or a list of them.
pub(super) fn one_or_list<'a>(node: &'a Node, most: usize, found: &mut Found) -> &'a [Node] {
    match &node.value {
        Value::List(_) => list(node, "", most, found).unwrap_or_default(),
        _ => std::slice::from_ref(node),
    }
}

/// `false`, which is `Some(None)`, or a value.
pub(super) fn off_or<'a, T>(
    node: &'a Node,
    found: &mut Found,
    read: impl FnOnce(&'a Node, &mut Found) -> Option<T>,
) -> Option<Option<T>> {
    match node.value {
        Value::Flag(false) => Some(None),
        _ => read(node, found).map(Some),
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hexadecimal(node: &Node, found: &mut Found) -> Option<Vec<u8>> {
    let expected = "pairs of hexadecimal digits in quotes, such as \"00ff\"";
    let digits = text(node, expected, found)?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
        }
        _ => None,
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    if bytes.is_none() {
        wrong(node, expected, found);
    }
    bytes
}

/// A part of a hundred: a number, with a sign if it is a text.
pub(super) fn percent(node: &Node, found: &mut Found) -> Option<u8> {
    let digits = match &node.value {
        Value::Number(number) => Some(number.as_str()),
        Value::Text(text) => text.strip_suffix('%'),
        _ => None,
    };
    let is_number = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let percent = digits.filter(is_number).and_then(|text| text.parse().ok());
    let percent = percent.filter(|percent| *percent <= 100);
    if percent.is_none() {
        wrong(node, "per cent from 0 to 100, such as 50 or \"50%\"", found);
    }
    percent
}

/// The permissions of a file, in octal digits as chmod(1) has them.
pub(super) fn file_mode(node: &Node, found: &mut Found) -> Option<u32> {
    if let Value::Text(text) = &node.value
        && (3..=4).contains(&text.len())
        && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
        && let Ok(mode) = u32::from_str_radix(text, 8)
        && mode <= 0o777
    {
        return Some(mode);
    }
    wrong(node, "octal digits in quotes, such as \"0660\"", found);
    None
}

/// An absolute path.
pub(super) fn path(node: &Node, found: &mut Found) -> Option<PathBuf> {
    if let Value::Text(text) = &node.value
        && text.starts_with('/')
        && !text.contains('\0')
    {
        return Some(text.into());
    }
    wrong(
        node,
        "an absolute path, such as \"/run/ringlane.pid\"",
        found,
    );
    None
}
