//! Choosing an endpoint: one policy per file, behind [`Balancer::pick`].
//!
//! What a choice depends on is split by who owns it. [`Candidates`] is part of the view: immutable,
//! made by control, the same for all workers. [`Balancer`] is a worker's own: a position, nothing
//! shared. The only shared word that a policy may read is an endpoint's count of open sessions.
#![forbid(unsafe_code)]

pub mod endpoint;
pub mod least_conn;
pub mod round_robin;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::bounds::TRIES_MAX;
use crate::id::{EndpointId, WorkerIndex};
use endpoint::Endpoint;
use least_conn::LeastConn;
use round_robin::{Cycle, RoundRobin};

/// The policies that a cluster can be configured with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Each in turn, as often as its weight says.
    #[default]
    RoundRobin,
    /// The one with the fewest open sessions for its weight.
    LeastConn,
}

impl Policy {
    /// Every policy, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::RoundRobin, Self::LeastConn];

    /// The policy's name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConn => "least_conn",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Policy {
    type Err = String;

    /// Errors: the names that exist, and the one that was probably meant.
    fn from_str(name: &str) -> Result<Self, String> {
        let plain = name.replace('-', "_").to_lowercase();
        let meant = match plain.as_str() {
            "rr" | "roundrobin" | "weighted_round_robin" => "round_robin",
            "leastconn" | "least_connections" | "least_request" | "fill_holes" => "least_conn",
            other => other,
        };
        if let Some(policy) = Self::ALL.into_iter().find(|policy| policy.name() == name) {
            return Ok(policy);
        }
        let names = Self::ALL.map(Self::name).join(", ");
        match Self::ALL.into_iter().find(|policy| policy.name() == meant) {
            Some(policy) => Err(format!(
                "unknown policy; did you mean `{policy}`? (one of {names})"
            )),
            None => Err(format!("unknown policy; it is one of {names}")),
        }
    }
}

/// A cluster's endpoint as a view holds it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its share relative to the others.
    pub weight: u32,
    /// At most so many sessions at a time, over all workers.
    pub max_connections: Option<u32>,
    /// Whether it is picked.
    pub role: Role,
}

/// Whether an endpoint is picked at present, and on what terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is not.
    Out,
    /// It is.
    Active,
    /// It is, although it has failed: there is no better one, and a success is news.
    LastResort,
    /// By the one session that takes the permit to try it.
    Trial,
}

impl Member {
    /// An endpoint that may be picked if its weight allows it.
    pub fn new(endpoint: Arc<Endpoint>, weight: u32) -> Self {
        Self {
            endpoint,
            weight,
            max_connections: None,
            role: Role::Active,
        }
    }

    /// Whether every session may pick it.
    pub fn is_eligible(&self) -> bool {
        matches!(self.role, Role::Active | Role::LastResort) && self.weight > 0
    }

    /// Whether there is room for another session; another worker may take it first.
    pub fn has_room(&self) -> bool {
        self.max_connections
            .is_none_or(|max| self.endpoint.open_sessions() < max)
    }
}

/// The members of a cluster and what the policies derive from them, made once per view.
#[derive(Debug)]
pub struct Candidates {
    members: Vec<Member>,
    /// The positions of those that may be picked.
    eligible: Vec<u16>,
    /// The positions of those that are to be tried.
    trials: Vec<u16>,
    cycle: Cycle,
}

impl Candidates {
    /// Derives what the policies need.
    ///
    /// Cost: O(M log M) with M the slots of the cycle; on control only.
    pub fn new(members: Vec<Member>) -> Self {
        let positions = |is_wanted: fn(&Member) -> bool| {
            let numbered = (0u16..).zip(&members);
            let wanted = numbered.filter(|(_, member)| is_wanted(member));
            wanted.map(|(position, _)| position).collect()
        };
        let eligible = positions(Member::is_eligible);
        let trials = positions(|member| member.role == Role::Trial);
        let cycle = Cycle::new(&members);
        Self {
            members,
            eligible,
            trials,
            cycle,
        }
    }

