//! The conformance table: scripted scenarios, played over the kernel and in the simulation, with
//! equal results.
//!
//! What the simulation says of a worker is worth as much as its kernel is like the real one. Each
//! row of the table is played over io_uring, over io_uring without byte budgets (as on kernels
//! before 6.17), and on the simulated driver in both ways; what was seen must be the same.
#![forbid(unsafe_code)]

mod kernel;
mod rows;
mod script;
mod simulated;
mod starving;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel::Kernel;
use ringlane::ring::features::Features;
use script::{Row, Step, play};
use simulated::Simulated;

use crate::sim::coverage::{Coverage, Situation};

/// Plays every row on all CPUs and returns what was seen, row by row.
///
/// Panics: if a row fails, after all were played, naming each.
fn play_all(world: &str, play: impl Fn(&Row) -> Vec<String> + Sync) -> Vec<Vec<String>> {
    let table = rows::table();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; table.len()]);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(row) = table.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seen = catch_unwind(AssertUnwindSafe(|| play(row))).ok();
                    let place = table.iter().position(|other| other.name == row.name);
                    if let (Ok(mut results), Some(place)) = (results.lock(), place) {
                        results[place] = seen;
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_default();
    let failed: Vec<&str> = table
        .iter()
        .zip(&results)
        .filter(|(_, seen)| seen.is_none())
        .map(|(row, _)| row.name)
        .collect();
    assert!(
        failed.is_empty(),
        "{world}: {} rows failed: {failed:#?}",
        failed.len()
    );
    results.into_iter().flatten().collect()
}

fn on_kernel(byte_budget: bool) -> Vec<Vec<String>> {
    let features = match Features::probe() {
        Ok(features) => features,
        Err(unavailable) => panic!("{unavailable}"),
    };
    let features = Features {
        byte_budget: byte_budget && features.byte_budget,
        ..features
    };
    play_all("the kernel", |row| match Kernel::new(row.setup, features) {
        Ok(mut world) => play(row, &mut world),
        Err(error) => panic!("row {:?}: {error}", row.name),
    })
}

fn on_simulation(byte_budget: bool, seed: u64) -> Vec<Vec<String>> {
    play_all("the simulation", |row| {
        play(row, &mut Simulated::new(row.setup, byte_budget, seed))
    })
}

fn assert_equal(one: &[Vec<String>], other: &[Vec<String>]) {
    for (row, (one, other)) in rows::table().iter().zip(one.iter().zip(other)) {
        assert_eq!(one, other, "row {:?}", row.name);
    }
}

#[test]
fn the_kernel_and_the_simulation_agree() {
    assert_equal(&on_kernel(true), &on_simulation(true, 1));
}

#[test]
fn they_agree_where_receives_have_no_budget() {
    assert_equal(&on_kernel(false), &on_simulation(false, 2));
}

#[test]
fn the_simulation_agrees_with_itself_whatever_the_seed() {
    let first = on_simulation(true, 3);
    for seed in 4..8 {
        assert_equal(&first, &on_simulation(seed % 2 == 0, seed));
    }
}

/// A row that says that a pipe is full proves it only if the pipe is full.
#[test]
fn the_rows_for_bulk_meet_what_they_are_for() {
    let mut all = Coverage::default();
    for row in rows::bulk::ROWS {
        let mut world = Simulated::new(row.setup, true, 9);
        play(row, &mut world);
        let met = world.coverage();
        let is_moved = met.count(Situation::Bulk) > 0;
        assert_eq!(is_moved, row.setup.pipes > 0, "{:?}", row.name);
        let is_stuck = row.steps.iter().any(|step| matches!(step, Step::Stuck(_)));
        let is_full = met.count(Situation::SinkFullInBulk) > 0;
        assert!(is_full || !is_stuck || !is_moved, "{:?}", row.name);
        all.merge(met);
    }
    for situation in [
        Situation::NoPipe,
        Situation::PipeFull,
        Situation::PipeLost,
        Situation::EndInBulk,
        Situation::ResetInBulk,
        Situation::SinkBrokenInBulk,
        Situation::WatchedReset,
    ] {
        assert!(all.count(situation) > 0, "never met: {situation:?}");
    }
}

#[test]
fn what_leaves_a_pipe_counts_as_activity() {
    play(
        &rows::bulk::SLOW,
        &mut Simulated::new(rows::bulk::SLOW.setup, true, 10),
    );
}

#[test]
fn the_table_is_as_it_should_be() {
    let table = rows::table();
    assert!(table.len() >= 180, "{} rows", table.len());
    for (place, row) in table.iter().enumerate() {
        let twice = table[..place].iter().any(|other| other.name == row.name);
        assert!(!twice, "two rows are called {:?}", row.name);
        assert_eq!(
            row.setup.endpoints.len(),
            row.setup.weights.len(),
            "{:?}",
            row.name
        );
        assert!(
            row.closed.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "{:?}",
            row.name
        );
    }
}
