//! The roster: clusters and their endpoints as they are now. The truth of which a view is a copy.
//!
//! No I/O and no clock: it is told what happened, with the time, and asked what follows: a view,
//! the endpoints to probe, what to tell. Whatever happens only leaves a mark;
//! [`settle`](Roster::settle) draws the conclusions of all that has happened since it was last called.
#![forbid(unsafe_code)]

mod cluster;
mod entry;
mod names;
mod note;
mod orders;
mod status;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::balance::endpoint::Endpoint;
use crate::bounds::LEAVING_TIME;
use crate::control::prober::{ProbeReport, Target};
use crate::id::{EndpointId, Epoch, ListenerId};
use crate::limits::Limit;
use crate::plan::{self, Plan};
use crate::time::Instant;
use crate::view::{Eviction, ListenerView, View};
use cluster::Cluster;
use entry::Entry;

pub use names::NameKey;
pub use note::{Happening, Note, Severity};

/// Clusters and their endpoints.
#[derive(Debug)]
pub struct Roster {
    listeners: Vec<Arc<ListenerView>>,
    clusters: Vec<Cluster>,
    /// Where an endpoint is: its cluster, and its position there.
    places: HashMap<EndpointId, (usize, usize)>,
    /// Endpoints that were taken out and have sessions.
    leaving: Vec<Leaving>,
    notes: Vec<Note>,
    workers: usize,
    last_id: u32,
    /// Workers have to be told.
    is_unpublished: bool,
    /// The prober has to be told.
    is_unprobed: bool,
}

/// An endpoint that was taken out.
#[derive(Debug)]
struct Leaving {
    cluster: usize,
    entry: Entry,
    /// When its sessions have to end, if they have to.
    eviction: Option<Eviction>,
    since: Instant,
}

impl Roster {
    /// The roster of a plan without problems, for this many workers. Names stand for nothing yet.
    pub fn new(plan: &Plan, workers: usize) -> Self {
        let mut roster = Self {
            listeners: listeners(plan),
            clusters: Vec::new(),
            places: HashMap::new(),
            leaving: Vec::new(),
            notes: Vec::new(),
            workers,
            last_id: 0,
            is_unpublished: true,
            is_unprobed: true,
        };
        for (id, plan) in (1u32..).zip(&plan.clusters) {
            roster.clusters.push(Cluster::new(id, plan, workers));
            roster.add_configured(roster.clusters.len() - 1);
        }
        roster
    }

    /// Takes in what a probe has found.
    pub fn handle_probe(&mut self, report: ProbeReport) {
        if let Some((cluster, position)) = self.place_of(report.endpoint) {
            self.clusters[cluster].handle_probe(position, report);
        }
    }

    /// Looks at the words that workers have left about an endpoint.
    pub fn look_at(&mut self, endpoint: EndpointId, now: Instant) {
        if let Some((cluster, position)) = self.place_of(endpoint) {
            self.clusters[cluster].look_at(position, now);
        }
    }

    /// Looks at the words of all endpoints: a request to look may have been lost.
    pub fn look_at_all(&mut self, now: Instant) {
        for cluster in &mut self.clusters {
            for position in 0..cluster.entries.len() {
                cluster.look_at(position, now);
            }
        }
    }

    /// When [`settle`](Self::settle) has something to do even if nothing happens.
    pub fn deadline(&self) -> Instant {
        let clusters = self.clusters.iter().map(Cluster::deadline);
        clusters.min().unwrap_or(Instant::NEVER)
    }

    /// Draws the conclusions of what has happened, and of the time.
    pub fn settle(&mut self, now: Instant) {
        for cluster in &mut self.clusters {
            self.is_unpublished |= cluster.settle(now, &mut self.notes);
        }
        let before = self.leaving.len();
        self.leaving.retain(|left| {
            let is_over = left.entry.endpoint.open_sessions() == 0;
            // Whoever was just connecting may not be counted yet.
            !is_over || now < left.since + LEAVING_TIME
        });
        self.is_unpublished |= self.leaving.len() != before;
    }

    /// The listeners.
    pub fn listeners(&self) -> &[Arc<ListenerView>] {
        &self.listeners
    }

    /// Whether there is a view that workers have not been given.
    pub fn is_unpublished(&self) -> bool {
        self.is_unpublished
    }

    /// The view of how things are.
    pub fn publish(&mut self, epoch: Epoch) -> View {
        self.is_unpublished = false;
        let evictions = self.clusters.iter().flat_map(Cluster::evictions);
        let leaving = self.leaving.iter().filter_map(|left| left.eviction);
        let mut evictions: Vec<Eviction> = evictions.chain(leaving).collect();
        evictions.sort_by_key(|order| order.endpoint);
        View {
            epoch,
            listeners: self.listeners.clone(),
            evictions,
            clusters: self.clusters.iter_mut().map(Cluster::view).collect(),
        }
    }

    /// What there is to tell.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The endpoints to be probed, if they are others than the last time or if it is the first.
    pub fn take_targets(&mut self) -> Option<Vec<Target>> {
        if !std::mem::take(&mut self.is_unprobed) {
            return None;
        }
        Some(self.clusters.iter().flat_map(Cluster::targets).collect())
    }

    /// The longest time between two probes of an endpoint.
    pub fn probe_interval_max(&self) -> Duration {
        let plans = self
            .clusters
            .iter()
            .filter_map(|cluster| cluster.plan.health.as_ref());
        plans.map(|plan| plan.interval).max().unwrap_or_default()
    }

    /// Every endpoint.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let entries = self.clusters.iter().flat_map(|cluster| &cluster.entries);
        entries.map(|entry| &entry.endpoint)
    }

    /// Whether each endpoint that is probed has been probed.
    pub fn is_probed(&self) -> bool {
        let mut probed = self.clusters.iter().filter(|cluster| cluster.is_probed());
        probed.all(|cluster| {
            let mut entries = cluster.entries.iter();
            entries.all(|entry| entry.last_probe.is_some())
        })
    }

    fn place_of(&self, endpoint: EndpointId) -> Option<(usize, usize)> {
        self.places.get(&endpoint).copied()
    }

    fn next_id(&mut self) -> EndpointId {
        self.last_id += 1;
        EndpointId(self.last_id)
    }

    /// To be called when endpoints have come to a cluster, or have left it.
    fn index(&mut self, cluster: usize) {
        self.is_unprobed = true;
        self.places.retain(|_, (of, _)| *of != cluster);
        let entries = self.clusters[cluster].entries.iter().enumerate();
        self.places
            .extend(entries.map(|(position, entry)| (entry.endpoint.id, (cluster, position))));
    }
}

/// The listeners of a plan without problems.
fn listeners(plan: &Plan) -> Vec<Arc<ListenerView>> {
    let mut views = Vec::new();
    for (id, listener) in (1u32..).zip(&plan.listeners) {
        let Some((cluster, target)) = plan.cluster_of(listener) else {
            continue;
        };
        views.push(Arc::new(ListenerView {
            id: ListenerId(id),
            name: listener.name.clone(),
            cluster,
            settings: plan::settings(listener, target),
            limit: listener.max_sessions.map(|max| Arc::new(Limit::new(max))),
            accept_proxy: listener.accept_proxy.clone(),
        }));
    }
    views
}

#[cfg(test)]
mod tests;
