//! The view: all that a worker knows of the configuration and of health, as one immutable value.
//!
//! Control makes a view, gives it an epoch and puts it into each worker's mailbox; a worker takes
//! the newest one between two turns, so it never sees half of a change. Clusters are shared
//! between views that do not change them. A replaced view goes back to control to be freed there.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::balance::{Candidates, Policy};
use crate::error::CloseReason;
use crate::id::{ClusterId, EndpointId, Epoch, ListenerId};
use crate::limits::Limit;
use crate::metrics::ClusterCounters;
use crate::plan::options::ConnectOptions;
use crate::plan::proxy::{AcceptProxy, SendProxy};
use crate::session::Settings;
use crate::time::Instant;

/// The whole configuration and health at one moment.
#[derive(Debug)]
pub struct View {
    /// Its number; a newer view has a greater one.
    pub epoch: Epoch,
    /// The listeners; a worker's sockets name theirs by position.
    pub listeners: Vec<Arc<ListenerView>>,
    /// The clusters that listeners refer to by position.
    pub clusters: Vec<Arc<ClusterView>>,
    /// The endpoints whose sessions have to end, sorted by endpoint.
    pub evictions: Vec<Eviction>,
}

/// An order to end the sessions of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Whose sessions.
    pub endpoint: EndpointId,
    /// When those that are left are reset.
    pub at: Instant,
    /// What they are told to have ended of.
    pub reason: CloseReason,
}

impl View {
    /// The cluster that a listener's sessions go to; `None` if there is no such listener.
    pub fn cluster_of(&self, listener: usize) -> Option<(usize, &Arc<ClusterView>)> {
        let position = self.listeners.get(listener)?.cluster;
        Some((position, self.clusters.get(position)?))
    }
}

/// What is accepted, at one address or several.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// Its identity.
    pub id: ListenerId,
    /// Its name in logs and statistics.
    pub name: String,
    /// The position of its cluster in [`View::clusters`].
    pub cluster: usize,
    /// What its sessions start with.
    pub settings: Settings,
    /// The PROXY protocol header that clients send first.
    pub accept_proxy: Option<AcceptProxy>,
    /// The sessions that it may have at a time, if there are fewer than of the process.
    pub limit: Option<Arc<Limit>>,
}

impl ListenerView {
    /// A listener without a limit of its own.
    pub fn new(id: ListenerId, name: String, cluster: usize, settings: Settings) -> Self {
        Self {
            id,
            name,
            cluster,
            settings,
            limit: None,
            accept_proxy: None,
        }
    }
}

impl ClusterView {
    /// A cluster with the defaults for everything else.
    pub fn new(id: ClusterId, name: String, policy: Policy, candidates: Candidates) -> Self {
        Self {
            id,
            name,
            policy,
            candidates,
            connect: ConnectOptions::default(),
            send_proxy: None,
            failure_threshold: None,
            counters: None,
        }
    }
}

/// A group of endpoints with one policy.
#[derive(Debug)]
pub struct ClusterView {
    /// Its identity.
    pub id: ClusterId,
    /// Its name in logs and statistics.
    pub name: String,
    /// How endpoints are chosen.
    pub policy: Policy,
    /// The endpoints.
    pub candidates: Candidates,
    /// What sockets to them have.
    pub connect: ConnectOptions,
    /// The PROXY protocol header that they get first.
    pub send_proxy: Option<SendProxy>,
    /// After so many failures in a row an endpoint is ejected, if it ever is.
    pub failure_threshold: Option<u32>,
    /// How long its sessions took; not measured if `None`.
    pub counters: Option<Arc<ClusterCounters>>,
}
