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
            if self.watched.contains_key(&id) {
                // Named twice; the first counts.
                continue;
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::endpoint::Address;
    use crate::plan::health::{Check, HealthPlan, ProbePlace};

    fn target(id: u32, change: impl FnOnce(&mut HealthPlan)) -> Target {
        let mut plan = HealthPlan::of(Check::Tcp);
        plan.jitter_percent = 0;
        change(&mut plan);
        Target {
            id: EndpointId(id),
            address: Address::Tcp(([192, 0, 2, 1], 80).into()),
            plan: Arc::new(plan),
            place: ProbePlace::default(),
            connect: Arc::default(),
            send_proxy: None,
        }
    }

    fn schedule() -> Schedule {
        Schedule::new(fastrand::Rng::with_seed(1))
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(1_000_000_000_000) + Duration::from_millis(millis)
    }

    fn end(outcome: Outcome, started: Instant, ended: Instant) -> Ended {
        Ended {
            outcome,
            started,
            ended,
        }
    }

    fn well() -> Outcome {
        Outcome::Success("well".into())
    }

    fn failed() -> Outcome {
        Outcome::Failure("failed".into())
    }

    #[test]
    fn first_probes_are_spread_over_a_second_or_the_interval() {
        let check = |interval: u64, span: u64| {
            let mut schedule = schedule();
            let of = |id| target(id, |plan| plan.interval = Duration::from_millis(interval));
            schedule.replace((0..10).map(of).collect(), at(0));
            let mut times = Vec::new();
            while let Some(due) = schedule.take_due(at(60_000)) {
                times.push(due.at);
            }
            let expected: Vec<Instant> = (0..10).map(|part| at(span / 10 * part)).collect();
            assert_eq!(times, expected);
        };
        check(2_000, 1_000);
        check(60_000, 1_000);
        check(500, 500);
    }

    #[test]
    fn an_interval_is_from_start_to_start_and_probes_do_not_overlap() {
        let mut schedule = schedule();
        schedule.replace(vec![target(1, |_| {})], at(0));
        assert!(schedule.take_due(at(0)).is_some_and(|due| due.at == at(0)));
        assert!(schedule.take_due(at(100_000)).is_none(), "it is under way");
        let serial = Serial(1);
        let ended = end(well(), at(10), at(500));
        schedule.handle_ended(EndpointId(1), serial, ended, at(500));
        assert_eq!(schedule.next_due(), Some(at(2_010)));
        assert!(schedule.take_due(at(2_009)).is_none());
        assert!(schedule.take_due(at(2_100)).is_some());
        // One that took longer than the interval is followed by the next.
        let ended = end(well(), at(2_100), at(9_000));
        schedule.handle_ended(EndpointId(1), serial, ended, at(9_001));
        assert_eq!(schedule.next_due(), Some(at(9_001)));
    }

    #[test]
    fn what_changes_is_asked_about_sooner() {
        let mut schedule = schedule();
        schedule.replace(vec![target(1, |plan| plan.fall = 2)], at(0));
        let mut now = at(0);
        let mut step = |outcome: Outcome| {
            schedule.take_due(now).expect("it is due");
            let ended = end(outcome, now, now);
            let report = schedule.handle_ended(EndpointId(1), Serial(1), ended, now);
            let report = report.expect("it is watched");
            let next = schedule.next_due().expect("it is due again");
            let interval = next - now;
            now = next;
            (report.state, report.is_first, interval.as_secs())
        };
        assert_eq!(
            step(Outcome::Late("late".into())),
            (HealthState::Unknown, false, 1)
        );
        assert_eq!(step(well()), (HealthState::Up, true, 2));
        assert_eq!(step(failed()), (HealthState::Up, false, 1));
        assert_eq!(step(failed()), (HealthState::Down, false, 2));
        assert_eq!(step(well()), (HealthState::Down, false, 1));
        assert_eq!(step(well()), (HealthState::Up, false, 2));
    }

    #[test]
    fn lateness_takes_nobody_down() {
        let mut schedule = schedule();
        let count = 50;
        let of = |id| target(id, |plan| plan.fall = 1);
        schedule.replace((0..count).map(of).collect(), at(0));
        let mut now = at(1_000);
        for round in 0..100 {
            now = now + Duration::from_secs(10);
            for _ in 0..count {
                let due = schedule.take_due(now).expect("it is due");
                let outcome = match round {
                    0 => well(),
                    _ => Outcome::Late("the thread was held up".into()),
                };
                let ended = end(outcome, now, now);
                let report = schedule.handle_ended(due.endpoint, due.serial, ended, now);
                assert_eq!(report.map(|report| report.state), Some(HealthState::Up));
            }
            assert!(schedule.take_due(now).is_none());
        }
    }

    #[test]
    fn what_stays_goes_on_and_what_goes_is_told() {
        let mut schedule = schedule();
        schedule.replace((1..=4).map(|id| target(id, |_| {})).collect(), at(0));
        let mut serials = Vec::new();
        while let Some(due) = schedule.take_due(at(1_000)) {
            serials.push((due.endpoint, due.serial));
        }
        let (first, serial) = serials[0];
        let ended = end(well(), at(0), at(0));
        schedule.handle_ended(first, serial, ended, at(0));
        let before = schedule.next_due();
        // 1 and 2 stay, 3 has another plan, 4 goes, 5 comes twice.
        let mut set = vec![target(1, |_| {}), target(2, |_| {})];
        set.push(target(3, |plan| plan.fall = 7));
        set.push(target(5, |_| {}));
        set.push(target(5, |_| {}));
        let mut gone = schedule.replace(set, at(5_000));
        gone.sort();
        assert_eq!(gone, [serials[2].1, serials[3].1]);
        assert_eq!(schedule.len(), 4);
        assert_eq!(schedule.next_due(), before);
        assert!(schedule.contains(EndpointId(5)) && !schedule.contains(EndpointId(4)));
        for (endpoint, serial) in &serials[2..] {
            let late = end(failed(), at(0), at(0));
            let report = schedule.handle_ended(*endpoint, *serial, late, at(5_000));
            assert!(report.is_none(), "its target is gone");
        }
        let late = end(failed(), at(0), at(0));
        let report = schedule.handle_ended(serials[1].0, serials[1].1, late, at(5_000));
        assert!(report.is_some_and(|report| report.is_first));
        let mut due: Vec<u32> = Vec::new();
        while let Some(next) = schedule.take_due(at(10_000)) {
            due.push(next.endpoint.0);
        }
        due.sort_unstable();
        assert_eq!(due, [1, 2, 3, 5]);
        assert_eq!(schedule.replace(Vec::new(), at(0)).len(), 4);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn jitter_goes_either_way_as_far_as_it_may() {
        let mut rng = fastrand::Rng::with_seed(1);
        let second = Duration::from_secs(1);
        let times: Vec<Duration> = (0..1_000).map(|_| jittered(second, 10, &mut rng)).collect();
        let millis = |time: Option<&Duration>| time.map_or(0, Duration::as_millis);
        let (least, most) = (millis(times.iter().min()), millis(times.iter().max()));
        assert!((900..905).contains(&least) && (1_095..=1_100).contains(&most));
        assert_eq!(jittered(second, 0, &mut rng), second);
        assert!(jittered(Duration::MAX, 255, &mut rng) <= 48 * PROBER_WAIT_MAX);
    }
}
