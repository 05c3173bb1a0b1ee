//! Every state of an endpoint's health meets every result; what comes of it is compared with a
//! committed text. And however an endpoint flaps, it changes no more often than it may.
//!
//! After a change that is meant, `RINGLANE_SNAPSHOT=write cargo test --lib health` writes it anew.
#![forbid(unsafe_code)]

use super::*;
use std::fmt::Write as _;

/// Tells a machine a result.
type Handle = fn(&mut Health) -> bool;

/// Every result by its name.
const RESULTS: [(&str, Handle); 3] = [
    ("success", Health::handle_success),
    ("failure", Health::handle_failure),
    ("late", Health::handle_late),
];

/// The health as a text, as far as anything depends on it.
fn described(health: &Health) -> String {
    let word = health.state().word();
    let against = match health.state() {
        HealthState::Unknown => 0,
        HealthState::Up => health.failures,
        HealthState::Down => health.successes,
    };
    match against {
        0 => word.to_string(),
        against => format!("{word}, {against} against"),
    }
}

#[test]
fn every_state_meets_every_result() {
    let mut table = String::new();
    for (rise, fall) in [(1, 1), (2, 3), (3, 2), (1, 4), (0, 0)] {
        writeln!(table, "rise {rise}, fall {fall}").expect("a string takes everything");
        let mut states = vec![Health::new(rise, fall)];
        let mut position = 0;
        while let Some(before) = states.get(position).copied() {
            position += 1;
            writeln!(table, "  {}:", described(&before)).expect("a string takes everything");
            for (result, handle) in RESULTS {
                let mut health = before;
                let changed = if handle(&mut health) { "changed" } else { "-" };
                let pace = if health.is_changing() { "fast" } else { "-" };
                let after = described(&health);
                writeln!(table, "    {result}: {after}; {changed}; {pace}")
                    .expect("a string takes everything");
                if states.iter().all(|known| described(known) != after) {
                    states.push(health);
                }
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/health/transitions.txt");
    if std::env::var_os("RINGLANE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).expect("the tree can be written to");
    }
    let committed = include_str!("transitions.txt");
    for (now, then) in table.lines().zip(committed.lines()) {
        assert_eq!(now, then, "see the head of this file");
    }
    assert_eq!(table.lines().count(), committed.lines().count());
}

#[test]
fn the_first_result_counts_alone() {
    let mut health = Health::new(5, 5);
    assert!(!health.handle_late());
    assert_eq!(health.state(), HealthState::Unknown);
    let mut good = health;
    assert!(good.handle_success());
    assert_eq!(good.state(), HealthState::Up);
    assert!(health.handle_failure());
    assert_eq!((health.state(), health.failures()), (HealthState::Down, 1));
}

#[test]
fn a_late_result_does_not_end_a_row() {
    let mut health = Health::new(2, 3);
    health.handle_success();
    assert!(!health.handle_failure() && !health.handle_failure());
    for _ in 0..100 {
        assert!(!health.handle_late());
    }
    assert_eq!((health.state(), health.failures()), (HealthState::Up, 2));
    assert!(health.handle_failure());
}

#[test]
fn an_endpoint_that_flaps_changes_no_more_often_than_it_may() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (rise, fall) = (rng.u32(1..6), rng.u32(1..6));
        let likely = rng.f64();
        let mut health = Health::new(rise, fall);
        // What the machine counts, counted anew from all that was told.
        let mut told: Vec<bool> = Vec::new();
        for _ in 0..400 {
            if rng.u8(..10) == 0 {
                assert!(!health.handle_late());
                continue;
            }
            let before = health.state();
            let is_success = rng.f64() < likely;
            told.push(is_success);
            let changed = if is_success {
                health.handle_success()
            } else {
                health.handle_failure()
            };
            let row = told.iter().rev().take_while(|one| **one == is_success);
            let row = row.count() as u32;
            let expected = match (before, is_success) {
                (HealthState::Unknown, _) => true,
                (HealthState::Up, false) => row >= fall,
                (HealthState::Down, true) => row >= rise,
                (HealthState::Up, true) | (HealthState::Down, false) => false,
            };
            assert_eq!(changed, expected, "seed {seed}");
            assert_eq!(changed, before != health.state(), "seed {seed}");
            assert_eq!(health.failures(), if is_success { 0 } else { row });
        }
    }
    // The fastest flapping that a threshold of two keeps out altogether.
    let mut health = Health::new(2, 2);
    health.handle_success();
    for _ in 0..100 {
        assert!(!health.handle_failure());
        assert!(!health.handle_success());
    }
}
