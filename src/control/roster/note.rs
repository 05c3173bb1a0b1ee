//! What people are told: one line for each change.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

/// Something to tell people: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The cluster's name.
    pub cluster: String,
    /// The endpoint's or the host's name; none if it is about the cluster.
    pub subject: Option<String>,
    /// What has happened.
    pub happening: Happening,
    /// How many endpoints are picked now.
    pub eligible: usize,
    /// Of how many.
    pub endpoints: usize,
}

/// Something that has happened to an endpoint, a name or a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// In a word or two, such as `down`.
    pub what: &'static str,
    /// Why.
    pub why: String,
    /// How long the check took that found it out.
    pub took: Option<Duration>,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody may want to know.
    News,
    /// Somebody should have a look.
    Warning,
    /// Clients are turned away.
    Outage,
}

impl Happening {
    /// Something that is no cause for alarm.
    pub(super) fn news(what: &'static str, why: impl Into<String>) -> Self {
        Self {
            what,
            why: why.into(),
            took: None,
            severity: Severity::News,
        }
    }

    /// Something that somebody should look into.
    pub(super) fn warning(what: &'static str, why: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::news(what, why)
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what, self.why)
    }
}
