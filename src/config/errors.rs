//! What is wrong with a configuration: collected while reading, told with file, line and column.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use crate::bounds::CONFIG_ERRORS_MAX;
use crate::config::files::Sources;
use crate::config::tree::Mark;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file or folder.
    pub file: PathBuf,
    /// Where in it; nowhere if it could not be read at all.
    pub position: Option<Position>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if let Some(position) = self.position {
            write!(formatter, "{position}:")?;
        }
        write!(formatter, " {}", self.message)
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

/// Everything that is wrong, file by file and from top to bottom. Its text has a line for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .errors.iter().map(ToString::to_string).chain(in_words(*.more)).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors {
    /// The errors, at least one.
    pub errors: Vec<ConfigError>,
    /// How many more there are.
    pub more: usize,
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self {
            errors: vec![error],
            more: 0,
        }
    }
}

fn in_words(more: usize) -> Option<String> {
    (more > 0).then(|| format!("and {more} more errors"))
}

/// What was found while reading: errors, and which keys were looked for.
#[derive(Debug, Default)]
pub(super) struct Found {
    errors: Vec<Finding>,
    more: usize,
    asked: BTreeSet<String>,
}

/// An error whose place is not worked out yet.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) mark: Mark,
    message: String,
    /// Where the other one is, if two things collide.
    first: Option<Mark>,
}

impl Found {
    pub(super) fn add(&mut self, mark: Mark, message: impl Into<String>) {
        self.push(mark, message.into(), None);
    }

    /// Adds an error about something that collides with what stands at `first`.
    pub(super) fn add_second(&mut self, mark: Mark, message: impl Into<String>, first: Mark) {
        self.push(mark, message.into(), Some(first));
    }

    fn push(&mut self, mark: Mark, message: String, first: Option<Mark>) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.errors.push(Finding {
                mark,
                message,
                first,
            });
        }
    }

    /// Whether a further error would only be counted.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= CONFIG_ERRORS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The errors so far.
    pub(super) fn errors(&self) -> &[Finding] {
        &self.errors
    }

    /// Notes that a key was looked for.
    pub(super) fn note_asked(&mut self, object: &str, key: &str) {
        let dot = if object.is_empty() { "" } else { "." };
        self.asked.insert(format!("{object}{dot}{key}"));
    }

    /// The keys that were looked for.
    pub(super) fn into_asked(self) -> Vec<String> {
        self.asked.into_iter().collect()
    }

    /// The errors in the order of the texts, with their places.
    pub(super) fn take_errors(&mut self, sources: &Sources) -> ConfigErrors {
        let mut findings = std::mem::take(&mut self.errors);
        findings.sort_by_key(|finding| finding.mark);
        let errors = findings.into_iter().map(|finding| {
            let mut message = finding.message;
            if let Some(first) = finding.first {
                let (file, position) = sources.place(first);
                message = format!("{message} (first at {}:{position})", file.display());
            }
            let (file, position) = sources.place(finding.mark);
            ConfigError {
                file: file.to_path_buf(),
                position: Some(position),
                message,
            }
        });
        ConfigErrors {
            errors: errors.collect(),
            more: std::mem::take(&mut self.more),
        }
    }
}
