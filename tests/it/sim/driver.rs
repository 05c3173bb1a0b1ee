//! [`Driver`] over the virtual network: what an io_uring does, in virtual time.
//!
//! Submitted operations start at the next turn, or later when the submission queue is full.
//! Completions are delivered in a later turn than they could be, now and then, and in any order
//! between operations; one operation's stay in order. Whatever a worker must not do (two operations
//! of a kind on one slot, a close with one in flight, a chunk released twice) is a failure at once.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use ringlane::balance::endpoint::Address;
use ringlane::bounds::{TICK, WINDOW_BYTES};
use ringlane::buffers::{Batch, Buffers};
use ringlane::error::Errno;
use ringlane::id::{Generation, Slot};
use ringlane::ring::driver::{Completion, Driver, Event as Outcome, Operation, Wait};
use ringlane::session::Transport;
use ringlane::time::Instant;

use super::actors::Actors;
use super::arena::SimArena;
use super::coverage::Situation;
use super::network::{At, Event, Network};

/// A socket of the simulated kernel: its descriptor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SimSocket(pub(crate) usize);

/// How this kernel behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub(crate) buffers: usize,
    pub(crate) posted: usize,
    pub(crate) submissions: usize,
    pub(crate) completions: usize,
    pub(crate) descriptors: usize,
    pub(crate) byte_budget: bool,
    /// One in so many things that may go either way goes the rare way.
    pub(crate) oddity: u32,
    /// One in so many completions comes some turns late.
    pub(crate) lateness: u32,
}

/// The simulated kernel, with the world around it.
pub(crate) struct SimDriver {
    pub(crate) network: Network,
    pub(crate) actors: Actors,
    pub(crate) arena: SimArena,
    pub(crate) kernel: Kernel,
    pub(super) sockets: Vec<Option<Target>>,
    pub(super) used: usize,
    pub(super) operations: BTreeMap<Key, Pending>,
    submissions: VecDeque<Submission>,
    pub(super) posted: Vec<Posted>,
    delivered: VecDeque<Posted>,
    pub(super) turn: u64,
    /// What happened so far, as a number.
    pub(crate) trace: u64,
}

/// What a descriptor is of.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Listener(usize),
    /// Made for connecting; the link is there once it is tried.
    Unconnected(Address),
    Link(usize),
}

/// An operation and its slot, as a number that is in order.
pub(super) type Key = (u8, u32, u32);

/// An operation in flight.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: Operation,
    pub(super) slot: Slot,
    pub(super) socket: usize,
    pub(super) stage: Started,
    pub(super) cancelled: bool,
    pub(super) credit: i64,
    pub(super) batch: Option<Batch>,
    pub(super) sent: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Started {
    No,
    /// Started and not looked at yet.
    Fresh,
    Yes,
    /// Its last completion is on its way.
    Ending,
}

#[derive(Debug)]
enum Submission {
    Start(Key),
    Cancel(Key),
}

/// A completion on its way to the worker.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) key: Key,
    pub(super) last: bool,
    due: u64,
    sequence: u64,
    completion: Completion<SimSocket>,
}

pub(super) fn key(operation: Operation, slot: Slot) -> Key {
    (operation as u8, slot.index, slot.generation.bits())
}

impl SimDriver {
    /// Makes a kernel that has no socket yet.
    pub(crate) fn new(kernel: Kernel, network: Network, actors: Actors) -> Self {
        Self {
            network,
            actors,
            arena: SimArena::new(kernel.buffers, kernel.posted),
            kernel,
            sockets: Vec::new(),
            used: 0,
            operations: BTreeMap::new(),
            submissions: VecDeque::new(),
            posted: Vec::new(),
            delivered: VecDeque::new(),
            turn: 0,
            trace: 0,
        }
    }

    /// Adds a listening socket.
    pub(crate) fn listen(&mut self) -> SimSocket {
        self.network.listeners.push(Default::default());
        let place = self.network.listeners.len() - 1;
        self.add_socket(Target::Listener(place))
    }

    /// How many sockets the worker has open.
    pub(crate) fn open_sockets(&self) -> usize {
        self.used
    }

    /// Stops the run with a picture of the world.
    pub(crate) fn fail(&self, message: &str) -> ! {
        panic!("{message}\n{}", self.picture());
    }

    /// One in [`Kernel::oddity`] times.
    pub(super) fn is_odd(&mut self) -> bool {
        self.network.rng.u32(..self.kernel.oddity) == 0
    }

