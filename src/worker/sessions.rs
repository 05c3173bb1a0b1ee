//! Carrying out what sessions want, and ending them.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::access::Client;
use crate::balance::Tried;
use crate::balance::endpoint::{Endpoint, TrialEnd, TrialPermit};
use crate::buffers::{Batch, Buffers, Chunk};
use crate::error::CloseReason;
use crate::id::{SessionId, Slot};
use crate::limits::Limit;
use crate::ring::driver::{Driver, Operation};
use crate::session::proxy_protocol::Violation;
use crate::session::relay::Relay;
use crate::session::{Action, Side};
use crate::time::Instant;
use crate::worker::Worker;
use crate::worker::bulk::PumpKey;
use crate::worker::introduce::is_trusted;
use crate::worker::report::Progress;
use crate::worker::table::{Armed, Connection};

/// A session and what the worker keeps for it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) relay: Relay,
    pub(super) id: SessionId,
    pub(super) client: Slot,
    /// The endpoint's connection, or the attempt at one.
    pub(super) upstream: Option<Slot>,
    /// The endpoint that the session is counted at.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) tried: Tried,
    pub(super) listener: u32,
    /// The listener's own limit, in which it is counted.
    limit: Option<Arc<Limit>>,
    /// Who the client is, where somebody asks.
    pub(super) client_addr: Option<Client>,
    pub(super) progress: Progress,
    /// When to tell of it while it goes on.
    pub(super) report_at: Instant,
    /// By the index of the side that bytes are moved from in bulk.
    pub(super) pumps: [PumpKey; 2],
    pub(super) touched: bool,
    /// What only matters to a session that lasts has been set.
    pub(super) settled: bool,
    /// The right to try an endpoint that had failed.
    pub(super) trial: Option<TrialPermit>,
    /// What it says about its endpoint has been said.
    pub(super) is_judged: bool,
}

impl Session {
    /// The slot of one side's connection.
    pub(super) fn slot(&self, side: Side) -> Option<Slot> {
        match side {
            Side::Client => Some(self.client),
            Side::Endpoint => self.upstream,
        }
    }
}

/// The user memory of an idle session: its own entry; two connections, each with its generation
/// and the place of its operations' memory; a timer.
const _: () = {
    let connection = size_of::<Connection<crate::ring::uring::Socket>>() + 4 + 4 + 8;
    assert!(size_of::<Session>() + 2 * connection + 16 <= 512);
};

/// How a connection is terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both ways have been shut down; the socket is only closed.
    Close,
    /// The other side is told that something went wrong.
    Reset,
}

impl<D: Driver> Worker<D> {
    /// Starts a session that the limit has admitted.
    pub(super) fn start_session(&mut self, listener: usize, socket: D::Socket) {
        let Some(view) = self.view.listeners.get(listener) else {
            self.turn_away(socket, CloseReason::NoEndpoint);
            self.session_limit.release();
            return;
        };
        let limit = view.limit.clone();
        let accept_proxy = view.accept_proxy.as_ref();
        let client_addr = if accept_proxy.is_some() || self.asks_for_clients(listener) {
            self.client_of(&socket)
        } else {
            None
        };
        let mut relay = Relay::new(self.now, view.settings, &mut self.rng);
        if let Some(accept) = accept_proxy {
            match client_addr {
                Some(client) if is_trusted(accept, client) => {}
                Some(_) => relay.abort(CloseReason::ProxyUntrusted),
                // The connection was broken before it was accepted, so it has no other end.
                None => relay.abort(CloseReason::ClientReset),
            }
        }
        let report_at = self.first_report();
        let entry = self.sessions.vacant_entry();
        let key = entry.key() as u32;
        let client = self.connections.insert(Connection {
            socket,
            session: Some(key),
            side: Side::Client,
            armed: Armed::default(),
        });
        self.session_count += 1;
        entry.insert(Session {
            relay,
            id: SessionId::new(self.index, self.session_count),
            client,
            upstream: None,
            endpoint: None,
            tried: Tried::default(),
            listener: listener as u32,
            limit,
            client_addr,
            progress: Progress::default(),
            report_at,
            pumps: [PumpKey::NONE; 2],
            touched: false,
            settled: false,
            trial: None,
            is_judged: false,
        });
        self.touch(key);
    }

    /// Asks a session what it wants until it wants nothing more, and arms its timer.
    pub(super) fn poll_session(&mut self, key: u32) {
        match self.sessions.get_mut(key as usize) {
            Some(session) => session.touched = false,
            None => return,
        }
        while let Some(session) = self.sessions.get_mut(key as usize) {
            let Some(action) = session.relay.poll_action(self.now, self.driver.buffers()) else {
                let deadline = session.relay.deadline().min(session.report_at);
                // Lazily: a timer that is early finds out when it is due.
                if deadline < self.wheel.due(key) {
                    self.wheel.arm(key, deadline);
                }
                return;
            };
            self.perform(key, action);
        }
    }

    pub(super) fn handle_bytes(&mut self, key: u32, side: Side, chunk: Chunk, more: bool) {
        self.count_bytes(key, side, chunk.len() as u64);
        let session = &mut self.sessions[key as usize];
        session
            .relay
            .handle_received(self.now, side, chunk, more, self.driver.buffers());
        self.touch(key);
    }

    /// Counts what came from a side.
    pub(super) fn count_bytes(&mut self, key: u32, side: Side, bytes: u64) {
        let session = &mut self.sessions[key as usize];
        let started = session.relay.started();
        let is_first = session.progress.add(side, bytes, started, self.now);
        match side {
            Side::Client => self.counters.client_bytes.add(bytes),
            Side::Endpoint => {
                self.counters.endpoint_bytes.add(bytes);
                if let Some(endpoint) = &session.endpoint {
                    endpoint.counters(self.index).bytes.add(bytes);
                }
            }
        }
        if is_first {
            self.conclude(key, TrialEnd::Succeeded);
            self.measure(key, |times| &times.first_byte);
        }
    }

