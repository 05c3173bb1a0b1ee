//! Bringing clients in: listeners, limits, and what happens when descriptors or sessions run out.
//!
//! ```text
//!              much room                      little room
//!   Armed <--------------- Idle ------------------------------> Waiting
//!   accepts until told     | no room, no descriptor:            says that a client waits:
//!   to stop                | a moment later, or when            a place is taken first, then
//!                          | something has become free          the client accepted
//! ```
//! As long as there is room for all that may wait in the kernel's backlogs, a listener accepts by
//! one operation that goes on until it is cancelled. With less room a place is taken before a client
//! is accepted, so limits hold exactly and whoever is above them waits in the backlog. What was
//! accepted above a limit all the same, in the moment of changing over, is parked and served next.
//!
//! Out of descriptors: clients stay in the backlog. One descriptor is kept in reserve, so that a
//! client that was accepted can also be connected; while it is used, nobody is accepted.
#![forbid(unsafe_code)]

use crate::bounds::{ACCEPT_RETRY, ACCEPTS_MAX, BACKLOG_MAX};
use crate::error::{CloseReason, Errno};
use crate::id::{Generation, Slot};
use crate::limits::Limit;
use crate::ring::driver::{Driver, Operation};
use crate::time::Instant;
use crate::worker::{Stage, Worker};

/// A listening socket of this worker.
#[derive(Debug)]
pub(super) struct Listener<S> {
    /// Its position in the view.
    place: usize,
    /// `None` once closed.
    socket: Option<S>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not accepting.
    Idle,
    /// Accepting.
    Armed,
    /// To be told when a client waits.
    Waiting,
    /// Told to stop; the last completion is to come.
    Cancelled(Operation),
}

/// How much room limits leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    None,
    Little,
    Much,
}

impl<S> Listener<S> {
    pub(super) fn new((place, socket): (usize, S)) -> Self {
        Self {
            place,
            socket: Some(socket),
            state: State::Idle,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.socket.is_none()
    }

    /// The operation that is in flight and was not told to end.
    fn operation(&self) -> Option<Operation> {
        match self.state {
            State::Armed => Some(Operation::Accept),
            State::Waiting => Some(Operation::Acceptable),
            State::Idle | State::Cancelled(_) => None,
        }
    }
}

/// Listeners are never replaced within a worker, so one generation is enough.
fn slot_of(listener: usize) -> Slot {
    Slot {
        index: listener as u32,
        generation: Generation::default(),
    }
}

impl<D: Driver> Worker<D> {
    pub(super) fn handle_accepted(
        &mut self,
        slot: Slot,
        result: Result<D::Socket, Errno>,
        more: bool,
    ) {
        let position = slot.index as usize;
        let Some(listener) = self.listeners.get_mut(position) else {
            self.counters.stale_completions.add(1);
            return;
        };
        let place = listener.place;
        let was_cancelled = listener.state == State::Cancelled(Operation::Accept);
        if !more {
            listener.state = State::Idle;
        }
        match result {
            Ok(socket) => {
                self.counters.accepted.add(1);
                self.admit(place, socket);
            }
            Err(errno) if errno.is_shortage() => self.note_shortage(),
            Err(_) if was_cancelled => {}
            // A client that has already gone (ECONNABORTED), or something stranger: go on, but do
            // not spin.
            Err(_) => self.retry_accept_at = self.now + ACCEPT_RETRY,
        }
        if !more {
            self.go_on_after(position);
        }
    }

    /// A client waits, or the wait was cancelled.
    pub(super) fn handle_acceptable(&mut self, slot: Slot) {
        let position = slot.index as usize;
        let Some(listener) = self.listeners.get_mut(position) else {
            self.counters.stale_completions.add(1);
            return;
        };
        let was_cancelled = listener.state == State::Cancelled(Operation::Acceptable);
        listener.state = State::Idle;
        if !was_cancelled && self.stage == Stage::Serving {
            self.accept_carefully(position);
        }
        self.go_on_after(position);
    }

