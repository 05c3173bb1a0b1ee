//! Control's desk in virtual time: a real roster, and how late it all is.
//!
//! What happens to the roster happens in the order of the real desk's turn: what workers have said,
//! what probes have found, what operators want; then it is settled, and the view that comes of it
//! is published. The desk stalls now and then, before it looks or between settling and publishing,
//! and catches up afterwards, at times with a view for each thing that it had missed.
#![forbid(unsafe_code)]

mod operator;
mod orders;

use std::sync::Arc;
use std::time::Duration;

use ringlane::balance::Role;
use ringlane::balance::endpoint::Address;
use ringlane::bounds::{PUBLISH_INTERVAL, RAMP_STEPS, TICK_OF_CONTROL};
use ringlane::control::request::EndpointStatus;
use ringlane::control::roster::{Note, Roster};
use ringlane::id::{EndpointId, Epoch};
use ringlane::plan::Plan;
use ringlane::standing::AdminState;
use ringlane::time::Instant;
use ringlane::update::{Post, Wake};
use ringlane::view::View;

use super::breakers::Breakers;
use super::coverage::Situation;
use super::live::{Live, Published};
use super::network::{Event, Network};
use super::prober::Prober;
use orders::Orders;

/// The desk.
pub(crate) struct Desk {
    roster: Roster,
    plan: Plan,
    epoch: u64,
    prober: Prober,
    breakers: Breakers,
    orders: Orders,
    /// How many changes of an operator's wait.
    changes: u32,
    /// Settled, and not in the worker's mailbox yet.
    held: Option<Published>,
    stalled_until: Instant,
    publish_at: Instant,
    tick_at: Instant,
    turn_at: Instant,
    /// How many endpoints were added.
    added: u32,
    /// All is well from now on, and nobody changes anything.
    is_calm: bool,
}

/// From the start of one probe to the start of the next.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_millis(500);

