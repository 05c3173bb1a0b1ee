//! A script's world in the simulation: the virtual network without anybody acting at random.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringlane::balance::endpoint::Address;
use ringlane::id::WorkerIndex;
use ringlane::session::ReceiveEnd;
use ringlane::time::Instant;
use ringlane::update::{self, Bell, Event as News, Wake};
use ringlane::worker::{Parts, Turn, Worker};

use super::script::{Kind, Setup};
use super::world::{Broken, Desk, Order, Party, Read, World};
use crate::sim::actors::Actors;
use crate::sim::coverage::Coverage;
use crate::sim::kernel::{Kernel, SimDriver};
use crate::sim::network::{Answer, At, Event, Manner, Network, Remote};

/// A simulated worker and its world.
pub(crate) struct Simulated {
    worker: Worker<SimDriver>,
    desk: Desk,
    started: Instant,
    now: Instant,
    ended: bool,
    _news: crossbeam_channel::Receiver<News>,
}

/// The step of time.
const STEP: Duration = Duration::from_micros(500);

impl Simulated {
    /// Makes a world whose kernel has or has not receives with a byte budget, and does things at
    /// random by `seed`.
    pub(crate) fn new(setup: Setup, byte_budget: bool, seed: u64) -> Self {
        let kernel = Kernel {
            buffers: 1024,
            posted: 16,
            submissions: 256,
            completions: 256,
            descriptors: 1000,
            pipes: setup.pipes,
            pipe_bytes: 256 * 1024,
            byte_budget,
            oddity: 50,
            lateness: 10,
        };
        Self::over(setup, kernel, seed)
    }

    /// Makes a world over a kernel of one's own.
    pub(crate) fn over(setup: Setup, kernel: Kernel, seed: u64) -> Self {
        let mut network = Network::new(fastrand::Rng::with_seed(seed), Duration::from_micros(100));
        network.near_room = 4 * 1024 * 1024;
        let mut addresses = Vec::new();
        for (place, kind) in (0u16..).zip(setup.endpoints) {
            let address = match kind {
                Kind::Unix | Kind::Missing => Address::Unix(PathBuf::from(format!("/{place}"))),
                _ => Address::Tcp(([10, 0, 0, 1], 1000 + place).into()),
            };
            let answer = match kind {
                Kind::Tcp | Kind::Unix => Answer::Accept,
                Kind::Refusing | Kind::Missing => Answer::Refuse,
                Kind::Silent => Answer::Silence,
            };
            addresses.push(address.clone());
            network.remotes.push(Remote {
                address,
                answer,
                manner: Manner::default(),
                accepted: Default::default(),
                room: 64 * 1024,
            });
        }
        let mut driver = SimDriver::new(kernel, network, Actors::default());
        let listeners = (0..setup.listeners)
            .map(|place| (place, driver.listen()))
            .collect();
        let (events_sender, news) = update::events();
        let (post, inbox) = update::channel(WorkerIndex(0), events_sender, Bell::silent());
        let mut desk = Desk::new(post, setup, addresses);
        let _not_asleep_yet = desk.publish(setup.weights);
        let started = driver.network.now;
        let worker = Worker::new(Parts {
            driver,
            listeners,
            inbox,
            workers: 1,
            session_limit: Arc::clone(&desk.limit),
            counters: Arc::clone(&desk.counters),
            waiting_max: 0,
            access: None,
            process_id: 7,
            seed,
        });
        Self {
            worker,
            desk,
            started,
            now: started,
            ended: false,
            _news: news,
        }
    }

    /// What was met.
    pub(crate) fn coverage(&mut self) -> &Coverage {
        &self.network().coverage
    }

    /// Whether receives have to wait for a buffer.
    pub(crate) fn is_exhausted(&mut self) -> bool {
        self.worker.driver().arena.is_exhausted()
    }

    pub(crate) fn network(&mut self) -> &mut Network {
        &mut self.worker.driver().network
    }

    fn wake(&mut self, wake: Wake) {
        if wake == Wake::Needed {
            self.worker.driver().wake();
        }
    }

    /// On a loopback what is written has arrived, if there is room: lets that happen.
    fn arrive(&mut self, party: Party) {
        for _ in 0..100 {
            if self.network().end(party, At::Far).outgoing.is_empty() {
                return;
            }
            self.pass();
        }
    }
}

impl World for Simulated {
    fn connect(&mut self, listener: usize) -> Option<Party> {
        if self.network().listeners[listener].closed {
            return None;
        }
        Some(self.network().connect_at_once(listener, 64 * 1024))
    }

    fn meet(&mut self, endpoint: usize) -> Option<Party> {
        self.network().remotes[endpoint].accepted.pop_front()
    }

    fn write(&mut self, party: Party, bytes: &[u8]) -> Result<usize, Broken> {
        self.network()
            .write(party, At::Far, bytes)
            .map_err(|_| Broken)
    }

    fn read(&mut self, party: Party, most: usize) -> Read {
        match self.network().read_far(party, most) {
            Ok(bytes) if bytes.is_empty() => Read::Nothing,
            Ok(bytes) => Read::Bytes(bytes),
            Err(ReceiveEnd::Finished) => Read::Finished,
            Err(ReceiveEnd::Reset) => Read::Reset,
        }
    }

    fn readable(&mut self, party: Party) -> usize {
        self.network().end(party, At::Far).incoming.len()
    }

    fn finish(&mut self, party: Party) {
        self.network().finish(party, At::Far);
    }

    fn reset(&mut self, party: Party) {
        self.arrive(party);
        self.network().reset(party, At::Far);
        self.network().close(party, At::Far);
    }

    fn close(&mut self, party: Party) {
        self.arrive(party);
        self.network().close(party, At::Far);
    }

    fn order(&mut self, order: Order) {
        let now = self.network().now;
        let wake = self.desk.order(order, now);
        self.wake(wake);
    }

    fn publish(&mut self, weights: &[u32]) {
        let wake = self.desk.publish(weights);
        self.wake(wake);
    }

    fn has_ended(&mut self) -> bool {
        self.ended
    }

    fn pass(&mut self) {
        let driver = self.worker.driver();
        let until = driver.network.now + STEP;
        driver.network.schedule(STEP, Event::Alarm);
        while self.worker.driver().network.now < until {
            if self.ended {
                self.worker.driver().drift(until);
            } else if self.worker.turn() == Ok(Turn::Ended) {
                self.ended = true;
            }
        }
        self.now = self.network().now;
    }

    fn time(&self) -> Duration {
        self.now.saturating_since(self.started)
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn faults(&mut self) -> Vec<String> {
        let driver = self.worker.driver();
        let mut faults = Vec::new();
        if driver.arena.held_count() > 0 {
            faults.push("a buffer was not given back".to_string());
        }
        if driver.open_sockets() > 0 {
            faults.push("a socket is still open".to_string());
        }
        if driver.pipes_held > 0 {
            faults.push("a pipe was not given back".to_string());
        }
        faults
    }
}
