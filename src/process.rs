//! The process: carries a plan out. Binds, starts pinned workers, stops them.
//!
//! Order matters at the start: the descriptor limit is raised before anything accepts, every
//! listener listens before any worker serves, and the workers get the first configuration the way
//! they will get every later one, as a view in the mailbox.
#![forbid(unsafe_code)]

mod listeners;
mod resolve;
mod serve;

pub use serve::{serve, stop_signals};

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::balance::Candidates;
use crate::balance::endpoint::Endpoint;
use crate::bounds::{
    ARENA_BUFFERS_MAX, ARENA_BUFFERS_MIN, BACKLOG_MAX, BACKLOG_MIN, DESCRIPTORS_KEPT,
    ENDPOINTS_MAX, PARKED_PART, SESSIONS_MAX, WORKERS_MAX,
};
use crate::control::Control;
use crate::error::Errno;
use crate::id::{ClusterId, ListenerId, WorkerIndex};
use crate::limits::Limit;
use crate::metrics::WorkerCounters;
use crate::plan::Plan;
use crate::ring::features::{Features, Unavailable};
use crate::ring::uring::{Socket, Uring};
use crate::sys::{self, wake::Waker};
use crate::update::{self, Command, Event, Inbox};
use crate::view::{ClusterView, ListenerView, View};
use crate::worker::{Parts, Worker};

/// Why nothing was started, or why what was started has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The plan is impossible.
    #[error("{}", .0.join("\n"))]
    Plan(Vec<String>),
    /// io_uring is forbidden or missing.
    #[error("{0}")]
    NoRing(#[from] Unavailable),
    /// An address cannot be bound.
    #[error("cannot listen on {addr}: {reason}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the kernel said, in terms of the port.
        reason: String,
    },
    /// The machine refused something that every start needs.
    #[error("cannot start: {what}: {source}")]
    System {
        /// What was refused.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A worker's ring stopped working while it served.
    #[error("the ring of worker {} has failed: {errno}", worker.0)]
    WorkerFailed {
        /// The worker.
        worker: WorkerIndex,
        /// What the kernel said.
        errno: Errno,
    },
}

impl ProcessError {
    /// An address cannot be bound, for this reason.
    pub fn bind(addr: SocketAddr, error: &io::Error) -> Self {
        let port = addr.port();
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "port {port} is in use by another program or instance; stop it or choose another \
                 port"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "port {port} is reserved; run as root, grant CAP_NET_BIND_SERVICE or choose a port \
                 from 1024 up"
            ),
            io::ErrorKind::AddrNotAvailable => format!("this host has no address {}", addr.ip()),
            _ => error.to_string(),
        };
        Self::Bind { addr, reason }
    }

    /// The exit code for it.
    ///
    /// Source: sysexits(3): EX_CONFIG for what somebody has to configure differently.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Plan(_) | Self::NoRing(_) => 78,
            Self::Bind { .. } | Self::System { .. } | Self::WorkerFailed { .. } => 1,
        }
    }
}

/// A running balancer.
#[derive(Debug)]
pub struct Running {
    control: Control,
    threads: Vec<JoinHandle<()>>,
    listen: Vec<SocketAddr>,
    endpoints: Vec<Arc<Endpoint>>,
    counters: Vec<Arc<WorkerCounters>>,
    session_limit: Arc<Limit>,
    /// The first worker that failed, and of what.
    failed: Option<(WorkerIndex, Errno)>,
}

impl Running {
    /// Starts what a plan says, with what the kernel offers. Returns when every worker accepts.
    ///
    /// Errors: see [`ProcessError`]; nothing is left running.
    pub fn start(plan: &Plan) -> Result<Self, ProcessError> {
        Self::start_with(plan, &Features::probe()?)
    }