    pub(super) fn note(&mut self, words: &[u64]) {
        for word in words {
            self.trace = (self.trace.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    pub(super) fn add_socket(&mut self, target: Target) -> SimSocket {
        self.used += 1;
        if let Some(place) = self.sockets.iter().position(Option::is_none) {
            self.network.coverage.meet(Situation::SocketReused);
            self.sockets[place] = Some(target);
            return SimSocket(place);
        }
        self.sockets.push(Some(target));
        SimSocket(self.sockets.len() - 1)
    }

    pub(super) fn has_descriptor(&self) -> bool {
        self.used < self.kernel.descriptors
    }

    fn target(&self, socket: usize) -> &Target {
        match self.sockets.get(socket) {
            Some(Some(target)) => target,
            _ => self.fail(&format!("socket {socket} is not open")),
        }
    }

    /// The link that a socket is an end of, if it is one by now.
    pub(super) fn link(&self, socket: usize) -> Option<usize> {
        match self.target(socket) {
            Target::Link(link) => Some(*link),
            Target::Listener(_) | Target::Unconnected(_) => None,
        }
    }

    pub(super) fn listener(&self, socket: usize) -> usize {
        match self.target(socket) {
            Target::Listener(listener) => *listener,
            _ => self.fail(&format!("socket {socket} does not listen")),
        }
    }

    fn submit(&mut self, operation: Operation, slot: Slot, socket: &SimSocket) -> &mut Pending {
        let key = key(operation, slot);
        self.note(&[
            1,
            u64::from(key.0),
            u64::from(key.1),
            self.network.now.as_nanos(),
        ]);
        self.target(socket.0);
        let twice = |pending: &Pending| {
            pending.operation == operation
                && pending.socket == socket.0
                && operation != Operation::Accept
        };
        if self.operations.contains_key(&key) || self.operations.values().any(twice) {
            self.fail(&format!(
                "a second {operation:?} on {slot:?}, socket {}",
                socket.0
            ));
        }
        self.submissions.push_back(Submission::Start(key));
        self.operations.entry(key).or_insert(Pending {
            operation,
            slot,
            socket: socket.0,
            stage: Started::No,
            cancelled: false,
            credit: 0,
            batch: None,
            sent: 0,
        })
    }

    /// Posts a completion; `last` ends its operation.
    pub(super) fn post(&mut self, key: Key, last: bool, event: Outcome<SimSocket>) {
        let Some(pending) = self.operations.get_mut(&key) else {
            return;
        };
        if last {
            pending.stage = Started::Ending;
        }
        let slot = pending.slot;
        let late = if self.network.rng.u32(..self.kernel.lateness) == 0 {
            self.network.rng.u64(1..=12)
        } else {
            0
        };
        let before = self
            .posted
            .iter()
            .filter(|posted| posted.key == key)
            .map(|posted| posted.due);
        let due = before.max().unwrap_or(0).max(self.turn + late);
        let sequence = self.posted.last().map_or(0, |posted| posted.sequence + 1);
        let completion = Completion { slot, event };
        self.posted.push(Posted {
            key,
            last,
            due,
            sequence,
            completion,
        });
    }

    fn start_submitted(&mut self) {
        for _ in 0..self.kernel.submissions {
            match self.submissions.pop_front() {
                Some(Submission::Start(key)) => {
                    if let Some(pending) = self.operations.get_mut(&key) {
                        pending.stage = Started::Fresh;
                    }
                }
                Some(Submission::Cancel(key)) => match self.operations.get_mut(&key) {
                    Some(pending) if pending.stage != Started::Ending => pending.cancelled = true,
                    _ => self.network.coverage.meet(Situation::CancelledTooLate),
                },
                None => return,
            }
        }
        if !self.submissions.is_empty() {
            self.network.coverage.meet(Situation::SubmissionQueueFull);
        }
    }

    /// Everything that happens by now; `true` if the turn must end for somebody outside.
    fn happen(&mut self) -> bool {
        let mut alarmed = false;
        while let Some(event) = self.network.step() {
            match event {
                Some(Event::Act(actor)) => self.actors.act(actor, &mut self.network),
                Some(Event::Control) => {
                    if self.actors.control(&mut self.network) {
                        self.wake();
                    }
                }
                Some(Event::Alarm) => alarmed = true,
                _ => {}
            }
            self.actors.adopt(&mut self.network);
        }
        alarmed
    }

    /// Lets the world go on by itself, without a worker, until everybody is done.
    pub(crate) fn settle(&mut self, until: Instant) {
        while !self.actors.are_done() && self.network.now < until {
            let next = self.network.next_at().unwrap_or(until).min(until);
            self.drift(next);
        }
    }

    /// Lets the world go on by itself until a point in time.
    pub(crate) fn drift(&mut self, until: Instant) {
        while let Some(at) = self.network.next_at()
            && at <= until
        {
            self.network.now = self.network.now.max(at);
            self.happen();
        }
        self.network.now = self.network.now.max(until);
    }

    /// Another thread's word to the worker.
    pub(crate) fn wake(&mut self) {
        self.network.coverage.meet(Situation::Woken);
        let slot = Slot {
            index: 0,
            generation: Generation::default(),
        };
        let completion = Completion {
            slot,
            event: Outcome::Woken { more: true },
        };
        let sequence = self.posted.last().map_or(0, |posted| posted.sequence + 1);
        let key = key(Operation::Wake, slot);
        self.posted.push(Posted {
            key,
            last: false,
            due: self.turn,
            sequence,
            completion,
        });
    }

    /// Picks what this turn delivers, in an order of its own.
    fn deliver(&mut self) {
        let turn = self.turn;
        let most = self.kernel.completions;
        let mut due: Vec<Posted> = Vec::new();
        let mut later = Vec::new();
        for posted in self.posted.drain(..) {
            if posted.due <= turn && due.len() < most {
                due.push(posted);
            } else {
                later.push(posted);
            }
        }
        self.posted = later;
        let salt = self.network.rng.u64(..);
        let mix = |key: Key| {
            let word = u64::from(key.0) << 56 | u64::from(key.1) << 24 | u64::from(key.2);
            (word ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
        };
        due.sort_by_key(|posted| mix(posted.key));
        if due
            .windows(2)
            .any(|pair| pair[0].sequence > pair[1].sequence)
        {
            self.network.coverage.meet(Situation::Permuted);
        }
        self.delivered.extend(due);
    }

    fn is_deliverable(&self) -> bool {
        !self.posted.is_empty()
    }
}

impl Driver for SimDriver {
    type Socket = SimSocket;
    type Buffers = SimArena;

    fn now(&self) -> Instant {
        self.network.now
    }

    fn buffers(&mut self) -> &mut SimArena {
        &mut self.arena
    }

    fn replenish(&mut self) -> usize {
        self.arena.post();
        self.arena.posted_count()
    }

    fn transport(&self, socket: &SimSocket) -> Transport {
        match self.target(socket.0) {
            Target::Link(link) => self.network.links[*link].transport,
            Target::Unconnected(address) => address.transport(),
            Target::Listener(_) => Transport::Tcp,
        }
    }

    fn accept(&mut self, listener: &SimSocket, slot: Slot) {
        self.listener(listener.0);
        self.submit(Operation::Accept, slot, listener);
    }

    fn connect(&mut self, socket: &SimSocket, slot: Slot, address: &Address) {
        let link = self.network.connect_to(address);
        self.submit(Operation::Connect, slot, socket);
        self.sockets[socket.0] = Some(Target::Link(link));
    }

    fn receive(&mut self, socket: &SimSocket, slot: Slot, credit: u32) {
        if credit == 0 || credit as usize > WINDOW_BYTES {
            self.fail(&format!("a receive with a credit of {credit}"));
        }
        self.submit(Operation::Receive, slot, socket).credit = i64::from(credit);
    }

    fn send(&mut self, socket: &SimSocket, slot: Slot, batch: Batch) {
        if batch.count() == 0 {
            self.fail("a send of nothing");
        }
        if self
            .link(socket.0)
            .is_some_and(|link| self.network.end(link, At::Near).finished)
        {
            self.fail("a send after a shutdown");
        }
        if batch.count() > 1 {
            self.network.coverage.meet(Situation::GatheredSend);
        }
        self.submit(Operation::Send, slot, socket).batch = Some(batch);
    }

    fn watch(&mut self, socket: &SimSocket, slot: Slot) {
        self.submit(Operation::Watch, slot, socket);
    }

    fn cancel(&mut self, operation: Operation, slot: Slot) {
        let key = key(operation, slot);
        if operation == Operation::Connect
            && let Some(pending) = self.operations.get(&key)
            && let Some(link) = self.link(pending.socket)
        {
            self.network.links[link].abandoned = true;
            let took = self
                .network
                .now
                .saturating_since(self.network.links[link].since);
            if took + TICK < self.network.late_after && !self.actors.may_reset(self.network.now) {
                self.network
                    .coverage
                    .meet(Situation::ClientGoneWhileConnecting);
            }
        }
        self.submissions.push_back(Submission::Cancel(key));
    }

    fn open(&mut self, address: &Address) -> Result<SimSocket, Errno> {
        if !self.has_descriptor() {
            self.network.coverage.meet(Situation::OpenEmfile);
            return Err(Errno(libc::EMFILE));
        }
        Ok(self.add_socket(Target::Unconnected(address.clone())))
    }

    fn accept_waiting(&mut self, listener: &SimSocket) -> Result<SimSocket, Errno> {
        let place = self.listener(listener.0);
        if !self.has_descriptor() {
            return Err(Errno(libc::EMFILE));
        }
        match self.network.listeners[place].backlog.pop_front() {
            Some(link) => {
                self.network.coverage.meet(Situation::AcceptedAtDrain);
                Ok(self.add_socket(Target::Link(link)))
            }
            None => Err(Errno(libc::EAGAIN)),
        }
    }

    fn shutdown(&mut self, socket: &SimSocket) {
        let sending =
            |pending: &Pending| pending.socket == socket.0 && pending.operation == Operation::Send;
        if self.operations.values().any(sending) {
            self.fail("a shutdown cuts off a send in flight");
        }
        self.note(&[2, socket.0 as u64]);
        if let Some(link) = self.link(socket.0) {
            self.network.finish(link, At::Near);
        }
    }

    fn reset(&mut self, socket: &SimSocket) {
        self.note(&[3, socket.0 as u64]);
        if let Some(link) = self.link(socket.0) {
            self.network.reset(link, At::Near);
        }
    }

    fn unsent_bytes(&mut self, socket: &SimSocket) -> u32 {
        let Some(link) = self.link(socket.0) else {
            return 0;
        };
        let link = &self.network.links[link];
        let [near, far] = &link.ends;
        let unread = if link.transport == Transport::Unix {
            far.incoming.len()
        } else {
            0
        };
        (near.outgoing.len() + unread) as u32
    }

    fn close(&mut self, socket: SimSocket) {
        self.note(&[4, socket.0 as u64]);
        if let Some(pending) = self
            .operations
            .values()
            .find(|pending| pending.socket == socket.0)
        {
            self.fail(&format!("socket {} is closed during {pending:?}", socket.0));
        }
        match self.target(socket.0).clone() {
            Target::Link(link) => self.network.close(link, At::Near),
            Target::Unconnected(_) => {}
            Target::Listener(listener) => {
                let listener = &mut self.network.listeners[listener];
                listener.closed = true;
                for link in std::mem::take(&mut listener.backlog) {
                    self.network.reset(link, At::Near);
                }
            }
        }
        self.used -= 1;
        self.sockets[socket.0] = None;
    }

    fn turn(&mut self, wait: Wait) -> Result<(), Errno> {
        if !self.delivered.is_empty() {
            self.fail("completions were not taken");
        }
        self.turn += 1;
        self.arena.post();
        self.start_submitted();
        let deadline = match wait {
            Wait::No => self.network.now,
            Wait::Until(deadline) => deadline,
            Wait::Forever => Instant::NEVER,
        };
        loop {
            let alarmed = self.happen();
            self.look_at_all();
            let more_to_start = !self.submissions.is_empty();
            if alarmed || more_to_start || wait == Wait::No || self.is_deliverable() {
                break;
            }
            match self.network.next_at() {
                Some(at) if at <= deadline => self.network.now = at,
                None if deadline == Instant::NEVER => self.fail("the worker sleeps for ever"),
                _ => {
                    self.network.now = deadline;
                    break;
                }
            }
        }
        let busy = self.network.rng.u64(500..5_000);
        self.network.now = self.network.now + std::time::Duration::from_nanos(busy);
        self.deliver();
        Ok(())
    }

    fn poll_completion(&mut self) -> Option<Completion<SimSocket>> {
        let posted = self.delivered.pop_front()?;
        let Posted {
            key,
            last,
            completion,
            ..
        } = posted;
        let (kind, detail) = match &completion.event {
            Outcome::Accepted { result, .. } => (5, u64::from(result.is_ok())),
            Outcome::Connected(result) => (6, u64::from(result.is_ok())),
            Outcome::Received { chunk, .. } => {
                (7, chunk.as_ref().map_or(0, |chunk| chunk.len() as u64))
            }
            Outcome::Sent { bytes, .. } => (8, u64::from(*bytes)),
            Outcome::Watched { reset, .. } => (9, u64::from(*reset)),
            Outcome::Woken { .. } => (10, 0),
        };
        self.note(&[kind, u64::from(key.1), detail, self.network.now.as_nanos()]);
        if kind == 7
            && detail > 0
            && let Some(pending) = self.operations.get(&key)
            && let Some(link) = self.link(pending.socket)
            && self.network.links[link].near_reset_at.is_some()
        {
            self.network.coverage.meet(Situation::LateBytes);
        }
        if last
            && let Some(pending) = self.operations.remove(&key)
            && let Some(batch) = pending.batch
        {
            for chunk in batch.into_chunks() {
                self.arena.release(chunk);
            }
        }
        Some(completion)
    }
}
