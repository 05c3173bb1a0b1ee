//! The process: carries a plan out. Binds, starts pinned workers, stops them.
//!
//! Order matters at the start: the descriptor limit is raised before anything accepts, every
//! listener listens before any worker serves, and the workers get the first configuration the way
//! they will get every later one, as a view in the mailbox.
#![forbid(unsafe_code)]

pub mod access;
pub mod datagrams;
pub mod secret;

mod admin;
mod instance;
mod listeners;
mod privileges;
mod serve;
mod workers;

pub use serve::{serve, stop_signals};

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::balance::endpoint::Endpoint;
use crate::control::{self, Control, News, Order, Surroundings};
use crate::error::Errno;
use crate::id::WorkerIndex;
use crate::limits::Limit;
use crate::metrics::WorkerCounters;
use crate::plan::Plan;
use crate::plan::log::{AccessSink, LogPlan};
use crate::plan::place::Bind;
use crate::plan::problems::Problem;
use crate::ring::features::{Features, Unavailable};
use crate::sys;
use crate::worker::report::Access;
use access::AccessLog;
use instance::PidFile;
use listeners::SocketFile;
use workers::{Allowance, Common, Workforce};

/// Why nothing was started, or why what was started has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The plan is impossible.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Plan(Vec<Problem>),
    /// io_uring is forbidden or missing.
    #[error("{0}")]
    NoRing(#[from] Unavailable),
    /// An address cannot be bound.
    #[error("cannot listen on {bind}: {reason}")]
    Bind {
        /// The place.
        bind: Bind,
        /// What the kernel said, in terms of the port.
        reason: String,
    },
    /// The PID file cannot be had.
    #[error("the PID file {}: {reason}", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// Why.
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
    /// A place cannot be bound, for this reason.
    pub fn bind(bind: &Bind, error: &io::Error) -> Self {
        Self::Bind {
            bind: bind.clone(),
            reason: reason_of_bind(bind, error),
        }
    }

    /// The exit code for it.
    ///
    /// Source: sysexits(3): EX_CONFIG for what somebody has to configure differently.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Plan(_) | Self::NoRing(_) => 78,
            Self::Bind { .. }
            | Self::PidFile { .. }
            | Self::System { .. }
            | Self::WorkerFailed { .. } => 1,
        }
    }
}

/// How many sessions the plan and this process's descriptors allow.
fn allow(plan: &Plan, workers: usize) -> Result<Allowance, ProcessError> {
    let descriptors = sys::descriptors::raise_limit().map_err(|source| ProcessError::System {
        what: "the limit of descriptors",
        source,
    })?;
    let mut allowance = workers::allowance(descriptors, workers, plan);
    let sessions_max = allowance.sessions;
    if let Some(max) = plan.max_sessions {
        allowance.sessions = max.min(sessions_max);
        if max > sessions_max {
            tracing::warn!(
                "max_sessions is cut to {sessions_max}: the descriptor limit allows no more"
            );
        }
    }
    if sessions_max < SESSIONS_FEW {
        tracing::warn!(
            descriptors,
            "the descriptor limit allows few sessions: raise it (ulimit -n, LimitNOFILE)"
        );
    }
    tracing::info!(
        sessions = allowance.sessions,
        descriptors,
        "sessions that are possible at a time"
    );
    Ok(allowance)
}

/// Fewer sessions than this are hardly meant.
const SESSIONS_FEW: usize = 256;

/// The access log's file, if it is one.
fn access_file(plan: &LogPlan) -> Option<&Path> {
    match &plan.access.as_ref()?.to {
        AccessSink::File(path) => Some(path),
        AccessSink::Stdout | AccessSink::Unixgram(_) => None,
    }
}

/// Opens the log of sessions, if there is one.
fn open_access(plan: &LogPlan) -> Result<(Option<AccessLog>, Option<Access>), ProcessError> {
    let Some(plan) = &plan.access else {
        return Ok((None, None));
    };
    let (log, sender) = AccessLog::start(plan).map_err(|source| ProcessError::System {
        what: "the access log",
        source,
    })?;
    let interval = plan.interval;
    Ok((Some(log), Some(Access { sender, interval })))
}

