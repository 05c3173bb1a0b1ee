//! Fragments become one: objects merge, lists append, everything else may be given once.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use crate::config::errors::Found;
use crate::config::tree::{Entry, Node, Value, cut};

/// Merges an object of a later fragment into that of the earlier ones.
pub(super) fn merge(into: &mut Node, from: Node, found: &mut Found) {
    let (Value::Object(entries), Value::Object(later)) = (&mut into.value, from.value) else {
        return;
    };
    into.is_merged = true;
    let known = entries.iter().enumerate();
    let mut positions: HashMap<String, usize> =
        known.map(|(at, entry)| (entry.key.clone(), at)).collect();
    for entry in later {
        match positions.get(&entry.key) {
            Some(&at) => merge_entry(&mut entries[at], entry, found),
            None => {
                positions.insert(entry.key.clone(), entries.len());
                entries.push(entry);
            }
        }
    }
}

fn merge_entry(into: &mut Entry, from: Entry, found: &mut Found) {
    match (&mut into.node.value, from.node.value) {
        (Value::List(nodes), Value::List(later)) => {
            nodes.extend(later);
            into.node.is_merged = true;
        }
        (Value::Object(_), value @ Value::Object(_)) => {
            let from = Node { value, ..from.node };
            merge(&mut into.node, from, found);
        }
        // Its own error says enough.
        (_, Value::Broken) => {}
        _ => {
            let message = format!("`{}` is given twice", cut(&into.key));
            found.add_second(from.mark, message, into.mark);
        }
    }
}
