//! Weighted round robin: walk a cycle that control has made, in which each endpoint stands as
//! often as its weight says and as evenly spread as it can.
//!
//! Every worker walks the same cycle from another place, so the shares are exact over each cycle
//! on each worker, and short runs on several workers do not all begin with the same endpoint.
//! A pick reads the cycle and writes the worker's own position: constant time, no shared line.
#![forbid(unsafe_code)]

use crate::balance::{Candidates, Member, Tried};
use crate::bounds::CYCLE_SLOTS_MAX;
use crate::id::WorkerIndex;

/// The order of a weighted round robin: positions of members.
#[derive(Debug)]
pub struct Cycle {
    slots: Vec<u16>,
}

impl Cycle {
    /// Makes the cycle of the members that may be picked.
    ///
    /// With weights whose sum (over their greatest common divisor) is at most
    /// [`CYCLE_SLOTS_MAX`] the shares are exact; above, slots go by largest remainder and each
    /// member keeps at least one.
    ///
    /// Cost: O(M log M) for M slots.
    pub fn new(members: &[Member]) -> Self {
        let weights: Vec<(u16, u64)> = (0u16..)
            .zip(members)
            .filter(|(_, member)| member.is_eligible())
            .map(|(position, member)| (position, u64::from(member.weight)))
            .collect();
        let shares = shares(&weights);
        let mut keyed: Vec<(u64, u16)> = Vec::with_capacity(shares.iter().sum::<u64>() as usize);
        for (rank, (&(position, _), &share)) in (0u64..).zip(weights.iter().zip(&shares)) {
            // Each member's occurrences are evenly spaced; the golden ratio spreads where they
            // start, so that no two members run in step and pile up in one place.
            let phase = (rank.wrapping_mul(GOLDEN_RATIO) >> 32).wrapping_add(1 << 31) & 0xffff_ffff;
            keyed.extend((0..share).map(|nth| (((nth << 32) + phase) / share, position)));
        }
        keyed.sort_unstable();
        Self {
            slots: keyed.into_iter().map(|(_, position)| position).collect(),
        }
    }
}

/// The fraction of the golden ratio, in units of 2^-64.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many slots each member gets.
fn shares(weights: &[(u16, u64)]) -> Vec<u64> {
    let divisor = weights
        .iter()
        .fold(0, |divisor, (_, weight)| gcd(divisor, *weight))
        .max(1);
    let total: u64 = weights.iter().map(|(_, weight)| weight / divisor).sum();
    let slots_max = CYCLE_SLOTS_MAX.max(weights.len()) as u64;
    if total <= slots_max {
        return weights.iter().map(|(_, weight)| weight / divisor).collect();
    }
    let exact = |weight: u64| weight / divisor * slots_max;
    let mut shares: Vec<u64> = weights
        .iter()
        .map(|(_, weight)| (exact(*weight) / total).max(1))
        .collect();
    let given: u64 = shares.iter().sum();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|&place| std::cmp::Reverse(exact(weights[place].1) % total));
    for &place in by_remainder
        .iter()
        .take(slots_max.saturating_sub(given) as usize)
    {
        shares[place] += 1;
    }
    shares
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A worker's place in the cycle.
#[derive(Debug)]
pub struct RoundRobin {
    /// Where in the cycle this worker starts, as a fraction of it: `worker / workers`.
    worker: usize,
    workers: usize,
    position: Option<usize>,
}

impl RoundRobin {
    /// Starts at this worker's own place.
    pub fn new(worker: WorkerIndex, workers: usize) -> Self {
        Self {
            worker: usize::from(worker.0),
            workers: workers.max(1),
            position: None,
        }
    }

    /// The next member of the cycle that was not tried.
    ///
    /// Cost: constant for a first try; after failed ones at most one walk through the cycle.
    pub fn pick(&mut self, candidates: &Candidates, tried: &Tried) -> Option<u16> {
        let slots = &candidates.cycle.slots;
        for _ in 0..slots.len() {
            let position = match self.position {
                Some(position) if position < slots.len() => position,
                Some(_) => 0,
                None => slots.len() * self.worker / self.workers,
            };
            self.position = Some(position + 1);
            let member = slots[position];
            if tried.is_empty() || candidates.is_open_to(member, tried) {
                return Some(member);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::candidates;
    use crate::balance::{Balancer, Policy};

    fn picks(weights: &[u32], worker: u16, count: usize) -> Vec<u32> {
        let candidates = candidates(weights);
        let mut balancer = Balancer::new(Policy::RoundRobin, WorkerIndex(worker), 4);
        let mut rng = fastrand::Rng::with_seed(0);
        (0..count)
            .map_while(|_| balancer.pick(&candidates, &Tried::default(), &mut rng))
            .map(|member| member.endpoint.id.0)
            .collect()
    }

    #[test]
    fn shares_are_exact_over_each_cycle() {
        for worker in 0..4 {
            let picks = picks(&[5, 0, 3, 2], worker, 1_000);
            let count = |id| picks.iter().filter(|pick| **pick == id).count();
            assert_eq!([count(0), count(1), count(2), count(3)], [500, 0, 300, 200]);
        }
    }

    #[test]
    fn no_endpoint_comes_in_bursts() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            let weights: Vec<u32> = (0..rng.usize(2..20)).map(|_| rng.u32(1..10)).collect();
            let total: u32 = weights.iter().sum();
            let picks = picks(&weights, 0, 4 * total as usize);
            for (id, weight) in (0u32..).zip(&weights) {
                for window in picks.windows(total as usize / 2) {
                    let seen = window.iter().filter(|pick| **pick == id).count() as f64;
                    let fair = f64::from(*weight) * window.len() as f64 / f64::from(total);
                    assert!(
                        (seen - fair).abs() <= 3.0,
                        "{weights:?}: {id} {seen} times, not {fair}"
                    );
                }
            }
        }
    }

    #[test]
    fn large_weights_keep_their_shares_in_a_bounded_cycle() {
        let weights = [10_000, 9_999, 7, 1];
        let cycle = candidates(&weights).cycle;
        assert!(cycle.slots.len() <= CYCLE_SLOTS_MAX + weights.len());
        let total: u32 = weights.iter().sum();
        for (id, weight) in (0u16..).zip(weights) {
            let slots = cycle.slots.iter().filter(|slot| **slot == id).count();
            assert!(slots >= 1);
            let error =
                slots as f64 / cycle.slots.len() as f64 - f64::from(weight) / f64::from(total);
            assert!(error.abs() <= 1.0 / 2048.0, "{id}: {error}");
        }
    }

    #[test]
    fn nothing_to_pick_is_none() {
        assert!(picks(&[0, 0], 0, 1).is_empty());
        assert!(picks(&[], 0, 1).is_empty());
    }

    #[test]
    fn what_was_tried_is_not_picked_again() {
        let candidates = candidates(&[9, 1, 1]);
        let mut policy = RoundRobin::new(WorkerIndex(0), 1);
        let mut tried = Tried::default();
        let mut seen = Vec::new();
        while let Some(position) = policy.pick(&candidates, &tried) {
            tried.add(candidates.member(position).endpoint.id);
            seen.push(position);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }
}
