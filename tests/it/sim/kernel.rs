//! The simulated kernel: sockets, the submission queue, completions on their way, and time.
//!
//! Submitted operations start at the next turn, or later when the submission queue is full.
//! Completions are delivered in a later turn than they could be, now and then, and in any order
//! between operations; one operation's stay in order. What operations do once they have started is
//! in [`operations`](super::operations), how a worker sees all this in [`driver`](super::driver).
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ringlane::balance::endpoint::Address;
use ringlane::buffers::Batch;
use ringlane::id::{Generation, Slot};
use ringlane::ring::driver::{Completion, Event as Outcome, Operation};
use ringlane::time::Instant;

use super::actors::Actors;
use super::arena::SimArena;
use super::control::Control;
use super::coverage::Situation;
use super::live::Live;
use super::network::{Event, Network};
use super::pipe::Bulks;

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
    pub(crate) pipes: usize,
    pub(crate) pipe_bytes: usize,
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
    /// What is known of endpoints, where that is looked at.
    pub(crate) live: Live,
    pub(crate) arena: SimArena,
    pub(crate) kernel: Kernel,
    pub(super) sockets: Vec<Option<Target>>,
    pub(super) used: usize,
    /// One of the used descriptors is kept for connecting.
    pub(super) reserve: bool,
    pub(crate) pipes_held: usize,
    pub(super) bulks: Bulks,
    pub(super) operations: BTreeMap<Key, Pending>,
    pub(super) submissions: VecDeque<Submission>,
    pub(super) posted: Vec<Posted>,
    pub(super) delivered: VecDeque<Posted>,
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

/// An entry of the submission queue.
#[derive(Debug)]
pub(super) enum Submission {
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
    pub(super) completion: Completion<SimSocket>,
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
            live: Live::default(),
            arena: SimArena::new(kernel.buffers, kernel.posted),
            kernel,
            sockets: Vec::new(),
            used: 0,
            reserve: false,
            pipes_held: 0,
            bulks: Bulks::default(),
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
        self.used - usize::from(self.reserve)
    }

    /// Stops the run with a picture of the world.
    pub(crate) fn fail(&self, message: &str) -> ! {
        panic!("{message}\n{}", self.picture());
    }

    /// Stops the run if something is not as it must be of endpoints.
    pub(crate) fn check_live(&mut self) {
        if let Some(failure) = self.live.take_failure() {
            self.fail(&failure);
        }
    }

    /// The worker has had its turn: what it says is heard, and control has to look at some of it.
    pub(crate) fn check_turn(&mut self) {
        self.live.check_turn(&mut self.network);
        self.check_live();
        if self.live.is_asked()
            && let Some(desk) = self.actors.control.as_mut().and_then(Control::desk)
        {
            let delay = Duration::from_micros(self.network.rng.u64(20..5_000));
            desk.request(self.network.now + delay, &mut self.network);
        }
    }

    /// The worker lets go of a connection.
    pub(super) fn note_gone(&mut self, link: usize) {
        self.live.note_gone(link, &mut self.network);
        self.check_live();
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

    pub(super) fn target(&self, socket: usize) -> &Target {
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

    pub(super) fn submit(
        &mut self,
        operation: Operation,
        slot: Slot,
        socket: &SimSocket,
    ) -> &mut Pending {
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
            self.network.rng.u64(1..=40)
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

    pub(super) fn start_submitted(&mut self) {
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
    pub(super) fn happen(&mut self) -> bool {
        let mut alarmed = false;
        while let Some(event) = self.network.step() {
            match event {
                Some(Event::Act(actor)) => self.actors.act(actor, &mut self.network),
                Some(Event::Control) => {
                    if self.actors.control(&mut self.network, &mut self.live) {
                        self.wake();
                    }
                    self.check_live();
                }
                Some(Event::Desk) => {
                    if self.actors.turn_desk(&mut self.network, &mut self.live) {
                        self.wake();
                    }
                    self.check_live();
                }
                Some(Event::Probe) => self.actors.probe(&mut self.network),
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
    pub(super) fn deliver(&mut self) {
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

    pub(super) fn is_deliverable(&self) -> bool {
        !self.posted.is_empty()
    }
}
