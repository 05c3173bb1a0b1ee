//! What an operator changes while it runs.
#![forbid(unsafe_code)]

use crate::balance::endpoint::Address;
use crate::bounds::ENDPOINTS_MAX;
use crate::control::request::{Change, EndpointKey, Refusal};
use crate::control::roster::entry::{self, Origin};
use crate::control::roster::note::Happening;
use crate::control::roster::{Leaving, Roster, names};
use crate::error::CloseReason;
use crate::id::EndpointId;
use crate::plan::EndpointPlan;
use crate::plan::failure::SessionPolicy;
use crate::plan::place::Place;
use crate::time::Instant;

impl Roster {
    /// The position of a cluster.
    ///
    /// Errors: [`Refusal::Unknown`] if there is none of that name.
    pub(super) fn cluster(&self, name: &str) -> Result<usize, Refusal> {
        let found = self
            .clusters
            .iter()
            .position(|cluster| cluster.plan.name == name);
        found.ok_or_else(|| Refusal::Unknown {
            detail: format!("there is no cluster `{name}`"),
        })
    }

    /// The position of a cluster and of an endpoint in it.
    ///
    /// Errors: [`Refusal::Unknown`] if there is none.
    pub(super) fn find(&self, name: &str, key: &EndpointKey) -> Result<(usize, usize), Refusal> {
        let cluster = self.cluster(name)?;
        let entries = &self.clusters[cluster].entries;
        let named = |name: &str| entries.iter().position(|entry| entry.endpoint.name == name);
        let (found, key) = match key {
            EndpointKey::Id(id) => {
                let by_id = entries.iter().position(|entry| entry.endpoint.id.0 == *id);
                (by_id.or_else(|| named(&id.to_string())), id.to_string())
            }
            EndpointKey::Name(key) => (named(key), key.clone()),
        };
        match found {
            Some(position) => Ok((cluster, position)),
            None => Err(Refusal::Unknown {
                detail: format!("the cluster `{name}` has no endpoint `{key}`"),
            }),
        }
    }

    /// Takes a new endpoint in. Returns its identity.
    ///
    /// Errors: [`Refusal::Unknown`] without such a cluster, [`Refusal::Conflict`] with another
    /// endpoint of the name or too many, [`Refusal::Invalid`] for a name to be looked up.
    pub fn add(
        &mut self,
        name: &str,
        plan: &EndpointPlan,
        now: Instant,
    ) -> Result<EndpointId, Refusal> {
        let cluster = self.cluster(name)?;
        let entries = &self.clusters[cluster].entries;
        let address = match &plan.place {
            Place::Unix(path) => Address::Unix(path.clone()),
            Place::Address(addr) => Address::Tcp(*addr),
            Place::Host(..) | Place::Service(_) => {
                return Err(Refusal::Invalid {
                    field: "address",
                    detail: "expected an IP address with a port, or unix:/PATH".to_string(),
                });
            }
        };
        let title = names::title(plan);
        if entries.iter().any(|entry| entry.endpoint.name == title) {
            return Err(Refusal::Conflict {
                field: match plan.name {
                    Some(_) => "name",
                    None => "address",
                },
                detail: format!("the cluster `{name}` has an endpoint `{title}` already"),
            });
        }
        if entries.len() >= ENDPOINTS_MAX {
            return Err(Refusal::Conflict {
                field: "address",
                detail: format!("a cluster has at most {ENDPOINTS_MAX} endpoints"),
            });
        }
        let entry = self.entry(title.clone(), address, plan, Origin::Api);
        let id = entry.endpoint.id;
        let why = format!("by the admin interface, with weight {}", plan.weight);
        self.clusters[cluster].admit(entry, now);
        self.clusters[cluster].tell(&title, Happening::news("added", why));
        self.index(cluster);
        Ok(id)
    }

    /// Changes an endpoint. Returns its identity.
    ///
    /// Errors: [`Refusal::Unknown`] if there is no such endpoint.
    pub fn change(
        &mut self,
        cluster: &str,
        key: &EndpointKey,
        change: Change,
    ) -> Result<EndpointId, Refusal> {
        let (place, position) = self.find(cluster, key)?;
        let cluster = &mut self.clusters[place];
        let entry = &mut cluster.entries[position];
        let (id, name) = (entry.endpoint.id, entry.endpoint.name.clone());
        if let Some(weight) = change.weight.filter(|weight| *weight != entry.weight) {
            let why = format!("by the admin interface, from {} to {weight}", entry.weight);
            entry.weight = weight;
            cluster.tell(&name, Happening::news("weight", why));
        }
        let entry = &mut cluster.entries[position];
        if let Some(state) = change.state.filter(|state| *state != entry.admin) {
            let why = format!("by the admin interface, was {}", entry.admin.word());
            entry.admin = state;
            cluster.tell(&name, Happening::news(state.word(), why));
        }
        Ok(id)
    }

    /// Takes an endpoint out.
    ///
    /// Errors: [`Refusal::Unknown`] if there is no such endpoint, [`Refusal::Conflict`] if it would
    /// come back with the next look-up of its name.
    pub fn remove(
        &mut self,
        cluster: &str,
        key: &EndpointKey,
        policy: Option<SessionPolicy>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let (place, position) = self.find(cluster, key)?;
        let entry = &self.clusters[place].entries[position];
        if let Origin::Name(name) = entry.origin {
            let name = names::title(&self.clusters[place].names[name].plan);
            return Err(Refusal::Conflict {
                field: "id",
                detail: format!(
                    "`{name}` stands for it and would bring it back; disable it instead"
                ),
            });
        }
        self.take_out(entry.endpoint.id, policy, "by the admin interface", now);
        Ok(())
    }

    /// Takes an endpoint out; its sessions go as the policy says, or as the cluster does.
    pub(super) fn take_out(
        &mut self,
        endpoint: EndpointId,
        policy: Option<SessionPolicy>,
        why: &str,
        now: Instant,
    ) {
        let Some((place, position)) = self.place_of(endpoint) else {
            return;
        };
        let cluster = &mut self.clusters[place];
        let entry = cluster.entries.remove(position);
        let policy = policy.unwrap_or(cluster.plan.sessions.removed);
        let reason = CloseReason::EndpointRemoved;
        if let Some(eviction) = entry::order(&entry.endpoint, policy, reason, now) {
            self.leaving.push(Leaving {
                endpoint: entry.endpoint.clone(),
                eviction,
            });
            self.is_unpublished = true;
        }
        let sessions = match policy {
            SessionPolicy::Keep => "its sessions go on".to_string(),
            SessionPolicy::Drain(time) => format!("its sessions have {time:?} to end"),
            SessionPolicy::Reset => "its sessions are reset".to_string(),
        };
        let why = format!("{why}; {sessions}");
        cluster.tell(&entry.endpoint.name, Happening::news("removed", why));
        self.index(place);
    }
}
