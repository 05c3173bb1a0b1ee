//! Bringing clients in: listeners, and what happens when descriptors or sessions run out.
//!
//! A listener accepts by one operation that goes on until it is cancelled or runs out of
//! something. At the session limit it is cancelled and the kernel's backlog holds further clients;
//! those that had been accepted by then, a backlog at most, are parked and served first. Out of descriptors, it ends
//! by itself and is started again after a connection of ours has closed, or a moment later.
#![forbid(unsafe_code)]

use crate::bounds::{ACCEPT_RETRY, BACKLOG_MAX};
use crate::error::{CloseReason, Errno};
use crate::id::{Generation, Slot};
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
    /// Told to stop accepting; its last completion is to come.
    Cancelled,
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
        let was_cancelled = listener.state == State::Cancelled;
        if !more {
            listener.state = State::Idle;
        }
        match result {
            Ok(socket) => {
                self.counters.accepted.add(1);
                let place = listener.place;
                self.admit(place, socket);
            }
            Err(errno) if errno.is_shortage() => {
                self.counters.accept_pauses.add(1);
                self.retry_accept_at = self.now + ACCEPT_RETRY;
            }
            Err(_) if was_cancelled => {}
            // A client that has already gone (ECONNABORTED), or something stranger: go on, but do
            // not spin.
            Err(_) => self.retry_accept_at = self.now + ACCEPT_RETRY,
        }
        if more {
            return;
        }
        if self.stage != Stage::Serving {
            self.close_listener(position);
        } else if self.retry_accept_at == Instant::NEVER {
            // Ended with a connection in hand, as a full completion queue makes it do.
            self.resume_accepting();
        }
    }

    /// Accepts on every listener of the view, as far as there is room; serves parked clients
    /// first.
    pub(super) fn resume_accepting(&mut self) {
        self.retry_accept_at = Instant::NEVER;
        self.serve_parked();
        if !self.parked.is_empty() {
            self.retry_accept_at = self.now + ACCEPT_RETRY;
            return;
        }
        if self.stage != Stage::Serving {
            // Those that could not be emptied yet.
            return self.close_listeners();
        }
        if self.session_limit.count() >= self.session_limit.max() {
            self.retry_accept_at = self.now + ACCEPT_RETRY;
            return;
        }
        for (position, listener) in self.listeners.iter_mut().enumerate() {
            let is_in_view = listener.place < self.view.listeners.len();
            if let Some(socket) = &listener.socket
                && listener.state == State::Idle
                && is_in_view
            {
                listener.state = State::Armed;
                self.driver.accept(socket, slot_of(position));
            }
        }
    }

    /// Starts sessions for the clients that were accepted above the limit.
    pub(super) fn serve_parked(&mut self) {
        while !self.parked.is_empty() && self.session_limit.try_acquire() {
            match self.parked.pop_front() {
                Some((listener, socket)) => self.start_session(listener, socket),
                None => self.session_limit.release(),
            }
        }
    }

    /// A descriptor or a session has become free.
    pub(super) fn note_freed(&mut self) {
        if self.retry_accept_at != Instant::NEVER {
            self.retry_accept_at = self.now;
        }
    }

    /// Stops accepting for good: takes what already waits, then closes.
    pub(super) fn close_listeners(&mut self) {
        for position in 0..self.listeners.len() {
            match self.listeners[position].state {
                State::Idle => self.close_listener(position),
                State::Cancelled => {}
                State::Armed => self.cancel_accept(position),
            }
        }
    }

    fn admit(&mut self, listener: usize, socket: D::Socket) {
        if let Stage::Stopping { .. } = self.stage {
            self.turn_away(socket, CloseReason::Drained);
        } else if self.parked.is_empty() && self.session_limit.try_acquire() {
            self.start_session(listener, socket);
        } else {
            self.parked.push_back((listener, socket));
            self.pause_accepting();
        }
    }

    /// Ends a client's session before it has begun.
    pub(super) fn turn_away(&mut self, client: D::Socket, reason: CloseReason) {
        self.counters.closed(reason).add(1);
        self.driver.reset(&client);
        self.driver.close(client);
    }

    fn pause_accepting(&mut self) {
        if self.retry_accept_at == Instant::NEVER {
            self.counters.accept_pauses.add(1);
            self.retry_accept_at = self.now + ACCEPT_RETRY;
        }
        for position in 0..self.listeners.len() {
            if self.listeners[position].state == State::Armed {
                self.cancel_accept(position);
            }
        }
    }

    fn cancel_accept(&mut self, position: usize) {
        self.listeners[position].state = State::Cancelled;
        self.driver.cancel(Operation::Accept, slot_of(position));
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
