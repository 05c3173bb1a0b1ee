//! Workers' threads: on which CPUs, with how many sessions, and how one starts.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;

use crate::bounds::{
    ADMIN_CONNECTIONS_MAX, ADMIN_REFUSALS_MAX, ARENA_BUFFERS_MAX, ARENA_BUFFERS_MIN,
    DESCRIPTORS_KEPT, LOOKUPS_MAX, PIPES_PART, PROBES_MAX, SESSIONS_MAX, WORKERS_MAX,
};
use crate::control::publisher::Publisher;
use crate::error::Errno;
use crate::id::WorkerIndex;
use crate::limits::Limit;
use crate::metrics::WorkerCounters;
use crate::plan::place::Place;
use crate::plan::problems::Problem;
use crate::plan::{EndpointPlan, Plan, WaitMode};
use crate::process::listeners::Listening;
use crate::process::{ProcessError, system};
use crate::ring::features::{Features, Unavailable};
use crate::ring::uring::{Setup, Socket, Uring};
use crate::sys::{self, wake::Waker};
use crate::update::{self, Bell, Event, Inbox};
use crate::worker::report::Access;
use crate::worker::{Parts, Worker};

/// The workers' threads.
pub(super) struct Workforce {
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) counters: Vec<Arc<WorkerCounters>>,
    pub(super) publisher: Publisher,
}

impl Workforce {
    /// Starts a worker on each of these CPUs, with its sockets. They accept nothing until they are
    /// given a view.
    ///
    /// Errors: what the first of them failed of; then none is left.
    pub(super) fn start(
        cpus: &[usize],
        sockets: Vec<Vec<Listening>>,
        common: &Common,
        bell: &Bell,
    ) -> Result<Self, ProcessError> {
        let (event_sender, events) = update::events();
        let mut links = Vec::new();
        let mut starts = Vec::new();
        let mut counters = Vec::new();
        let (ready_sender, ready) = crossbeam_channel::bounded::<io::Result<()>>(cpus.len());
        for ((index, &cpu), sockets) in (0u16..).zip(cpus).zip(sockets) {
            let (waker, wake) = Waker::new().map_err(system("an eventfd"))?;
            let events = event_sender.clone();
            let (post, inbox) = update::channel(WorkerIndex(index), events, bell.clone());
            links.push((post, waker));
            let counted = Arc::new(WorkerCounters::default());
            counters.push(Arc::clone(&counted));
            starts.push(Start {
                cpu,
                workers: cpus.len(),
                common: common.clone(),
                wake,
                sockets,
                inbox,
                counters: counted,
                ready: ready_sender.clone(),
                events: event_sender.clone(),
                bell: bell.clone(),
            });
        }
        drop(ready_sender);
        let mut workforce = Self {
            threads: Vec::new(),
            counters,
            publisher: Publisher::new(links, events, sys::clock::now()),
        };
        let failure = workforce.spawn(starts, &event_sender);
        let failure = failure.or_else(|| {
            let failure = ready.into_iter().find_map(Result::err)?;
            Some(Unavailable::of(Errno::from_io(&failure)).into())
        });
        match failure {
            None => Ok(workforce),
            Some(failure) => {
                workforce.publisher.stop();
                for thread in workforce.threads {
                    let _panicked = thread.join();
                }
                Err(failure)
            }
        }
    }

    /// Starts the threads. One that cannot be started has stopped already.
    fn spawn(&mut self, starts: Vec<Start>, events: &Sender<Event>) -> Option<ProcessError> {
        let mut failure = None;
        for start in starts {
            let worker = start.inbox.worker();
            let spawned = std::thread::Builder::new()
                .name(format!("worker {}", worker.0))
                .spawn(move || start.run());
            match spawned {
                Ok(thread) => self.threads.push(thread),
                Err(source) => {
                    let errno = Some(Errno::from_io(&source));
                    let _told = events.send(Event::Stopped {
                        worker,
                        failure: errno,
                    });
                    failure = Some(system("a thread for each worker")(source));
                }
            }
        }
        failure
    }
}

/// What all workers have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) features: Features,
    pub(super) session_limit: Arc<Limit>,
    pub(super) buffers: usize,
    pub(super) pipes: usize,
    pub(super) wait: WaitMode,
    /// How many clients may wait in the backlogs of all listeners.
    pub(super) waiting_max: usize,
    pub(super) access: Option<Access>,
    pub(super) process_id: u64,
}

