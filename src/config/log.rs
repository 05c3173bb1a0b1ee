//! `log`: the program's own log and that of sessions.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use tracing::level_filters::LevelFilter;

use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::tree::Node;
use crate::config::values::{choice, duration, text, wrong};
use crate::plan::log::{AccessPlan, AccessSink, LogFormat, LogPlan, LogSink};

/// Reads `log`.
pub(super) fn log(node: &Node, found: &mut Found) -> Option<LogPlan> {
    let mut fields = Fields::of(node, "log", found)?;
    let mut log = LogPlan::default();
    fields.set("level", &mut log.level, found, |node, found| {
        choice(node, &LEVELS, found)
    });
    fields.set("format", &mut log.format, found, |node, found| {
        choice(node, &FORMATS, found)
    });
    fields.set("to", &mut log.to, found, sink);
    log.access = fields.read("access", found, access);
    fields.finish(found);
    Some(log)
}

fn sink(node: &Node, found: &mut Found) -> Option<LogSink> {
    let expected = "\"stderr\", \"syslog\" or \"syslog:/PATH\"";
    let sink = match text(node, expected, found)? {
        "stderr" => Some(LogSink::Stderr),
        "syslog" => Some(LogSink::Syslog(SYSLOG.into())),
        other => absolute(other.strip_prefix("syslog:")).map(LogSink::Syslog),
    };
    if sink.is_none() {
        wrong(node, expected, found);
    }
    sink
}

fn access(node: &Node, found: &mut Found) -> Option<AccessPlan> {
    let mut fields = Fields::of(node, "log.access", found)?;
    let to = fields.require("to", found, access_sink);
    let interval = fields.read("interval", found, duration);
    fields.finish(found);
    Some(AccessPlan { to: to?, interval })
}

fn access_sink(node: &Node, found: &mut Found) -> Option<AccessSink> {
    let expected = "\"stdout\", \"/PATH\" or \"unixgram:/PATH\"";
    let given = text(node, expected, found)?;
    let sink = match given.strip_prefix("unixgram:") {
        Some(path) => absolute(Some(path)).map(AccessSink::Unixgram),
        None if given == "stdout" => Some(AccessSink::Stdout),
        None => absolute(Some(given)).map(AccessSink::File),
    };
    if sink.is_none() {
        wrong(node, expected, found);
    }
    sink
}

/// A path that is one wherever the process is started.
fn absolute(path: Option<&str>) -> Option<PathBuf> {
    path.filter(|path| path.starts_with('/') && !path.contains('\0'))
        .map(PathBuf::from)
}

/// The system's log daemon.
///
/// Source: syslog(3).
const SYSLOG: &str = "/dev/log";

const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
