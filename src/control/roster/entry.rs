//! An endpoint in its cluster: what is known of it, and what follows.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::balance::endpoint::Endpoint;
use crate::balance::{Member, Role};
use crate::bounds::RAMP_STEPS;
use crate::breaker::Breaker;
use crate::error::CloseReason;
use crate::health::HealthState;
use crate::plan::ClusterPlan;
use crate::plan::failure::SessionPolicy;
use crate::plan::health::ProbePlace;
use crate::standing::{AdminState, Candidate, Said, Standing, TrialBy};
use crate::time::Instant;
use crate::view::Eviction;

/// Where an endpoint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The configuration.
    Config,
    /// A name of the configuration, by its position in the cluster.
    Name(usize),
    /// The admin interface.
    Api,
}

impl Origin {
    /// Its name in the admin interface.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Name(_) => "dns",
            Self::Api => "api",
        }
    }
}

/// How the last probe went.
#[derive(Clone, Debug)]
pub(super) struct LastProbe {
    pub(super) is_success: bool,
    pub(super) detail: String,
    pub(super) took: Duration,
    pub(super) ended: Instant,
}

/// An endpoint in its cluster.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) weight: u32,
    /// The weight and priority that its name's last look-up gave it.
    pub(super) planned: (u32, u16),
    pub(super) max_connections: Option<u32>,
    pub(super) admin: AdminState,
    pub(super) priority: u16,
    pub(super) backup: bool,
    pub(super) place: ProbePlace,
    pub(super) origin: Origin,
    pub(super) health: HealthState,
    pub(super) probe_failures: u32,
    pub(super) last_probe: Option<LastProbe>,
    pub(super) breaker: Breaker,
    /// When its share began to grow.
    pub(super) ramp: Option<Instant>,
    /// What the last settling found.
    pub(super) standing: Standing,
    pub(super) role: Role,
    pub(super) eviction: Option<Eviction>,
}

impl Entry {
    /// An endpoint of which nothing is known.
    pub(super) fn new(endpoint: Arc<Endpoint>, origin: Origin) -> Self {
        Self {
            endpoint,
            weight: 1,
            planned: (1, 0),
            max_connections: None,
            admin: AdminState::Enabled,
            priority: 0,
            backup: false,
            place: ProbePlace::default(),
            origin,
            health: HealthState::Unknown,
            probe_failures: 0,
            last_probe: None,
            breaker: Breaker::default(),
            ramp: None,
            standing: Standing::Eligible,
            role: Role::Out,
            eviction: None,
        }
    }

    /// What is said about it.
    pub(super) fn said(&self, plan: &ClusterPlan) -> Said {
        Said {
            admin: self.admin,
            weight: self.weight,
            breaker: self.breaker.state(),
            health: self.health,
            trial_by: match plan.health {
                Some(_) => TrialBy::Probe,
                None => TrialBy::Session,
            },
        }
    }

    /// It among the others.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            standing: self.standing,
            tier: self.tier(),
            failures: u64::from(self.probe_failures) + u64::from(self.endpoint.failures()),
        }
    }

    /// Endpoints of a greater tier are picked only if none of a smaller one may be.
    pub(super) fn tier(&self) -> u32 {
        u32::from(self.backup) << 16 | u32::from(self.priority)
    }

    /// Whether its operator lets it be picked.
    pub(super) fn is_allowed(&self) -> bool {
        self.admin == AdminState::Enabled && self.weight > 0
    }

    /// Its share of what it will have, in steps from 1 to [`RAMP_STEPS`].
    fn step(&self, slow_start: Option<Duration>, now: Instant) -> u32 {
        let (Some(began), Some(whole)) = (self.ramp, slow_start) else {
            return RAMP_STEPS;
        };
        let part = (whole / RAMP_STEPS).as_nanos().max(1);
        let steps = now.saturating_since(began).as_nanos() / part;
        u32::try_from(steps).map_or(RAMP_STEPS, |steps| RAMP_STEPS.min(steps.saturating_add(1)))
    }

    /// Ends its growth if it has all of its share; else says when the next step is.
    pub(super) fn next_step(&mut self, slow_start: Option<Duration>, now: Instant) -> Instant {
        let step = self.step(slow_start, now);
        match (self.ramp, slow_start) {
            (Some(began), Some(whole)) if step < RAMP_STEPS => began + whole / RAMP_STEPS * step,
            _ => {
                self.ramp = None;
                Instant::NEVER
            }
        }
    }

    /// It as workers see it. Weights are in units of a step.
    pub(super) fn member(&self, slow_start: Option<Duration>, now: Instant) -> Member {
        let step = self.step(slow_start, now);
        let part = |whole: u32| u64::from(whole) * u64::from(step);
        let limit = |max: u32| part(max).div_ceil(u64::from(RAMP_STEPS)) as u32;
        Member {
            endpoint: Arc::clone(&self.endpoint),
            weight: part(self.weight) as u32,
            max_connections: self.max_connections.map(limit),
            role: self.role,
        }
    }

    /// Says when its sessions have to end, if they have to, by what is said about it now. An order
    /// that was given stays as it is for as long as its reason does.
    pub(super) fn settle_eviction(&mut self, plan: &ClusterPlan, now: Instant) -> bool {
        let (policy, reason) = if self.admin == AdminState::Disabled {
            (plan.sessions.disabled, CloseReason::EndpointDisabled)
        } else if self.health == HealthState::Down {
            (plan.sessions.unhealthy, CloseReason::EndpointUnhealthy)
        } else {
            return self.eviction.take().is_some();
        };
        if self.eviction.is_some_and(|order| order.reason == reason) {
            return false;
        }
        let before = self.eviction.take();
        self.eviction = order(&self.endpoint, policy, reason, now);
        self.eviction.is_some() || before.is_some()
    }
}

/// The order to end an endpoint's sessions by a policy, if it is to end them.
pub(super) fn order(
    endpoint: &Endpoint,
    policy: SessionPolicy,
    reason: CloseReason,
    now: Instant,
) -> Option<Eviction> {
    let at = match policy {
        SessionPolicy::Keep => return None,
        SessionPolicy::Drain(time) => now + time,
        SessionPolicy::Reset => now,
    };
    Some(Eviction {
        endpoint: endpoint.id,
        at,
        reason,
    })
}
