//! From a problem of the plan back to its place in the text.
//!
//! A problem's path has the configuration's own keys and positions (`listeners[0].bind[1]`), so it
//! is walked in the tree. Where it leaves the tree, the last thing on the way is the place.
#![forbid(unsafe_code)]

use crate::config::errors::Found;
use crate::config::tree::{Mark, Node};
use crate::plan::problems::Problem;

/// Adds a problem with its place, and that of what it collides with.
pub(super) fn add(root: &Node, problem: Problem, found: &mut Found) {
    let mark = walk(root, &problem.path).mark;
    match problem.first {
        Some(first) => found.add_second(mark, problem.message, walk(root, &first).mark),
        None => found.add(mark, problem.message),
    }
}

/// What could be read: problems of the plan around what could not may come from that alone.
pub(super) struct Readable<'a> {
    root: &'a Node,
    /// Where reading found errors, in order.
    errors: Vec<Mark>,
}

impl<'a> Readable<'a> {
    pub(super) fn new(root: &'a Node, found: &Found) -> Self {
        let mut errors: Vec<Mark> = found.errors().iter().map(|error| error.mark).collect();
        errors.sort_unstable();
        Self { root, errors }
    }

    /// Whether a problem would be there too if everything could be read: what it is about, and what
    /// that is compared with, has no error.
    pub(super) fn is_certain(&self, problem: &Problem) -> bool {
        let path = problem.path.as_str();
        let around = path.rsplit_once('.').map_or("", |(around, _)| around);
        let is_readable = |path: &str| self.is_readable(walk(self.root, path));
        let compared = if path.ends_with(".cluster") {
            "clusters"
        } else if COMPARED_WITHIN_CLUSTER
            .iter()
            .any(|key| path.ends_with(key))
        {
            path.split('.').next().unwrap_or_default()
        } else if COMPARED_WITHIN.iter().any(|key| path.ends_with(key)) {
            around
        } else {
            path
        };
        // A key that is not there has its object to be looked at.
        is_readable(path) && is_readable(compared)
    }

    fn is_readable(&self, node: &Node) -> bool {
        if node.is_merged {
            return self.errors.is_empty();
        }
        let next = self.errors.partition_point(|error| *error < node.mark);
        self.errors
            .get(next)
            .is_none_or(|error| error.file != node.mark.file || error.offset >= node.end)
    }
}

/// Keys of a cluster's check that have to fit its endpoints, and keys of those that have to fit it.
const COMPARED_WITHIN_CLUSTER: [&str; 2] = [".health.port", ".health.address"];

/// Keys that have to fit others of their object.
const COMPARED_WITHIN: [&str; 10] = [
    ".max_age_jitter",
    ".group",
    ".unix_mode",
    ".health.timeout",
    ".health.fast_interval",
    ".health.body",
    ".breaker.open_max",
    "admin.bind",
    "dns.min_ttl",
    "dns.max_ttl",
];

/// The last node of a path that is there.
fn walk<'a>(root: &'a Node, path: &str) -> &'a Node {
    let mut node = root;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let next = match step.strip_suffix(']') {
            Some(position) => position
                .parse()
                .ok()
                .and_then(|index: usize| node.element(index)),
            None => node.entry(step).map(|entry| &entry.node),
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node
}
