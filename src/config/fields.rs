//! The keys of one object: taken one by one, and what is left over is unknown.
//!
//! Which keys an object has is written down nowhere but in the code that takes them, so a key that
//! is accepted is a key that is read.
#![forbid(unsafe_code)]

use crate::config::errors::Found;
use crate::config::tree::{Entry, Node, Value};
use crate::config::words;

/// An object that is being read.
pub(super) struct Fields<'a> {
    node: &'a Node,
    entries: &'a [Entry],
    /// Its path without positions, as in `listeners[].timeouts`; empty for the whole.
    path: String,
    asked: Vec<&'static str>,
    missing: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Begins to read an object; anything else is an error.
    pub(super) fn of(node: &'a Node, path: &str, found: &mut Found) -> Option<Self> {
        match &node.value {
            Value::Object(entries) => Some(Self {
                node,
                entries,
                path: path.to_string(),
                asked: Vec::new(),
                missing: Vec::new(),
            }),
            Value::Broken => None,
            _ => {
                let message = format!("expected an object, `{{ ... }}`, found {}", node.describe());
                found.add(node.mark, message);
                None
            }
        }
    }

    /// The object's path with a key of it.
    pub(super) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// Takes the value of a key.
    pub(super) fn take(&mut self, key: &'static str, found: &mut Found) -> Option<&'a Node> {
        found.note_asked(&self.path, key);
        self.asked.push(key);
        self.node.entry(key).map(|entry| &entry.node)
    }

    /// Takes the value of a key and reads it.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        found: &mut Found,
        read: impl FnOnce(&'a Node, &mut Found) -> Option<T>,
    ) -> Option<T> {
        let node = self.take(key, found)?;
        read(node, found)
    }

    /// As [`read`](Self::read) for a key that there must be.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        found: &mut Found,
        read: impl FnOnce(&'a Node, &mut Found) -> Option<T>,
    ) -> Option<T> {
        if let Some(node) = self.take(key, found) {
            return read(node, found);
        }
        self.missing.push(key);
        None
    }

    /// As [`read`](Self::read); a value that can be read replaces `value`.
    pub(super) fn set<T>(
        &mut self,
        key: &'static str,
        value: &mut T,
        found: &mut Found,
        read: impl FnOnce(&'a Node, &mut Found) -> Option<T>,
    ) {
        if let Some(read) = self.read(key, found, read) {
            *value = read;
        }
    }

    /// Ends it: every key that was not taken is unknown. A key that there must be is missing only
    /// if none of the unknown ones was meant to be it.
    pub(super) fn finish(self, found: &mut Found) {
        let mut missing = self.missing;
        for entry in self.entries {
            if self.asked.iter().any(|asked| *asked == entry.key) {
                continue;
            }
            if found.is_full() {
                found.add(entry.mark, "");
                continue;
            }
            let (message, meant) = words::unknown_key(&self.path, &entry.key, &self.asked);
            found.add(entry.mark, message);
            missing.retain(|missing| Some(*missing) != meant);
        }
        for key in missing {
            found.add(self.node.mark, format!("the key `{key}` is missing"));
        }
    }
}
