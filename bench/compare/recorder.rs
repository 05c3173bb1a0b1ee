//! When a measurement warms up, counts and ends, and what it has counted.
//!
//! ```text
//! Idle -start-> WarmUp -time-> Measure -time-> Drain -nothing outstanding, or too late-> Over
//!            \-(by units)----> Measure -all answered, or too late----------------------> Over
//! ```
//! Load goes on through the edges of Measure, so that the observer sees the relay at work. A request that is
//! answered in Measure counts, whenever it was sent; one that is never answered is a fault.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::client::Fault;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    /// As much as can be done in a time.
    Time {
        /// Load before that.
        warm_up: Duration,
        /// The time that counts.
        measure: Duration,
    },
    /// A fixed number of requests or connections, without warm-up.
    Units(u64),
}

/// Looks at the relay at the edges of what is measured.
pub(crate) trait Observer {
    /// The measurement begins.
    fn begin(&mut self);
    /// The measurement ends; the relay may still be under load.
    fn end(&mut self);
}

/// What was counted.
pub(crate) struct Tally {
    /// Answers.
    pub(crate) units: u64,
    /// The time they took.
    pub(crate) time: Duration,
    /// Time from request to answer, in ns.
    pub(crate) latency: Histogram<u64>,
    /// What went wrong, also outside of the measured time.
    pub(crate) faults: BTreeMap<Fault, u64>,
}

/// A measurement that is under way.
pub(crate) struct Recorder<'a> {
    extent: Extent,
    phase: Phase,
    since: Instant,
    claimed: u64,
    tally: Tally,
    observer: &'a mut dyn Observer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    WarmUp,
    Measure,
    Drain,
    Over,
}

impl<'a> Recorder<'a> {
    /// A measurement that has not begun.
    pub(crate) fn new(extent: Extent, observer: &'a mut dyn Observer) -> Self {
        #[expect(clippy::expect_used, reason = "constants that are allowed")]
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MOST, DIGITS).expect("valid bounds");
        let tally = Tally {
            units: 0,
            time: Duration::ZERO,
            latency,
            faults: BTreeMap::new(),
        };
        let since = Instant::now();
        Self {
            extent,
            phase: Phase::Idle,
            since,
            claimed: 0,
            tally,
            observer,
        }
    }

    /// Load begins now.
    pub(crate) fn start(&mut self) {
        match self.extent {
            Extent::Time { .. } => self.enter(Phase::WarmUp),
            Extent::Units(_) => self.begin(),
        }
    }

    /// Moves on in time; false when the workload shall stop.
    pub(crate) fn turn(&mut self, outstanding: usize) -> bool {
        let passed = self.since.elapsed();
        match (self.phase, self.extent) {
            (Phase::WarmUp, Extent::Time { warm_up, .. }) if passed >= warm_up => self.begin(),
            (Phase::Measure, Extent::Time { measure, .. }) if passed >= measure => {
                self.end();
                self.enter(Phase::Drain);
            }
            (Phase::Measure, Extent::Units(_)) if outstanding == 0 || passed > UNITS_MOST => {
                self.end();
                self.lose(outstanding);
            }
            (Phase::Drain, _) if outstanding == 0 || passed > DRAIN_MOST => self.lose(outstanding),
            _ => {}
        }
        self.phase != Phase::Over
    }

    /// True if one more request shall be made; it is then counted as made.
    pub(crate) fn try_claim(&mut self) -> bool {
        let open = match (self.phase, self.extent) {
            (Phase::WarmUp | Phase::Measure, Extent::Time { .. }) => true,
            (Phase::Measure, Extent::Units(units)) => self.claimed < units,
            _ => false,
        };
        self.claimed += u64::from(open);
        open
    }

    /// Notes a complete answer to a request of that time.
    pub(crate) fn answered(&mut self, since: Instant) {
        if self.phase == Phase::Measure {
            self.tally.units += 1;
            let ns = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            // Longer than the histogram goes counts as its longest.
            self.tally.latency.saturating_record(ns);
        }
    }

    /// Notes that something went wrong.
    pub(crate) fn fault(&mut self, fault: Fault) {
        *self.tally.faults.entry(fault).or_default() += 1;
    }

    /// What was counted.
    pub(crate) fn into_tally(self) -> Tally {
        self.tally
    }

    fn begin(&mut self) {
        self.observer.begin();
        self.enter(Phase::Measure);
    }

    fn end(&mut self) {
        self.tally.time = self.since.elapsed();
        self.observer.end();
    }

    fn lose(&mut self, outstanding: usize) {
        if outstanding > 0 {
            *self.tally.faults.entry(Fault::Lost).or_default() += outstanding as u64;
        }
        self.enter(Phase::Over);
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }
}

const DIGITS: u8 = 3;
const LATENCY_NS_MOST: u64 = 60_000_000_000;
/// How long answers may take after the last request.
const DRAIN_MOST: Duration = Duration::from_secs(5);
/// How long a fixed number of requests may take.
const UNITS_MOST: Duration = Duration::from_secs(120);
