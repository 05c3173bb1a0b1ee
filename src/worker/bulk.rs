//! Bulk: bytes that go from one side to the other through a pipe, without coming here.
//!
//! ```text
//!            readable                       room
//!   source ───────────► fill ► pipe ► drain ───────────► sink
//! ```
//! A pump runs until the source has nothing more (then the pipe is empty, and goes back), the sink
//! has no room (then the pipe stays), or others have to get their turn. What ends a pump is told to
//! the session, which goes back to buffers; how the source has ended, a receive finds out.
#![forbid(unsafe_code)]

use crate::bounds::{BULK_LEAN_MOMENTS, BULK_PUMP_BYTES, BULK_TURN_BYTES};
use crate::error::{CloseReason, Errno};
use crate::id::Slot;
use crate::ring::driver::{Conduit, Driver, Operation};
use crate::session::{BulkEnd, Side};
use crate::worker::Worker;

/// One direction of a session that is moved in bulk.
#[derive(Debug)]
pub(super) struct Pump<P> {
    /// Held while bytes are in it.
    pipe: Option<P>,
    /// How many readable moments in a row brought little.
    lean_moments: u8,
    /// The source has said 0 or an error.
    ended: bool,
}

impl<P: Conduit> Pump<P> {
    fn held_bytes(&self) -> u32 {
        self.pipe.as_ref().map_or(0, Conduit::bytes)
    }
}

/// A pump's place among a worker's pumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PumpKey(u32);

impl PumpKey {
    /// The place of no pump.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// Why a run of a pump stopped.
enum Pause {
    /// Nothing to move.
    Source,
    /// No room.
    Sink,
    /// Others have to get their turn.
    Turn,
    /// There is no pipe.
    NoPipe,
    /// All that came has gone, and no more will come.
    Ended,
    /// The sink is broken.
    Broken,
}

impl<D: Driver> Worker<D> {
    /// Begins to move what a side sends.
    pub(super) fn start_bulk(&mut self, key: u32, from: Side) {
        let Some(session) = self.sessions.get_mut(key as usize) else {
            return;
        };
        if session.pumps[from.index()] != PumpKey::NONE {
            return session.relay.abort(CloseReason::Internal);
        }
        let place = self.pumps.insert(Pump {
            pipe: None,
            lean_moments: 0,
            ended: false,
        });
        session.pumps[from.index()] = PumpKey(place as u32);
        self.counters.bulks.add(1);
        self.pump(key, from);
    }

    /// A wait of a pump is over.
    pub(super) fn handle_ready(&mut self, slot: Slot, operation: Operation) {
        let Some((key, side)) = self.owner(slot, operation, false) else {
            return;
        };
        let from = if operation == Operation::Readable {
            side
        } else {
            side.other()
        };
        self.pump(key, from);
    }

    /// Lets those pumps go on that had to stop for others.
    pub(super) fn run_pumps(&mut self) {
        // Those that stop again are for the next turn.
        for _ in 0..self.pumping.len() {
            if let Some((id, key, from)) = self.pumping.pop_front()
                && self
                    .sessions
                    .get(key as usize)
                    .is_some_and(|session| session.id == id)
            {
                self.pump(key, from);
            }
        }
    }

    /// Ends the pumps of a session that is over; what is in their pipes is lost.
    pub(super) fn drop_pumps(&mut self, pumps: [PumpKey; 2]) {
        for PumpKey(place) in pumps {
            if let Some(pump) = self.pumps.try_remove(place as usize)
                && let Some(pipe) = pump.pipe
            {
                self.driver.give_pipe(pipe);
            }
        }
    }

