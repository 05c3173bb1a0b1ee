//! What is logged and where to.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

/// The program's own log, and the log of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// The least severe level that is logged.
    pub level: LevelFilter,
    /// What a line looks like.
    pub format: LogFormat,
    /// Where lines go.
    pub to: LogSink,
    /// A line for each session that ends; none if `None`.
    pub access: Option<AccessPlan>,
}

impl Default for LogPlan {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            format: LogFormat::Text,
            to: LogSink::Stderr,
            access: None,
        }
    }
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object.
    Json,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSink {
    /// Standard error.
    Stderr,
    /// The system's log daemon, by its datagram socket.
    Syslog(PathBuf),
}

/// The log of sessions: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPlan {
    /// Where lines go.
    pub to: AccessSink,
    /// A line for each session of this age, and again each time that it has passed; only at the
    /// end if `None`.
    pub interval: Option<Duration>,
}

/// Where the log of sessions goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessSink {
    /// Standard output.
    Stdout,
    /// A file, appended to; opened again on SIGUSR1.
    File(PathBuf),
    /// A Unix datagram socket, a line each.
    Unixgram(PathBuf),
}
