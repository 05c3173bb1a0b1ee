//! Who is probed when, and what is concluded from it. Pure: `now` and chance are passed in.
//!
//! ```text
//!   replace -> due -- take_due --> under way -- handle_ended --> due
//! ```
//!
//! A target is either due at some time or under way, so its probes never overlap. Its next time
//! counts from the start of the last probe.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::probe::{Ended, Probe};
use super::{Outcome, ProbeReport, Target};
use crate::bounds::{PROBE_SPREAD, PROBER_WAIT_MAX};
use crate::health::{Health, HealthState};
use crate::id::EndpointId;
use crate::time::Instant;

/// A target's identity for as long as it is watched: one that comes back, or whose plan is another
/// now, has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Serial(u64);

/// All targets and their times.
#[derive(Debug)]
pub(super) struct Schedule {
    watched: HashMap<EndpointId, Watched>,
    due: BinaryHeap<Reverse<(Instant, Serial, EndpointId)>>,
    /// How many targets there have been.
    serials: u64,
    rng: fastrand::Rng,
}

/// What is known of a target.
#[derive(Debug)]
struct Watched {
    target: Arc<Target>,
    serial: Serial,
    health: Health,
    /// How often it was probed.
    count: usize,
}

/// A probe that is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) endpoint: EndpointId,
    pub(super) serial: Serial,
    pub(super) at: Instant,
    pub(super) probe: Probe,
}

impl Schedule {
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self {
            watched: HashMap::new(),
            due: BinaryHeap::new(),
            serials: 0,
            rng,
        }
    }

    /// How many targets there are.
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether an endpoint is a target.
    pub(super) fn contains(&self, endpoint: EndpointId) -> bool {
        self.watched.contains_key(&endpoint)
    }

    /// Takes in who is to be probed from now on. Targets that are as they were go on undisturbed;
    /// new ones get their first probe soon, but not all at once. Returns those that are gone.
    pub(super) fn replace(&mut self, targets: Vec<Target>, now: Instant) -> Vec<Serial> {
        let mut before = std::mem::take(&mut self.watched);
        let mut fresh = Vec::new();
        for target in targets {
            let id = target.id;
            match before.remove(&id) {
                Some(same) if *same.target == target => {
                    self.watched.insert(id, same);
                }
                other => {
                    self.serials += 1;
                    let serial = Serial(self.serials);
                    let health = Health::new(target.plan.rise, target.plan.fall);
                    let watched = Watched {
                        target: Arc::new(target),
                        serial,
                        health,
                        count: 0,
                    };
                    if let Some(changed) = other {
                        // Below it is found among those that are gone.
                        before.insert(id, changed);
                    }
                    self.watched.insert(id, watched);
                    fresh.push((serial, id));
                }
            }
        }
        let watched = &self.watched;
        self.due.retain(|Reverse((_, serial, id))| {
            watched.get(id).is_some_and(|known| known.serial == *serial)
        });
        self.spread(&fresh, now);
        before.into_values().map(|gone| gone.serial).collect()
    }

    /// Gives new targets the times of their first probes.
    fn spread(&mut self, fresh: &[(Serial, EndpointId)], now: Instant) {
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX).max(1);
        for (position, (serial, id)) in (0u32..).zip(fresh) {
            let Some(watched) = self.watched.get(id) else {
                continue;
            };
            let span = watched.target.plan.interval.min(PROBE_SPREAD);
            let at = now + span / count * position;
            self.due.push(Reverse((at, *serial, *id)));
        }
    }

    /// When the next probe is due, if any is.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next probe that is due by now. It is under way until its end is told.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Due> {
        while self.next_due().is_some_and(|at| at <= now) {
            let Reverse((at, serial, endpoint)) = self.due.pop()?;
            let Some(watched) = self.watched.get_mut(&endpoint) else {
                continue;
            };
            if watched.serial != serial {
                continue;
            }
            let count = watched.count;
            watched.count = watched.count.wrapping_add(1);
            return Some(Due {
                endpoint,
                serial,
                at,
                probe: Probe {
                    target: Arc::clone(&watched.target),
                    count,
                },
            });
        }
        None
    }

    /// Takes in how a probe ended. Returns what there is to be told of it: nothing if its target is
    /// gone by now.
    pub(super) fn handle_ended(
        &mut self,
        endpoint: EndpointId,
        serial: Serial,
        end: Ended,
        now: Instant,
    ) -> Option<ProbeReport> {
        let watched = self.watched.get_mut(&endpoint)?;
        if watched.serial != serial {
            return None;
        }
        let health = &mut watched.health;
        let before = health.state();
        let changed = match end.outcome {
            Outcome::Success(_) => health.handle_success(),
            Outcome::Failure(_) => health.handle_failure(),
            Outcome::Late(_) => health.handle_late(),
        };
        let plan = &watched.target.plan;
        let interval = if health.is_changing() {
            plan.fast_interval
        } else {
            plan.interval
        };
        let interval = jittered(interval, plan.jitter_percent, &mut self.rng);
        let at = (end.started + interval).max(now);
        self.due.push(Reverse((at, serial, endpoint)));
        Some(ProbeReport {
            endpoint,
            outcome: end.outcome,
            state: health.state(),
            changed,
            failures: health.failures(),
            took: end.ended - end.started,
            ended: end.ended,
            is_first: changed && before == HealthState::Unknown,
        })
    }
}

/// A time that is up to so many per cent shorter or longer.
fn jittered(interval: Duration, percent: u8, rng: &mut fastrand::Rng) -> Duration {
    let interval = interval.min(PROBER_WAIT_MAX * 24);
    let share = f64::from(percent.min(100)) / 100.0;
    interval.mul_f64(1.0 + share * (2.0 * rng.f64() - 1.0))
}
