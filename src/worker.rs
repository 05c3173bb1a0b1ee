//! A worker: one pinned thread's event loop. THE HOT PATH.
//!
//! ```text
//!   turn:  wait ── completions ── actions ── updates ── timers ── actions ── starved
//!          (the one place             (each session that was touched is asked once,
//!           where it blocks)           so what came together leaves together)
//! ```
//! A worker owns all that it touches: driver, connections, sessions, timers, balancers. It takes
//! no lock, and allocates nothing per event once there were as many of a thing as there are now.
//! What it shares is the closed list of words in endpoints and limits, and the counters that it
//! alone writes.
//!
//! `accept` brings clients in, `sessions` carries out what sessions want, `table` has the
//! rules by which a connection leaves.
#![forbid(unsafe_code)]

mod accept;
mod bulk;
mod connect;
mod evict;
mod introduce;
mod outcome;
pub mod report;
mod sessions;
mod table;

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use crate::balance::Balancer;
use crate::bounds::{JOIN_TIME, PROXY_HEADER_BYTES_MAX, REST_DELAY, RESTING_SESSIONS};
use crate::buffers::Buffers;
use crate::error::{CloseReason, Errno};
use crate::id::{Epoch, SessionId, Slot, WorkerIndex};
use crate::limits::Limit;
use crate::metrics::WorkerCounters;
use crate::ring::driver::{Completion, Driver, Event, Operation, Wait};
use crate::session::{ReceiveEnd, Side};
use crate::time::Instant;
use crate::timer::Wheel;
use crate::update::{self, Command, Inbox};
use crate::view::View;
use accept::Listener;
use bulk::Pump;
use connect::ClusterState;
use evict::Evictions;
use report::Access;
use sessions::Session;
use table::Table;

/// What a worker is made of.
pub struct Parts<D: Driver> {
    /// What carries its I/O.
    pub driver: D,
    /// Its listening sockets, each with the position of its listener in the view.
    pub listeners: Vec<(usize, D::Socket)>,
    /// Control's words.
    pub inbox: Inbox,
    /// How many workers there are.
    pub workers: usize,
    /// The sessions that the process may have.
    pub session_limit: Arc<Limit>,
    /// How many clients may wait in the backlogs of all listeners of the process: with less room
    /// than that a limit is looked at before each is accepted.
    pub waiting_max: usize,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// The log of sessions, if there is one.
    pub access: Option<Access>,
    /// A random number that all workers of the process share.
    pub process_id: u64,
    /// The seed of its random numbers.
    pub seed: u64,
}

/// The event loop of one worker.
pub struct Worker<D: Driver> {
    driver: D,
    inbox: Inbox,
    index: WorkerIndex,
    workers: usize,
    view: Arc<View>,
    /// What this worker keeps for each cluster, in the order of the view's clusters.
    clusters: Vec<ClusterState>,
    /// The endpoints whose sessions have to end.
    evictions: Evictions,
    listeners: Vec<Listener<D::Socket>>,
    connections: Table<D::Socket>,
    sessions: Slab<Session>,
    session_count: u64,
    session_limit: Arc<Limit>,
    waiting_max: usize,
    /// Accepted before accepting could be stopped, above the limit: the next to be served.
    parked: VecDeque<(usize, D::Socket)>,
    /// Receives that found no buffer, in order, with their credit.
    starved: VecDeque<(Slot, u32)>,
    /// The directions that are moved in bulk.
    pumps: Slab<Pump<D::Pipe>>,
    /// Those that had to stop for others.
    pumping: VecDeque<(SessionId, u32, Side)>,
    /// Sessions to be asked what they want.
    touched: VecDeque<u32>,
    /// Scratch for timers that are due.
    due: Vec<u32>,
    wheel: Wheel,
    /// The most sessions at once since memory was last given back.
    sessions_seen: usize,
    /// When to give memory back that a burst took, [`Instant::NEVER`] if there was none.
    rest_at: Instant,
    /// When to try again to accept, [`Instant::NEVER`] if nothing keeps it from accepting.
    retry_accept_at: Instant,
    counters: Arc<WorkerCounters>,
    access: Option<Access>,
    process_id: u64,
    /// Where headers for endpoints are made.
    scratch: Vec<u8>,
    rng: fastrand::Rng,
    now: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Serving,
    /// No new sessions; at the deadline the old ones are reset.
    Draining {
        deadline: Instant,
    },
    /// Every session was told to end; what is not gone by the deadline is left to the driver.
    Stopping {
        deadline: Instant,
    },
}

