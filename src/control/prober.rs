//! The prober: asks endpoints whether they are well, on a thread of its own.
//!
//! On control's thread a request to the admin interface, or a long list of endpoints, would make
//! timeouts slip and endpoints seem dead, all at once. Here nothing but probes is done; how late
//! they start is measured, and what the thread noticed too late counts neither way.
//!
//! ```text
//!   control                                              prober
//!   Prober::watch -- targets, one slot, newest wins -->  schedule ---> probe, up to 256 at a time
//!                 -- a byte: look ------------------->       ^           |
//!   Receiver<ProbeReport> <-- reports, bounded ----------  health <------+
//!                         <-- Bell, if there is news
//! ```
//!
//! There is one probe per target in the whole process. Connections are made the way sessions' are
//! (source addresses, interface, mark, code point), except for fast open, and end by a reset.
//!
//! Memory: 250 bytes a target, 2 KiB a probe under way, up to 160 KiB while it reads an answer. A
//! report that waits takes about 100 bytes.
#![forbid(unsafe_code)]

mod answer;
mod connection;
mod http;
mod probe;
mod rounds;
mod schedule;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, unbounded};
use monoio::time::TimeDriver;
use monoio::{FusionDriver, FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

use crate::balance::endpoint::Address;
use crate::bounds::{PROBER_ENTRIES, PROBER_STOP_TIME};
use crate::health::HealthState;
use crate::id::EndpointId;
use crate::metrics::Counter;
use crate::metrics::histogram::Histogram;
use crate::plan::health::{HealthPlan, ProbePlace};
use crate::plan::options::ConnectOptions;
use crate::plan::proxy::ProxyVersion;
use crate::time::Instant;
use crate::update::Bell;
use connection::Connection;
use rounds::Rounds;

/// An endpoint that is to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which endpoint.
    pub id: EndpointId,
    /// Where its sessions go.
    pub address: Address,
    /// How it is probed.
    pub plan: Arc<HealthPlan>,
    /// Where it is probed, if not where its sessions go. A Unix endpoint is probed over TCP if
    /// there is an address and a port.
    pub place: ProbePlace,
    /// Options of the sockets that connect to it.
    pub connect: Arc<ConnectOptions>,
    /// The PROXY protocol header that it expects. In version 2 it says that the connection is our
    /// own, in version 1 that the prober is its client.
    pub send_proxy: Option<ProxyVersion>,
}

/// How a probe ended, with a few words for people, such as "connection refused", "status 503" or
/// "timed out after 1s waiting for the answer".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint is as it should be.
    Success(Cow<'static, str>),
    /// It is not.
    Failure(Cow<'static, str>),
    /// The prober noticed too late what happened, or this host had no descriptor, memory or port
    /// for the probe: it says nothing about the endpoint.
    Late(Cow<'static, str>),
}

impl Outcome {
    /// What was seen, in a few words.
    pub fn detail(&self) -> &str {
        match self {
            Self::Success(detail) | Self::Failure(detail) | Self::Late(detail) => detail,
        }
    }

    /// Whether the endpoint is as it should be.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success(_))
    }
}

/// What there is to be told of a probe that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Of which endpoint. It may be no target any more if it was taken out in the meantime.
    pub endpoint: EndpointId,
    /// How the probe ended.
    pub outcome: Outcome,
    /// What is concluded from it and those before.
    pub state: HealthState,
    /// Whether that is otherwise than it was.
    pub changed: bool,
    /// The failures in a row so far.
    pub failures: u32,
    /// How long the probe took.
    pub took: Duration,
    /// When it ended.
    pub ended: Instant,
    /// Whether it is the first that counts: before, nothing was known of the target.
    pub is_first: bool,
}

impl ProbeReport {
    /// Whether it says anything but that all is well as before.
    pub fn is_news(&self) -> bool {
        self.changed
            || self.is_first
            || !(self.outcome.is_success() && self.state == HealthState::Up)
    }
}