impl Desk {
    /// A desk with the roster of this plan.
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            roster: Roster::new(&plan, 1),
            plan,
            epoch: 0,
            prober: Prober::default(),
            breakers: Breakers::default(),
            orders: Orders::default(),
            changes: 0,
            held: None,
            stalled_until: Instant::default(),
            publish_at: Instant::default(),
            tick_at: Instant::default(),
            turn_at: Instant::NEVER,
            added: 0,
            is_calm: false,
        }
    }

    /// Sees to it that there is a turn at this time, or before.
    pub(crate) fn request(&mut self, at: Instant, network: &mut Network) {
        if at < self.turn_at {
            self.turn_at = at;
            network.schedule(at - network.now, Event::Desk);
        }
    }

    /// The desk does nothing for a while.
    pub(crate) fn stall(&mut self, time: Duration, network: &Network) {
        if !self.is_calm {
            self.stalled_until = self.stalled_until.max(network.now + time);
        }
    }

    /// An operator wants something.
    pub(crate) fn change(&mut self, network: &mut Network) {
        self.changes += u32::from(!self.is_calm);
        self.request(network.now, network);
    }

    /// Probes every endpoint that is to be probed.
    pub(crate) fn probe(&mut self, network: &mut Network) {
        for cluster in &self.plan.clusters {
            let Some(health) = &cluster.health else {
                continue;
            };
            let all = self.roster.endpoints_status(&cluster.name, network.now);
            for status in all.unwrap_or_default() {
                if let Some(remote) = remote_of(&status, network) {
                    let endpoint = EndpointId(status.id);
                    self.prober.probe(endpoint, remote, health, network);
                }
            }
        }
        self.request(self.prober.next_at(), network);
        network.schedule(PROBE_INTERVAL, Event::Probe);
    }

    /// Takes in what has come and tells what follows; `true` if the worker must be woken.
    pub(crate) fn turn(&mut self, post: &Post, network: &mut Network, live: &mut Live) -> bool {
        let now = network.now;
        self.turn_at = Instant::NEVER;
        let mut wake = false;
        if now >= self.stalled_until {
            if let Some(held) = self.held.take() {
                wake |= deliver(held, post, network, live);
            }
            self.take_in(network, live);
            // One thing after the other, with a view for each.
            let is_eager = network.rng.bool();
            while self.changes > 0 && now >= self.stalled_until {
                self.changes -= 1;
                self.operate(network, live);
                self.conclude(now, network, live);
                if is_eager && self.roster.is_unpublished() {
                    wake |= self.publish(post, network, live);
                }
            }
            let is_due = now >= self.publish_at && now >= self.stalled_until;
            if is_due && self.roster.is_unpublished() {
                wake |= self.publish(post, network, live);
            }
        }
        self.request(self.deadline().max(self.stalled_until), network);
        wake
    }

    fn deadline(&self) -> Instant {
        let publish_at = match self.roster.is_unpublished() {
            true => self.publish_at,
            false => Instant::NEVER,
        };
        self.roster
            .deadline()
            .min(self.tick_at)
            .min(self.prober.next_at())
            .min(publish_at)
    }

    /// Takes in what the worker has said and what probes have found.
    fn take_in(&mut self, network: &mut Network, live: &mut Live) {
        let now = network.now;
        live.listen(network);
        for endpoint in live.take_asked() {
            // Whoever is not heard is found by the next look at all.
            if network.rng.u8(..8) > 0 {
                self.roster.look_at(endpoint, now);
                self.conclude(now, network, live);
            }
        }
        while let Some(probed) = self.prober.next(now) {
            let ended = probed.ended;
            self.orders.note_probe(&probed, now);
            self.roster.handle_probe(probed);
            self.conclude(ended, network, live);
        }
        if now >= self.tick_at {
            if self.epoch > 0 && now > self.tick_at + TICK_OF_CONTROL {
                network.coverage.meet(Situation::ControlStalled);
            }
            self.tick_at = now + TICK_OF_CONTROL;
            self.roster.look_at_all(now);
        }
        self.conclude(now, network, live);
    }

    /// Settles what happened at `at`, and looks whether what is told of it can be.
    fn conclude(&mut self, at: Instant, network: &mut Network, live: &mut Live) {
        let now = network.now;
        self.roster.settle(now);
        for note in self.roster.take_notes() {
            let mut clusters = self.plan.clusters.iter();
            let cluster = clusters.find(|cluster| cluster.name == note.cluster);
            let Some(plan) = cluster.and_then(|cluster| cluster.breaker) else {
                continue;
            };
            match self.breakers.note(&note, &plan, at, now) {
                Ok(true) => {
                    network.coverage.meet(Situation::BreakerOpened);
                    if !self.could_spare(&note, plan.max_ejected_percent, now) {
                        live.accuse(format!("too many of {} are ejected", note.cluster));
                    }
                }
                Ok(false) => {}
                Err(what) => live.accuse(what),
            }
        }
        if let Some(what) = self.breakers.overdue(now) {
            live.accuse(what);
        }
    }

    /// Whether the endpoint of which the note tells might be ejected.
    fn could_spare(&self, note: &Note, percent: u8, now: Instant) -> bool {
        let all = self.roster.endpoints_status(&note.cluster, now);
        let mut all = all.unwrap_or_default();
        all.retain(is_allowed);
        let others = all.iter().filter(|status| {
            Some(&status.name) != note.subject.as_ref()
                && self.breakers.is_out(&note.cluster, &status.name)
        });
        all.len() > 1 && (others.count() + 1) * 100 <= all.len() * usize::from(percent)
    }

    fn publish(&mut self, post: &Post, network: &mut Network, live: &mut Live) -> bool {
        let now = network.now;
        self.epoch += 1;
        self.publish_at = now + PUBLISH_INTERVAL;
        let view = self.roster.publish(Epoch(self.epoch));
        if let Err(what) = self.orders.check(&view, &self.plan, now) {
            live.accuse(what);
        }
        self.check_roles(&view, network, live);
        let clusters = self.roster.clusters_status();
        let published = Published {
            view: Arc::new(view),
            made: now,
            modes: clusters.iter().map(|cluster| cluster.mode).collect(),
        };
        if self.epoch > 1 && !self.is_calm && network.rng.u8(..12) == 0 {
            self.stalled_until = now + Duration::from_millis(network.rng.u64(1..2_000));
            self.held = Some(published);
            return false;
        }
        deliver(published, post, network, live)
    }

    /// Whether the view lets nobody be picked whom the operator does not.
    fn check_roles(&self, view: &View, network: &Network, live: &mut Live) {
        for (cluster, plan) in view.clusters.iter().zip(&self.plan.clusters) {
            let all = self.roster.endpoints_status(&plan.name, network.now);
            let all = all.unwrap_or_default();
            for member in cluster.candidates.members() {
                let id = member.endpoint.id;
                let status = all.iter().find(|status| status.id == id.0);
                let may_be = status.is_some_and(is_allowed);
                if !may_be && member.role != Role::Out {
                    live.accuse(format!(
                        "{id:?} is {:?} against its operator's will",
                        member.role
                    ));
                }
            }
        }
    }

    /// The cluster in which an endpoint is not picked that could be, and which.
    pub(crate) fn trouble(&self, network: &Network, live: &Live) -> Option<(usize, String)> {
        let view = &live.current()?.view;
        for (place, (plan, cluster)) in self.plan.clusters.iter().zip(&view.clusters).enumerate() {
            let all = self.roster.endpoints_status(&plan.name, network.now);
            let mut all = all.unwrap_or_default();
            all.retain(is_allowed);
            let tier = |status: &EndpointStatus| (status.backup, status.priority);
            let first = all.iter().map(tier).min();
            for status in all.iter().filter(|status| Some(tier(status)) == first) {
                let mut members = cluster.candidates.members().iter();
                let is_whole = members.any(|member| {
                    member.endpoint.id.0 == status.id
                        && member.role == Role::Active
                        && member.weight == status.weight * RAMP_STEPS
                });
                if !is_whole || !matches!(status.breaker, "closed" | "none") {
                    let roles = cluster.candidates.members().iter();
                    let roles: Vec<_> = roles
                        .map(|member| (member.endpoint.id, member.role))
                        .collect();
                    let what = format!("{status:?} of {plan:?}, whose endpoints are {roles:?}");
                    return Some((place, what));
                }
            }
        }
        None
    }
}

fn deliver(published: Published, post: &Post, network: &mut Network, live: &mut Live) -> bool {
    let view = Arc::clone(&published.view);
    live.publish(published, network);
    post.publish(view) == Wake::Needed
}

fn is_allowed(status: &EndpointStatus) -> bool {
    status.state == AdminState::Enabled && status.weight > 0
}

/// Where an endpoint is in the network.
fn remote_of(status: &EndpointStatus, network: &Network) -> Option<usize> {
    let is_there = |address: &Address| address.to_string() == status.address;
    let mut remotes = network.remotes.iter();
    remotes.position(|remote| is_there(&remote.address))
}
