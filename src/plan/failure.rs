//! What a cluster does about endpoints that fail, recover or leave.
#![forbid(unsafe_code)]

use std::time::Duration;

/// When a cluster ejects an endpoint because sessions failed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPlan {
    /// After so many failures in a row.
    pub failure_threshold: u32,
    /// How long for the first time; each time in a row twice as long.
    pub open: Duration,
    /// At most so long.
    pub open_max: Duration,
    /// At most so many per cent of the cluster's endpoints at a time, and never the only one.
    pub max_ejected_percent: u8,
}

impl Default for BreakerPlan {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            open: Duration::from_secs(30),
            open_max: Duration::from_secs(300),
            max_ejected_percent: 50,
        }
    }
}

/// What becomes of a client if no endpoint may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenNoneHealthy {
    /// It is turned away.
    Refuse,
    /// It gets the endpoint that has failed least, if its operator lets it be picked.
    TryLeastFailed,
}

/// What becomes of the sessions of an endpoint that may no longer be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionPolicy {
    /// They go on until they end by themselves.
    Keep,
    /// They may go on for so long and are reset then.
    Drain(Duration),
    /// They are reset at once.
    Reset,
}

/// The policy for each way in which an endpoint ceases to be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPolicies {
    /// It was taken out of the cluster, or its name no longer stands for it.
    pub removed: SessionPolicy,
    /// Its probes fail.
    pub unhealthy: SessionPolicy,
    /// Its operator has disabled it.
    pub disabled: SessionPolicy,
}

impl Default for SessionPolicies {
    fn default() -> Self {
        Self {
            removed: SessionPolicy::Drain(Duration::from_secs(30)),
            unhealthy: SessionPolicy::Keep,
            disabled: SessionPolicy::Keep,
        }
    }
}