/// Whether a worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There will be more to do.
    Goes,
    /// Every session is over and every socket closed.
    Ended,
}

impl<D: Driver> Worker<D> {
    /// Makes a worker. It accepts nothing until the first view is in its mailbox.
    pub fn new(parts: Parts<D>) -> Self {
        let now = parts.driver.now();
        let sessions_max = parts.session_limit.max();
        let no_view = View {
            epoch: Epoch(0),
            listeners: Vec::new(),
            clusters: Vec::new(),
            evictions: Vec::new(),
        };
        Self {
            index: parts.inbox.worker(),
            driver: parts.driver,
            inbox: parts.inbox,
            workers: parts.workers,
            view: Arc::new(no_view),
            clusters: Vec::new(),
            evictions: Evictions::default(),
            listeners: parts.listeners.into_iter().map(Listener::new).collect(),
            // Address space only, until it is used: growing would copy every session at once.
            connections: Table::with_capacity(2 * sessions_max),
            sessions: Slab::with_capacity(sessions_max),
            session_count: 0,
            session_limit: parts.session_limit,
            waiting_max: parts.waiting_max,
            parked: VecDeque::new(),
            starved: VecDeque::with_capacity(2 * sessions_max),
            pumps: Slab::new(),
            pumping: VecDeque::new(),
            touched: VecDeque::with_capacity(sessions_max),
            due: Vec::with_capacity(sessions_max),
            wheel: Wheel::new(now, sessions_max),
            sessions_seen: 0,
            rest_at: Instant::NEVER,
            retry_accept_at: Instant::NEVER,
            counters: parts.counters,
            access: parts.access,
            process_id: parts.process_id,
            scratch: Vec::with_capacity(PROXY_HEADER_BYTES_MAX),
            rng: fastrand::Rng::with_seed(parts.seed),
            now,
            stage: Stage::Serving,
        }
    }

    /// Works until told to stop.
    ///
    /// Errors: the driver's, if it can no longer be used at all.
    pub fn run(&mut self) -> Result<(), Errno> {
        while self.turn()? == Turn::Goes {}
        Ok(())
    }

    /// Waits for something to do and does all of it.
    ///
    /// Errors: the driver's, if it can no longer be used at all.
    pub fn turn(&mut self) -> Result<Turn, Errno> {
        let wait = self.next_wait();
        self.driver.turn(wait)?;
        self.inbox.awake();
        self.now = self.driver.now();
        self.counters.turns.add(1);
        let mut completions = 0;
        while let Some(completion) = self.driver.poll_completion() {
            completions += 1;
            self.dispatch(completion);
        }
        self.count_turn(completions);
        self.run_pumps();
        self.poll_touched();
        self.take_updates();
        self.run_evictions();
        self.run_timers();
        self.poll_touched();
        self.feed_starved();
        self.count_use();
        self.watch_memory();
        Ok(if self.is_over() {
            Turn::Ended
        } else {
            Turn::Goes
        })
    }

    /// The driver, to be looked at once the worker has ended.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Counts what has come. All of it is held now and nothing is joined or dropped yet, so at no
    /// other moment of a turn are there fewer free buffers.
    fn count_turn(&self, completions: u64) {
        let counters = &self.counters;
        counters.completions.add(completions);
        counters.turn_completions.record(completions, self.now);
        let held = self.driver.stock().held_buffers;
        counters.held_buffers.record(held as u64, self.now);
    }

    /// Counts what is in use until the next turn.
    fn count_use(&self) {
        let counters = &self.counters;
        let stock = self.driver.stock();
        counters.buffers.set(stock.buffers as u64);
        counters.held_buffers.settle(stock.held_buffers as u64);
        // None come while it waits.
        counters.turn_completions.settle(0);
        counters.pipes.set(stock.pipes as u64);
        counters.memory_pipes.set(stock.memory_pipes as u64);
        counters.open_sessions.set(self.sessions.len() as u64);
    }

    fn next_wait(&self) -> Wait {
        let mut until = self
            .wheel
            .next_look()
            .unwrap_or(Instant::NEVER)
            .min(self.retry_accept_at)
            .min(self.rest_at)
            .min(self.evictions.next_due());
        if let Stage::Draining { deadline } | Stage::Stopping { deadline } = self.stage {
            until = until.min(deadline);
        }
        if until <= self.now || !self.pumping.is_empty() || !self.inbox.prepare_sleep() {
            return Wait::No;
        }
        if until == Instant::NEVER {
            Wait::Forever
        } else {
            Wait::Until(until)
        }
    }