/// What a worker's thread starts with.
struct Start {
    cpu: usize,
    workers: usize,
    common: Common,
    wake: OwnedFd,
    sockets: Vec<Listening>,
    inbox: Inbox,
    counters: Arc<WorkerCounters>,
    ready: Sender<io::Result<()>>,
    events: Sender<Event>,
    bell: Bell,
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
        let setup = Setup {
            buffers: self.common.buffers,
            slots: 2 * self.common.session_limit.max(),
            pipes: self.common.pipes,
            wait: self.common.wait,
        };
        let driver = match Uring::new(&self.common.features, &setup, self.wake) {
            Ok(driver) => driver,
            Err(error) => {
                let _nobody_waits = self.ready.send(Err(error));
                let _ended = self.events.send(Event::Stopped {
                    worker,
                    failure: None,
                });
                self.bell.ring();
                return;
            }
        };
        let _nobody_waits = self.ready.send(Ok(()));
        drop(self.ready);
        let outcome = {
            let mut worker = Worker::new(Parts {
                driver,
                listeners: self.sockets.into_iter().map(listening).collect(),
                inbox: self.inbox,
                workers: self.workers,
                session_limit: self.common.session_limit,
                waiting_max: self.common.waiting_max,
                counters: self.counters,
                access: self.common.access,
                process_id: self.common.process_id,
                seed: fastrand::u64(..),
            });
            worker.run()
        };
        let failure: Option<Errno> = outcome.err();
        let _control_is_gone = self.events.send(Event::Stopped { worker, failure });
        self.bell.ring();
    }
}

fn listening(socket: Listening) -> (usize, Socket) {
    (socket.listener, Socket::new(socket.fd, socket.transport))
}

/// The CPU of each worker.
pub(super) fn cpus(plan: &Plan) -> Result<Vec<usize>, ProcessError> {
    let allowed = sys::affinity::allowed_cpus();
    let cpus = match &plan.workers.cpus {
        Some(list) => {
            if let Some(cpu) = list.0.iter().find(|cpu| !allowed.contains(cpu)) {
                let path = "workers.cpus".to_string();
                let message =
                    format!("CPU {cpu} may not be used by this process; it has {allowed:?}");
                return Err(ProcessError::Plan(vec![Problem::new(path, message)]));
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
pub(super) struct Allowance {
    /// Sessions at a time, at two descriptors each.
    pub(super) sessions: usize,
    /// Pipes of each worker, at two descriptors each.
    pub(super) pipes: usize,
}

/// Shares out the descriptors: what the process itself needs first, then pipes, then sessions.
pub(super) fn allowance(descriptors: u64, workers: usize, plan: &Plan) -> Allowance {
    let binds: usize = plan
        .listeners
        .iter()
        .map(|listener| listener.binds.len())
        .sum();
    let pipes = plan.workers.pipes;
    let own = DESCRIPTORS_KEPT + (workers * (binds + 5) + of_control(plan)) as u64;
    let spare = usize::try_from(descriptors.saturating_sub(own)).unwrap_or(usize::MAX);
    let pipes = pipes.min(spare / PIPES_PART / 2 / workers);
    let sessions = (spare - 2 * pipes * workers) / 2;
    Allowance {
        sessions: sessions.clamp(1, SESSIONS_MAX),
        pipes,
    }
}

/// The descriptors that control and the prober need at most.
fn of_control(plan: &Plan) -> usize {
    let mut count = 0;
    if plan.admin.is_some() {
        count += ADMIN_CONNECTIONS_MAX + ADMIN_REFUSALS_MAX;
    }
    let is_name =
        |endpoint: &&EndpointPlan| matches!(endpoint.place, Place::Host(..) | Place::Service(_));
    for cluster in &plan.clusters {
        let names = cluster.endpoints.iter().filter(is_name).count();
        count += 2 * names.min(LOOKUPS_MAX);
        if cluster.health.is_some() {
            count += cluster.endpoints.len();
        }
    }
    count.min(ADMIN_CONNECTIONS_MAX + ADMIN_REFUSALS_MAX + 2 * LOOKUPS_MAX + PROBES_MAX)
}

/// How many buffers a worker's arena has: address space for two a session.
pub(super) fn arena_buffers(sessions: usize) -> usize {
    (2 * sessions)
        .next_power_of_two()
        .clamp(ARENA_BUFFERS_MIN, ARENA_BUFFERS_MAX)
}