    /// As [`start`](Self::start), with these features of the kernel.
    ///
    /// Errors: see [`ProcessError`].
    pub fn start_with(plan: &Plan, features: &Features) -> Result<Self, ProcessError> {
        let problems = plan.problems();
        if !problems.is_empty() {
            return Err(ProcessError::Plan(problems));
        }
        let cpus = worker_cpus(plan)?;
        let descriptors =
            sys::descriptors::raise_limit().map_err(|source| ProcessError::System {
                what: "the limit of descriptors",
                source,
            })?;
        let Allowance {
            sessions: sessions_max,
            backlog,
        } = allowance(descriptors, cpus.len(), plan.listen.len());
        let sessions = plan
            .max_sessions
            .map_or(sessions_max, |max| max.min(sessions_max));
        tracing::info!(
            sessions,
            descriptors,
            "sessions that are possible at a time"
        );
        if plan.max_sessions.is_some_and(|max| max > sessions_max) {
            tracing::warn!(
                "--max-sessions is cut to {sessions_max}: the descriptor limit allows no more"
            );
        }
        let session_limit = Arc::new(Limit::new(sessions));
        let members = resolve::members(&plan.targets, cpus.len());
        if members.len() > ENDPOINTS_MAX {
            return Err(ProcessError::Plan(vec![format!(
                "--to: the names stand for {} endpoints; at most {ENDPOINTS_MAX} are possible",
                members.len()
            )]));
        }
        let endpoints = members
            .iter()
            .map(|member| Arc::clone(&member.endpoint))
            .collect();
        let sockets = listeners::bind(&plan.listen, cpus.len(), backlog)?;
        let mut running = Self {
            control: Control::new(Vec::new(), update::events().1),
            threads: Vec::new(),
            listen: sockets.addrs,
            endpoints,
            counters: Vec::new(),
            session_limit,
            failed: None,
        };
        if let Err(error) = running.spawn_workers(&cpus, sockets.by_worker, features) {
            running.stop();
            // The start's failure says more than what ending it may bring up.
            let _outcome = running.join();
            return Err(error);
        }
        let cluster = ClusterView {
            id: ClusterId(1),
            name: "default".to_string(),
            policy: plan.policy,
            candidates: Candidates::new(members),
            settings: plan.settings,
        };
        running.publish_first(cluster);
        Ok(running)
    }

    /// The addresses that clients can connect to, in the order of the plan, with their real ports.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The endpoints, those included that are down.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// What each worker counts.
    pub fn counters(&self) -> &[Arc<WorkerCounters>] {
        &self.counters
    }

    /// The sessions that live now, and how many may.
    pub fn session_limit(&self) -> &Limit {
        &self.session_limit
    }

    /// Tells the workers to accept nothing more and to let sessions end until `timeout` is over.
    pub fn drain(&self, timeout: Duration) {
        let deadline = sys::clock::now() + timeout;
        self.order(|| Command::Drain { deadline });
    }

    /// Tells the workers to reset every session now.
    pub fn stop(&self) {
        self.order(|| Command::Stop);
    }

    /// Waits until every worker has ended, after [`drain`](Self::drain) or [`stop`](Self::stop).
    ///
    /// Errors: [`ProcessError::WorkerFailed`] if one ended because it could not go on.
    pub fn join(mut self) -> Result<(), ProcessError> {
        while !self.control.all_stopped() {
            match self.control.events().recv() {
                Ok(event) => self.handle_event(event),
                Err(_) => break,
            }
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker has panicked");
            }
        }
        match self.failed {
            None => Ok(()),
            Some((worker, errno)) => Err(ProcessError::WorkerFailed { worker, errno }),
        }
    }

    fn handle_event(&mut self, event: Event) {
        if let Some((worker, errno)) = self.control.handle_event(event) {
            tracing::error!(worker = worker.0, %errno, "a worker's ring has failed; stopping");
            self.failed.get_or_insert((worker, errno));
            self.stop();
        }
    }

    fn order(&self, command: impl Fn() -> Command) {
        for worker in self.control.command(command) {
            tracing::error!(worker = worker.0, "the worker does not take commands");
        }
    }

    fn spawn_workers(
        &mut self,
        cpus: &[usize],
        sockets: Vec<Vec<OwnedFd>>,
        features: &Features,
    ) -> Result<(), ProcessError> {
        let system = |what| move |source| ProcessError::System { what, source };
        let (event_sender, events) = update::events();
        let buffers = arena_buffers(self.session_limit.max());
        let mut links = Vec::new();
        let mut starts = Vec::new();
        let (ready_sender, ready) = crossbeam_channel::bounded::<io::Result<()>>(cpus.len());
        for ((index, &cpu), sockets) in (0u16..).zip(cpus).zip(sockets) {
            let (waker, wake) = Waker::new().map_err(system("an eventfd"))?;
            let (post, inbox) = update::channel(WorkerIndex(index), event_sender.clone());
            links.push((post, waker));
            let counters = Arc::new(WorkerCounters::default());
            self.counters.push(Arc::clone(&counters));
            starts.push(Start {
                cpu,
                workers: cpus.len(),
                features: *features,
                buffers,
                wake,
                sockets,
                inbox,
                counters,
                session_limit: Arc::clone(&self.session_limit),
                ready: ready_sender.clone(),
                events: event_sender.clone(),
            });
        }
        self.control = Control::new(links, events);
        for start in starts {
            let worker = start.inbox.worker();
            let spawned = std::thread::Builder::new()
                .name(format!("worker {}", worker.0))
                .spawn(move || start.run());
            match spawned {
                Ok(thread) => self.threads.push(thread),
                Err(source) => {
                    let failure = Some(Errno::from_io(&source));
                    self.control
                        .handle_event(Event::Stopped { worker, failure });
                }
            }
        }
        drop(ready_sender);
        if self.threads.len() < cpus.len() {
            let source = io::Error::from(io::ErrorKind::WouldBlock);
            return Err(system("a thread for each worker")(source));
        }
        let failure = ready.into_iter().find_map(Result::err);
        if let Some(source) = failure {
            return Err(Unavailable::of(Errno::from_io(&source)).into());
        }
        Ok(())
    }

    fn publish_first(&mut self, cluster: ClusterView) {
        if cluster.candidates.eligible_count() == 0 {
            tracing::warn!("no endpoint can be picked: every client will be reset");
        }
        let listeners = (1u32..)
            .zip(&self.listen)
            .map(|(id, addr)| ListenerView {
                id: ListenerId(id),
                name: addr.to_string(),
                cluster: 0,
            })
            .collect();
        let epoch = self.control.next_epoch();
        self.control.publish(View {
            epoch,
            listeners,
            clusters: vec![Arc::new(cluster)],
        });
        for worker in self.control.await_acknowledged(ACKNOWLEDGE_TIMEOUT) {
            tracing::warn!(worker = worker.0, "the worker has not begun to accept yet");
        }
    }
}