    fn dispatch(&mut self, completion: Completion<D::Socket>) {
        let Completion { slot, event } = completion;
        match event {
            Event::Accepted { result, more } => self.handle_accepted(slot, result, more),
            Event::Connected(result) => self.handle_connected(slot, result),
            Event::Received {
                chunk: None,
                error: Some(Errno(libc::ENOBUFS)),
                ..
            } => {
                self.handle_starved(slot);
            }
            Event::Received {
                chunk,
                error,
                nonempty,
                more,
            } => {
                let Some((key, side)) = self.owner(slot, Operation::Receive, more) else {
                    if let Some(chunk) = chunk {
                        self.driver.buffers().release(chunk);
                    }
                    return;
                };
                match chunk {
                    Some(chunk) => self.handle_bytes(key, side, chunk, more),
                    None => self.handle_receive_end(key, side, error, nonempty),
                }
            }
            Event::Sent { bytes, error: _ } => {
                // An error counts as nothing sent: whatever it was, the connection is broken.
                if let Some((key, side)) = self.owner(slot, Operation::Send, false) {
                    let relay = &mut self.sessions[key as usize].relay;
                    if relay.handle_sent(self.now, side, bytes, self.driver.buffers()) {
                        self.touch(key);
                    }
                }
            }
            Event::Watched { reset, more } => {
                let Some((key, side)) = self.owner(slot, Operation::Watch, more) else {
                    return;
                };
                let relay = &mut self.sessions[key as usize].relay;
                if reset {
                    relay.handle_reset(self.now, side, self.driver.buffers());
                } else if !more {
                    relay.handle_watch_end(side);
                }
                self.touch(key);
            }
            Event::Readable => self.handle_ready(slot, Operation::Readable),
            Event::Writable => self.handle_ready(slot, Operation::Writable),
            Event::Acceptable => self.handle_acceptable(slot),
            Event::Woken { .. } => {}
        }
    }

    /// Whose completion this is; `None` if nobody's any more. Takes note if it is the last of its
    /// operation, and closes a terminated connection with the last of all.
    fn owner(&mut self, slot: Slot, operation: Operation, more: bool) -> Option<(u32, Side)> {
        let Some(connection) = self.connections.get_mut(slot) else {
            self.counters.stale_completions.add(1);
            return None;
        };
        if !more {
            connection.armed.remove(operation);
        }
        let side = connection.side;
        match connection.session {
            Some(key) if self.sessions.contains(key as usize) => Some((key, side)),
            _ => {
                self.close_if_joined(slot);
                None
            }
        }
    }

    fn handle_receive_end(&mut self, key: u32, side: Side, error: Option<Errno>, nonempty: bool) {
        let session = &mut self.sessions[key as usize];
        let Some(connection) = session
            .slot(side)
            .and_then(|slot| self.connections.get_mut(slot))
        else {
            return;
        };
        let transport = self.driver.transport(&connection.socket);
        let end = ReceiveEnd::of(error, nonempty, transport);
        if side == Side::Endpoint {
            self.conclude_receive(key, end);
        }
        self.sessions[key as usize].relay.handle_receive_end(
            self.now,
            side,
            end,
            self.driver.buffers(),
        );
        self.touch(key);
    }

    /// Puts a session on the list of those to be asked what they want.
    fn touch(&mut self, key: u32) {
        let session = &mut self.sessions[key as usize];
        if !session.touched {
            session.touched = true;
            self.touched.push_back(key);
        }
    }

    fn poll_touched(&mut self) {
        while let Some(key) = self.touched.pop_front() {
            self.poll_session(key);
        }
    }

    fn take_updates(&mut self) {
        if let Some(view) = self.inbox.take_view() {
            self.apply(view);
        }
        while let Some(command) = self.inbox.take_command() {
            match command {
                Command::Drain { deadline } => self.start_draining(deadline),
                Command::Stop => {
                    self.stop();
                    break;
                }
            }
        }
        self.inbox.retry_report();
    }

