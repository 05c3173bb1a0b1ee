//! The roster as clients of the admin interface see it.
#![forbid(unsafe_code)]

use crate::breaker::BreakerState;
use crate::control::exposition::{ClusterScrape, EndpointScrape};
use crate::control::request::{
    ClusterStatus, EndpointKey, EndpointStatus, NameStatus, ProbeStatus, Refusal,
};
use crate::control::roster::Roster;
use crate::control::roster::cluster::Cluster;
use crate::control::roster::entry::{Entry, Origin};
use crate::control::roster::names;
use crate::health::HealthState;
use crate::id::EndpointId;
use crate::standing::{Mode, Reason, Standing};
use crate::time::Instant;

impl Roster {
    /// All clusters.
    pub fn clusters_status(&self) -> Vec<ClusterStatus> {
        self.clusters.iter().map(cluster_status).collect()
    }

    /// One cluster.
    ///
    /// Errors: [`Refusal::Unknown`] if there is none of that name.
    pub fn cluster_status(&self, name: &str) -> Result<ClusterStatus, Refusal> {
        Ok(cluster_status(&self.clusters[self.cluster(name)?]))
    }

    /// All endpoints of a cluster.
    ///
    /// Errors: [`Refusal::Unknown`] if there is no cluster of that name.
    pub fn endpoints_status(
        &self,
        cluster: &str,
        now: Instant,
    ) -> Result<Vec<EndpointStatus>, Refusal> {
        let cluster = &self.clusters[self.cluster(cluster)?];
        let entries = cluster.entries.iter();
        Ok(entries
            .map(|entry| endpoint_status(cluster, entry, now))
            .collect())
    }

    /// One endpoint.
    ///
    /// Errors: [`Refusal::Unknown`] if there is none.
    pub fn endpoint_status(
        &self,
        cluster: &str,
        key: &EndpointKey,
        now: Instant,
    ) -> Result<EndpointStatus, Refusal> {
        let (cluster, position) = self.find(cluster, key)?;
        let cluster = &self.clusters[cluster];
        Ok(endpoint_status(cluster, &cluster.entries[position], now))
    }

    /// One endpoint, by its identity.
    pub fn status_of(&self, endpoint: EndpointId, now: Instant) -> Option<EndpointStatus> {
        let (cluster, position) = self.place_of(endpoint)?;
        let cluster = &self.clusters[cluster];
        Some(endpoint_status(cluster, &cluster.entries[position], now))
    }

    /// All clusters as metrics tell of them.
    pub fn scrape(&self) -> Vec<ClusterScrape<'_>> {
        self.clusters.iter().map(cluster_scrape).collect()
    }

    /// Why clients cannot be served; `None` if they can.
    pub fn outage(&self) -> Option<String> {
        let mut clusters = self.clusters.iter();
        let out = clusters.find(|cluster| cluster.mode == Mode::None)?;
        let name = &out.plan.name;
        Some(format!("no endpoint of the cluster `{name}` may be picked"))
    }
}

fn cluster_status(cluster: &Cluster) -> ClusterStatus {
    let entries = &cluster.entries;
    let of_name = |name: usize| {
        let of = entries
            .iter()
            .filter(|entry| entry.origin == Origin::Name(name));
        of.count()
    };
    let open = entries
        .iter()
        .map(|entry| u64::from(entry.endpoint.open_sessions()));
    ClusterStatus {
        name: cluster.plan.name.clone(),
        balance: cluster.plan.policy.name(),
        endpoints: entries.len(),
        eligible: cluster.eligible_count(),
        mode: cluster.mode.word(),
        open_sessions: open.sum(),
        names: (cluster.names.iter().enumerate())
            .map(|(position, name)| NameStatus {
                name: names::title(&name.plan),
                endpoints: of_name(position),
                error: name.error.clone(),
            })
            .collect(),
    }
}

fn cluster_scrape(cluster: &Cluster) -> ClusterScrape<'_> {
    let entries = cluster.entries.iter();
    ClusterScrape {
        name: &cluster.plan.name,
        counters: Some(&cluster.counters),
        mode: cluster.mode.word(),
        endpoints: entries
            .map(|entry| endpoint_scrape(cluster, entry))
            .collect(),
        lookups: cluster.names.iter().map(|name| name.lookups).sum(),
        lookup_failures: cluster.names.iter().map(|name| name.failures).sum(),
    }
}

fn endpoint_scrape<'a>(cluster: &Cluster, entry: &'a Entry) -> EndpointScrape<'a> {
    let is_down = entry.health == HealthState::Down;
    EndpointScrape {
        name: &entry.endpoint.name,
        address: &entry.endpoint.address,
        endpoint: &entry.endpoint,
        weight: entry.weight,
        is_up: !is_down && entry.breaker.state() != BreakerState::Open,
        is_eligible: cluster.is_picked(entry),
        health: health_word(cluster, entry),
        breaker: breaker_word(cluster, entry),
        admin: entry.admin.word(),
        max_connections: entry.max_connections,
    }
}

fn endpoint_status(cluster: &Cluster, entry: &Entry, now: Instant) -> EndpointStatus {
    let endpoint = &entry.endpoint;
    let is_eligible = cluster.is_picked(entry);
    EndpointStatus {
        id: endpoint.id.0,
        name: endpoint.name.clone(),
        address: endpoint.address.to_string(),
        weight: entry.weight,
        state: entry.admin,
        priority: entry.priority,
        backup: entry.backup,
        max_connections: entry.max_connections,
        eligible: is_eligible,
        reason: if is_eligible {
            None
        } else {
            Some(why_not(entry))
        },
        health: health_word(cluster, entry),
        last_probe: entry.last_probe.as_ref().map(|probe| ProbeStatus {
            success: probe.is_success,
            detail: probe.detail.clone(),
            took_ms: probe.took.as_secs_f64() * 1e3,
            age_ms: u64::try_from((now - probe.ended).as_millis()).unwrap_or(u64::MAX),
        }),
        breaker: breaker_word(cluster, entry),
        consecutive_failures: endpoint.failures(),
        open_sessions: endpoint.open_sessions(),
        sessions: endpoint.total(|counters| &counters.sessions),
        connect_failures: endpoint.total(|counters| &counters.connect_failures),
        bytes: endpoint.total(|counters| &counters.bytes),
        origin: entry.origin.word(),
    }
}

/// Why an endpoint is not picked.
fn why_not(entry: &Entry) -> &'static str {
    match entry.standing {
        Standing::Out(reason) => reason.word(),
        Standing::Trial => Reason::Ejected.word(),
        Standing::Eligible => "better_priority",
    }
}

/// What an endpoint's probes say, in a word.
pub(super) fn health_word(cluster: &Cluster, entry: &Entry) -> &'static str {
    match entry.health {
        _ if !cluster.is_probed() => "none",
        HealthState::Unknown => "unknown",
        HealthState::Up => "up",
        HealthState::Down => "down",
    }
}

/// What an endpoint's breaker says, in a word.
pub(super) fn breaker_word(cluster: &Cluster, entry: &Entry) -> &'static str {
    match (cluster.plan.breaker, entry.breaker.state()) {
        (None, _) => "none",
        (Some(_), BreakerState::Closed) => "closed",
        (Some(_), BreakerState::Open) => "open",
        (Some(_), BreakerState::HalfOpen) => "half_open",
    }
}