fn reason_of_bind(bind: &Bind, error: &io::Error) -> String {
    match (bind, error.kind()) {
        (Bind::Tcp(addr), io::ErrorKind::AddrInUse) => format!(
            "port {} is in use by another program or instance; stop it or choose another port",
            addr.port()
        ),
        (Bind::Tcp(addr), io::ErrorKind::PermissionDenied) => format!(
            "port {} is reserved; run as root, grant CAP_NET_BIND_SERVICE or choose a port from \
             1024 up",
            addr.port()
        ),
        (Bind::Tcp(addr), io::ErrorKind::AddrNotAvailable) => {
            format!("this host has no address {}", addr.ip())
        }
        (Bind::Unix(_), io::ErrorKind::AddrInUse) => {
            "another program or instance listens there, or the file is no socket".to_string()
        }
        _ => error.to_string(),
    }
}

/// A running balancer.
#[derive(Debug)]
pub struct Running {
    control: Control,
    workers: Vec<JoinHandle<()>>,
    binds: Vec<Bind>,
    admin_bind: Option<Bind>,
    endpoints: Vec<Arc<Endpoint>>,
    counters: Vec<Arc<WorkerCounters>>,
    session_limit: Arc<Limit>,
    /// The first worker that failed, and of what.
    failed: Option<(WorkerIndex, Errno)>,
    is_over: bool,
    access_log: Option<AccessLog>,
    socket_files: Vec<SocketFile>,
    /// Given up last.
    _pid_file: Option<PidFile>,
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
        Self::start_on(plan, features, Arc::default())
    }

    /// As [`start_with`](Self::start_with), with the count of log lines that were lost, which is
    /// told as a metric.
    ///
    /// Errors: see [`ProcessError`].
    pub fn start_on(
        plan: &Plan,
        features: &Features,
        log_lines_dropped: Arc<AtomicU64>,
    ) -> Result<Self, ProcessError> {
        let problems = plan.problems();
        if !problems.is_empty() {
            return Err(ProcessError::Plan(problems));
        }
        let cpus = workers::cpus(plan)?;
        let Allowance { sessions, pipes } = allow(plan, cpus.len())?;
        let pid_file = plan.process.pid_file.as_deref().map(PidFile::take);
        let pid_file = pid_file.transpose()?;
        let (access_log, access) = open_access(&plan.log)?;
        let (sockets, admin) = {
            let _no_other_binds = instance::lock_binding()?;
            let mut sockets = listeners::bind(plan, cpus.len())?;
            let admin = admin::open(plan.admin.as_ref(), &mut sockets.files)?;
            (sockets, admin)
        };
        let (admin_bind, admin) = admin.unzip();
        privileges::drop_to(&plan.process, access_file(&plan.log))?;
        try_connecting(plan)?;
        let session_limit = Arc::new(Limit::new(sessions));
        let dropped = access.as_ref().map(|access| access.sender.drops());
        let access_records_dropped = dropped.unwrap_or_default();
        let common = Common {
            features: *features,
            session_limit: Arc::clone(&session_limit),
            buffers: workers::arena_buffers(sessions),
            pipes,
            wait: plan.workers.wait,
            waiting_max: sockets.waiting_max,
            access,
            process_id: fastrand::u64(..),
        };
        let (bell, rung) = control::bell().map_err(system("what wakes control"))?;
        let workforce = Workforce::start(&cpus, sockets.by_worker, &common, &bell)?;
        let control = Control::start(control::Setup {
            plan: plan.clone(),
            publisher: workforce.publisher,
            bell,
            rung,
            counters: workforce.counters.clone(),
            session_limit: Arc::clone(&session_limit),
            admin,
            surroundings: Surroundings {
                binds: by_listener(plan, &sockets.binds),
                features: features.report().join("; "),
                log_lines_dropped,
                access_records_dropped,
            },
        });
        let mut running = Self {
            control: control.map_err(system("control"))?,
            workers: workforce.threads,
            binds: sockets.binds,
            admin_bind,
            endpoints: Vec::new(),
            counters: workforce.counters,
            session_limit,
            failed: None,
            is_over: false,
            access_log,
            socket_files: sockets.files,
            _pid_file: pid_file,
        };
        running.await_serving();
        Ok(running)
    }

    /// The places that clients can connect to, in the order of the plan, with their real ports.
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// Where the admin interface listens, with its real port.
    pub fn admin_bind(&self) -> Option<&Bind> {
        self.admin_bind.as_ref()
    }

    /// The endpoints that there were at the start, those included that are down.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// What each worker counts.
    pub fn counters(&self) -> &[Arc<WorkerCounters>] {
        &self.counters
    }

    /// The records so far that are not in the access log; 0 if there is none.
    pub fn access_records_dropped(&self) -> u64 {
        self.access_log.as_ref().map_or(0, AccessLog::dropped)
    }

    /// The sessions that live now, and how many may.
    pub fn session_limit(&self) -> &Limit {
        &self.session_limit
    }

    /// Tells the workers to accept nothing more and to let sessions end until `timeout` is over.
    pub fn drain(&self, timeout: Duration) {
        let deadline = sys::clock::now() + timeout;
        self.remove_socket_files();
        self.control.order(Order::Drain { deadline });
    }

    /// Tells the workers to reset every session now.
    pub fn stop(&self) {
        self.remove_socket_files();
        self.control.order(Order::Stop);
    }

    /// Waits until every worker has ended, after [`drain`](Self::drain) or [`stop`](Self::stop).
    ///
    /// Errors: [`ProcessError::WorkerFailed`] if one ended because it could not go on.
    pub fn join(mut self) -> Result<(), ProcessError> {
        while !self.is_over {
            match self.control.news().recv() {
                Ok(news) => self.handle_news(news),
                Err(_) => break,
            }
        }
        for thread in self.workers.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker has panicked");
            }
        }
        self.control.join();
        match self.failed {
            None => Ok(()),
            Some((worker, errno)) => Err(ProcessError::WorkerFailed { worker, errno }),
        }
    }

    /// Opens the access log's file by its name again.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// Waits for control to say that it serves; it says so sooner or later, or ends.
    fn await_serving(&mut self) {
        while self.endpoints.is_empty() && !self.is_over {
            match self.control.news().recv() {
                Ok(News::Serving { endpoints }) => {
                    self.endpoints = endpoints;
                    return;
                }
                Ok(news) => self.handle_news(news),
                Err(_) => return,
            }
        }
    }

    fn handle_news(&mut self, news: News) {
        match news {
            News::Serving { endpoints } => self.endpoints = endpoints,
            News::WorkerFailed { worker, errno } => {
                self.failed.get_or_insert((worker, errno));
                self.remove_socket_files();
            }
            News::Ended => self.is_over = true,
        }
    }

    fn remove_socket_files(&self) {
        self.socket_files.iter().for_each(SocketFile::remove);
    }
}

/// The places of each listener of a plan, of all places in its order.
fn by_listener(plan: &Plan, binds: &[Bind]) -> Vec<Vec<Bind>> {
    let mut rest = binds.iter().cloned();
    let listeners = plan.listeners.iter();
    listeners
        .map(|listener| rest.by_ref().take(listener.binds.len()).collect())
        .collect()
}

/// Whether sockets to endpoints can have the options that they are to have.
fn try_connecting(plan: &Plan) -> Result<(), ProcessError> {
    for (position, cluster) in plan.clusters.iter().enumerate() {
        sys::options::try_connecting(&cluster.options).map_err(|refused| {
            let path = format!("clusters[{position}].{}", refused.option);
            let message = refused.to_string();
            ProcessError::Plan(vec![Problem::new(path, message)])
        })?;
    }
    Ok(())
}

/// The machine refused this.
fn system(what: &'static str) -> impl Fn(io::Error) -> ProcessError {
    move |source| ProcessError::System { what, source }
}
