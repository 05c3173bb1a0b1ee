//! One seed: a world drawn at random, a worker in it, and what must be true at the end.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringlane::access::AccessSender;
use ringlane::balance::endpoint::{Address, Endpoint};
use ringlane::error::CloseReason;
use ringlane::id::{EndpointId, Epoch, WorkerIndex};
use ringlane::limits::Limit;
use ringlane::metrics::WorkerCounters;
use ringlane::session::Settings;
use ringlane::time::Instant;
use ringlane::update::{self, Bell};
use ringlane::worker::report::Access;
use ringlane::worker::{Parts, Turn, Worker};

use super::actors::Actors;
use super::control::{Control, Deed, Mind, Views};
use super::coverage::{Coverage, Situation};
use super::desk::{Desk, PROBE_INTERVAL};
use super::kernel::{Kernel, SimDriver};
use super::live::Live;
use super::network::{Answer, Event, Manner, Network, Remote};
use super::party::Volume;
use super::plans;

/// What came of a seed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) trace: u64,
    pub(crate) coverage: Coverage,
    pub(crate) sessions: u64,
    pub(crate) turns: u64,
}

/// More turns than any seed needs: a worker that spins in one place.
const TURNS_MAX: u64 = 300_000;

/// A worker in its world.
struct Run {
    worker: Worker<SimDriver>,
    counters: Arc<WorkerCounters>,
    limit: Arc<Limit>,
    next_look: Instant,
}

