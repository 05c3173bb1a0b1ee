//! Small requests at a fixed rate: latency and cost when the relay is not saturated.
//!
//! An open loop: a request is due at its time whether or not earlier ones have been answered, and its latency
//! counts from when it was due, so a relay (or generator) that stops for a while is charged for all it delayed.
//!
//! Each request is due at a random point of its interval: the kernel finds out whether a CPU is busy by looking at
//! every tick, and requests that keep step with the ticks would always be seen at the same stage of their way.

use std::io;
use std::time::{Duration, Instant};

use super::{Stage, TURN_MOST};

pub(super) fn run(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut clients = stage.open(CONNECTIONS)?;
    stage.recorder.start();
    let start = Instant::now();
    let mut count: u32 = 0;
    let mut random = fastrand::Rng::with_seed(1);
    let mut due = start;
    let mut events = Vec::new();
    while stage.recorder.turn(clients.outstanding()) {
        for _ in 0..BURST_MOST {
            if due > Instant::now() || !stage.recorder.try_claim() {
                break;
            }
            let index = count as usize % clients.count();
            clients.with_index(stage, index, |client, _| client.ask(ANSWER_BYTES, due));
            count += 1;
            due = start + INTERVAL * count + INTERVAL.mul_f64(random.f64());
        }
        events.clear();
        let wait = due.saturating_duration_since(Instant::now()).min(TURN_MOST);
        stage.epoll.wait(&mut events, wait)?;
        for event in &events {
            clients.with(stage, event, |client, stage| {
                stage.receive(client, event).map(drop)
            });
        }
    }
    Ok(())
}

const CONNECTIONS: u32 = 100;
const ANSWER_BYTES: u32 = 64;
/// 20,000 a second.
const INTERVAL: Duration = Duration::from_micros(50);
/// How many overdue requests are sent before answers are looked at again.
const BURST_MOST: u32 = 64;
