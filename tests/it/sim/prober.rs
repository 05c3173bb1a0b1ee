//! The prober as control knows it: results that come after a while, now and then late or wrong.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use ringlane::control::prober::{Outcome, ProbeReport};
use ringlane::health::HealthState;
use ringlane::id::EndpointId;
use ringlane::plan::health::HealthPlan;
use ringlane::time::Instant;

use super::coverage::Situation;
use super::network::{Answer, Manner, Network};

/// What probes have found so far, and what they are about to tell.
#[derive(Default)]
pub(super) struct Prober {
    counts: BTreeMap<EndpointId, Count>,
    /// In the order in which they end.
    results: Vec<ProbeReport>,
    /// Every result is right, and none is late.
    pub(super) is_reliable: bool,
}

#[derive(Clone, Copy, Default)]
struct Count {
    state: HealthState,
    successes: u32,
    failures: u32,
}

impl Prober {
    /// Probes an endpoint at one of the network's addresses.
    pub(super) fn probe(
        &mut self,
        endpoint: EndpointId,
        remote: usize,
        plan: &HealthPlan,
        network: &mut Network,
    ) {
        let remote = &network.remotes[remote];
        let is_good = remote.answer == Answer::Accept
            && matches!(remote.manner, Manner::Serve | Manner::Polite);
        let odds = if self.is_reliable {
            u8::MAX
        } else {
            network.rng.u8(..20)
        };
        let success = match odds {
            0 => {
                network.coverage.meet(Situation::ProbeLate);
                None
            }
            1 => {
                network.coverage.meet(Situation::ProbeWrong);
                Some(!is_good)
            }
            _ => Some(is_good),
        };
        let count = self.counts.entry(endpoint).or_default();
        count.add(success, plan, network);
        let took = Duration::from_micros(network.rng.u64(100..200_000));
        self.results.push(ProbeReport {
            endpoint,
            outcome: match success {
                Some(true) => Outcome::Success("so".into()),
                Some(false) => Outcome::Failure("so".into()),
                None => Outcome::Late("so".into()),
            },
            changed: false,
            is_first: false,
            state: count.state,
            failures: count.failures,
            took,
            ended: network.now + took,
        });
        self.results.sort_by_key(|result| result.ended);
    }

    /// The next result that has come by now.
    pub(super) fn next(&mut self, now: Instant) -> Option<ProbeReport> {
        let is_there = self.results.first()?.ended <= now;
        is_there.then(|| self.results.remove(0))
    }

    /// When the next result comes.
    pub(super) fn next_at(&self) -> Instant {
        let first = self.results.first();
        first.map_or(Instant::NEVER, |result| result.ended)
    }
}

impl Count {
    fn add(&mut self, success: Option<bool>, plan: &HealthPlan, network: &mut Network) {
        let is_first = self.state == HealthState::Unknown;
        let before = self.state;
        match success {
            Some(true) => {
                (self.successes, self.failures) = (self.successes + 1, 0);
                if is_first || self.successes >= plan.rise {
                    self.state = HealthState::Up;
                }
            }
            Some(false) => {
                (self.successes, self.failures) = (0, self.failures + 1);
                if is_first || self.failures >= plan.fall {
                    self.state = HealthState::Down;
                }
            }
            None => {}
        }
        match (before, self.state) {
            (HealthState::Up, HealthState::Down) => network.coverage.meet(Situation::FoundDown),
            (HealthState::Down, HealthState::Up) => network.coverage.meet(Situation::FoundUp),
            _ => {}
        }
    }
}
