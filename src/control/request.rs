//! What the admin interface asks of control, and what it is told.
//!
//! The shapes of answers are those of the JSON that clients get; field names are public.
#![forbid(unsafe_code)]

use futures_channel::{mpsc, oneshot};
use serde::Serialize;

use crate::plan::EndpointPlan;
use crate::plan::failure::SessionPolicy;
use crate::standing::AdminState;

/// A question or an order, and where the answer goes.
pub struct Request {
    /// What is wanted.
    pub wanted: Wanted,
    /// Where the answer goes; nobody may be there any more.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// Where requests go. When it is full, clients are told that control is busy.
pub type RequestSender = mpsc::Sender<Request>;

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All clusters.
    Clusters,
    /// One cluster.
    Cluster(String),
    /// All endpoints of a cluster.
    Endpoints(String),
    /// One endpoint of a cluster.
    Endpoint(String, EndpointKey),
    /// A new endpoint for a cluster.
    Add(String, Box<EndpointPlan>),
    /// Another weight or state for an endpoint.
    Change(String, EndpointKey, Change),
    /// An endpoint out of its cluster. Its sessions go as it is said here, or as the cluster says.
    Remove(String, EndpointKey, Option<SessionPolicy>),
    /// All metrics, as Prometheus reads them.
    Metrics,
    /// Whether clients can be served.
    Ready,
}

/// How a client names an endpoint: by its number, or by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointKey {
    /// Its number; a name of nothing but digits is looked for too.
    Id(u32),
    /// Its name, or its address if it has none.
    Name(String),
}

/// What is to be otherwise about an endpoint; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Its share relative to the others; 0 means never picked.
    pub weight: Option<u32>,
    /// What its operator wants of it.
    pub state: Option<AdminState>,
}

/// What is told.
#[derive(Debug)]
pub enum Answer {
    /// All clusters.
    Clusters(Vec<ClusterStatus>),
    /// One cluster.
    Cluster(Box<ClusterStatus>),
    /// All endpoints of a cluster.
    Endpoints(Vec<EndpointStatus>),
    /// One endpoint.
    Endpoint(Box<EndpointStatus>),
    /// A change has been made, and these workers do not act by it yet.
    Changed {
        /// The endpoint as it is now, also if it has been removed.
        endpoint: Box<EndpointStatus>,
        /// The workers that have not taken it within two seconds.
        pending_workers: Vec<u16>,
    },
    /// The text of all metrics.
    Metrics(String),
    /// Clients can be served.
    Ready,
    /// They cannot, and why.
    NotReady(String),
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing.
    Unknown {
        /// What was looked for, and what there is.
        detail: String,
    },
    /// A value cannot be.
    Invalid {
        /// The key of the value.
        field: &'static str,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// There is such a thing already.
    Conflict {
        /// The key that says so.
        field: &'static str,
        /// What there is.
        detail: String,
    },
    /// Control cannot do it now.
    Unavailable {
        /// Why.
        detail: String,
    },
}

/// A cluster as clients see it.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Its policy.
    pub balance: &'static str,
    /// How many endpoints it has.
    pub endpoints: usize,
    /// How many of them are picked now.
    pub eligible: usize,
    /// How endpoints are chosen at present: `normal`, `panic`, `last_resort` or `none`.
    pub mode: &'static str,
    /// Its endpoints' open sessions, those included of endpoints that were taken out.
    pub open_sessions: u64,
    /// How many endpoints were taken out and may still have sessions.
    pub leaving: usize,
    /// Names that are looked up, each with the time of its last good answer and the last error.
    pub names: Vec<NameStatus>,
}

/// A name that stands for endpoints.
#[derive(Clone, Debug, Serialize)]
pub struct NameStatus {
    /// The name, as configured.
    pub name: String,
    /// How many endpoints it stands for.
    pub endpoints: usize,
    /// Why it could not be looked up the last time, if so.
    pub error: Option<String>,
}

/// An endpoint as clients see it.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    /// Its number in this process.
    pub id: u32,
    /// Its name, or its address if it has none.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its share relative to the others.
    pub weight: u32,
    /// What its operator wants of it.
    pub state: AdminState,
    /// Its priority; smaller ones go first.
    pub priority: u16,
    /// Whether it is only for when none but others like it are left.
    pub backup: bool,
    /// At most so many sessions.
    pub max_connections: Option<u32>,
    /// Whether sessions pick it now.
    pub eligible: bool,
    /// Why they do not.
    pub reason: Option<&'static str>,
    /// What its probes say: `up`, `down`, `unknown`, or `none` if it is not probed.
    pub health: &'static str,
    /// How the last probe went.
    pub last_probe: Option<ProbeStatus>,
    /// What its sessions say: `closed`, `open`, `half_open`, or `none` if nobody listens.
    pub breaker: &'static str,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Its open sessions, those included that are being connected.
    pub open_sessions: u32,
    /// The sessions that it has had.
    pub sessions: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Bytes received from it.
    pub bytes: u64,
    /// Where it comes from: `config`, `dns` or `api`.
    pub origin: &'static str,
}

/// How a probe went.
#[derive(Clone, Debug, Serialize)]
pub struct ProbeStatus {
    /// Whether it succeeded.
    pub success: bool,
    /// What it found.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// How long ago it ended, in milliseconds.
    pub age_ms: u64,
}
