//! A configuration's text as a tree in which everything knows its place.
//!
//! The parser sees to the grammar: JSON with `//` and `/* */` comments and trailing commas, no
//! deeper than 512 levels. What the grammar allows and a configuration does not (a key twice, null,
//! control characters) is found when its tree is turned into ours. Ours owns its texts, so that
//! those of several files can be merged.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use jsonc_parser::ast;
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, ParseStringErrorKind, parse_to_ast};

use crate::config::errors::Found;

/// A place in the texts: the number of the file and the byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) file: u32,
    pub(super) offset: u32,
}

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) mark: Mark,
    /// Where its text ends.
    pub(super) end: u32,
    /// Whether parts of it stand elsewhere, in other fragments.
    pub(super) is_merged: bool,
    pub(super) value: Value,
}

/// A value of a configuration.
#[derive(Debug)]
pub(super) enum Value {
    /// What an error has been told about already.
    Broken,
    /// `true` or `false`.
    Flag(bool),
    /// A number as it is written.
    Number(String),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// An object. No key occurs twice.
    Object(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) mark: Mark,
    pub(super) node: Node,
}

impl Node {
    /// The value of a key, if this is an object that has it.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Object(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// An element, if this is a list that has it. What is given alone where a list may stand is
    /// the list's first.
    pub(super) fn element(&self, index: usize) -> Option<&Node> {
        match &self.value {
            Value::List(nodes) => nodes.get(index),
            _ => (index == 0).then_some(self),
        }
    }

    /// What it is, for errors.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Broken => "null".to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Number(number) => format!("the number {}", cut(number)),
            Value::Text(text) => format!("the string \"{}\"", cut(text)),
            Value::List(_) => "a list".to_string(),
            Value::Object(_) => "an object".to_string(),
        }
    }
}

/// The beginning of a text, for errors, without what would garble a line.
pub(super) fn cut(text: &str) -> String {
    let mut start: String = text.chars().take(SHOWN_CHARS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    let shown = start.chars().map(|c| if c.is_control() { '?' } else { c });
    shown.collect()
}

/// How much of a text an error shows.
const SHOWN_CHARS: usize = 60;

/// Parses the text of a file, which has to be an object.
pub(super) fn parse(file: u32, text: &[u8], found: &mut Found) -> Option<Node> {
    let at = |offset: usize| Mark {
        file,
        offset: u32::try_from(offset).unwrap_or(u32::MAX),
    };
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let message = "this byte is not UTF-8; save the file as UTF-8";
            found.add(at(error.valid_up_to()), message);
            return None;
        }
    };
    match parse_to_ast(text, &CollectOptions::default(), &STRICT).map(|parsed| parsed.value) {
        Ok(Some(value)) => {
            let root = Conversion { at, text, found }.node(value);
            if matches!(root.value, Value::Object(_)) {
                return Some(root);
            }
            let message = format!("expected an object, `{{ ... }}`, found {}", root.describe());
            found.add(root.mark, message);
        }
        Ok(None) => found.add(at(0), "the file is empty; expected an object, `{ ... }`"),
        Err(error) => found.add(at(error.range().start), explain(&error)),
    }
    None
}

/// Turns the parser's tree into ours.
struct Conversion<'a, F> {
    at: F,
    text: &'a str,
    found: &'a mut Found,
}

