//! Live state as the simulation knows it, and what must hold of it.
//!
//! It sees what an onlooker could see: the views that are published and acknowledged, the words
//! that an endpoint's sharers read, the connections that the worker makes and lets go of, and what
//! is told of sessions that end. The rules:
//!
//! - an endpoint is connected to if the view that the worker acts by allows it, within its limit,
//!   and if it is to be tried, by whoever has the permit, of which there is one;
//! - a permit whose session is over is free again;
//! - an endpoint counts the sessions that it has, no more and no fewer;
//! - an order to end an endpoint's sessions is carried out in the turn in which it is time, and
//!   sessions end by such orders alone;
//! - who has served has no failures, and who has just failed too often is avoided.
#![forbid(unsafe_code)]

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use ringlane::access::Record;
use ringlane::balance::endpoint::{Address, Endpoint};
use ringlane::balance::{Member, Role};
use ringlane::bounds::{AVOID_TIME, TRIAL_TIME};
use ringlane::error::CloseReason;
use ringlane::id::EndpointId;
use ringlane::time::Instant;
use ringlane::update::Event;
use ringlane::view::{ClusterView, Eviction, View};

use super::coverage::Situation;
use super::network::{Network, Stage};
use words::Word;

/// What is known of endpoints and of the worker's sessions with them.
#[derive(Default)]
pub(crate) struct Live {
    /// What the worker says; nothing is known of endpoints where nobody listens.
    heard: Option<(Receiver<Event>, Receiver<Record>)>,
    /// The view that the worker has not taken.
    unread: Option<Published>,
    /// The one that it acts by.
    current: Option<Published>,
    known: BTreeMap<EndpointId, Known>,
    /// The endpoints of the connections that the worker has not let go of.
    places: BTreeMap<usize, EndpointId>,
    /// What the session of an attempt had tried by then, that attempt included.
    tried: BTreeMap<usize, Vec<EndpointId>>,
    /// The attempt that was let go of last, if nothing has happened since.
    last_gone: Option<usize>,
    /// Why the session has ended whose connections are being let go of.
    ended: Option<CloseReason>,
    /// The orders that have been carried out, and stand.
    done: Vec<Eviction>,
    /// When each order was first published.
    given: Vec<(Eviction, Instant)>,
    /// The endpoints that control was asked to look at.
    asked: Vec<EndpointId>,
    /// The connections of which the endpoint's first byte was delivered.
    has_served: BTreeSet<usize>,
    /// Whose first byte has just been delivered.
    served: Option<EndpointId>,
    /// Something has happened in this turn.
    is_touched: bool,
    failure: Option<String>,
}

/// A view, and what is known of it.
pub(crate) struct Published {
    pub(crate) view: Arc<View>,
    /// When it was made.
    pub(crate) made: Instant,
    /// How each cluster chooses, in a word.
    pub(crate) modes: Vec<&'static str>,
}

/// What is known of an endpoint.
struct Known {
    endpoint: Arc<Endpoint>,
    /// The connections and attempts that count as its sessions, and when they were begun.
    links: Vec<(usize, Instant)>,
    /// Who has the permit to try it.
    holder: Option<Holder>,
    avoided_until: Instant,
    /// It has come while clients were served, and no session has gone there yet.
    is_new: bool,
}

#[derive(Clone, Copy)]
struct Holder {
    link: usize,
    until: Instant,
}

impl Live {
    /// Listens to a worker.
    pub(crate) fn new(events: Receiver<Event>, records: Receiver<Record>) -> Self {
        Self {
            heard: Some((events, records)),
            ..Self::default()
        }
    }

    /// What is not as it must be.
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// Says that something is not as it must be; the first thing counts.
    pub(crate) fn accuse(&mut self, what: impl Into<String>) {
        self.failure.get_or_insert(what.into());
    }

    /// The view that the worker acts by.
    pub(crate) fn current(&self) -> Option<&Published> {
        self.current.as_ref()
    }

