//! The orders to end sessions that a roster may give, by what was said about endpoints, and when.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use ringlane::control::prober::ProbeReport;
use ringlane::error::CloseReason;
use ringlane::health::HealthState;
use ringlane::id::EndpointId;
use ringlane::plan::Plan;
use ringlane::plan::failure::{SessionPolicies, SessionPolicy};
use ringlane::time::Instant;
use ringlane::view::{Eviction, View};

/// What was said about endpoints.
#[derive(Debug, Default)]
pub(super) struct Orders {
    said: BTreeMap<EndpointId, Said>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// The position of its cluster.
    cluster: usize,
    disabled_since: Option<Instant>,
    down_since: Option<Instant>,
    removed: Option<(Instant, SessionPolicy)>,
}

impl Orders {
    /// An operator disables an endpoint, or no longer does.
    pub(super) fn note_disabled(
        &mut self,
        endpoint: EndpointId,
        cluster: usize,
        since: Option<Instant>,
    ) {
        let said = self.said.entry(endpoint).or_default();
        said.cluster = cluster;
        if said.disabled_since.is_none() || since.is_none() {
            said.disabled_since = since;
        }
    }

    /// An operator takes an endpoint out.
    pub(super) fn note_removed(
        &mut self,
        endpoint: EndpointId,
        now: Instant,
        policy: SessionPolicy,
    ) {
        self.said.entry(endpoint).or_default().removed = Some((now, policy));
    }

    /// Control hears of a probe.
    pub(super) fn note_probe(&mut self, probed: &ProbeReport, now: Instant) {
        let said = self.said.entry(probed.endpoint).or_default();
        if probed.state != HealthState::Down {
            said.down_since = None;
        } else if said.down_since.is_none() {
            said.down_since = Some(now);
        }
    }

    /// Looks whether a view has the orders that it must have, and no other.
    ///
    /// Errors: which order is wrong, or is not there.
    pub(super) fn check(&self, view: &View, plan: &Plan, now: Instant) -> Result<(), String> {
        for order in &view.evictions {
            if !self.is_right(order, view, plan) {
                let said = self.said.get(&order.endpoint);
                return Err(format!("{order:?} at {now:?}, of {said:?}"));
            }
        }
        for (endpoint, said) in &self.said {
            let policies = &plan.clusters[said.cluster].sessions;
            let is_to_end = said.disabled_since.is_some() && said.removed.is_none();
            let has_order = view
                .evictions
                .iter()
                .any(|order| order.endpoint == *endpoint);
            if is_to_end && policies.disabled != SessionPolicy::Keep && !has_order {
                return Err(format!("the sessions of {endpoint:?} are not ended"));
            }
        }
        Ok(())
    }

    fn is_right(&self, order: &Eviction, view: &View, plan: &Plan) -> bool {
        let said = self.said.get(&order.endpoint).copied().unwrap_or_default();
        let place = view.clusters.iter().position(|cluster| {
            let mut members = cluster.candidates.members().iter();
            members.any(|member| member.endpoint.id == order.endpoint)
        });
        let policies = place.map(|place| plan.clusters[place].sessions);
        let wait = |of: fn(&SessionPolicies) -> SessionPolicy| {
            policies.as_ref().and_then(|policies| wait(of(policies)))
        };
        let (since, wait) = match order.reason {
            CloseReason::EndpointDisabled => (said.disabled_since, wait(|all| all.disabled)),
            CloseReason::EndpointUnhealthy => (said.down_since, wait(|all| all.unhealthy)),
            CloseReason::EndpointRemoved => match said.removed {
                Some((since, policy)) => (Some(since), self::wait(policy)),
                None => (None, None),
            },
            _ => (None, None),
        };
        let (Some(since), Some(wait)) = (since, wait) else {
            return false;
        };
        match order.reason {
            // Who was down while disabled has had no order before.
            CloseReason::EndpointUnhealthy => order.at >= since + wait,
            _ => order.at == since + wait,
        }
    }
}

/// How long sessions have; `None` if they may go on.
fn wait(policy: SessionPolicy) -> Option<Duration> {
    match policy {
        SessionPolicy::Keep => None,
        SessionPolicy::Drain(time) => Some(time),
        SessionPolicy::Reset => Some(Duration::ZERO),
    }
}