    /// Starts a receive on a connection; `false` if its session has let go of it or one is in
    /// flight.
    pub(super) fn arm_receive(&mut self, slot: Slot, credit: u32) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else {
            return false;
        };
        if connection.session.is_none() || !connection.armed.try_insert(Operation::Receive) {
            return false;
        }
        self.driver.receive(&connection.socket, slot, credit);
        true
    }

    /// Closes a terminated connection if no operation of it is in flight any more.
    pub(super) fn close_if_joined(&mut self, slot: Slot) {
        let joined = self
            .connections
            .get_mut(slot)
            .is_some_and(|connection| connection.session.is_none() && connection.armed.is_empty());
        if joined && let Some(connection) = self.connections.remove(slot) {
            self.driver.close(connection.socket);
            self.note_freed();
        }
    }

    fn perform(&mut self, key: u32, action: Action) {
        match action {
            Action::Connect => {
                self.note_header(key);
                self.connect(key);
            }
            Action::Receive(side, credit) => {
                let slot = self.sessions[key as usize].slot(side);
                if !slot.is_some_and(|slot| self.arm_receive(slot, credit)) {
                    self.sessions[key as usize]
                        .relay
                        .abort(CloseReason::Internal);
                }
            }
            Action::Send(side, batch) => self.send(key, side, batch),
            Action::StartBulk(from) => self.start_bulk(key, from),
            Action::Shutdown(side) => {
                let slot = self.sessions[key as usize].slot(side);
                if let Some(connection) = slot.and_then(|slot| self.connections.get_mut(slot)) {
                    self.driver.shutdown(&connection.socket);
                }
            }
            Action::Watch(side) => self.watch(key, side),
            Action::MeasureUnsent(side) => {
                let slot = self.sessions[key as usize].slot(side);
                let measured = slot.and_then(|slot| {
                    let connection = self.connections.get_mut(slot)?;
                    Some(self.driver.unsent_bytes(&connection.socket, slot))
                });
                self.sessions[key as usize]
                    .relay
                    .handle_unsent(self.now, measured.unwrap_or(0));
            }
            Action::Close(reason) => self.end_session(key, reason, Ending::Close),
            Action::Abort(reason) => self.end_session(key, reason, Ending::Reset),
        }
    }

    fn send(&mut self, key: u32, side: Side, batch: Batch) {
        let slot = self.sessions[key as usize].slot(side);
        let connection = slot.and_then(|slot| Some((slot, self.connections.get_mut(slot)?)));
        if let Some((slot, connection)) = connection
            && connection.armed.try_insert(Operation::Send)
        {
            self.driver.send(&connection.socket, slot, batch);
            return;
        }
        for chunk in batch.into_chunks() {
            self.driver.buffers().release(chunk);
        }
        self.sessions[key as usize]
            .relay
            .abort(CloseReason::Internal);
    }

    fn watch(&mut self, key: u32, side: Side) {
        let Some(slot) = self.sessions[key as usize].slot(side) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(slot)
            && connection.armed.try_insert(Operation::Watch)
        {
            self.driver.watch(&connection.socket, slot);
        }
    }

    fn end_session(&mut self, key: u32, reason: CloseReason, ending: Ending) {
        if reason == CloseReason::ConnectTimeout {
            self.count_timeout(key);
        }
        if self.sessions.contains(key as usize) {
            self.conclude_session(key, reason);
            self.measure(key, |times| &times.duration);
        }
        let Some(mut session) = self.sessions.try_remove(key as usize) else {
            return;
        };
        self.wheel.cancel(key);
        session.relay.end(self.driver.buffers());
        self.drop_pumps(session.pumps);
        self.report(&session, Some(reason));
        tracing::debug!(
            session = %session.id,
            reason = reason.word(),
            violation = session.relay.violation().map(Violation::word),
            endpoint = session.endpoint.as_ref().map(|endpoint| endpoint.name.as_str()),
            "session closed"
        );
        if let Some(endpoint) = session.endpoint {
            endpoint.session_closed();
        }
        self.terminate(session.client, ending);
        if let Some(upstream) = session.upstream {
            self.terminate(upstream, ending);
        }
        self.session_limit.release();
        if let Some(limit) = session.limit {
            limit.release();
        }
        // Last, so that whoever sees the session counted sees nothing of it any more.
        self.counters.closed(reason).add(1);
        self.note_freed();
        self.serve_parked();
    }

    /// Lets go of a connection: tells its operations to end, and closes it when they have.
    pub(super) fn terminate(&mut self, slot: Slot, ending: Ending) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.session = None;
        let armed = connection.armed;
        let is_connecting = armed.contains(Operation::Connect);
        if ending == Ending::Reset && !is_connecting {
            self.driver.reset(&connection.socket);
        }
        // A reset ends receives and sends by itself, but not a watch.
        let to_cancel: &[Operation] = match ending {
            Ending::Reset => &[
                Operation::Connect,
                Operation::Watch,
                Operation::Readable,
                Operation::Writable,
            ],
            Ending::Close => &[
                Operation::Connect,
                Operation::Receive,
                Operation::Send,
                Operation::Watch,
                Operation::Readable,
                Operation::Writable,
            ],
        };
        for operation in to_cancel {
            if armed.contains(*operation) {
                self.driver.cancel(*operation, slot);
            }
        }
        self.close_if_joined(slot);
    }
}