    /// Every endpoint that ever was in a view.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.known.values().map(|known| &known.endpoint)
    }

    /// What control was asked to look at.
    pub(crate) fn take_asked(&mut self) -> Vec<EndpointId> {
        std::mem::take(&mut self.asked)
    }

    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// A view is put into the worker's mailbox.
    pub(crate) fn publish(&mut self, published: Published, network: &mut Network) {
        self.listen(network);
        let has_traffic = !self.places.is_empty();
        let clusters = published.view.clusters.iter();
        for member in clusters.flat_map(|cluster| cluster.candidates.members()) {
            let endpoint = &member.endpoint;
            self.known.entry(endpoint.id).or_insert_with(|| Known {
                endpoint: Arc::clone(endpoint),
                links: Vec::new(),
                holder: None,
                avoided_until: Instant::default(),
                is_new: has_traffic,
            });
        }
        for order in &published.view.evictions {
            if !self.given.iter().any(|(given, _)| given == order) {
                self.given.push((*order, published.made));
            }
        }
        if self.unread.replace(published).is_some() {
            network.coverage.meet(Situation::ViewSuperseded);
        }
        self.is_touched = true;
    }

    /// Takes in what the worker has said by now.
    pub(crate) fn listen(&mut self, network: &mut Network) {
        while let Some(Ok(event)) = self.heard.as_ref().map(|(events, _)| events.try_recv()) {
            self.is_touched = true;
            match event {
                Event::Acknowledged { epoch, .. } => {
                    match self.unread.take().filter(|one| one.view.epoch == epoch) {
                        Some(taken) => self.change_view(taken, network),
                        None => self.accuse("a view was acknowledged that is not the newest"),
                    }
                }
                Event::Failing { endpoint } => self.note_failing(endpoint, network.now),
                Event::Stopped { .. } => {}
            }
        }
        while let Some(Ok(record)) = self.heard.as_ref().map(|(_, records)| records.try_recv()) {
            self.is_touched = true;
            if let Some(reason) = record.reason {
                self.ended = Some(reason);
                self.check_reason(&record, reason, network);
            }
        }
    }

    fn change_view(&mut self, taken: Published, network: &mut Network) {
        let now = network.now;
        if now.saturating_since(taken.made) > Duration::from_secs(1) {
            network.coverage.meet(Situation::ViewLate);
        }
        let orders = &taken.view.evictions;
        let before = self.current.iter().flat_map(|old| &old.view.evictions);
        for order in before.filter(|order| order.at > now && !orders.contains(order)) {
            let known = self.known.get(&order.endpoint);
            let is_there = member_of(&taken.view, order.endpoint).is_some();
            if is_there && known.is_some_and(|known| !known.links.is_empty()) {
                network.coverage.meet(Situation::EvictionCancelled);
            }
        }
        self.done.retain(|done| orders.contains(done));
        self.current = Some(taken);
    }

    fn note_failing(&mut self, endpoint: EndpointId, now: Instant) {
        self.asked.push(endpoint);
        let view = self.current.as_ref().map(|current| &current.view);
        let cluster = view.and_then(|view| member_of(view, endpoint));
        let threshold = cluster.and_then(|(cluster, _)| cluster.failure_threshold);
        if let (Some(known), Some(threshold)) = (self.known.get_mut(&endpoint), threshold)
            && known.endpoint.failures() >= threshold
        {
            known.avoided_until = now + AVOID_TIME;
        }
    }

    /// Sessions end for what becomes of their endpoints only if there is an order, and it is time.
    fn check_reason(&mut self, record: &Record, reason: CloseReason, network: &mut Network) {
        if !is_eviction(reason) {
            return;
        }
        let endpoint = record.endpoint.as_ref().map(|endpoint| endpoint.id);
        let orders = self.current.iter().flat_map(|one| &one.view.evictions);
        let is_it = |order: &&Eviction| {
            Some(order.endpoint) == endpoint && order.reason == reason && order.at <= network.now
        };
        let Some(order) = orders.copied().find(|order| is_it(&order)) else {
            return self.accuse(format!("a session ended of {reason} without an order"));
        };
        let given = self.given.iter().find(|(given, _)| *given == order);
        network.coverage.meet(match given {
            Some((_, made)) if *made < order.at => Situation::EvictedAfterDrain,
            _ => Situation::EvictedAtOnce,
        });
    }

    /// The worker connects to an endpoint.
    pub(crate) fn note_connect(&mut self, link: usize, address: &Address, network: &mut Network) {
        if self.heard.is_none() {
            return;
        }
        self.listen(network);
        self.ended = None;
        let tried = match self.last_gone.take() {
            Some(gone) => self.tried.get(&gone).cloned().unwrap_or_default(),
            None => Vec::new(),
        };
        // The one that counts a session more than before.
        let picked = self.known.values_mut().find(|known| {
            let open = known.endpoint.open_sessions() as usize;
            known.endpoint.address == *address && open == known.links.len() + 1
        });
        let Some(known) = picked else {
            return self.accuse(format!("a connection to {address} that nobody counts"));
        };
        let id = known.endpoint.id;
        known.links.push((link, network.now));
        self.is_touched = true;
        if std::mem::take(&mut known.is_new) {
            network.coverage.meet(Situation::EndpointAddedUnderTraffic);
        }
        self.check_pick(id, link, &tried, network);
        self.places.insert(link, id);
        let tried = tried.into_iter().chain([id]).collect();
        self.tried.insert(link, tried);
    }

    /// Whether the worker's view allows the pick.
    fn check_pick(
        &mut self,
        id: EndpointId,
        link: usize,
        tried: &[EndpointId],
        network: &mut Network,
    ) {
        let current = self.current.as_ref();
        let members: Vec<&Member> = current
            .iter()
            .flat_map(|current| &current.view.clusters)
            .flat_map(|cluster| cluster.candidates.members())
            .filter(|member| member.endpoint.id == id)
            .collect();
        let picked = members
            .iter()
            .find(|member| member.is_eligible())
            .or_else(|| members.iter().find(|member| member.role == Role::Trial));
        let (Some(member), Some(current)) = (picked, current) else {
            return self.accuse(format!("{id:?} is picked, which its view does not allow"));
        };
        let open = member.endpoint.open_sessions();
        if member.max_connections.is_some_and(|max| open > max) {
            return self.accuse(format!("{id:?} has {open} sessions, more than it may have"));
        }
        let place = current.view.clusters.iter().position(|cluster| {
            let mut members = cluster.candidates.members().iter();
            members.any(|member| member.endpoint.id == id)
        });
        let mode = place.and_then(|place| current.modes.get(place)).copied();
        match (member.role, mode) {
            (Role::LastResort, Some("last_resort")) => {
                network.coverage.meet(Situation::LastResort);
            }
            (_, Some("panic")) => network.coverage.meet(Situation::Panic),
            _ => {}
        }
        if member.role == Role::Trial {
            self.note_trial(id, link, network);
        } else {
            self.check_avoided(id, tried, network);
        }
    }

    /// The worker tries an endpoint.
    fn note_trial(&mut self, id: EndpointId, link: usize, network: &mut Network) {
        let now = network.now;
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        if Word::of(&known.endpoint) != Word::Held {
            return self.accuse(format!("{id:?} is tried without the permit"));
        }
        let next = Holder {
            link,
            until: now + TRIAL_TIME,
        };
        network.coverage.meet(Situation::TrialTaken);
        match known.holder.replace(next) {
            // The worker rounds the end down to a microsecond.
            Some(holder) if now + Duration::from_micros(2) < holder.until => {
                self.accuse(format!("{id:?} is tried by two at a time"));
            }
            Some(_) => network.coverage.meet(Situation::PermitTakenOver),
            None => {}
        }
    }

    /// Who has just failed too often is picked only if there is no other.
    fn check_avoided(&mut self, id: EndpointId, tried: &[EndpointId], network: &mut Network) {
        let now = network.now;
        let is_avoided = |id: &EndpointId| {
            let known = self.known.get(id);
            known.is_some_and(|known| known.avoided_until > now)
        };
        let view = self.current.as_ref().map(|current| &current.view);
        let Some((cluster, _)) = view.and_then(|view| member_of(view, id)) else {
            return;
        };
        let others = || {
            let members = cluster.candidates.members().iter();
            members.filter(|member| {
                let other = member.endpoint.id;
                member.is_eligible() && member.has_room() && other != id && !tried.contains(&other)
            })
        };
        let is_any = |avoided: bool| {
            let mut others = others();
            others.any(|member| is_avoided(&member.endpoint.id) == avoided)
        };
        if !is_avoided(&id) {
            let times = u64::from(is_any(true));
            network.coverage.add(Situation::EndpointAvoided, times);
        } else if is_any(false) {
            self.accuse(format!("{id:?} is picked, which has just failed too often"));
        }
    }

    /// The worker lets go of a connection.
    pub(crate) fn note_gone(&mut self, link: usize, network: &mut Network) {
        self.listen(network);
        self.last_gone = None;
        if self.ended.is_some_and(is_eviction) {
            network.links[link].evicted = true;
        }
        let Some(id) = self.places.remove(&link) else {
            return;
        };
        self.last_gone = Some(link);
        self.is_touched = true;
        let is_connecting = network.links[link].stage == Stage::Connecting;
        if is_connecting && self.is_due(id, network.now) {
            network.coverage.meet(Situation::EvictionMetConnecting);
        }
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        known.links.retain(|(of, _)| *of != link);
        if known.holder.is_some_and(|holder| holder.link == link) {
            match Word::of(&known.endpoint) {
                Word::Held => self.accuse(format!("the permit to try {id:?} is lost")),
                word => known.note_trial_end(word, network),
            }
        }
    }

    /// Whether the sessions of an endpoint are to end in this turn.
    fn is_due(&self, endpoint: EndpointId, now: Instant) -> bool {
        let mut orders = self.current.iter().flat_map(|one| &one.view.evictions);
        orders.any(|order| {
            order.endpoint == endpoint && order.at <= now && !self.done.contains(order)
        })
    }

    /// Whether a connection's endpoint is to lose its sessions in this turn.
    pub(crate) fn is_link_due(&self, link: usize, now: Instant) -> bool {
        let place = self.places.get(&link);
        place.is_some_and(|endpoint| self.is_due(*endpoint, now))
    }

    /// Bytes of a connection are delivered.
    pub(crate) fn note_bytes(&mut self, link: usize) {
        if let Some(id) = self.places.get(&link)
            && self.has_served.insert(link)
        {
            self.served = Some(*id);
        }
    }

    /// The worker has done what there was to do about the completion before.
    pub(crate) fn check_served(&mut self) {
        self.last_gone = None;
        if let Some(id) = self.served.take()
            && let Some(known) = self.known.get(&id)
            && known.endpoint.failures() != 0
        {
            self.accuse(format!("{id:?} has served, and its failures still count"));
        }
    }

    /// Looks at what must hold after each turn of the worker.
    pub(crate) fn check_turn(&mut self, network: &mut Network) {
        self.listen(network);
        self.check_served();
        self.ended = None;
        self.check_orders(network.now);
        if std::mem::take(&mut self.is_touched) {
            self.check_words(network);
        }
    }

    fn check_orders(&mut self, now: Instant) {
        let orders = self.current.iter().flat_map(|one| &one.view.evictions);
        let due = orders.filter(|order| order.at <= now && !self.done.contains(order));
        let due: Vec<Eviction> = due.copied().collect();
        for order in due {
            let links = self.known.get(&order.endpoint).map(|known| &known.links);
            // Those of this turn may have come after the order was carried out.
            let is_left = |(_, since): &(usize, Instant)| *since < now;
            if links.is_some_and(|links| links.iter().any(is_left)) {
                self.accuse(format!("sessions have outlived {order:?}"));
            }
            self.done.push(order);
        }
    }

    fn check_words(&mut self, network: &mut Network) {
        let mut wrong = None;
        for known in self.known.values_mut() {
            let id = known.endpoint.id;
            let (open, links) = (known.endpoint.open_sessions() as usize, known.links.len());
            if open != links {
                wrong = Some(format!("{id:?} counts {open} sessions and has {links}"));
            }
            match Word::of(&known.endpoint) {
                Word::Held if known.holder.is_none() => {
                    wrong = Some(format!(
                        "nobody has the permit to try {id:?}, and it is taken"
                    ));
                }
                Word::Held => {}
                word => known.note_trial_end(word, network),
            }
        }
        if let Some(wrong) = wrong {
            self.accuse(wrong);
        }
    }

    /// How many sessions are connected to an endpoint, or being so.
    pub(crate) fn links_of(&self, endpoint: EndpointId) -> impl Iterator<Item = usize> {
        let known = self.known.get(&endpoint);
        known
            .into_iter()
            .flat_map(|known| known.links.iter().map(|(link, _)| *link))
    }
}

impl Known {
    /// The word no longer says that somebody has the permit.
    fn note_trial_end(&mut self, word: Word, network: &mut Network) {
        if self.holder.take().is_none() {
            return;
        }
        match word {
            Word::Succeeded => network.coverage.meet(Situation::TrialSucceeded),
            Word::Failed => network.coverage.meet(Situation::TrialFailed),
            Word::Granted => network.coverage.meet(Situation::PermitReturned),
            Word::None | Word::Held => {}
        }
    }
}

/// Whether a session ended for what became of its endpoint.
pub(crate) fn is_eviction(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::EndpointRemoved
            | CloseReason::EndpointUnhealthy
            | CloseReason::EndpointDisabled
    )
}

/// An endpoint in a view, and its cluster.
fn member_of(view: &View, endpoint: EndpointId) -> Option<(&ClusterView, &Member)> {
    view.clusters.iter().find_map(|cluster| {
        let mut members = cluster.candidates.members().iter();
        let member = members.find(|member| member.endpoint.id == endpoint)?;
        Some((&**cluster, member))
    })
}
