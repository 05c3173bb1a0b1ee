//! Names and the endpoints that they stand for.
//!
//! The configuration has the name; a look-up says for which addresses it stands. What it no longer
//! stands for goes as if it had been removed. A look-up that failed changes nothing.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::balance::endpoint::{Address, Endpoint};
use crate::bounds::{ADDRESSES_MAX, ENDPOINTS_MAX, WEIGHT_MAX};
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
    /// What an operator wants of addresses that it does not stand for at present; oldest first.
    remembered: Vec<(Address, AdminState)>,
    pub(super) lookups: u64,
    pub(super) failures: u64,
}

impl Name {
    /// Takes note of what an operator wants of an address, for when it comes back.
    fn remember(&mut self, address: Address, admin: AdminState) {
        if self.remembered.len() == ADDRESSES_MAX {
            self.remembered.remove(0);
        }
        self.remembered.push((address, admin));
    }

    fn recall(&mut self, address: &Address) -> Option<AdminState> {
        let mut remembered = self.remembered.iter();
        let place = remembered.position(|(known, _)| known == address)?;
        Some(self.remembered.remove(place).1)
    }
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
                        remembered: Vec::new(),
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
                    let why = format!("addresses that it stands for: {}", located.len());
                    Happening::news("look-up succeeded", why)
                }
            };
            name.error = error;
            cluster.tell(&title, happening);
        }
        let origin = Origin::Name(key.name);
        let mut gone = Vec::new();
        let name = &mut cluster.names[key.name];
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
                    let planned = share(&plan, found, heaviest(answer));
                    // What an operator has set stays.
                    if entry.planned != planned {
                        entry.planned = planned;
                        (entry.weight, entry.priority) = planned;
                        cluster.is_touched = true;
                    }
                }
                // An answer with a gap in it says nothing of what is not in it.
                None if answer.incomplete.is_some() => {}
                None => {
                    let address = entry.endpoint.address.clone();
                    name.remember(address, entry.admin);
                    gone.push(entry.endpoint.id);
                }
            }
        }
        for endpoint in gone {
            self.take_out(endpoint, None, "its name no longer stands for it", now);
        }
        for found in located {
            self.add_located(key, &plan, found, answer, now);
        }
    }

    fn add_located(
        &mut self,
        key: NameKey,
        plan: &EndpointPlan,
        found: &Located,
        answer: &Found,
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
        let is_alone =
            answer.targets.len() == 1 && !entries.iter().any(|entry| entry.endpoint.name == title);
        let name = match is_alone {
            true => title,
            false => format!("{title} ({address})"),
        };
        let mut entry = self.entry(name.clone(), address, plan, origin);
        entry.planned = share(plan, found, heaviest(answer));
        (entry.weight, entry.priority) = entry.planned;
        let of_name = &mut self.clusters[key.cluster].names[key.name];
        if let Some(admin) = of_name.recall(&entry.endpoint.address) {
            entry.admin = admin;
        }
        let cluster = &mut self.clusters[key.cluster];
        cluster.admit(entry, now);
        cluster.tell(&name, Happening::news("added", "its name stands for it"));
        self.index(key.cluster);
    }
}

/// The share and the priority of an address of a name. Shares keep their proportion if the
/// heaviest of the answer's addresses would have too much.
fn share(plan: &EndpointPlan, found: &Located, heaviest: u32) -> (u32, u16) {
    let (of_plan, of_addr) = (u64::from(plan.weight), u64::from(found.weight.max(1)));
    let (heaviest, most) = (u64::from(heaviest.max(1)), u64::from(WEIGHT_MAX));
    let weight = match of_plan * heaviest > most {
        true => (of_addr * most).div_ceil(heaviest),
        false => of_plan * of_addr,
    };
    let weight = u32::try_from(weight.min(most)).unwrap_or(WEIGHT_MAX);
    (weight, plan.priority.saturating_add(found.priority))
}

/// The greatest weight of an answer's addresses.
fn heaviest(answer: &Found) -> u32 {
    let weights = answer.targets.iter().map(|found| found.weight);
    weights.max().unwrap_or(1)
}

/// What an endpoint is called.
pub(super) fn title(plan: &EndpointPlan) -> String {
    plan.name.clone().unwrap_or_else(|| plan.place.to_string())
}
