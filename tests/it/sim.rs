//! The simulation: the whole worker without the kernel, in virtual time, from a seed.
//!
//! A seed draws a world (what the kernel does, which clients come and how endpoints behave) and
//! decides everything that happens in it, so a seed that fails fails again:
//!
//! ```text
//! RINGLANE_SEED=123 cargo test --test it sim::replay -- --nocapture
//! ```
#![forbid(unsafe_code)]

pub(crate) mod actors;
mod arena;
mod breakers;
mod control;
pub(crate) mod coverage;
mod desk;
mod driver;
mod end;
pub(crate) mod kernel;
mod live;
pub(crate) mod network;
mod opening;
mod operations;
mod party;
pub(crate) mod pattern;
mod pipe;
mod plans;
mod prober;
mod queue;
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use coverage::Coverage;

const SEEDS: u64 = 256;

/// What all seeds together came to.
#[derive(Default)]
struct Sum {
    coverage: Coverage,
    sessions: u64,
    turns: u64,
    failed: Vec<u64>,
}

/// Runs seeds in order, on all CPUs, until one fails.
fn run_seeds(seeds: u64) -> Sum {
    let next = AtomicU64::new(0);
    let sum = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let outcome = catch_unwind(AssertUnwindSafe(|| run::run(seed)));
                    let Ok(mut sum) = sum.lock() else { return };
                    match outcome {
                        Ok(outcome) => {
                            sum.coverage.merge(&outcome.coverage);
                            sum.sessions += outcome.sessions;
                            sum.turns += outcome.turns;
                        }
                        Err(_) => {
                            sum.failed.push(seed);
                            next.store(seeds, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    sum.into_inner().unwrap_or_default()
}

/// How many seeds are run: more with the environment's `RINGLANE_SEEDS`.
fn seeds() -> u64 {
    let wanted = std::env::var("RINGLANE_SEEDS").ok();
    wanted
        .and_then(|seeds| seeds.parse().ok())
        .map_or(SEEDS, |seeds: u64| seeds.max(SEEDS))
}

#[test]
fn every_seed_holds_and_every_situation_is_met() {
    let sum = run_seeds(seeds());
    println!("{} sessions, {} turns", sum.sessions, sum.turns);
    for (situation, count) in sum.coverage.rows() {
        println!("{count:>9}  {situation:?}");
    }
    if let Some(seed) = sum.failed.iter().min() {
        panic!(
            "seed {seed} failed (see above); to replay it: \
             RINGLANE_SEED={seed} cargo test --test it sim::replay -- --nocapture"
        );
    }
    let missing = sum.coverage.missing();
    assert!(missing.is_empty(), "never met: {missing:?}");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 77, 200] {
        assert_eq!(run::run(seed).trace, run::run(seed).trace, "seed {seed}");
    }
    assert_ne!(run::run(3).trace, run::run(4).trace);
}

/// Runs the one seed of the environment's `RINGLANE_SEED`, if there is one.
#[test]
fn replay() {
    let Ok(seed) = std::env::var("RINGLANE_SEED") else {
        return;
    };
    let Ok(seed) = seed.parse() else {
        panic!("RINGLANE_SEED is a number, not {seed:?}")
    };
    let outcome = run::run(seed);
    println!(
        "seed {seed}: {} sessions, {} turns",
        outcome.sessions, outcome.turns
    );
    for (situation, count) in outcome.coverage.rows().filter(|(_, count)| *count > 0) {
        println!("{count:>9}  {situation:?}");
    }
}
