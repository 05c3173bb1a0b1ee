//! What the end-to-end tests share: a balancer, in this process or as the real program; endpoints
//! and clients with the manners that a test asks for.
// Not forbidden: `sockets` looks at what the kernel has.
#![deny(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

pub(crate) mod actor;
pub(crate) mod admin;
pub(crate) mod caller;
pub(crate) mod endpoint;
pub(crate) mod folder;
pub(crate) mod program;
pub(crate) mod sockets;
pub(crate) mod stall;
pub(crate) mod switch;
pub(crate) mod zone;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ringlane::error::CloseReason;
use ringlane::plan::admin::AdminPlan;
use ringlane::plan::health::{Check, HealthPlan};
use ringlane::plan::place::{Bind, Place};
use ringlane::plan::{EndpointPlan, Plan};
use ringlane::process::Running;
use ringlane::ring::features::Features;
use socket2::SockRef;

use actor::Actor;

/// After this long without the thing that a test waits for, it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so.
///
/// Panics: with `what`, if it is not so in time.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// A plan with one listener on a free port.
pub(crate) fn plan(endpoints: &[SocketAddr]) -> Plan {
    let endpoints = endpoints
        .iter()
        .map(|addr| EndpointPlan::at(Place::Address(*addr)))
        .collect();
    let mut plan = Plan::simple(&[loopback(0)], endpoints);
    plan.workers.count = Some(2);
    plan
}

/// A plan with an admin interface, whose endpoints have the actors' names and no breaker.
pub(crate) fn live_plan(actors: &[&Actor]) -> Plan {
    let addrs: Vec<SocketAddr> = actors.iter().map(|actor| actor.addr).collect();
    let mut plan = plan(&addrs);
    plan.admin = Some(AdminPlan::on(Bind::Tcp(loopback(0))));
    plan.clusters[0].breaker = None;
    for (endpoint, actor) in plan.clusters[0].endpoints.iter_mut().zip(actors) {
        endpoint.name = Some(actor.name.to_string());
    }
    plan
}

/// A check that finds out fast that connections are refused, and is patient otherwise: the machine
/// may be busy.
pub(crate) fn probing(check: Check) -> HealthPlan {
    let mut health = HealthPlan::of(check);
    health.interval = Duration::from_millis(500);
    health.timeout = health.interval;
    health.fast_interval = Duration::from_millis(50);
    health
}

/// An address of this host.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A balancer in this process; told to stop when dropped.
pub(crate) struct Balancer {
    running: Option<Running>,
}

impl Balancer {
    /// Starts one.
    pub(crate) fn start(plan: &Plan) -> Self {
        let features = Features::probe().expect("io_uring");
        Self::start_with(plan, &features)
    }

    /// Starts one that uses these features of the kernel.
    pub(crate) fn start_with(plan: &Plan, features: &Features) -> Self {
        let running = Running::start_with(plan, features).expect("the balancer starts");
        Self {
            running: Some(running),
        }
    }

    /// The balancer itself.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until dropped")
    }

    /// Where its first listener is.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addrs()[0]
    }

    /// Where its listeners are.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        let binds = self.running().binds().iter();
        binds
            .filter_map(|bind| match bind {
                Bind::Tcp(addr) => Some(*addr),
                Bind::Unix(_) => None,
            })
            .collect()
    }

    /// Connects a client.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.addr())
    }

    /// The sessions that ended for a reason.
    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.running()
            .counters()
            .iter()
            .map(|counters| counters.closed(reason).value())
            .sum()
    }

    /// The sessions that ended.
    pub(crate) fn closed_total(&self) -> u64 {
        self.running()
            .counters()
            .iter()
            .map(|counters| counters.closed_total())
            .sum()
    }

    /// Waits until so many sessions have ended for a reason.
    pub(crate) fn await_closed(&self, reason: CloseReason, sessions: u64) {
        wait_until(&format!("{sessions} sessions ended: {reason}"), || {
            self.closed(reason) >= sessions
        });
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            let outcome = running.join();
            assert!(std::thread::panicking() || outcome.is_ok(), "{outcome:?}");
        }
    }
}

/// Connects, with timeouts so that a test fails instead of hanging.
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the balancer accepts");
    prepare(&stream);
    stream
}

/// Sets the timeouts that make a test fail instead of hang.
pub(crate) fn prepare(stream: &TcpStream) {
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream.set_nodelay(true).expect("an option can be set");
}

/// Makes the next close of a stream a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("an option can be set");
    drop(stream);
}

/// How a stream ended for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Fin,
    /// By a reset.
    Reset,
}

/// Reads to the end.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => (bytes, End::Fin),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => (bytes, End::Reset),
        Err(error) => panic!("after {} bytes: {error}", bytes.len()),
    }
}

/// Bytes that are different at each place and for each seed.
pub(crate) fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| rng.u8(..)).take(bytes).collect()
}

/// Writes in random pieces.
pub(crate) fn write_in_pieces(
    mut stream: &TcpStream,
    bytes: &[u8],
    rng: &mut fastrand::Rng,
) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let longest = 1 << rng.u32(0..=17);
        let (piece, after) = rest.split_at(rng.usize(1..=longest).min(rest.len()));
        stream.write_all(piece)?;
        rest = after;
    }
    Ok(())
}

/// Says that no more bytes will come.
pub(crate) fn finish(stream: &TcpStream) {
    stream
        .shutdown(Shutdown::Write)
        .expect("the connection stands");
}
