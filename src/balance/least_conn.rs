//! Least connections: the endpoint with the fewest open sessions for its weight, over all workers.
//!
//! Up to [`SCAN_ENDPOINTS_MAX`] endpoints are all looked at; above, the best of four random ones is
//! taken, which is nearly as even at a cost that does not grow. Equal ones take turns.
#![forbid(unsafe_code)]

use crate::balance::{Candidates, Tried};
use crate::bounds::SCAN_ENDPOINTS_MAX;
use crate::id::WorkerIndex;

/// A worker's state: where the next scan starts, so that ties do not all go to the first.
#[derive(Debug)]
pub struct LeastConn {
    start: usize,
}

/// How many random endpoints are compared where there are too many to scan.
const CHOICES: usize = 4;

impl LeastConn {
    /// Starts the scans of different workers at different endpoints.
    pub fn new(worker: WorkerIndex) -> Self {
        Self {
            start: usize::from(worker.0),
        }
    }

    /// The least loaded member that was not tried.
    ///
    /// Cost: one shared word read per endpoint looked at.
    pub fn pick(
        &mut self,
        candidates: &Candidates,
        tried: &Tried,
        rng: &mut fastrand::Rng,
    ) -> Option<u16> {
        let eligible = &candidates.eligible;
        if eligible.len() > SCAN_ENDPOINTS_MAX {
            let choices = (0..CHOICES).map(|_| eligible[rng.usize(..eligible.len())]);
            if let Some(best) = least(candidates, tried, choices) {
                return Some(best);
            }
        }
        self.start = if self.start + 1 < eligible.len() {
            self.start + 1
        } else {
            0
        };
        let (before, after) = eligible.split_at(self.start.min(eligible.len()));
        least(candidates, tried, after.iter().chain(before).copied())
    }
}

/// The first of those with the fewest sessions per weight, the coming one counted in.
fn least(
    candidates: &Candidates,
    tried: &Tried,
    positions: impl Iterator<Item = u16>,
) -> Option<u16> {
    let mut best: Option<(u64, u64, u16)> = None;
    for position in positions.filter(|position| candidates.is_open_to(*position, tried)) {
        let member = candidates.member(position);
        let load = u64::from(member.endpoint.open_sessions()) + 1;
        let weight = u64::from(member.weight);
        if best.is_none_or(|(least, of, _)| load * of < least * weight) {
            best = Some((load, weight, position));
        }
    }
    best.map(|(_, _, position)| position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::candidates;

    fn open_after(weights: &[u32], sessions: u32) -> Vec<u32> {
        let candidates = candidates(weights);
        let mut policy = LeastConn::new(WorkerIndex(0));
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..sessions {
            let position = policy.pick(&candidates, &Tried::default(), &mut rng);
            let position = position.expect("there is an eligible endpoint");
            assert!(candidates.member(position).endpoint.try_open_session(None));
        }
        candidates
            .members()
            .iter()
            .map(|member| member.endpoint.open_sessions())
            .collect()
    }

    #[test]
    fn fills_by_weight() {
        assert_eq!(open_after(&[1, 1, 1], 300), [100, 100, 100]);
        assert_eq!(open_after(&[1, 3, 0], 400), [100, 300, 0]);
    }

    #[test]
    fn fills_holes_first() {
        let candidates = candidates(&[1, 1, 1]);
        for position in [0, 1, 2, 0, 2] {
            assert!(candidates.member(position).endpoint.try_open_session(None));
        }
        let mut policy = LeastConn::new(WorkerIndex(0));
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..5 {
            assert_eq!(
                policy.pick(&candidates, &Tried::default(), &mut rng),
                Some(1)
            );
        }
    }

    #[test]
    fn ties_take_turns() {
        let candidates = candidates(&[1; 4]);
        let mut policy = LeastConn::new(WorkerIndex(0));
        let mut rng = fastrand::Rng::with_seed(3);
        let mut seen: Vec<_> = (0..4)
            .filter_map(|_| policy.pick(&candidates, &Tried::default(), &mut rng))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
    }

    #[test]
    fn many_endpoints_stay_nearly_even() {
        let open = open_after(&[1; 500], 50_000);
        let most = open.iter().max().copied().unwrap_or(0);
        let fewest = open.iter().min().copied().unwrap_or(0);
        assert!(
            most <= 103 && fewest >= 90,
            "{fewest} to {most} sessions, fair are 100"
        );
    }

    #[test]
    fn what_was_tried_is_not_picked_again() {
        let candidates = candidates(&[1; 200]);
        let mut policy = LeastConn::new(WorkerIndex(0));
        let mut rng = fastrand::Rng::with_seed(3);
        let mut tried = Tried::default();
        for id in 0..8 {
            tried.add(crate::id::EndpointId(id));
        }
        for _ in 0..1_000 {
            let position = policy.pick(&candidates, &tried, &mut rng);
            assert!(position.is_some_and(|position| position >= 8));
        }
    }
}
