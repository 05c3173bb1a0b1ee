//! The plan: what is to be run, checked, before anything of it exists.
//!
//! A plan is made from a configuration or from the command line's words. What cannot be is found
//! here ([`Plan::problems`]), with the place in the plan and what was expected; what only the
//! machine can refuse (a port in use, a name that does not resolve) is found by `process` when it
//! carries the plan out.
#![forbid(unsafe_code)]

pub mod admin;
pub mod cpus;
pub mod dns;
pub mod failure;
pub mod health;
pub mod log;
pub mod options;
pub mod place;
pub mod problems;
pub mod proxy;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::balance::Policy;
use crate::bounds::PIPES_MAX;
use crate::session::Settings;
use admin::AdminPlan;
use cpus::CpuList;
use dns::DnsPlan;
use failure::{BreakerPlan, SessionPolicies, WhenNoneHealthy};
use health::{HealthPlan, ProbePlace};
use log::LogPlan;
use options::{ConnectOptions, ListenOptions};
use place::{Bind, Place};
use proxy::{AcceptProxy, SendProxy};

/// What is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The process as a whole.
    pub process: ProcessPlan,
    /// How many workers, on which CPUs.
    pub workers: Workers,
    /// At most so many sessions at a time; as many as descriptors allow if `None`.
    pub max_sessions: Option<usize>,
    /// What is accepted where.
    pub listeners: Vec<ListenerPlan>,
    /// Where sessions go.
    pub clusters: Vec<ClusterPlan>,
    /// What is logged.
    pub log: LogPlan,
    /// Where it is steered and observed; nowhere if `None`.
    pub admin: Option<AdminPlan>,
    /// How names are looked up.
    pub dns: DnsPlan,
}

impl Plan {
    /// One listener on each address, one cluster of these endpoints, and defaults.
    pub fn simple(listen: &[SocketAddr], endpoints: Vec<EndpointPlan>) -> Self {
        let mut cluster = ClusterPlan::named("default");
        cluster.endpoints = endpoints;
        Self {
            listeners: listen
                .iter()
                .map(|addr| ListenerPlan::on(Bind::Tcp(*addr), "default"))
                .collect(),
            clusters: vec![cluster],
            ..Self::default()
        }
    }

    /// The cluster that a listener's sessions go to, if there is one of that name.
    pub fn cluster_of(&self, listener: &ListenerPlan) -> Option<(usize, &ClusterPlan)> {
        let mut clusters = self.clusters.iter().enumerate();
        clusters.find(|(_, cluster)| cluster.name == listener.cluster)
    }
}

/// The process as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessPlan {
    /// The user to become once everything is bound.
    pub user: Option<String>,
    /// The group to become; the user's own if `None`.
    pub group: Option<String>,
    /// The file with the process's number, locked while it runs.
    pub pid_file: Option<PathBuf>,
    /// How long sessions may go on after the order to stop.
    pub drain_timeout: Duration,
}

impl Default for ProcessPlan {
    fn default() -> Self {
        Self {
            user: None,
            group: None,
            pid_file: None,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// How many workers there are, where, and how they wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// How many; one per usable CPU if `None`.
    pub count: Option<usize>,
    /// The CPUs that they are pinned to, in turn; those of the affinity set if `None`.
    pub cpus: Option<CpuList>,
    /// What they do when there is nothing to do.
    pub wait: WaitMode,
    /// At most so many pipes of 1 MiB for each worker; without a pipe bulk is copied.
    pub pipes: usize,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            count: None,
            cpus: None,
            wait: WaitMode::default(),
            pipes: PIPES_MAX,
        }
    }
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitMode {
    /// Sleep until something happens.
    #[default]
    Block,
    /// Sleep until a few things have happened, or 100 us after the first: less CPU, more delay.
    Batch,
    /// Look for 50 us before sleeping: less delay, more CPU.
    Spin,
}

/// What is accepted where, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// Its name in logs and statistics.
    pub name: String,
    /// The places that it is bound to.
    pub binds: Vec<Bind>,
    /// The name of the cluster that sessions go to.
    pub cluster: String,
    /// At most so many sessions at a time; further clients wait in the backlog.
    pub max_sessions: Option<usize>,
    /// The PROXY protocol header that clients send first; none if `None`.
    pub accept_proxy: Option<AcceptProxy>,
    /// Timeouts that go before the cluster's.
    pub timeouts: SessionTimeouts,
    /// Options of its sockets.
    pub options: ListenOptions,
}

impl ListenerPlan {
    /// A listener on one place, named after it, with the defaults for everything else.
    pub fn on(bind: Bind, cluster: &str) -> Self {
        Self {
            name: bind.to_string(),
            binds: vec![bind],
            cluster: cluster.to_string(),
            max_sessions: None,
            accept_proxy: None,
            timeouts: SessionTimeouts::default(),
            options: ListenOptions::default(),
        }
    }
}

