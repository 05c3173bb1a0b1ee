//! From a plan to what workers know: the first view.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::balance::Candidates;
use crate::balance::endpoint::Endpoint;
use crate::id::{ClusterId, EndpointId, ListenerId};
use crate::limits::Limit;
use crate::metrics::ClusterCounters;
use crate::plan::{self, Plan};
use crate::process::resolve;
use crate::view::{ClusterView, ListenerView};

/// The clusters of a plan, their endpoints resolved.
pub(super) struct Clusters {
    pub(super) views: Vec<Arc<ClusterView>>,
    /// The endpoints of all clusters, in the order of the plan.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
}

/// Makes the clusters of a plan, for this many workers. Host names are looked up.
pub(super) fn clusters(plan: &Plan, workers: usize) -> Clusters {
    let mut endpoints = Vec::new();
    let mut views = Vec::new();
    for (id, cluster) in (1u32..).zip(&plan.clusters) {
        let first_id = EndpointId(endpoints.len() as u32 + 1);
        let members = resolve::members(&cluster.endpoints, first_id, workers);
        endpoints.extend(members.iter().map(|member| Arc::clone(&member.endpoint)));
        let candidates = Candidates::new(members);
        if candidates.eligible_count() == 0 {
            tracing::warn!(
                cluster = cluster.name,
                "no endpoint can be picked: every client will be reset"
            );
        }
        views.push(Arc::new(ClusterView {
            id: ClusterId(id),
            name: cluster.name.clone(),
            policy: cluster.policy,
            candidates,
            connect: cluster.options.clone(),
            send_proxy: cluster.send_proxy.clone(),
            failure_threshold: cluster.breaker.map(|breaker| breaker.failure_threshold),
            counters: Some(Arc::new(ClusterCounters::new(workers))),
        }));
    }
    Clusters { views, endpoints }
}

/// Makes the listeners of a plan without problems.
pub(super) fn listeners(plan: &Plan) -> Vec<Arc<ListenerView>> {
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