impl<F: Fn(usize) -> Mark> Conversion<'_, F> {
    fn node(&mut self, value: ast::Value<'_>) -> Node {
        let range = value.range();
        let value = match value {
            ast::Value::StringLit(text) => self.string(&text),
            ast::Value::NumberLit(number) => Value::Number(number.value.to_string()),
            ast::Value::BooleanLit(flag) => Value::Flag(flag.value),
            ast::Value::Array(array) => self.list(array),
            ast::Value::Object(object) => self.object(object),
            ast::Value::NullKeyword(_) => Value::Broken,
        };
        Node {
            mark: (self.at)(range.start),
            end: (self.at)(range.end).offset,
            is_merged: false,
            value,
        }
    }

    fn string(&mut self, text: &ast::StringLit<'_>) -> Value {
        if self.is_clean(text.range) {
            Value::Text(text.value.to_string())
        } else {
            Value::Broken
        }
    }

    /// JSON has no raw line ends in strings, and with them a lost quote is hard to find.
    fn is_clean(&mut self, range: Range) -> bool {
        let raw = &self.text[range.start..range.end];
        let control = raw.find(char::is_control);
        if control.is_some() {
            let message = "this string has a control character; write \\n, \\t or \\u00XX for it, \
                           or close the string on its line";
            self.found.add((self.at)(range.start), message);
        }
        control.is_none()
    }

    fn list(&mut self, array: ast::Array<'_>) -> Value {
        let mut nodes = Vec::with_capacity(array.elements.len());
        for value in array.elements {
            if let ast::Value::NullKeyword(null) = &value {
                let mark = (self.at)(null.range.start);
                self.found
                    .add(mark, "null stands for nothing; leave it out");
            }
            nodes.push(self.node(value));
        }
        Value::List(nodes)
    }

    fn object(&mut self, object: ast::Object<'_>) -> Value {
        let mut entries = Vec::with_capacity(object.properties.len());
        let mut marks: HashMap<String, Mark> = HashMap::new();
        for property in object.properties {
            let range = property.name.range();
            let mark = (self.at)(range.start);
            if !self.is_clean(range) {
                continue;
            }
            let key = property.name.into_string();
            if let ast::Value::NullKeyword(null) = &property.value {
                let message = "null stands for nothing; leave the key out";
                self.found.add((self.at)(null.range.start), message);
            }
            let node = self.node(property.value);
            if let Some(first) = marks.get(&key) {
                let message = format!("`{}` is given twice", cut(&key));
                self.found.add_second(mark, message, *first);
                continue;
            }
            marks.insert(key.clone(), mark);
            entries.push(Entry { key, mark, node });
        }
        Value::Object(entries)
    }
}

/// Says what the parser's error means for whoever writes a configuration.
fn explain(error: &ParseError) -> String {
    let message = match error.kind() {
        ParseErrorKind::ExpectedColonAfterObjectKey => "expected `:` after the key",
        ParseErrorKind::ExpectedComma => "expected `,` after the value",
        ParseErrorKind::ExpectedObjectValue => "expected a value after `:`",
        ParseErrorKind::ExpectedStringObjectProperty => "expected a key in double quotes",
        ParseErrorKind::SingleQuotedStringsNotAllowed => "expected double quotes, not single ones",
        ParseErrorKind::MultipleRootJsonValues => "expected nothing after the end of the object",
        ParseErrorKind::UnexpectedWord | ParseErrorKind::UnexpectedToken => {
            "expected a value; strings need double quotes"
        }
        ParseErrorKind::UnexpectedCloseBrace => "`}` closes nothing here",
        ParseErrorKind::UnexpectedCloseBracket => "`]` closes nothing here",
        ParseErrorKind::UnexpectedColon => "expected a value, found `:`",
        ParseErrorKind::UnexpectedComma => "expected a value, found `,`",
        ParseErrorKind::UnexpectedTokenInObject => "expected a key in double quotes, or `}`",
        ParseErrorKind::UnterminatedObject => "this `{` is never closed",
        ParseErrorKind::UnterminatedArray => "this `[` is never closed",
        ParseErrorKind::UnterminatedCommentBlock => "this comment is never closed",
        ParseErrorKind::NestingDepthExceeded => "objects and lists are nested too deeply",
        ParseErrorKind::HexadecimalNumbersNotAllowed => "expected a decimal number",
        ParseErrorKind::UnaryPlusNumbersNotAllowed => "expected a number without `+`",
        ParseErrorKind::String(ParseStringErrorKind::UnterminatedStringLiteral) => {
            "this string is never closed"
        }
        ParseErrorKind::String(_) => {
            "this is no escape; a backslash in a string is followed by \", \\, /, b, f, n, r, t or \
             four hexadecimal digits after u"
        }
        _ => "this is no number",
    };
    message.to_string()
}

/// Comments and trailing commas, and nothing else that JSON has not.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};
