//! The desk: the one task that knows how things are and decides what follows.
//!
//! Each turn takes in all that has come, settles the roster, and tells whoever has to know: the log,
//! the workers, the prober, clients of the admin interface. The first change goes out at once,
//! further ones within 20 ms together.
#![forbid(unsafe_code)]

mod answers;
mod scrape;

use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender};
use futures_channel::mpsc;
use futures_util::future::{Either, LocalBoxFuture, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use monoio::io::AsyncReadRent;

use crate::bounds::{
    ACKNOWLEDGE_WAIT, LOOKUP_PATIENCE, PUBLISH_INTERVAL, REQUESTS_MAX, STALL_TIME, TICK_OF_CONTROL,
};
use crate::control::admin::{self, Admin, AdminListener};
use crate::control::discovery::{self, Resolution, Resolver};
use crate::control::prober::{ProbeReport, Prober};
use crate::control::publisher::{Publisher, Report, Stall};
use crate::control::request::Request;
use crate::control::roster::{NameKey, Note, Roster, Severity};
use crate::control::watch::{Found, Progress};
use crate::control::{AdminSetup, News, Order, Setup, Surroundings};
use crate::limits::Limit;
use crate::metrics::WorkerCounters;
use crate::plan::Plan;
use crate::sys::clock;
use crate::time::Instant;
use crate::update::{Bell, Command};
use answers::Waiter;

/// The task.
pub(super) struct Desk {
    roster: Roster,
    publisher: Publisher,
    counters: Vec<Arc<WorkerCounters>>,
    session_limit: Arc<Limit>,
    surroundings: Surroundings,
    /// When the process began, in seconds since 1970.
    start_time: u64,
    bell: Bell,
    rung: mpsc::Receiver<()>,
    orders: Receiver<Order>,
    news: Sender<News>,
    requests: mpsc::Receiver<Request>,
    /// Keeps the channels open where nobody else would send: an ended one is always ready.
    _senders: (mpsc::Sender<Request>, mpsc::Sender<Resolution>),
    /// Who probes endpoints, if any are to be.
    prober: Option<(Prober, Receiver<ProbeReport>)>,
    /// Whether it probes.
    probing: Progress,
    /// To be shut down in the end.
    admin_listener: Option<AdminListener>,
    /// What has become of look-ups.
    resolutions: mpsc::Receiver<Resolution>,
    /// The names that are looked up, by the number of the look-up.
    names: Vec<NameKey>,
    /// What goes on beside it: hearing the bell, looking names up, the admin interface.
    background: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// Clients who wait for workers to take a change.
    waiters: Vec<Waiter>,
    stage: Stage,
    /// When views may be published again.
    publish_at: Instant,
    tick_at: Instant,
    started: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Names are looked up; workers have no view yet.
    Starting,
    /// Workers have been given their first view.
    Introducing,
    Serving,
    Draining,
}

impl Desk {
    /// Sets it up, on the runtime's thread.
    ///
    /// Errors: the kernel's.
    pub(super) fn new(
        setup: Setup,
        orders: Receiver<Order>,
        news: Sender<News>,
    ) -> io::Result<Self> {
        let now = clock::now();
        let (request_sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (resolution_sender, resolutions) = mpsc::channel(1);
        let roster = Roster::new(&setup.plan, setup.counters.len());
        let background = FuturesUnordered::new();
        let names = look_up(&roster, &setup.plan, &resolution_sender, &background);
        let mut admin_listener = None;
        if let Some(AdminSetup {
            listener,
            plan,
            token,
        }) = setup.admin
        {
            admin_listener = Some(listener.try_clone()?);
            let admin = Rc::new(Admin::new(plan, token));
            let serving = admin::serve(listener, admin, request_sender.clone());
            background.push(serving.boxed_local());
        }
        let is_probed = setup.plan.clusters.iter().any(|plan| plan.health.is_some());
        let prober = is_probed
            .then(|| Prober::start(setup.bell.clone()))
            .transpose()?;
        Ok(Self {
            roster,
            names,
            resolutions,
            publisher: setup.publisher,
            counters: setup.counters,
            session_limit: setup.session_limit,
            surroundings: setup.surroundings,
            start_time: since_1970(),
            bell: setup.bell,
            rung: hear(setup.rung, &background)?,
            background,
            orders,
            news,
            requests,
            _senders: (request_sender, resolution_sender),
            prober,
            probing: Progress::new(now),
            admin_listener,
            waiters: Vec::new(),
            stage: Stage::Starting,
            publish_at: now,
            tick_at: now,
            started: now,
        })
    }

    /// Works until every worker has ended. All that it has begun ends with it: whatever a runtime
    /// is left with keeps its ring.
    pub(super) async fn run(mut self) {
        let background = std::mem::take(&mut self.background);
        let work = pin!(self.work());
        let background = pin!(background.collect::<()>());
        if let Either::Right(((), work)) = select(work, background).await {
            work.await;
        }
    }

    async fn work(mut self) {
        loop {
            self.turn();
            if self.publisher.all_stopped() {
                if let Some(listener) = &self.admin_listener {
                    listener.shut_down();
                }
                if let Some((prober, _)) = self.prober {
                    prober.stop();
                }
                let _process_is_gone = self.news.send(News::Ended);
                return;
            }
            self.wait().await;
        }
    }

    /// Waits until there is something to do, and takes one thing of what has to be taken here.
    async fn wait(&mut self) {
        let time = self.next_deadline() - clock::now();
        monoio::select! {
            _ = self.rung.next() => {}
            request = self.requests.next() => {
                if let Some(request) = request {
                    self.handle_request(request);
                }
            }
            resolution = self.resolutions.next() => {
                if let Some(resolution) = resolution {
                    self.handle_resolution(resolution);
                }
            }
            () = monoio::time::sleep(time.min(TICK_OF_CONTROL)) => {}
        }
    }

    fn next_deadline(&self) -> Instant {
        let publish_at = match self.roster.is_unpublished() {
            true => self.publish_at,
            false => Instant::NEVER,
        };
        let waiters = self.waiters.iter().map(|waiter| waiter.deadline);
        self.roster
            .deadline()
            .min(self.tick_at)
            .min(publish_at)
            .min(waiters.min().unwrap_or(Instant::NEVER))
    }

    /// Takes in what has come and tells what follows.
    fn turn(&mut self) {
        // Before looking: whoever leaves something from now on rings again.
        self.bell.quiet();
        let now = clock::now();
        while let Ok(order) = self.orders.try_recv() {
            self.handle_order(order);
        }
        while let Some(report) = self.publisher.poll_report() {
            self.handle_report(report, now);
        }
        self.take_probes();
        if now >= self.tick_at {
            self.tick(now);
        }
        self.settle(now);
        self.advance(now);
        self.publish_if_due(now);
        self.answer_waiters(now);
    }

    fn handle_order(&mut self, order: Order) {
        match order {
            Order::Drain { deadline } => {
                self.stage = Stage::Draining;
                self.command(|| Command::Drain { deadline });
            }
            Order::Stop => {
                self.stage = Stage::Draining;
                self.command(|| Command::Stop);
            }
        }
    }

    fn command(&self, command: impl Fn() -> Command) {
        for worker in self.publisher.command(command) {
            tracing::error!(worker = worker.0, "the worker does not take commands");
        }
    }

    fn handle_report(&mut self, report: Report, now: Instant) {
        match report {
            Report::Failing(endpoint) => self.roster.look_at(endpoint, now),
            Report::Failed(worker, errno) => {
                tracing::error!(worker = worker.0, %errno, "a worker's ring has failed; stopping");
                let _process_is_gone = self.news.try_send(News::WorkerFailed { worker, errno });
                self.handle_order(Order::Stop);
            }
        }
    }

    fn handle_resolution(&mut self, resolution: Resolution) {
        let Some(name) = self.names.get(resolution.name) else {
            return;
        };
        match resolution.outcome {
            Ok(found) => self.roster.handle_lookup(*name, &found, clock::now()),
            Err(error) => self.roster.handle_lookup_failure(*name, error.to_string()),
        }
    }

    fn take_probes(&mut self) {
        let Some((_, reports)) = &self.prober else {
            return;
        };
        while let Ok(report) = reports.try_recv() {
            self.roster.handle_probe(report);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.tick_at = now + TICK_OF_CONTROL;
        self.roster.look_at_all(now);
        for (worker, stall) in self.publisher.watch(&self.counters, now) {
            let worker = worker.0;
            match stall {
                Stall::Begun(time) => tracing::error!(
                    worker,
                    "the worker has stalled: it has not turned for {time:.1?}; the others go on"
                ),
                Stall::Over(time) => {
                    tracing::warn!(worker, "the worker turns again, after {time:.1?}");
                }
            }
        }
        self.watch_prober(now);
    }

    /// Says if no probe has ended although some should have.
    fn watch_prober(&mut self, now: Instant) {
        let Some((prober, _)) = &self.prober else {
            return;
        };
        let counters = prober.counters();
        if counters.targets.value() == 0 {
            self.probing = Progress::new(now);
            return;
        }
        let patience = STALL_TIME + self.roster.probe_interval_max();
        match self.probing.look(counters.probes.value(), patience, now) {
            Found::Moving | Found::Idle => {}
            Found::Stalled(time) => {
                tracing::error!("no probe has ended for {time:.1?}: health is as it was then");
            }
            Found::Recovered(time) => tracing::warn!("probes end again, after {time:.1?}"),
        }
    }

    /// Draws the conclusions and writes them to the log.
    fn settle(&mut self, now: Instant) {
        if self.stage == Stage::Starting {
            return;
        }
        self.roster.settle(now);
        for note in self.roster.take_notes() {
            tell(&note);
        }
        if let Some((prober, _)) = &self.prober
            && let Some(targets) = self.roster.take_targets()
        {
            prober.watch(targets);
        }
    }

    /// Goes on with the start, if it is time.
    fn advance(&mut self, now: Instant) {
        let waited = now - self.started;
        match self.stage {
            Stage::Starting if self.roster.is_looked_up() || waited >= LOOKUP_PATIENCE => {
                self.stage = Stage::Introducing;
                self.started = now;
                self.settle(now);
                self.publish(now);
            }
            Stage::Introducing => {
                let pending = self.publisher.pending(self.publisher.published());
                if !pending.is_empty() && waited < ACKNOWLEDGE_WAIT {
                    return;
                }
                for worker in pending {
                    let worker = worker.0;
                    tracing::warn!(worker, "the worker has not begun to accept yet");
                }
                let endpoints = self.roster.endpoints().cloned().collect();
                let _process_is_gone = self.news.try_send(News::Serving { endpoints });
                self.stage = Stage::Serving;
            }
            Stage::Starting | Stage::Serving | Stage::Draining => {}
        }
    }

    fn publish_if_due(&mut self, now: Instant) {
        let is_due = now >= self.publish_at && self.stage != Stage::Starting;
        if is_due && self.roster.is_unpublished() {
            self.publish(now);
        }
    }

    fn publish(&mut self, now: Instant) {
        let view = self.roster.publish(self.publisher.next_epoch());
        self.publisher.publish(view);
        self.publish_at = now + PUBLISH_INTERVAL;
    }
}

/// Starts to look names up.
fn look_up(
    roster: &Roster,
    plan: &Plan,
    sender: &mpsc::Sender<Resolution>,
    background: &FuturesUnordered<LocalBoxFuture<'static, ()>>,
) -> Vec<NameKey> {
    let resolver = Rc::new(Resolver::new(&plan.dns));
    let mut keys = Vec::new();
    for (number, (key, place)) in roster.names().into_iter().enumerate() {
        let watching = discovery::watch(Rc::clone(&resolver), number, place, sender.clone());
        background.push(watching.boxed_local());
        keys.push(key);
    }
    keys
}

fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

/// Hears the bell: beside the desk's own waits, because one for a descriptor must not be given up.
fn hear(
    rung: UnixStream,
    background: &FuturesUnordered<LocalBoxFuture<'static, ()>>,
) -> io::Result<mpsc::Receiver<()>> {
    let mut rung = monoio::net::UnixStream::from_std(rung)?;
    let (mut sender, receiver) = mpsc::channel(1);
    let hearing = async move {
        let mut buffer = vec![0; 64];
        loop {
            let (outcome, back) = rung.read(buffer).await;
            buffer = back;
            match outcome {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if sender
                .try_send(())
                .is_err_and(|error| error.is_disconnected())
            {
                return;
            }
        }
    };
    background.push(hearing.boxed_local());
    Ok(receiver)
}

/// One line for each change.
fn tell(note: &Note) {
    let Note {
        cluster,
        subject,
        happening,
        eligible,
        endpoints,
    } = note;
    let (what, why) = (happening.what, happening.why.as_str());
    let took = happening.took.map(tracing::field::debug);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                cluster,
                endpoint = subject.as_deref(),
                why,
                took,
                left = %format_args!("{eligible} of {endpoints}"),
                "{what}"
            )
        };
    }
    match happening.severity {
        Severity::News => line!(info),
        Severity::Warning => line!(warn),
        Severity::Outage => line!(error),
    }
}