/// What the prober counts. It alone writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ProberCounters {
    /// Probes that were begun.
    pub probes: Counter,
    /// Probes that failed.
    pub failures: Counter,
    /// Probes that ended too late to count.
    pub late: Counter,
    /// How long after their time probes were begun.
    pub lateness: Histogram,
    /// Targets there are now.
    pub targets: Counter,
    /// Reports that were dropped because control did not keep up, or that a newer one replaced.
    pub dropped_reports: Counter,
}

/// The prober's thread, as control has it. It ends with this.
#[derive(Debug)]
pub struct Prober {
    target_sender: Sender<Vec<Target>>,
    /// The mailbox's other end: an unread set is taken back before a newer one goes in.
    unread_targets: Receiver<Vec<Target>>,
    /// A byte wakes the prober, the end stops it.
    word: UnixStream,
    counters: Arc<ProberCounters>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Prober {
    /// Starts the thread, without targets. `bell` is rung when there is news among the reports;
    /// reports that all is well as before are left for whoever looks.
    ///
    /// Errors: EMFILE, ENOMEM, EAGAIN: no thread, socket pair or runtime can be had.
    pub fn start(bell: Bell) -> io::Result<(Self, Receiver<ProbeReport>)> {
        let (word, heard) = UnixStream::pair()?;
        word.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let (target_sender, targets) = bounded(1);
        // The prober bounds it. A channel of that size would have 6 MiB from the start.
        let (reports, reported) = unbounded();
        let counters = Arc::new(ProberCounters::default());
        let rounds = Rounds {
            targets: targets.clone(),
            reports,
            bell,
            counters: Arc::clone(&counters),
        };
        let (start, started) = bounded(1);
        let (end, ended) = bounded(0);
        let thread = std::thread::Builder::new()
            .name("prober".to_string())
            .spawn(move || {
                run(rounds, heard, &start);
                drop(end);
            })?;
        let prober = Self {
            target_sender,
            unread_targets: targets,
            word,
            counters,
            ended,
            thread,
        };
        match started.recv() {
            Ok(Ok(())) => Ok((prober, reported)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::other("the prober's thread has ended")),
        }
    }

    /// Says who is to be probed from now on, in place of all before; there is one who says it.
    ///
    /// Targets that are as they were go on undisturbed. One whose plan, address or options are
    /// others now begins anew, with nothing known. The first probes of new ones are spread over
    /// a second, or over their interval if it is shorter. Those that are gone end at once.
    ///
    /// Cost: never waits.
    pub fn watch(&self, targets: Vec<Target>) {
        let mut targets = targets;
        while let Err(TrySendError::Full(unsent)) = self.target_sender.try_send(targets) {
            // Superseded unread, or read in the meantime; either way there is room now.
            let _superseded = self.unread_targets.try_recv();
            targets = unsent;
        }
        // Full: so many bytes wait that the prober looks anyway.
        let _looks_anyway = (&self.word).write(&[0]);
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<ProberCounters> {
        &self.counters
    }

    /// Ends the probes and the thread. One that does not end within a second is left behind.
    pub fn stop(self) {
        drop(self.word);
        if self.ended.recv_timeout(PROBER_STOP_TIME) == Err(RecvTimeoutError::Disconnected) {
            let _panicked = self.thread.join();
        }
    }
}

/// The thread.
fn run(rounds: Rounds, word: UnixStream, start: &Sender<io::Result<()>>) {
    let mut runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _nobody_waits = start.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let word = match Connection::of(word) {
            Ok(word) => word,
            Err(error) => {
                let _nobody_waits = start.send(Err(error));
                return;
            }
        };
        let _nobody_waits = start.send(Ok(()));
        rounds.run(word).await;
    });
}

/// On io_uring, and on epoll where that is forbidden or there is no memory for a ring.
fn runtime() -> io::Result<FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>> {
    RuntimeBuilder::<FusionDriver>::new()
        .with_entries(PROBER_ENTRIES)
        .enable_timer()
        .build()
        .or_else(|_| {
            RuntimeBuilder::<LegacyDriver>::new()
                .with_entries(PROBER_ENTRIES)
                .enable_timer()
                .build()
                .map(FusionRuntime::Legacy)
        })
}
