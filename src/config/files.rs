//! The texts of a configuration: one file, or all fragments of a folder.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::bounds::{CONFIG_BYTES_MAX, CONFIG_FILES_MAX};
use crate::config::errors::{ConfigError, ConfigErrors, Position};
use crate::config::tree::Mark;

/// The texts with their names, in the order in which they are merged.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

#[derive(Debug)]
struct Source {
    path: PathBuf,
    text: Vec<u8>,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Sources {
    /// Reads a file, or the fragments of a folder: all `*.json` and `*.jsonc`, in lexical order.
    ///
    /// Errors: what cannot be read, is too large or too many; a folder without fragments.
    pub(super) fn open(path: &Path) -> Result<Self, ConfigErrors> {
        let mut sources = Self::default();
        if !path.is_dir() {
            sources.add(path, read(path)?);
            return Ok(sources);
        }
        let fragments = fragments(path)?;
        let mut errors = Vec::new();
        for fragment in fragments {
            match read(&fragment) {
                Ok(text) => sources.add(&fragment, text),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(sources)
        } else {
            Err(ConfigErrors { errors, more: 0 })
        }
    }

    /// Adds a text. A byte order mark before it is left out.
    pub(super) fn add(&mut self, path: &Path, mut text: Vec<u8>) {
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1));
        self.0.push(Source {
            path: path.to_path_buf(),
            lines: lines.collect(),
            text,
        });
    }

    /// Each text, with the number that stands for its file in marks.
    pub(super) fn texts(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..).zip(self.0.iter().map(|source| source.text.as_slice()))
    }

    /// The file, line and column of a place.
    pub(super) fn place(&self, mark: Mark) -> (&Path, Position) {
        let source = &self.0[mark.file as usize];
        let offset = (mark.offset as usize).min(source.text.len());
        let line = source.lines.partition_point(|start| *start <= offset);
        let start = source.lines[line - 1];
        // What is no UTF-8 is pointed at itself, so all before it is.
        let before = String::from_utf8_lossy(&source.text[start..offset]);
        let column = before.chars().count() + 1;
        (&source.path, Position { line, column })
    }
}

fn fragments(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut fragments = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let is_fragment = path
            .extension()
            .is_some_and(|extension| extension == "json" || extension == "jsonc");
        // Editors leave hidden copies and locks beside a file.
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_fragment && !is_hidden {
            fragments.push(path);
        }
    }
    fragments.sort();
    let error = |message: String| ConfigError {
        file: folder.to_path_buf(),
        position: None,
        message,
    };
    if fragments.is_empty() {
        return Err(error("the folder has no *.json and no *.jsonc".to_string()));
    }
    if fragments.len() > CONFIG_FILES_MAX {
        let message = format!("the folder has more than {CONFIG_FILES_MAX} fragments");
        return Err(error(message));
    }
    Ok(fragments)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut text = Vec::new();
    let most = CONFIG_BYTES_MAX as u64;
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut text))
        .map_err(|error| unreadable(path, &error))?;
    if text.len() > CONFIG_BYTES_MAX {
        return Err(ConfigError {
            file: path.to_path_buf(),
            position: None,
            message: format!("the file is larger than {} MiB", CONFIG_BYTES_MAX >> 20),
        });
    }
    Ok(text)
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_string(),
        _ => format!("cannot be read: {error}"),
    };
    ConfigError {
        file: path.to_path_buf(),
        position: None,
        message,
    }
}

/// Some editors write it.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