    /// Takes clients out of the backlog one by one, each after a place for it.
    fn accept_carefully(&mut self, position: usize) {
        let place = self.listeners[position].place;
        for _ in 0..ACCEPTS_MAX {
            if !self.driver.has_reserve() {
                return self.note_shortage();
            }
            if !self.try_admit(place) {
                return;
            }
            let accepted = match &self.listeners[position].socket {
                Some(socket) => self.driver.accept_waiting(socket),
                None => Err(Errno(libc::EAGAIN)),
            };
            match accepted {
                Ok(client) => {
                    self.counters.accepted.add(1);
                    self.start_session(place, client);
                    // It takes its second descriptor before the next client takes that.
                    if let Some(key) = self.touched.pop_back() {
                        self.poll_session(key);
                    }
                }
                Err(errno) => {
                    self.give_up_place(place);
                    match errno.0 {
                        libc::EAGAIN => return,
                        libc::ECONNABORTED => {}
                        _ if errno.is_shortage() => return self.note_shortage(),
                        _ => return self.retry_accept_at = self.now + ACCEPT_RETRY,
                    }
                }
            }
        }
    }

    /// A listener's operation is over: it goes on, or is closed.
    fn go_on_after(&mut self, position: usize) {
        if self.stage != Stage::Serving {
            self.close_listener(position);
        } else if self.retry_accept_at == Instant::NEVER {
            self.resume_accepting();
        }
    }

    fn note_shortage(&mut self) {
        self.counters.accept_pauses.add(1);
        self.retry_accept_at = self.now + ACCEPT_RETRY;
    }

    /// Accepts on every listener of the view, as far as there is room; serves parked clients
    /// first.
    pub(super) fn resume_accepting(&mut self) {
        self.retry_accept_at = Instant::NEVER;
        self.serve_parked();
        if self.stage != Stage::Serving {
            if !self.parked.is_empty() {
                self.retry_accept_at = self.now + ACCEPT_RETRY;
            }
            // Those that could not be emptied yet.
            return self.close_listeners();
        }
        if !self.driver.has_reserve() {
            self.retry_accept_at = self.now + ACCEPT_RETRY;
            return;
        }
        for position in 0..self.listeners.len() {
            let place = self.listeners[position].place;
            let room = self.room(place);
            let listener = &mut self.listeners[position];
            let is_idle = listener.state == State::Idle && place < self.view.listeners.len();
            let Some(socket) = listener.socket.as_ref().filter(|_| is_idle) else {
                continue;
            };
            match room {
                Room::None => self.retry_accept_at = self.now + ACCEPT_RETRY,
                Room::Little => {
                    listener.state = State::Waiting;
                    self.driver.await_client(socket, slot_of(position));
                }
                Room::Much => {
                    listener.state = State::Armed;
                    self.driver.accept(socket, slot_of(position));
                }
            }
        }
    }

    /// Starts sessions for the clients that were accepted above a limit.
    pub(super) fn serve_parked(&mut self) {
        for _ in 0..self.parked.len() {
            let Some((listener, socket)) = self.parked.pop_front() else {
                return;
            };
            if self.try_admit(listener) {
                self.start_session(listener, socket);
            } else {
                self.parked.push_back((listener, socket));
            }
        }
    }

    /// A descriptor or a session has become free.
    pub(super) fn note_freed(&mut self) {
        if self.retry_accept_at != Instant::NEVER {
            self.retry_accept_at = self.now;
        }
    }

    /// The reserve is used up: nobody is accepted until there is one again.
    pub(super) fn keep_reserve(&mut self) {
        if !self.driver.has_reserve() {
            self.pause_accepting();
        }
    }

    /// Stops accepting for good: takes what already waits, then closes.
    pub(super) fn close_listeners(&mut self) {
        for position in 0..self.listeners.len() {
            if self.listeners[position].state == State::Idle {
                self.close_listener(position);
            } else {
                self.cancel_accept(position);
            }
        }
    }