/// Runs the world of this seed from its beginning to its end.
///
/// Panics: if anything is not as it must be.
pub(crate) fn run(seed: u64) -> Outcome {
    let mut run = Run::new(seed);
    while run.turn() == Turn::Goes {}
    run.end()
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut kernel = random_kernel(&mut rng);
        let settings = random_settings(&mut rng);
        let has_desk = rng.bool();
        let volume = match rng.u8(..6) {
            0 => Volume::Bulk,
            1.. if has_desk => Volume::Little,
            _ => Volume::Any,
        };
        let latency = Duration::from_micros(rng.choice([40, 400, 5_000]).unwrap_or(400));
        let mut network = Network::new(rng.fork(), latency);
        network.near_room = rng.choice([3_000, 15_000, 300_000]).unwrap_or(15_000);
        network.late_after = settings.connect_timeout;
        let listeners = rng.usize(1..=2);
        let (mind, deeds) = match has_desk {
            true => random_desk(&mut rng, &mut network, settings, listeners),
            false => random_views(&mut rng, &mut network, settings, listeners),
        };
        if volume == Volume::Bulk {
            make_room(&mut kernel, &mut network);
        }
        let (events_sender, events) = update::events();
        let (post, inbox) = update::channel(WorkerIndex(0), events_sender, Bell::silent());
        let (sender, records) = AccessSender::new();
        let control = Control::new(post, mind, deeds);
        for at in control.times() {
            network.schedule(at.saturating_since(network.now), Event::Control);
        }
        let actors = Actors {
            control: Some(control),
            volume,
            headers: settings.header_timeout.is_some(),
            age_min: settings.max_age.map(|(age, jitter)| age - jitter),
            ..Actors::default()
        };
        let mut driver = SimDriver::new(kernel, network, actors);
        driver.live = Live::new(events, records);
        let sockets = (0..listeners)
            .map(|place| (place, driver.listen()))
            .collect();
        let limit = Arc::new(Limit::new(rng.choice([2, 5, 64, 64]).unwrap_or(64)));
        let counters = Arc::new(WorkerCounters::default());
        let worker = Worker::new(Parts {
            driver,
            listeners: sockets,
            inbox,
            workers: 1,
            session_limit: Arc::clone(&limit),
            counters: Arc::clone(&counters),
            waiting_max: rng.choice([0, 3, 1000]).unwrap_or(0),
            access: Some(Access {
                sender,
                interval: None,
            }),
            process_id: 7,
            seed,
        });
        Self {
            worker,
            counters,
            limit,
            next_look: Instant::default(),
        }
    }

    fn turn(&mut self) -> Turn {
        let sessions = self.counters.open_sessions.value();
        if let Some(until) = self.worker.driver().actors.doze_until.take() {
            self.worker.driver().drift(until);
        }
        let turn = self.worker.turn();
        let turns = self.counters.turns.value();
        let driver = self.worker.driver();
        driver.check_turn();
        if turns > TURNS_MAX {
            driver.fail("the worker spins");
        }
        if self.limit.count() > self.limit.max() {
            driver.fail("more sessions than there may be");
        }
        if self.limit.count() == self.limit.max() {
            let listeners = &driver.network.listeners;
            let waiting = listeners
                .iter()
                .any(|listener| !listener.backlog.is_empty());
            let times = u64::from(waiting);
            driver.network.coverage.add(Situation::SessionLimit, times);
        }
        driver.actors.check_queues(&driver.network);
        if driver.network.now >= self.next_look {
            self.next_look = driver.network.now + Duration::from_secs(1);
            driver
                .actors
                .check_progress(&driver.network, driver.arena.is_exhausted());
        }
        if sessions > 0
            && let Some(current) = driver.live.current()
            && current.view.epoch > Epoch(1)
        {
            driver.network.coverage.meet(Situation::ViewChange);
        }
        match turn {
            Ok(turn) => turn,
            Err(errno) => driver.fail(&format!("the driver failed: {errno}")),
        }
    }

    /// What must be true once the worker has ended.
    fn end(&mut self) -> Outcome {
        let Self {
            worker,
            counters,
            limit,
            ..
        } = self;
        let driver = worker.driver();
        let until = driver.network.now + Duration::from_secs(120);
        driver.settle(until);
        let closed = |reason| counters.closed(reason).value();
        let must = |is_so: bool, what: &str| {
            if !is_so {
                driver.fail(what);
            }
        };
        must(
            driver.actors.are_done(),
            "a party never learned that its session is over",
        );
        must(
            driver.arena.held_count() == 0,
            "a buffer was not given back",
        );
        must(driver.open_sockets() == 0, "a socket is still open");
        must(driver.pipes_held == 0, "a pipe was not given back");
        must(
            limit.count() == 0,
            "the limit counts sessions that are over",
        );
        must(
            counters.stale_completions.value() == 0,
            "a completion came for a slot's earlier tenant",
        );
        must(
            closed(CloseReason::Internal) == 0,
            "a session ended for a fault of the worker's own",
        );
        let (accepted, total) = (counters.accepted.value(), counters.closed_total());
        must(
            accepted == total,
            &format!("{accepted} connections accepted, {total} closed"),
        );
        let is_open = |endpoint: &Arc<Endpoint>| endpoint.open_sessions() > 0;
        let open = driver.live.endpoints().any(is_open);
        must(!open, "an endpoint counts sessions that are over");
        cover(driver, counters);
        Outcome {
            trace: driver.trace,
            coverage: driver.network.coverage.clone(),
            sessions: total,
            turns: counters.turns.value(),
        }
    }
}

/// Adds the situations that the worker itself counts.
fn cover(driver: &mut SimDriver, counters: &WorkerCounters) {
    let closed = |reason| counters.closed(reason).value();
    let reasons = [
        (Situation::NoEndpoint, closed(CloseReason::NoEndpoint)),
        (
            Situation::ConnectTimeout,
            closed(CloseReason::ConnectTimeout),
        ),
        (Situation::MaxAge, closed(CloseReason::MaxAge)),
        (Situation::HeaderWrong, closed(CloseReason::ProxyHeader)),
        (
            Situation::HeaderTimeout,
            closed(CloseReason::ProxyHeaderTimeout),
        ),
        (Situation::IdleTimeout, closed(CloseReason::IdleTimeout)),
        (
            Situation::HalfCloseTimeout,
            closed(CloseReason::HalfCloseTimeout),
        ),
        (Situation::DrainDeadline, closed(CloseReason::Drained)),
        (Situation::Retry, counters.retries.value()),
        (Situation::Coalesced, driver.arena.joined),
    ];
    for (situation, times) in reasons {
        driver.network.coverage.add(situation, times);
    }
}

