//! [`Driver`] over the simulated kernel: the seam as a worker sees it.
//!
//! Whatever a worker must not do (two operations of a kind on one slot, a close with one in flight,
//! a chunk released twice, a send after a shutdown) is a failure at once.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringlane::balance::endpoint::Address;
use ringlane::bounds::{TICK, WINDOW_BYTES};
use ringlane::buffers::{Batch, Buffers};
use ringlane::error::Errno;
use ringlane::id::Slot;
use ringlane::plan::options::{ConnectOptions, SocketOptions};
use ringlane::ring::driver::{Completion, Driver, Event as Outcome, Operation, Stock, Wait};
use ringlane::session::Transport;
use ringlane::time::Instant;

use super::arena::SimArena;
use super::control::Control;
use super::coverage::Situation;
use super::kernel::{Pending, Posted, SimDriver, SimSocket, Submission, Target, key};
use super::network::At;
use super::pipe::SimPipe;

/// No worker has nothing to do for so long.
const IDLE_MAX: Duration = Duration::from_secs(1_000);

impl Driver for SimDriver {
    type Socket = SimSocket;
    type Buffers = SimArena;
    type Pipe = SimPipe;

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

    fn stock(&self) -> Stock {
        Stock {
            buffers: self.arena.count(),
            held_buffers: self.arena.held_count(),
            pipes: self.pipes_held,
            memory_pipes: 0,
        }
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
        self.live.note_connect(link, address, &mut self.network);
        self.check_live();
    }

    fn receive(&mut self, socket: &SimSocket, slot: Slot, credit: u32) {
        if credit == 0 || credit as usize > WINDOW_BYTES {
            self.fail(&format!("a receive with a credit of {credit}"));
        }
        if let Some(link) = self.link(socket.0) {
            self.note_flow(link);
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

    fn await_readable(&mut self, socket: &SimSocket, slot: Slot) {
        self.submit(Operation::Readable, slot, socket);
    }

    fn await_writable(&mut self, socket: &SimSocket, slot: Slot) {
        self.submit(Operation::Writable, slot, socket);
    }

    fn await_client(&mut self, listener: &SimSocket, slot: Slot) {
        self.listener(listener.0);
        self.submit(Operation::Acceptable, slot, listener);
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
            let is_ended = self.actors.may_reset(self.network.now)
                || self.live.is_link_due(link, self.network.now);
            if took + TICK < self.network.late_after && !is_ended {
                self.network
                    .coverage
                    .meet(Situation::ClientGoneWhileConnecting);
            }
        }
        if let Some(pending) = self.operations.get(&key)
            && let Some(link) = self.link(pending.socket)
        {
            self.note_gone(link);
        }
        self.submissions.push_back(Submission::Cancel(key));
    }

    fn settle(&mut self, socket: &SimSocket, _: &SocketOptions) {
        if self.link(socket.0).is_none() {
            self.fail("what is no connection is settled");
        }
        self.network.coverage.meet(Situation::Settled);
    }

    fn open(
        &mut self,
        address: &Address,
        _: &ConnectOptions,
        _: Option<IpAddr>,
    ) -> Result<SimSocket, Errno> {
        if !self.has_descriptor() {
            self.network.coverage.meet(Situation::OpenEmfile);
            if !std::mem::take(&mut self.reserve) {
                return Err(Errno(libc::EMFILE));
            }
            self.used -= 1;
        }
        Ok(self.add_socket(Target::Unconnected(address.clone())))
    }

    fn has_reserve(&mut self) -> bool {
        if !self.reserve && self.has_descriptor() {
            self.reserve = true;
            self.used += 1;
        }
        if !self.reserve {
            self.network.coverage.meet(Situation::NoReserve);
        }
        self.reserve
    }

    fn accept_waiting(&mut self, listener: &SimSocket) -> Result<SimSocket, Errno> {
        let place = self.listener(listener.0);
        if !self.has_descriptor() {
            return Err(Errno(libc::EMFILE));
        }
        match self.network.listeners[place].backlog.pop_front() {
            Some(link) => {
                let control = self.actors.control.as_ref();
                let is_draining = control.is_some_and(Control::is_ending);
                self.network.coverage.meet(if is_draining {
                    Situation::AcceptedAtDrain
                } else {
                    Situation::AcceptedWithCare
                });
                Ok(self.add_socket(Target::Link(link)))
            }
            None => Err(Errno(libc::EAGAIN)),
        }
    }

    fn take_pipe(&mut self) -> Option<SimPipe> {
        self.try_take_pipe()
    }

    fn give_pipe(&mut self, pipe: SimPipe) {
        self.take_pipe_back(&pipe);
    }

    fn fill(&mut self, pipe: &mut SimPipe, from: &SimSocket) -> Result<u32, Errno> {
        self.fill_pipe(pipe, from)
    }

    fn drain(&mut self, pipe: &mut SimPipe, to: &SimSocket) -> Result<u32, Errno> {
        self.drain_pipe(pipe, to)
    }

    fn client_addr(&self, _: &SimSocket) -> Option<SocketAddr> {
        Some(([10, 0, 1, 1], 40_000).into())
    }

    fn local_addr(&self, _: &SimSocket) -> Option<SocketAddr> {
        Some(([10, 0, 0, 9], 80).into())
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
            self.note_gone(link);
            self.network.reset(link, At::Near);
        }
    }

    fn unsent_bytes(&mut self, socket: &SimSocket, slot: Slot) -> u32 {
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
        let sending = self.operations.get(&key(Operation::Send, slot));
        let in_flight = sending.map_or(0, |pending| {
            let batch = pending.batch.as_ref().map_or(0, Batch::bytes);
            batch - pending.sent.min(batch)
        });
        (near.outgoing.len() + unread + in_flight) as u32
    }

    fn is_swollen(&self) -> bool {
        false
    }

    fn shrink(&mut self) {}

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
            Target::Link(link) => {
                self.note_gone(link);
                self.network.close(link, At::Near);
            }
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
        let began = self.network.now;
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
                Some(at) if at > began + IDLE_MAX => self.fail("the worker sleeps for ever"),
                Some(at) if at <= deadline => self.network.now = at,
                None if deadline == Instant::NEVER => self.fail("the worker sleeps for ever"),
                _ => {
                    self.network.now = deadline;
                    break;
                }
            }
        }
        let busy = self.network.rng.u64(500..5_000);
        self.network.now = self.network.now + Duration::from_nanos(busy);
        self.deliver();
        Ok(())
    }

    fn poll_completion(&mut self) -> Option<Completion<SimSocket>> {
        self.live.check_served();
        self.check_live();
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
            Outcome::Readable => (13, 0),
            Outcome::Writable => (14, 0),
            Outcome::Acceptable => (15, 0),
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
        if kind == 7
            && detail > 0
            && let Some(pending) = self.operations.get(&key)
            && let Some(link) = self.link(pending.socket)
        {
            self.live.note_bytes(link);
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