    fn limit_of(&self, listener: usize) -> Option<&Limit> {
        self.view.listeners.get(listener)?.limit.as_deref()
    }

    /// Takes a place for one more session of a listener.
    fn try_admit(&self, listener: usize) -> bool {
        if !self.session_limit.try_acquire() {
            return false;
        }
        let admitted = self.limit_of(listener).is_none_or(Limit::try_acquire);
        if !admitted {
            self.session_limit.release();
        }
        admitted
    }

    fn give_up_place(&self, listener: usize) {
        self.session_limit.release();
        if let Some(limit) = self.limit_of(listener) {
            limit.release();
        }
    }

    fn room(&self, listener: usize) -> Room {
        if self.parked.iter().any(|(parked, _)| *parked == listener) {
            return Room::None;
        }
        let process = self.session_limit.room();
        let own = self.limit_of(listener).map_or(usize::MAX, Limit::room);
        match process.min(own) {
            0 => Room::None,
            room if room <= self.waiting_max => Room::Little,
            _ => Room::Much,
        }
    }

    fn admit(&mut self, listener: usize, socket: D::Socket) {
        if let Stage::Stopping { .. } = self.stage {
            return self.turn_away(socket, CloseReason::Drained);
        }
        if self.room(listener) != Room::None && self.try_admit(listener) {
            self.start_session(listener, socket);
        } else {
            self.parked.push_back((listener, socket));
        }
        if self.stage == Stage::Serving && self.room(listener) != Room::Much {
            self.stop_accepting_blindly();
        }
    }

    /// Ends a client's session before it has begun.
    pub(super) fn turn_away(&mut self, client: D::Socket, reason: CloseReason) {
        self.counters.closed(reason).add(1);
        self.driver.reset(&client);
        self.driver.close(client);
    }

    /// Goes over from accepting whoever comes to taking places first, where there is little room.
    fn stop_accepting_blindly(&mut self) {
        for position in 0..self.listeners.len() {
            let listener = &self.listeners[position];
            if listener.state == State::Armed && self.room(listener.place) != Room::Much {
                self.cancel_accept(position);
            }
        }
    }

    fn pause_accepting(&mut self) {
        if self.stage != Stage::Serving {
            return;
        }
        if self.retry_accept_at == Instant::NEVER {
            self.note_shortage();
        }
        for position in 0..self.listeners.len() {
            self.cancel_accept(position);
        }
    }

    fn cancel_accept(&mut self, position: usize) {
        if let Some(operation) = self.listeners[position].operation() {
            self.listeners[position].state = State::Cancelled(operation);
            self.driver.cancel(operation, slot_of(position));
        }
    }

    fn close_listener(&mut self, position: usize) {
        let Some(socket) = self.listeners[position].socket.take() else {
            return;
        };
        let place = self.listeners[position].place;
        let is_in_view = place < self.view.listeners.len();
        if is_in_view && !matches!(self.stage, Stage::Stopping { .. }) {
            let mut taken = 0;
            loop {
                taken += 1;
                if taken > BACKLOG_MAX {
                    // More come than a backlog holds: what was accepted is served in between.
                    self.listeners[position].socket = Some(socket);
                    self.retry_accept_at = self.now;
                    return;
                }
                match self.driver.accept_waiting(&socket) {
                    Ok(client) => {
                        self.counters.accepted.add(1);
                        self.admit(place, client);
                    }
                    Err(errno) if errno.is_shortage() => {
                        // Clients wait, and will be taken when a session has ended.
                        self.listeners[position].socket = Some(socket);
                        self.retry_accept_at = self.now + ACCEPT_RETRY;
                        return;
                    }
                    // EAGAIN: nobody waits any more. ECONNABORTED: that one has gone.
                    Err(Errno(libc::ECONNABORTED)) => {}
                    Err(_) => break,
                }
            }
        }
        self.driver.close(socket);
    }
}