/// Bytes go by pipes only if enough of them fit into sockets and buffers.
fn make_room(kernel: &mut Kernel, network: &mut Network) {
    kernel.buffers = 256;
    kernel.descriptors = 1000;
    network.near_room = 300_000;
    for remote in &mut network.remotes {
        remote.room = 200_000;
    }
}

fn random_kernel(rng: &mut fastrand::Rng) -> Kernel {
    Kernel {
        buffers: rng.choice([24, 48, 256]).unwrap_or(64),
        posted: rng.choice([1, 4, 16]).unwrap_or(8),
        submissions: rng.choice([2, 10, 2048]).unwrap_or(2048),
        completions: rng.choice([2, 8, 4096]).unwrap_or(4096),
        descriptors: rng.choice([6, 25, 1000, 1000]).unwrap_or(1000),
        pipes: rng.choice([0, 1, 64, 64]).unwrap_or(64),
        pipe_bytes: rng.choice([5_000, 20_000, 65_536]).unwrap_or(65_536),
        byte_budget: rng.u8(..3) > 0,
        lateness: rng.choice([2, 10, 1000]).unwrap_or(10),
        oddity: rng.choice([8, 30, 1000]).unwrap_or(30),
    }
}

fn random_settings(rng: &mut fastrand::Rng) -> Settings {
    Settings {
        header_timeout: (rng.u8(..5) == 0).then(|| Duration::from_millis(rng.u64(1_500..4_000))),
        connect_timeout: Duration::from_millis(rng.u64(300..3_000)),
        tries: rng.u8(1..=3),
        retry_within: Duration::from_secs(rng.u64(1..10)),
        idle_timeout: Duration::from_secs(45),
        half_close_timeout: Duration::from_secs(40),
        max_age: (rng.u8(..6) == 0).then(|| {
            let age = Duration::from_millis(rng.u64(28_000..60_000));
            (age, age / 20)
        }),
    }
}

fn random_remotes(rng: &mut fastrand::Rng) -> Vec<Remote> {
    let count: u16 = rng.u16(1..=4);
    let mut remotes = Vec::new();
    for place in 0..count {
        let address = match rng.u8(..4) {
            0 => Address::Unix(PathBuf::from(format!("/endpoint/{place}"))),
            _ => Address::Tcp(([10, 0, 0, 1], 1000 + place).into()),
        };
        let answer = match rng.u8(..16) {
            0..11 => Answer::Accept,
            11..13 => Answer::Refuse,
            13 => Answer::Unreachable,
            14 => Answer::Silence,
            _ => Answer::Late,
        };
        let room = rng.choice([4_000, 12_000, 200_000]).unwrap_or(4_000);
        remotes.push(Remote {
            address,
            answer,
            manner: Manner::Serve,
            accepted: Default::default(),
            room,
        });
    }
    remotes
}

/// Views as nobody makes them, over a few endpoints.
fn random_views(
    rng: &mut fastrand::Rng,
    network: &mut Network,
    settings: Settings,
    listeners: usize,
) -> (Mind, Vec<(Instant, Deed)>) {
    network.remotes = random_remotes(rng);
    let endpoints = (0u32..).zip(&network.remotes).map(|(id, remote)| {
        let (name, address) = (format!("endpoint {id}"), remote.address.clone());
        Arc::new(Endpoint::new(EndpointId(id), name, address, 1))
    });
    let views = Views {
        endpoints: endpoints.collect(),
        listeners,
        settings,
        epoch: 0,
    };
    let deeds = random_deeds(rng, network.now, listeners);
    (Mind::Views(views), deeds)
}

