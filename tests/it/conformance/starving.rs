//! Sessions that wait for a buffer, many of them, and end all at once.
//!
//! A receive that found no buffer waits in a queue of the worker's; the session that it is for may
//! be over long before there is one. The queue must neither grow with such receives nor lose the
//! others.
#![forbid(unsafe_code)]

use super::rows;
use super::script::Setup;
use super::simulated::Simulated;
use super::world::{Order, Party, Read, World};
use crate::sim::kernel::Kernel;
use crate::sim::pattern;

const SESSIONS: usize = 64;

const FEW_BUFFERS: Kernel = Kernel {
    buffers: 24,
    posted: 4,
    submissions: 256,
    completions: 256,
    descriptors: 1000,
    pipes: 0,
    pipe_bytes: 0,
    byte_budget: true,
    oddity: 50,
    lateness: 10,
};

/// How many clients come, starve and go at a time, and how often: more than the queue's places, of
/// which there are two for each session.
const WAVE: u64 = 30;
const WAVES: u64 = 5;

/// The stream of the one that does not go.
const PATIENT: u8 = 99;

#[track_caller]
fn until(world: &mut Simulated, mut is_so: impl FnMut(&mut Simulated) -> bool) {
    for _ in 0..20_000 {
        if is_so(world) {
            return;
        }
        world.pass();
    }
    panic!("waited in vain");
}

/// A client connects and sends the beginning of its stream; returns it and its endpoint.
fn join(world: &mut Simulated, stream: u8, bytes: usize) -> (Party, Party) {
    let Some(client) = world.connect(0) else {
        panic!("the worker does not listen");
    };
    let mut endpoint = None;
    until(world, |world| {
        endpoint = endpoint.or_else(|| world.meet(0));
        endpoint.is_some()
    });
    assert!(
        world
            .write(client, &pattern::bytes(stream, 0, bytes))
            .is_ok()
    );
    (client, endpoint.unwrap_or_default())
}

fn starved(world: &Simulated) -> u64 {
    world.desk().counters.starved.value()
}

/// Sessions whose endpoints do not read, until no buffer is left.
fn hoard(world: &mut Simulated) -> Vec<(Party, Party)> {
    let mut hoarders = Vec::new();
    while !world.is_exhausted() {
        assert!(
            hoarders.len() < SESSIONS - WAVE as usize,
            "there are buffers still"
        );
        hoarders.push(join(world, hoarders.len() as u8, 60_000));
        for _ in 0..40 {
            world.pass();
        }
    }
    hoarders
}

fn play(seed: u64) {
    let setup = Setup {
        sessions_max: SESSIONS,
        ..rows::ONE
    };
    let mut world = Simulated::over(setup, FEW_BUFFERS, seed);
    let world = &mut world;
    world.network().near_room = 16_384;
    world.network().remotes[0].room = 8_000;
    let hoarders = hoard(world);
    let before = starved(world);
    let patient = join(world, PATIENT, 100);
    until(world, |world| starved(world) > before);
    for _ in 0..WAVES {
        let (before, closed) = (starved(world), world.desk().counters.closed_total());
        let wave: Vec<_> = (0..WAVE).map(|_| join(world, 7, 100)).collect();
        until(world, |world| starved(world) >= before + WAVE);
        for (client, _) in &wave {
            world.reset(*client);
        }
        until(world, |world| {
            world.desk().counters.closed_total() == closed + WAVE
        });
    }
    assert!(world.is_exhausted(), "nobody has given a buffer back");
    let last: Vec<_> = (0..WAVE).map(|_| join(world, 7, 100)).collect();
    for (client, _) in &last {
        world.network().reset(*client, crate::sim::network::At::Far);
    }
    let mut received = Vec::new();
    until(world, |world| {
        for (_, endpoint) in &hoarders {
            let _whatever_comes = world.read(*endpoint, 60_000);
        }
        if let Read::Bytes(bytes) = world.read(patient.1, 100) {
            received.extend(bytes);
        }
        received.len() == 100
    });
    assert_eq!(pattern::mismatch(PATIENT, 0, &received), None);
    // Whoever comes now is served as if nothing had been.
    let (_, endpoint) = join(world, 5, 10_000);
    let mut count = 0;
    until(world, |world| {
        if let Read::Bytes(bytes) = world.read(endpoint, 60_000) {
            count += bytes.len();
        }
        count == 10_000
    });
    world.order(Order::Stop);
    until(world, World::has_ended);
    assert_eq!(world.faults(), Vec::<String>::new());
    assert_eq!(world.desk().faults(), Vec::<String>::new());
}

#[test]
fn many_that_starve_may_end_at_once() {
    for seed in 0..4 {
        play(seed);
    }
}