    /// All members, those included that may not be picked.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members that are to be tried by one session each.
    pub fn trials(&self) -> impl Iterator<Item = &Member> {
        self.trials.iter().map(|position| self.member(*position))
    }

    /// The number of members that may be picked.
    pub fn eligible_count(&self) -> usize {
        self.eligible.len()
    }

    /// Whether an endpoint that may be picked has as many sessions as it may have.
    pub fn is_any_full(&self) -> bool {
        let mut eligible = self.eligible.iter();
        eligible.any(|position| !self.member(*position).has_room())
    }

    fn member(&self, position: u16) -> &Member {
        &self.members[usize::from(position)]
    }

    fn is_open_to(&self, position: u16, tried: &Tried) -> bool {
        let member = self.member(position);
        member.has_room() && !tried.contains(member.endpoint.id)
    }
}

/// The endpoints that a session has tried and that failed it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tried {
    ids: [u32; TRIES_MAX],
    count: u8,
}

impl Tried {
    /// Adds an endpoint. Beyond [`TRIES_MAX`] it is forgotten: no session is configured to try
    /// more often.
    pub fn add(&mut self, id: EndpointId) {
        if let Some(place) = self.ids.get_mut(usize::from(self.count)) {
            *place = id.0;
            self.count += 1;
        }
    }

    /// Whether nothing has been tried.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether this endpoint has been tried.
    pub fn contains(&self, id: EndpointId) -> bool {
        self.ids[..usize::from(self.count)].contains(&id.0)
    }
}

/// One worker's state of one cluster's policy.
#[derive(Debug)]
pub enum Balancer {
    /// See [`RoundRobin`].
    RoundRobin(RoundRobin),
    /// See [`LeastConn`].
    LeastConn(LeastConn),
}

impl Balancer {
    /// Makes the state of a policy for one of `workers` workers.
    pub fn new(policy: Policy, worker: WorkerIndex, workers: usize) -> Self {
        match policy {
            Policy::RoundRobin => Self::RoundRobin(RoundRobin::new(worker, workers)),
            Policy::LeastConn => Self::LeastConn(LeastConn::new(worker)),
        }
    }

    /// The policy that this is the state of.
    pub fn policy(&self) -> Policy {
        match self {
            Self::RoundRobin(_) => Policy::RoundRobin,
            Self::LeastConn(_) => Policy::LeastConn,
        }
    }

    /// Chooses an endpoint among those that may be picked, have room and were not tried; `None` if
    /// there is none.
    pub fn pick<'a>(
        &mut self,
        candidates: &'a Candidates,
        tried: &Tried,
        rng: &mut fastrand::Rng,
    ) -> Option<&'a Member> {
        let position = match self {
            Self::RoundRobin(policy) => policy.pick(candidates, tried),
            Self::LeastConn(policy) => policy.pick(candidates, tried, rng),
        }?;
        Some(candidates.member(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use endpoint::Address;

    /// Endpoints e0, e1, ... with these weights.
    pub(super) fn candidates(weights: &[u32]) -> Candidates {
        let members = (0u32..)
            .zip(weights)
            .map(|(id, &weight)| {
                let address = Address::Unix("/nowhere".into());
                let endpoint = Endpoint::new(EndpointId(id), format!("e{id}"), address, 4);
                Member::new(Arc::new(endpoint), weight)
            })
            .collect();
        Candidates::new(members)
    }

    #[test]
    fn policies_are_found_by_name_and_near_misses_are_named() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        let error = |name: &str| {
            name.parse::<Policy>()
                .map_or_else(|error| error, |_| String::new())
        };
        assert!(error("round-robin").contains("did you mean `round_robin`"));
        assert!(error("leastconn").contains("did you mean `least_conn`"));
        assert!(error("fastest").contains("one of round_robin, least_conn"));
    }
}
