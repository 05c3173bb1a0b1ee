//! Names and the endpoints that they stand for.
//!
//! The configuration has the name; a look-up says for which addresses it stands. What it no longer
//! stands for goes as if it had been removed. A look-up that failed changes nothing.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::balance::endpoint::{Address, Endpoint};
use crate::bounds::{ENDPOINTS_MAX, WEIGHT_MAX};
use crate::control::discovery::{Found, Located};
use crate::control::roster::Roster;
use crate::control::roster::entry::{Entry, Origin};
use crate::control::roster::note::Happening;
use crate::plan::EndpointPlan;
use crate::plan::place::Place;
use crate::standing::AdminState;
use crate::time::Instant;

/// A configured name.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) plan: EndpointPlan,
    /// Why it could not be looked up the last time.
    pub(super) error: Option<String>,
    /// Whether it was ever looked up.
    is_known: bool,
    pub(super) lookups: u64,
    pub(super) failures: u64,
}

/// Which name of a roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameKey {
    cluster: usize,
    name: usize,
}

impl Roster {
    /// Takes in the endpoints of the configuration.
    pub(super) fn add_configured(&mut self, cluster: usize) {
        let plans = self.clusters[cluster].plan.endpoints.clone();
        for plan in plans {
            let address = match &plan.place {
                Place::Unix(path) => Address::Unix(path.clone()),
                Place::Address(addr) => Address::Tcp(*addr),
                Place::Host(..) | Place::Service(_) => {
                    self.clusters[cluster].names.push(Name {
                        plan,
                        error: None,
                        is_known: false,
                        lookups: 0,
                        failures: 0,
                    });
                    continue;
                }
            };
            let entry = self.entry(title(&plan), address, &plan, Origin::Config);
            self.clusters[cluster].admit(entry, Instant::default());
        }
        self.index(cluster);
    }

    /// An endpoint of this plan.
    pub(super) fn entry(
        &mut self,
        name: String,
        address: Address,
        plan: &EndpointPlan,
        origin: Origin,
    ) -> Entry {
        let endpoint = Endpoint::new(self.next_id(), name, address, self.workers);
        Entry {
            weight: plan.weight,
            max_connections: plan.max_connections,
            admin: match plan.enabled {
                true => AdminState::Enabled,
                false => AdminState::Disabled,
            },
            priority: plan.priority,
            backup: plan.backup,
            place: plan.probe,
            ..Entry::new(Arc::new(endpoint), origin)
        }
    }

    /// The names that have to be looked up.
    pub fn names(&self) -> Vec<(NameKey, Place)> {
        let mut all = Vec::new();
        for (cluster, of) in self.clusters.iter().enumerate() {
            let names = of.names.iter().enumerate();
            all.extend(names.map(|(name, of)| (NameKey { cluster, name }, of.plan.place.clone())));
        }
        all
    }

    /// Whether every name has been looked up, for better or worse.
    pub fn is_looked_up(&self) -> bool {
        let mut names = self.clusters.iter().flat_map(|cluster| &cluster.names);
        names.all(|name| name.is_known || name.error.is_some())
    }

    /// A name could not be looked up: what it stood for stays.
    pub fn handle_lookup_failure(&mut self, key: NameKey, error: String) {
        let cluster = &mut self.clusters[key.cluster];
        let name = &mut cluster.names[key.name];
        name.lookups += 1;
        name.failures += 1;
        if name.error.as_ref() == Some(&error) {
            return;
        }
        let kept = match name.is_known {
            true => "the endpoints that it stood for stay",
            false => "it stands for no endpoint yet",
        };
        let title = title(&name.plan);
        name.error = Some(error.clone());
        let why = format!("{error}; {kept}");
        cluster.tell(&title, Happening::warning("look-up failed", why));
    }

    /// A name has been looked up, and stands for these now.
    pub fn handle_lookup(&mut self, key: NameKey, answer: &Found, now: Instant) {
        let located = &answer.targets;
        let cluster = &mut self.clusters[key.cluster];
        let name = &mut cluster.names[key.name];
        let plan = name.plan.clone();
        let title = title(&plan);
        name.is_known = true;
        name.lookups += 1;
        let error = answer.incomplete.as_ref().map(ToString::to_string);
        if name.error != error {
            let happening = match &error {
                Some(error) => {
                    let why = format!("{error}; what it lacks stays");
                    Happening::warning("look-up incomplete", why)
                }
                None => {
                    let why = format!("it stands for {} addresses", located.len());
                    Happening::news("look-up succeeded", why)
                }
            };
            name.error = error;
            cluster.tell(&title, happening);
        }
        let origin = Origin::Name(key.name);
        let mut gone = Vec::new();
        for entry in cluster
            .entries
            .iter_mut()
            .filter(|entry| entry.origin == origin)
        {
            let found = located
                .iter()
                .find(|found| entry.endpoint.address == Address::Tcp(found.addr));
            match found {
                Some(found) => {
                    let planned = share(&plan, found);
                    // What an operator has set stays.
                    if entry.planned != planned {
                        entry.planned = planned;
                        (entry.weight, entry.priority) = planned;
                        cluster.is_touched = true;
                    }
                }
                // An answer with a gap in it says nothing of what is not in it.
                None if answer.incomplete.is_some() => {}
                None => gone.push(entry.endpoint.id),
            }
        }
        for endpoint in gone {
            self.take_out(endpoint, None, "its name no longer stands for it", now);
        }
        for found in located {
            self.add_located(key, &plan, found, located.len(), now);
        }
    }

    fn add_located(
        &mut self,
        key: NameKey,
        plan: &EndpointPlan,
        found: &Located,
        addresses: usize,
        now: Instant,
    ) {
        let origin = Origin::Name(key.name);
        let entries = &self.clusters[key.cluster].entries;
        let address = Address::Tcp(found.addr);
        let is_of_name = |entry: &&Entry| entry.origin == origin;
        let is_known = entries
            .iter()
            .filter(is_of_name)
            .any(|entry| entry.endpoint.address == address);
        if is_known || entries.len() >= ENDPOINTS_MAX {
            return;
        }
        let title = title(plan);
        let is_alone = addresses == 1 && !entries.iter().any(|entry| entry.endpoint.name == title);
        let name = match is_alone {
            true => title,
            false => format!("{title} ({address})"),
        };
        let mut entry = self.entry(name.clone(), address, plan, origin);
        entry.planned = share(plan, found);
        (entry.weight, entry.priority) = entry.planned;
        let cluster = &mut self.clusters[key.cluster];
        cluster.admit(entry, now);
        cluster.tell(&name, Happening::news("added", "its name stands for it"));
        self.index(key.cluster);
    }
}

/// The share and the priority of an address of a name.
fn share(plan: &EndpointPlan, found: &Located) -> (u32, u16) {
    let weight = plan
        .weight
        .saturating_mul(found.weight.max(1))
        .min(WEIGHT_MAX);
    (weight, plan.priority.saturating_add(found.priority))
}

/// What an endpoint is called.
pub(super) fn title(plan: &EndpointPlan) -> String {
    plan.name.clone().unwrap_or_else(|| plan.place.to_string())
}