/// How long a start waits for the workers to take the first view.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a worker's thread starts with.
struct Start {
    cpu: usize,
    workers: usize,
    features: Features,
    buffers: usize,
    wake: OwnedFd,
    sockets: Vec<OwnedFd>,
    inbox: Inbox,
    counters: Arc<WorkerCounters>,
    session_limit: Arc<Limit>,
    ready: crossbeam_channel::Sender<io::Result<()>>,
    events: crossbeam_channel::Sender<Event>,
}

impl Start {
    /// Pins the thread, makes the ring on it (a ring belongs to the thread that made it) and works
    /// until told to stop.
    fn run(self) {
        let worker = self.inbox.worker();
        if !sys::affinity::pin_to(self.cpu) {
            tracing::warn!(
                worker = worker.0,
                cpu = self.cpu,
                "the worker could not be pinned"
            );
        }
        let driver = match Uring::new(&self.features, self.buffers, self.wake) {
            Ok(driver) => driver,
            Err(error) => {
                let _nobody_waits = self.ready.send(Err(error));
                let _ended = self.events.send(Event::Stopped {
                    worker,
                    failure: None,
                });
                return;
            }
        };
        let _nobody_waits = self.ready.send(Ok(()));
        drop(self.ready);
        let outcome = {
            let mut worker = Worker::new(Parts {
                driver,
                listeners: self.sockets.into_iter().map(Socket::tcp).collect(),
                inbox: self.inbox,
                workers: self.workers,
                session_limit: self.session_limit,
                counters: self.counters,
                seed: fastrand::u64(..),
            });
            worker.run()
        };
        let failure: Option<Errno> = outcome.err();
        let _control_is_gone = self.events.send(Event::Stopped { worker, failure });
    }
}

/// The CPU of each worker.
fn worker_cpus(plan: &Plan) -> Result<Vec<usize>, ProcessError> {
    let allowed = sys::affinity::allowed_cpus();
    let cpus = match &plan.workers.cpus {
        Some(list) => {
            if let Some(cpu) = list.0.iter().find(|cpu| !allowed.contains(cpu)) {
                return Err(ProcessError::Plan(vec![format!(
                    "--cpus: CPU {cpu} may not be used by this process; it has {allowed:?}"
                )]));
            }
            list.0.clone()
        }
        None if allowed.is_empty() => vec![0],
        None => allowed,
    };
    let auto = sys::affinity::usable_cpus()
        .min(cpus.len())
        .min(WORKERS_MAX);
    let count = plan.workers.count.unwrap_or(auto);
    if count > cpus.len() {
        tracing::warn!(
            workers = count,
            cpus = cpus.len(),
            "several workers share a CPU"
        );
    }
    Ok((0..count).map(|index| cpus[index % cpus.len()]).collect())
}

/// What the descriptors allow.
struct Allowance {
    /// Sessions at a time, at two descriptors each.
    sessions: usize,
    /// Connections that may wait at each worker's listeners. All of them may be accepted, and hold
    /// a descriptor each, before accepting stops at the session limit.
    backlog: usize,
}

fn allowance(descriptors: u64, workers: usize, listeners: usize) -> Allowance {
    let sockets = workers * listeners;
    let own = DESCRIPTORS_KEPT + (sockets + 4 * workers) as u64;
    let spare = usize::try_from(descriptors.saturating_sub(own)).unwrap_or(usize::MAX);
    let backlog = (spare / PARKED_PART / sockets.max(1)).clamp(BACKLOG_MIN, BACKLOG_MAX as usize);
    let sessions = spare.saturating_sub(backlog * sockets) / 2;
    Allowance {
        sessions: sessions.clamp(1, SESSIONS_MAX),
        backlog,
    }
}

/// How many buffers a worker's arena has: address space for two a session.
fn arena_buffers(sessions: usize) -> usize {
    (2 * sessions)
        .next_power_of_two()
        .clamp(ARENA_BUFFERS_MIN, ARENA_BUFFERS_MAX)
}