    /// Moves what can be moved and arranges for the rest.
    fn pump(&mut self, key: u32, from: Side) {
        let Some(session) = self.sessions.get(key as usize) else {
            return;
        };
        let PumpKey(place) = session.pumps[from.index()];
        let sink = from.other();
        let (Some(source_slot), Some(sink_slot)) = (session.slot(from), session.slot(sink)) else {
            return;
        };
        let Some(mut pump) = self.pumps.try_remove(place as usize) else {
            return;
        };
        let held = pump.held_bytes();
        let (moved, pause) = self.run_pump(&mut pump, source_slot, sink_slot);
        if moved > 0 {
            self.count_bytes(key, from, u64::from(moved));
        }
        let has_drained = held + moved > pump.held_bytes();
        if moved > 0 || has_drained {
            self.sessions[key as usize].relay.handle_moved(self.now);
        }
        if pump.pipe.as_ref().is_some_and(|pipe| pipe.bytes() == 0)
            && let Some(pipe) = pump.pipe.take()
        {
            self.driver.give_pipe(pipe);
        }
        let end = match pause {
            Pause::Source if moved >= BULK_TURN_BYTES => {
                pump.lean_moments = 0;
                self.await_ready(key, source_slot, Operation::Readable)
            }
            Pause::Source if pump.lean_moments + 1 < BULK_LEAN_MOMENTS => {
                pump.lean_moments += 1;
                self.await_ready(key, source_slot, Operation::Readable)
            }
            Pause::Source => Some(BulkEnd::Lean),
            Pause::Sink => self.await_ready(key, sink_slot, Operation::Writable),
            Pause::Turn => {
                let id = self.sessions[key as usize].id;
                self.pumping.push_back((id, key, from));
                None
            }
            Pause::NoPipe => Some(BulkEnd::Refused),
            Pause::Ended => Some(BulkEnd::Ended),
            Pause::Broken => {
                let relay = &mut self.sessions[key as usize].relay;
                relay.handle_reset(self.now, sink, self.driver.buffers());
                Some(BulkEnd::Ended)
            }
        };
        let session = &mut self.sessions[key as usize];
        match end {
            None => {
                let place = self.pumps.insert(pump);
                session.pumps[from.index()] = PumpKey(place as u32);
            }
            Some(end) => {
                session.pumps[from.index()] = PumpKey::NONE;
                session.relay.handle_bulk_end(from, end);
                if let Some(pipe) = pump.pipe {
                    self.driver.give_pipe(pipe);
                }
                self.touch(key);
            }
        }
    }

    /// Moves bytes until something stops it. Returns how many came from the source.
    fn run_pump(&mut self, pump: &mut Pump<D::Pipe>, source: Slot, sink: Slot) -> (u32, Pause) {
        let mut moved = 0;
        let pause = loop {
            if pump.pipe.is_none() {
                pump.pipe = self.driver.take_pipe();
            }
            let Some(pipe) = &mut pump.pipe else {
                break Pause::NoPipe;
            };
            if !pump.ended {
                let Some(connection) = self.connections.get_mut(source) else {
                    break Pause::Ended;
                };
                match self.driver.fill(pipe, &connection.socket) {
                    Ok(0) => pump.ended = true,
                    Ok(bytes) => moved += bytes,
                    Err(Errno(libc::EAGAIN)) if pipe.bytes() == 0 => break Pause::Source,
                    Err(Errno(libc::EAGAIN)) => {}
                    Err(_) => pump.ended = true,
                }
            }
            if pipe.bytes() == 0 {
                break Pause::Ended;
            }
            let Some(connection) = self.connections.get_mut(sink) else {
                break Pause::Broken;
            };
            match self.driver.drain(pipe, &connection.socket) {
                Ok(_) if moved >= BULK_PUMP_BYTES => break Pause::Turn,
                Ok(_) => {}
                Err(Errno(libc::EAGAIN)) => break Pause::Sink,
                Err(_) => break Pause::Broken,
            }
        };
        (moved, pause)
    }

    /// Waits until a socket is ready. Returns why there is an end to it, if it cannot.
    fn await_ready(&mut self, key: u32, slot: Slot, operation: Operation) -> Option<BulkEnd> {
        let connection = self.connections.get_mut(slot)?;
        if !connection.armed.try_insert(operation) {
            self.sessions[key as usize]
                .relay
                .abort(CloseReason::Internal);
            return Some(BulkEnd::Ended);
        }
        if operation == Operation::Readable {
            self.driver.await_readable(&connection.socket, slot);
        } else {
            self.driver.await_writable(&connection.socket, slot);
        }
        None
    }
}
