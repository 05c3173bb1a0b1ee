//! Ending the sessions of endpoints that are no longer to have any.
//!
//! The view says of which, and when. Once it is time, the worker goes through its sessions, so many
//! a turn; an order that stays in later views is carried out once. One that vanishes from them
//! before its time never is.
#![forbid(unsafe_code)]

use crate::balance::endpoint::TrialEnd;
use crate::bounds::SWEEP_SESSIONS;
use crate::ring::driver::Driver;
use crate::time::Instant;
use crate::view::Eviction;
use crate::worker::Worker;

/// The orders of the present view, and the way through the sessions that is under way.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    /// Not carried out yet.
    waiting: Vec<Eviction>,
    /// Sorted by endpoint.
    done: Vec<Eviction>,
    sweep: Option<Sweep>,
}

/// A way through all sessions.
#[derive(Debug)]
struct Sweep {
    /// Sorted by endpoint.
    due: Vec<Eviction>,
    /// The sessions to look at: from here,
    next: usize,
    /// to here. Those that come later are not meant.
    end: usize,
}

impl Evictions {
    /// Replaces the orders by those of a new view.
    pub(super) fn set(&mut self, orders: &[Eviction]) {
        self.done.retain(|done| has(orders, done));
        let under_way = self.sweep.as_ref().map_or(&[][..], |sweep| &sweep.due);
        let is_new = |order: &&Eviction| !has(&self.done, order) && !has(under_way, order);
        self.waiting = orders.iter().filter(is_new).copied().collect();
    }

    /// When there is something to do.
    pub(super) fn next_due(&self) -> Instant {
        if self.sweep.is_some() {
            return Instant::default();
        }
        let times = self.waiting.iter().map(|order| order.at);
        times.min().unwrap_or(Instant::NEVER)
    }

    /// Begins a way through the sessions, the last of which is before `end`, if it is time.
    fn start_sweep(&mut self, now: Instant, end: usize) {
        let (mut due, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|order| order.at <= now);
        self.waiting = waiting;
        due.sort_by_key(|order| order.endpoint);
        self.sweep = Some(Sweep { due, next: 0, end });
    }
}

/// Whether an order is among those that are sorted by endpoint. There may be thousands in a view,
/// so none is looked for by going through all.
fn has(sorted: &[Eviction], order: &Eviction) -> bool {
    let first = sorted.partition_point(|one| one.endpoint < order.endpoint);
    sorted[first..]
        .iter()
        .take_while(|one| one.endpoint == order.endpoint)
        .any(|one| one == order)
}

impl<D: Driver> Worker<D> {
    /// Goes on with ending sessions, if there are any to end.
    pub(super) fn run_evictions(&mut self) {
        if self.evictions.next_due() > self.now {
            return;
        }
        if self.evictions.sweep.is_none() {
            let last = self.sessions.iter().next_back();
            let end = last.map_or(0, |(key, _)| key + 1);
            self.evictions.start_sweep(self.now, end);
        }
        let Some(mut sweep) = self.evictions.sweep.take() else {
            return;
        };
        let stop = sweep.end.min(sweep.next + SWEEP_SESSIONS);
        for key in sweep.next..stop {
            let Some(session) = self.sessions.get_mut(key) else {
                continue;
            };
            let Some(endpoint) = &session.endpoint else {
                continue;
            };
            let found = sweep
                .due
                .binary_search_by_key(&endpoint.id, |order| order.endpoint);
            if let Some(order) = found.ok().and_then(|place| sweep.due.get(place)) {
                if session.relay.is_connected() {
                    session.relay.abort(order.reason);
                } else {
                    // Nothing has gone there yet, so another endpoint can serve it as well.
                    session.relay.handle_connect_withdrawn();
                    self.conclude(key as u32, TrialEnd::Unused);
                }
                self.touch(key as u32);
            }
        }
        sweep.next = stop;
        if sweep.next == sweep.end {
            self.evictions.done.append(&mut sweep.due);
            self.evictions.done.sort_by_key(|order| order.endpoint);
        } else {
            self.evictions.sweep = Some(sweep);
        }
    }
}