/// A desk over endpoints that fail, recover, come and go.
fn random_desk(
    rng: &mut fastrand::Rng,
    network: &mut Network,
    settings: Settings,
    listeners: usize,
) -> (Mind, Vec<(Instant, Deed)>) {
    let (plan, remotes) = plans::random(rng, &settings, listeners);
    network.remotes = remotes;
    let mut desk = Desk::new(plan);
    desk.request(network.now, network);
    network.schedule(PROBE_INTERVAL, Event::Probe);
    let deeds = random_events(rng, network.now, listeners);
    (Mind::Desk(Box::new(desk)), deeds)
}

/// When clients come, endpoints fail and operators change something, and how it ends.
fn random_events(rng: &mut fastrand::Rng, now: Instant, listeners: usize) -> Vec<(Instant, Deed)> {
    let spread = rng.choice([300, 4_000, 12_000]).unwrap_or(4_000);
    let mut deeds = Vec::new();
    let mut add = |rng: &mut fastrand::Rng, times: u32, deed: fn(&mut fastrand::Rng) -> Deed| {
        for _ in 0..times {
            let at = now + Duration::from_micros(rng.u64(..spread * 1_000));
            deeds.push((at, deed(rng)));
        }
    };
    let (first, second) = (rng.u32(6..=24), rng.u32(2..=14));
    add(rng, first, |_| Deed::Connect(0));
    add(rng, second, |_| Deed::Connect(1));
    let (fates, changes) = (rng.u32(2..16), rng.u32(..14));
    add(rng, fates, |_| Deed::Fate);
    add(rng, changes, |_| Deed::Change);
    let (stalls, dozes) = (rng.u32(..3), rng.u32(..3));
    add(rng, stalls, |rng| {
        Deed::Stall(Duration::from_millis(rng.u64(1..2_500)))
    });
    add(rng, dozes, |rng| {
        Deed::Doze(Duration::from_millis(rng.u64(1..1_500)))
    });
    for (_, deed) in &mut deeds {
        if let Deed::Connect(listener) = deed {
            *listener %= listeners;
        }
    }
    let end = now + Duration::from_millis(rng.u64(spread / 2..2 * spread));
    let how = match rng.u8(..6) {
        0 => Deed::Stop,
        1 => Deed::Drain(Duration::from_millis(rng.u64(..30_000))),
        _ => Deed::Calm,
    };
    deeds.push((end, how));
    deeds
}

/// When clients come, views change, and how it ends.
fn random_deeds(rng: &mut fastrand::Rng, now: Instant, listeners: usize) -> Vec<(Instant, Deed)> {
    let mut deeds = vec![(now, Deed::Publish)];
    let clients = rng.u32(6..=20);
    let spread = rng.choice([1_000, 300_000, 4_000_000]).unwrap_or(1_000);
    for _ in 0..clients {
        let at = now + Duration::from_micros(rng.u64(..spread));
        deeds.push((at, Deed::Connect(rng.usize(..listeners))));
    }
    for _ in 0..rng.u8(..4) {
        deeds.push((
            now + Duration::from_micros(rng.u64(..2 * spread)),
            Deed::Publish,
        ));
    }
    let middle = spread / 2 + rng.u64(..30_000);
    let end = rng
        .choice([spread / 2, middle, middle, spread + 2_000_000, 60_000_000])
        .unwrap_or(spread);
    let end = now + Duration::from_micros(end);
    let deed = match rng.u8(..6) {
        0 => Deed::Stop,
        1 => Deed::Vanish,
        2 => Deed::Drain(Duration::from_millis(rng.u64(..100))),
        _ => Deed::Drain(Duration::from_millis(rng.u64(..30_000))),
    };
    deeds.push((end, deed));
    if rng.u8(..8) == 0 {
        deeds.push((end + Duration::from_millis(rng.u64(..500)), Deed::Stop));
    }
    deeds
}
