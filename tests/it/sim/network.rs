//! The virtual network: connections, listeners, endpoints' addresses, and what happens when.
//!
//! A connection has a near end (the simulated kernel's, which a worker has a socket of) and a far
//! end (a client's or an endpoint's). Bytes lie in one end's outgoing queue until they move to the
//! other's incoming one, in pieces, after a while, as far as there is room: that is all there is of
//! windows and of latency. What ends do to each other is in [`end`](super::end).
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use ringlane::balance::endpoint::Address;
use ringlane::error::Errno;
use ringlane::session::Transport;
use ringlane::time::Instant;

use super::coverage::{Coverage, Situation};
use super::end::End;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    Near = 0,
    Far = 1,
}

impl At {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

/// Something that happens at a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// Bytes or a FIN move from one end of a link to the other.
    Move(usize, At),
    /// A RST arrives.
    Reset(usize, At),
    /// It is settled what becomes of a connect.
    Resolve(usize),
    /// A client connects to a listener.
    Arrive(usize, usize),
    /// An actor wants to act.
    Act(usize),
    /// Something happens that was planned.
    Control,
    /// Control's desk wants to act.
    Desk,
    /// It is time to probe.
    Probe,
    /// Somebody outside wants the turn to end.
    Alarm,
}

/// A connection, or the attempt at one.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [End; 2],
    pub(crate) transport: Transport,
    pub(crate) stage: Stage,
    moving: [bool; 2],
    /// The remote that it goes to, if the worker made it.
    pub(crate) remote: Option<usize>,
    pub(crate) since: Instant,
    /// Whether the connect was cancelled.
    pub(crate) abandoned: bool,
    /// When a RST arrived at the near end.
    pub(crate) near_broken_at: Option<Instant>,
    /// When the worker reset the near end.
    pub(crate) near_reset_at: Option<Instant>,
    /// Its session was ended because its endpoint is not to have any.
    pub(crate) evicted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    Connected,
    Failed(Errno),
}

/// A listening socket of the worker.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    pub(crate) backlog: VecDeque<usize>,
    pub(crate) closed: bool,
}

/// What an endpoint does with a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accept,
    Refuse,
    Unreachable,
    /// Nothing, until the one who connects gives up.
    Silence,
    /// Accepts after longer than anybody waits, or just before.
    Late,
}

/// What an endpoint does with a connection that it has accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// What its habits are.
    #[default]
    Serve,
    /// It resets it before the first byte.
    Reset,
    /// Nothing.
    Mute,
    /// It answers at once, and finishes.
    Polite,
}

/// An endpoint's address.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) address: Address,
    pub(crate) answer: Answer,
    pub(crate) manner: Manner,
    /// Links whose far end nobody has taken yet.
    pub(crate) accepted: VecDeque<usize>,
    /// The size of a far end's buffers.
    pub(crate) room: usize,
}

/// All connections, and the time.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) rng: fastrand::Rng,
    pub(crate) links: Vec<Link>,
    pub(crate) listeners: Vec<Listening>,
    pub(crate) remotes: Vec<Remote>,
    pub(crate) coverage: Coverage,
    /// The longest that a piece of data travels.
    pub(crate) latency_max: Duration,
    /// The size of near ends' buffers.
    pub(crate) near_room: usize,
    pub(crate) late_after: Duration,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    sequence: u64,
}

/// How long a kernel tries to connect to who does not answer.
const SILENCE: Duration = Duration::from_secs(130);

impl Network {
    pub(crate) fn new(rng: fastrand::Rng, latency_max: Duration) -> Self {
        Self {
            now: Instant::from_nanos(1_000_000_000),
            rng,
            links: Vec::new(),
            listeners: Vec::new(),
            remotes: Vec::new(),
            coverage: Coverage::default(),
            latency_max,
            near_room: 64 * 1024,
            late_after: Duration::from_secs(1),
            events: BinaryHeap::new(),
            sequence: 0,
        }
    }

