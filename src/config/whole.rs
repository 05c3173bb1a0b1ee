//! What concerns the process as a whole: `workers`, `limits` and `process`.
#![forbid(unsafe_code)]

use crate::bounds::{PIPES_MAX, SESSIONS_MAX, WORKERS_MAX};
use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::tree::{Node, Value};
use crate::config::values::{choice, duration, name, number, parsed, path, wrong};
use crate::plan::{ProcessPlan, WaitMode, Workers};

/// Reads `workers`.
pub(super) fn workers(node: &Node, found: &mut Found) -> Option<Workers> {
    let mut fields = Fields::of(node, "workers", found)?;
    let mut workers = Workers::default();
    fields.set("count", &mut workers.count, found, count);
    workers.cpus = fields.read("cpus", found, |node, found| {
        parsed(node, "a list of CPUs in quotes, such as \"0-3,6\"", found)
    });
    fields.set("wait", &mut workers.wait, found, |node, found| {
        choice(node, &WAIT_MODES, found)
    });
    fields.set("pipes", &mut workers.pipes, found, |node, found| {
        number(node, 0..=PIPES_MAX, found)
    });
    fields.finish(found);
    Some(workers)
}

/// Reads `limits`: the most sessions at a time.
pub(super) fn limits(node: &Node, found: &mut Found) -> Option<Option<usize>> {
    let mut fields = Fields::of(node, "limits", found)?;
    let max_sessions = fields.read("max_sessions", found, max_sessions);
    fields.finish(found);
    Some(max_sessions)
}

/// Reads how many sessions there may be at a time.
pub(super) fn max_sessions(node: &Node, found: &mut Found) -> Option<usize> {
    number(node, 1..=SESSIONS_MAX, found)
}

/// Reads `process`.
pub(super) fn process(node: &Node, found: &mut Found) -> Option<ProcessPlan> {
    let mut fields = Fields::of(node, "process", found)?;
    let mut process = ProcessPlan {
        user: fields.read("user", found, name),
        group: fields.read("group", found, name),
        pid_file: fields.read("pid_file", found, path),
        ..ProcessPlan::default()
    };
    fields.set("drain_timeout", &mut process.drain_timeout, found, duration);
    fields.finish(found);
    Some(process)
}

/// `"auto"`, which is `Some(None)`, or a number.
fn count(node: &Node, found: &mut Found) -> Option<Option<usize>> {
    match &node.value {
        Value::Text(text) if text == "auto" => Some(None),
        Value::Number(_) => number(node, 1..=WORKERS_MAX, found).map(Some),
        _ => {
            wrong(node, "\"auto\" or a number of workers", found);
            None
        }
    }
}

const WAIT_MODES: [(&str, WaitMode); 3] = [
    ("block", WaitMode::Block),
    ("batch", WaitMode::Batch),
    ("spin", WaitMode::Spin),
];
