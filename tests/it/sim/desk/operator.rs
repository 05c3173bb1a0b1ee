//! An operator who changes endpoints at random.
#![forbid(unsafe_code)]

use std::time::Duration;

use ringlane::control::request::{Change, EndpointKey, EndpointStatus};
use ringlane::id::EndpointId;
use ringlane::plan::EndpointPlan;
use ringlane::plan::failure::SessionPolicy;
use ringlane::standing::AdminState;

use super::{Desk, remote_of};
use crate::sim::coverage::Situation;
use crate::sim::live::Live;
use crate::sim::network::{Network, Stage};
use crate::sim::plans;

/// A worker avoids and a session tries a few endpoints only.
const ENDPOINTS: usize = 5;

impl Desk {
    /// Changes something.
    pub(super) fn operate(&mut self, network: &mut Network, live: &mut Live) {
        let cluster = network.rng.usize(..self.plan.clusters.len());
        let name = &self.plan.clusters[cluster].name;
        let all = self.roster.endpoints_status(name, network.now);
        let Some(status) = network.rng.choice(all.unwrap_or_default()) else {
            return self.add(cluster, None, network);
        };
        match network.rng.u8(..18) {
            0..2 => self.change_one(cluster, &status, weight(0), network),
            2..5 => {
                let new = weight(network.rng.u32(1..4));
                self.change_one(cluster, &status, new, network);
            }
            5..7 => self.change_one(cluster, &status, state(AdminState::Draining), network),
            7..10 => self.change_one(cluster, &status, state(AdminState::Disabled), network),
            10..13 => self.change_one(cluster, &status, state(AdminState::Enabled), network),
            13..15 => self.remove(cluster, &status, network, live),
            15..17 => {
                // At an address of its own, or at that of another.
                let other = remote_of(&status, network).filter(|_| network.rng.u8(..3) == 0);
                self.add(cluster, other, network);
            }
            _ => {
                let remote = remote_of(&status, network);
                self.remove(cluster, &status, network, live);
                self.add(cluster, remote, network);
            }
        }
    }

    /// Lets most endpoints be picked; after that nothing is changed any more.
    pub(crate) fn calm_down(&mut self, network: &mut Network) {
        self.is_calm = true;
        self.prober.is_reliable = true;
        self.changes = 0;
        self.stalled_until = self.stalled_until.min(network.now);
        for cluster in 0..self.plan.clusters.len() {
            let name = &self.plan.clusters[cluster].name;
            let all = self.roster.endpoints_status(name, network.now);
            for status in all.unwrap_or_default() {
                if network.rng.u8(..4) > 0 {
                    let back = Change {
                        weight: Some(status.weight.max(1)),
                        state: Some(AdminState::Enabled),
                    };
                    self.change_one(cluster, &status, back, network);
                }
            }
        }
        self.request(network.now, network);
    }

    fn change_one(
        &mut self,
        cluster: usize,
        status: &EndpointStatus,
        change: Change,
        network: &mut Network,
    ) {
        let name = &self.plan.clusters[cluster].name;
        let key = EndpointKey::Id(status.id);
        let changed = self.roster.change(name, &key, change);
        assert_eq!(changed, Ok(EndpointId(status.id)), "the endpoint is there");
        if let Some(state) = change.state {
            let since = (state == AdminState::Disabled).then_some(network.now);
            let endpoint = EndpointId(status.id);
            self.orders.note_disabled(endpoint, cluster, since);
        }
    }

    fn remove(
        &mut self,
        cluster: usize,
        status: &EndpointStatus,
        network: &mut Network,
        live: &mut Live,
    ) {
        let now = network.now;
        let endpoint = EndpointId(status.id);
        let policy = match network.rng.u8(..6) {
            0 => Some(SessionPolicy::Keep),
            1 => Some(SessionPolicy::Drain(Duration::from_millis(
                network.rng.u64(10..2_000),
            ))),
            2 => Some(SessionPolicy::Reset),
            _ => None,
        };
        let mut links = live.links_of(endpoint);
        if links.any(|link| network.links[link].stage == Stage::Connecting) {
            network.coverage.meet(Situation::RemovedWhileConnecting);
        }
        drop(links);
        let plan = &self.plan.clusters[cluster];
        let key = EndpointKey::Name(status.name.clone());
        let removed = self.roster.remove(&plan.name, &key, policy, now);
        assert_eq!(removed, Ok(()), "the endpoint is there");
        let policy = policy.unwrap_or(plan.sessions.removed);
        self.orders.note_removed(endpoint, now, policy);
    }

    /// Adds an endpoint under a name that was never there, at a new address or a known one.
    fn add(&mut self, cluster: usize, remote: Option<usize>, network: &mut Network) {
        let name = &self.plan.clusters[cluster].name;
        let all = self.roster.endpoints_status(name, network.now);
        if all.is_ok_and(|all| all.len() >= ENDPOINTS) {
            return;
        }
        let remote = remote.unwrap_or_else(|| {
            let new = plans::new_remote(&mut network.rng, network.remotes.len());
            network.remotes.push(new);
            network.remotes.len() - 1
        });
        self.added += 1;
        let address = &network.remotes[remote].address;
        let plan = EndpointPlan {
            name: Some(format!("added {}", self.added)),
            ..plans::endpoint(&mut network.rng, address)
        };
        let added = self.roster.add(name, &plan, network.now);
        assert!(added.is_ok(), "the name is new: {added:?}");
    }
}

fn weight(weight: u32) -> Change {
    Change {
        weight: Some(weight),
        state: None,
    }
}

fn state(state: AdminState) -> Change {
    Change {
        weight: None,
        state: Some(state),
    }
}