    /// Makes something happen after a while.
    pub(crate) fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events
            .push(Reverse((self.now + after, self.sequence, event)));
    }

    /// When the next thing happens.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.events.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes the next thing that is due and does it; returns it if it is not the network's to do.
    pub(crate) fn step(&mut self) -> Option<Option<Event>> {
        if self.next_at()? > self.now {
            return None;
        }
        let Reverse((_, _, event)) = self.events.pop()?;
        match event {
            Event::Move(link, from) => self.move_bytes(link, from),
            Event::Reset(link, to) => self.break_end(link, to),
            Event::Resolve(link) => self.resolve(link),
            Event::Arrive(link, listener) => self.arrive(link, listener),
            Event::Act(_) | Event::Control | Event::Desk | Event::Probe | Event::Alarm => {
                return Some(Some(event));
            }
        }
        Some(None)
    }

    /// Time that something takes on its way.
    pub(crate) fn delay(&mut self) -> Duration {
        let most = self.latency_max.as_nanos() as u64;
        Duration::from_nanos(self.rng.u64(10_000..=most.max(10_001)))
    }

    /// A client connects to a listener of the worker; the link's far end is the client's.
    pub(crate) fn connect(&mut self, listener: usize, room: usize) -> usize {
        let link = self.add_link(Transport::Tcp, room, None);
        self.links[link].stage = Stage::Connected;
        let delay = self.delay();
        self.schedule(delay, Event::Arrive(link, listener));
        link
    }

    /// A client has connected and is in a listener's backlog.
    pub(crate) fn connect_at_once(&mut self, listener: usize, room: usize) -> usize {
        let link = self.add_link(Transport::Tcp, room, None);
        self.links[link].stage = Stage::Connected;
        self.schedule(Duration::ZERO, Event::Alarm);
        self.arrive(link, listener);
        link
    }

    /// The worker connects to an address; the link's near end is the worker's.
    pub(crate) fn connect_to(&mut self, address: &Address) -> usize {
        let Some(remote) = self
            .remotes
            .iter()
            .position(|remote| remote.address == *address)
        else {
            panic!("a connect to {address}, which is no endpoint");
        };
        let room = self.remotes[remote].room;
        let link = self.add_link(address.transport(), room, Some(remote));
        if address.transport() == Transport::Unix {
            self.coverage.meet(Situation::UnixEndpoint);
        }
        let delay = match self.remotes[remote].answer {
            Answer::Accept | Answer::Refuse | Answer::Unreachable => self.delay(),
            Answer::Silence => SILENCE,
            Answer::Late => {
                self.late_after.saturating_sub(Duration::from_millis(20))
                    + Duration::from_micros(self.rng.u64(0..40_000))
            }
        };
        self.schedule(delay, Event::Resolve(link));
        link
    }

    fn add_link(&mut self, transport: Transport, room: usize, remote: Option<usize>) -> usize {
        self.links.push(Link {
            ends: [End::new(self.near_room), End::new(room)],
            transport,
            stage: Stage::Connecting,
            moving: [false; 2],
            remote,
            since: self.now,
            abandoned: false,
            near_broken_at: None,
            near_reset_at: None,
            evicted: false,
        });
        self.links.len() - 1
    }

    fn arrive(&mut self, link: usize, listener: usize) {
        let listener = &mut self.listeners[listener];
        if listener.closed {
            self.break_end(link, At::Far);
        } else {
            listener.backlog.push_back(link);
        }
    }

    /// A late answer may come at the very moment at which a connect is cancelled.
    pub(crate) fn resolve_late(&mut self, id: usize) {
        let remote = self.links[id].remote.map(|remote| &self.remotes[remote]);
        let is_late = remote.is_some_and(|remote| remote.answer == Answer::Late);
        if is_late && self.links[id].stage == Stage::Connecting && self.rng.bool() {
            self.resolve(id);
        }
    }

    fn resolve(&mut self, id: usize) {
        let link = &mut self.links[id];
        let Some(remote) = link.remote else { return };
        if link.ends[At::Near as usize].closed || link.stage != Stage::Connecting {
            return;
        }
        let remote = &mut self.remotes[remote];
        link.stage = match remote.answer {
            Answer::Accept | Answer::Late => {
                remote.accepted.push_back(id);
                Stage::Connected
            }
            Answer::Refuse => match link.transport {
                Transport::Tcp => Stage::Failed(Errno(libc::ECONNREFUSED)),
                Transport::Unix => Stage::Failed(Errno(libc::ENOENT)),
            },
            Answer::Unreachable => Stage::Failed(Errno(libc::EHOSTUNREACH)),
            Answer::Silence if self.now.saturating_since(link.since) < SILENCE => {
                // It has fallen silent since.
                return self.schedule(SILENCE, Event::Resolve(id));
            }
            Answer::Silence => Stage::Failed(Errno(libc::ETIMEDOUT)),
        };
    }

    /// Something may be able to move from this end.
    pub(crate) fn push_on(&mut self, id: usize, from: At) {
        if !std::mem::replace(&mut self.links[id].moving[from as usize], true) {
            let delay = self.delay();
            self.schedule(delay, Event::Move(id, from));
        }
    }

    fn move_bytes(&mut self, id: usize, from: At) {
        let link = &mut self.links[id];
        link.moving[from as usize] = false;
        if link.stage != Stage::Connected {
            return;
        }
        let [near, far] = &mut link.ends;
        let (source, sink) = match from {
            At::Near => (near, far),
            At::Far => (far, near),
        };
        if source.gone {
            return;
        }
        let waiting = source.outgoing.len();
        if waiting > 0 && (sink.closed || sink.gone) {
            // A segment for a socket that is gone is answered by a RST.
            if link.transport == Transport::Tcp {
                self.break_end(id, from);
            }
            return;
        }
        let room = sink.room.saturating_sub(sink.incoming.len());
        let most = waiting.min(room);
        let bytes = if most > 1 && self.rng.u8(..4) == 0 {
            self.rng.usize(1..most)
        } else {
            most
        };
        sink.incoming.push(source.outgoing.front(bytes));
        source.outgoing.consume(bytes);
        if source.outgoing.is_empty() {
            if source.finished && !source.fin_sent {
                source.fin_sent = true;
                sink.fin_received = !sink.gone;
            }
        } else if room > bytes {
            self.push_on(id, from);
        }
    }
}