    fn apply(&mut self, view: Arc<View>) {
        let old = std::mem::take(&mut self.clusters);
        let mut old: Vec<_> = old.into_iter().map(Some).collect();
        for (place, cluster) in view.clusters.iter().enumerate() {
            let is_same = |kept: &Option<ClusterState>| {
                kept.as_ref().is_some_and(|kept| {
                    kept.id == cluster.id && kept.balancer.policy() == cluster.policy
                })
            };
            // Nearly always it stands where it stood.
            let kept = match old.get(place) {
                Some(kept) if is_same(kept) => Some(place),
                _ => old.iter().position(is_same),
            };
            let state = kept.and_then(|place| old[place].take());
            self.clusters.push(state.unwrap_or_else(|| {
                let balancer = Balancer::new(cluster.policy, self.index, self.workers);
                ClusterState::new(cluster.id, balancer)
            }));
        }
        self.evictions.set(&view.evictions);
        let epoch = view.epoch;
        let retired = std::mem::replace(&mut self.view, view);
        let retired = (retired.epoch > Epoch(0)).then_some(retired);
        self.inbox.report(update::Event::Acknowledged {
            worker: self.index,
            epoch,
            retired,
        });
        self.resume_accepting();
    }

    fn run_timers(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(self.now, &mut due);
        for key in due.drain(..) {
            if let Some(session) = self.sessions.get_mut(key as usize) {
                session.relay.handle_timeout(self.now);
                self.settle(key);
                self.report_progress(key);
                self.touch(key);
            }
        }
        self.due = due;
        if self.now >= self.retry_accept_at {
            self.resume_accepting();
        }
        if let Stage::Draining { deadline } = self.stage
            && self.now >= deadline
        {
            self.stop();
        }
    }

    /// A receive found no buffer: it waits its turn for one.
    fn handle_starved(&mut self, slot: Slot) {
        let Some((key, side)) = self.owner(slot, Operation::Receive, false) else {
            return;
        };
        self.counters.starved.add(1);
        let relay = &mut self.sessions[key as usize].relay;
        relay.handle_starved(side);
        let credit = relay.credit(side);
        self.touch(key);
        if self.starved.len() == self.starved.capacity() {
            // Those of sessions that have ended make room: two for each that may live are enough.
            let connections = &mut self.connections;
            self.starved
                .retain(|(slot, _)| connections.get_mut(*slot).is_some());
        }
        self.starved.push_back((slot, credit));
    }

    /// Starts as many of the waiting receives as there are buffers.
    fn feed_starved(&mut self) {
        if self.starved.is_empty() {
            return;
        }
        let mut ready = self.driver.replenish();
        while ready > 0 {
            let Some((slot, credit)) = self.starved.pop_front() else {
                break;
            };
            // A session that has ended meanwhile needs none, and leaves it to the next.
            if self.arm_receive(slot, credit) {
                ready -= 1;
            }
        }
    }

    /// Sees to it that what a burst took is given back once it is over.
    fn watch_memory(&mut self) {
        self.sessions_seen = self.sessions_seen.max(self.sessions.len());
        let is_empty = self.sessions.is_empty() && self.connections.is_empty();
        let tables = is_empty && self.sessions_seen > RESTING_SESSIONS;
        let is_swollen = tables || self.driver.is_swollen();
        if !is_swollen {
            self.rest_at = Instant::NEVER;
        } else if self.rest_at == Instant::NEVER {
            self.rest_at = self.now + REST_DELAY;
        } else if self.now >= self.rest_at {
            self.rest_at = Instant::NEVER;
            self.driver.shrink();
            if tables {
                self.sessions = Slab::with_capacity(self.session_limit.max());
                self.connections.shrink();
                self.sessions_seen = 0;
            }
        }
    }

    fn start_draining(&mut self, deadline: Instant) {
        if self.stage == Stage::Serving {
            self.stage = Stage::Draining { deadline };
            self.close_listeners();
        }
    }

    /// Tells every session to end.
    fn stop(&mut self) {
        if let Stage::Stopping { .. } = self.stage {
            return;
        }
        self.stage = Stage::Stopping {
            deadline: self.now + JOIN_TIME,
        };
        self.close_listeners();
        while let Some((_, socket)) = self.parked.pop_front() {
            self.turn_away(socket, CloseReason::Drained);
        }
        for (key, session) in &mut self.sessions {
            session.relay.abort(CloseReason::Drained);
            if !session.touched {
                session.touched = true;
                self.touched.push_back(key as u32);
            }
        }
    }

    fn is_over(&self) -> bool {
        match self.stage {
            Stage::Serving => false,
            Stage::Stopping { deadline } if self.now >= deadline => true,
            Stage::Draining { .. } | Stage::Stopping { .. } => {
                self.sessions.is_empty()
                    && self.connections.is_empty()
                    && self.parked.is_empty()
                    && self.listeners.iter().all(Listener::is_closed)
            }
        }
    }
}