/// Where sessions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPlan {
    /// Its name.
    pub name: String,
    /// How an endpoint is chosen.
    pub policy: Policy,
    /// The endpoints.
    pub endpoints: Vec<EndpointPlan>,
    /// How long one attempt to connect to an endpoint may take.
    pub connect_timeout: Duration,
    /// How many endpoints are tried, at least 1.
    pub tries: u8,
    /// No further endpoint is tried after this time, counted from the session's start.
    pub retry_within: Duration,
    /// Timeouts of sessions whose listener has none of its own.
    pub timeouts: SessionTimeouts,
    /// The PROXY protocol header that endpoints get first; none if `None`.
    pub send_proxy: Option<SendProxy>,
    /// Options of the sockets to endpoints.
    pub options: ConnectOptions,
    /// How endpoints are probed; not at all if `None`.
    pub health: Option<HealthPlan>,
    /// When endpoints are ejected because sessions failed on them; never if `None`.
    pub breaker: Option<BreakerPlan>,
    /// What becomes of clients if no endpoint may be picked; see
    /// [`when_none_healthy`](Self::when_none_healthy) if `None`.
    pub when_none_healthy: Option<WhenNoneHealthy>,
    /// If less than so many per cent of the endpoints are healthy, health is not looked at.
    pub panic_threshold_percent: u8,
    /// What becomes of the sessions of an endpoint that may no longer be picked.
    pub sessions: SessionPolicies,
    /// How long a new or recovered endpoint takes to get its whole share; no time if `None`.
    pub slow_start: Option<Duration>,
}

impl ClusterPlan {
    /// A cluster without endpoints, with the defaults for everything else.
    pub fn named(name: &str) -> Self {
        let settings = Settings::default();
        Self {
            name: name.to_string(),
            policy: Policy::default(),
            endpoints: Vec::new(),
            connect_timeout: settings.connect_timeout,
            tries: settings.tries,
            retry_within: settings.retry_within,
            timeouts: SessionTimeouts::default(),
            send_proxy: None,
            options: ConnectOptions::default(),
            health: None,
            breaker: Some(BreakerPlan::default()),
            when_none_healthy: None,
            panic_threshold_percent: 0,
            sessions: SessionPolicies::default(),
            slow_start: None,
        }
    }

    /// What becomes of clients if no endpoint may be picked. Unless the configuration says it,
    /// they are turned away where probes tell that an endpoint is down, and try one where only
    /// failed sessions do.
    pub fn when_none_healthy(&self) -> WhenNoneHealthy {
        match (self.when_none_healthy, &self.health) {
            (Some(said), _) => said,
            (None, Some(_)) => WhenNoneHealthy::Refuse,
            (None, None) => WhenNoneHealthy::TryLeastFailed,
        }
    }
}

/// An endpoint as it is configured: one host name may stand for several addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPlan {
    /// Where it is.
    pub place: Place,
    /// Its share relative to the others; 0 means never picked.
    pub weight: u32,
    /// Its name in logs and statistics, if it has one.
    pub name: Option<String>,
    /// Whether it may be picked.
    pub enabled: bool,
    /// At most so many sessions at a time, over all workers; a name that stands for several
    /// addresses has as many for each.
    pub max_connections: Option<u32>,
    /// An endpoint is picked only if none of a smaller number may be.
    pub priority: u16,
    /// It is picked only if none but others like it may be, whatever their priorities.
    pub backup: bool,
    /// Where it is probed, if not where its sessions go.
    pub probe: ProbePlace,
}

impl EndpointPlan {
    /// An endpoint with the defaults for everything else.
    pub fn at(place: Place) -> Self {
        Self {
            place,
            weight: 1,
            name: None,
            enabled: true,
            max_connections: None,
            priority: 0,
            backup: false,
            probe: ProbePlace::default(),
        }
    }
}

/// What sessions of this listener with this cluster start with.
pub fn settings(listener: &ListenerPlan, cluster: &ClusterPlan) -> Settings {
    let default = Settings::default();
    let (first, second) = (&listener.timeouts, &cluster.timeouts);
    let max_age = first.age().or(second.age());
    Settings {
        header_timeout: listener.accept_proxy.as_ref().map(|proxy| proxy.timeout),
        connect_timeout: cluster.connect_timeout,
        tries: cluster.tries,
        retry_within: cluster.retry_within,
        idle_timeout: first.idle.or(second.idle).unwrap_or(default.idle_timeout),
        half_close_timeout: first
            .half_close
            .or(second.half_close)
            .unwrap_or(default.half_close_timeout),
        max_age,
    }
}

/// Timeouts that both listeners and clusters may set. The listener's goes first, then the
/// cluster's, then the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionTimeouts {
    /// How long a session may go without a byte either way.
    pub idle: Option<Duration>,
    /// The same once one side has finished.
    pub half_close: Option<Duration>,
    /// How long a session may last; without end if nobody says so.
    pub max_age: Option<Duration>,
    /// By how much less at random, so that sessions which began together do not end together; a
    /// tenth of the age if nobody says so.
    pub max_age_jitter: Option<Duration>,
}

impl SessionTimeouts {
    /// The greatest age with its jitter.
    fn age(&self) -> Option<(Duration, Duration)> {
        let age = self.max_age?;
        Some((age, self.max_age_jitter.unwrap_or(age / 10)))
    }
}
