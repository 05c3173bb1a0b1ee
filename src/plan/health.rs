//! How endpoints are probed.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A cluster's active check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPlan {
    /// What is tried.
    pub check: Check,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// The same while an endpoint has answered otherwise than before, so that the change is
    /// found out sooner.
    pub fast_interval: Duration,
    /// How long one probe may take in all.
    pub timeout: Duration,
    /// After so many successes in a row an endpoint is healthy.
    pub rise: u32,
    /// After so many failures in a row it is not.
    pub fall: u32,
    /// Each interval is up to so many per cent longer or shorter.
    pub jitter_percent: u8,
    /// The port that is probed, if it is not the endpoint's own.
    pub port: Option<u16>,
}

impl HealthPlan {
    /// A check with the defaults for everything else.
    pub fn of(check: Check) -> Self {
        Self {
            check,
            interval: Duration::from_secs(2),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            jitter_percent: 10,
            port: None,
        }
    }
}

/// What a probe tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// That a connection can be made.
    Tcp,
    /// That an HTTP request is answered as expected.
    Http(HttpCheck),
    /// That some bytes are answered by others, or that an endpoint speaks first.
    SendExpect(SendExpect),
}

impl Check {
    /// Its name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(_) => "http",
            Self::SendExpect(_) => "send_expect",
        }
    }
}

/// An HTTP request and what its answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The method.
    pub method: String,
    /// The path, with a query if there is one.
    pub path: String,
    /// The Host header; the probed address if `None`.
    pub host: Option<String>,
    /// The status codes that count as success.
    pub status: Vec<RangeInclusive<u16>>,
    /// What the body must contain, if anything.
    pub body: Option<String>,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            method: "GET".to_string(),
            path: "/".to_string(),
            host: None,
            status: vec![200..=399],
            body: None,
        }
    }
}

/// Bytes to send, and bytes that must be in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendExpect {
    /// What is sent once the connection is made; nothing if empty.
    pub send: Vec<u8>,
    /// What must come.
    pub expect: Vec<u8>,
}

/// Where an endpoint is probed, if not where its sessions go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbePlace {
    /// Another address.
    pub address: Option<IpAddr>,
    /// Another port; goes before the cluster's.
    pub port: Option<u16>,
}
