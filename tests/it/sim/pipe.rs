//! Pipes of the simulated kernel: what splice(2) does between them and sockets.
//!
//! What is modelled is what was seen: a full pipe, at the end of the stream or not, and an empty
//! socket all say EAGAIN; 0 is the end; a broken sink leaves the bytes in the pipe; there may be no
//! pipe.
#![forbid(unsafe_code)]

use ringlane::error::Errno;
use ringlane::ring::driver::{Conduit, Operation};

use super::coverage::Situation;
use super::end::Found;
use super::kernel::{SimDriver, SimSocket};
use super::network::At;
use super::queue::ByteQueue;

/// A pipe; it counts among the kernel's until it is given back.
#[derive(Debug, Default)]
pub(crate) struct SimPipe {
    bytes: ByteQueue,
}

impl Conduit for SimPipe {
    fn bytes(&self) -> u32 {
        self.bytes.len() as u32
    }
}

impl SimDriver {
    pub(super) fn try_take_pipe(&mut self) -> Option<SimPipe> {
        if self.pipes_held >= self.kernel.pipes || self.is_odd() {
            self.network.coverage.meet(Situation::NoPipe);
            return None;
        }
        self.pipes_held += 1;
        Some(SimPipe::default())
    }

    pub(super) fn take_pipe_back(&mut self, pipe: &SimPipe) {
        if pipe.bytes() > 0 {
            self.network.coverage.meet(Situation::PipeLost);
        }
        self.pipes_held -= 1;
    }

    pub(super) fn fill_pipe(&mut self, pipe: &mut SimPipe, from: &SimSocket) -> Result<u32, Errno> {
        self.must_not_be_in_flight(from, Operation::Receive);
        let Some(link) = self.link(from.0) else {
            self.fail("a pipe is filled from what is no connection");
        };
        self.network.coverage.meet(Situation::Bulk);
        let room = self.kernel.pipe_bytes.saturating_sub(pipe.bytes.len());
        if room == 0 {
            self.network.coverage.meet(Situation::PipeFull);
            return Err(Errno(libc::EAGAIN));
        }
        let transport = self.network.links[link].transport;
        match self.network.end(link, At::Near).find(transport) {
            Found::Nothing => Err(Errno(libc::EAGAIN)),
            Found::End { error: None, .. } => {
                self.network.coverage.meet(Situation::EndInBulk);
                Ok(0)
            }
            Found::End {
                error: Some(errno), ..
            } => {
                self.network.coverage.meet(Situation::ResetInBulk);
                Err(errno)
            }
            Found::Bytes => {
                let most = if self.is_odd() {
                    self.network.rng.usize(1..=room)
                } else {
                    room
                };
                let bytes = self.network.read(link, At::Near, most);
                pipe.bytes.push(&bytes);
                self.note(&[11, bytes.len() as u64]);
                Ok(bytes.len() as u32)
            }
        }
    }

    pub(super) fn drain_pipe(&mut self, pipe: &mut SimPipe, to: &SimSocket) -> Result<u32, Errno> {
        self.must_not_be_in_flight(to, Operation::Send);
        let Some(link) = self.link(to.0) else {
            self.fail("a pipe is drained to what is no connection");
        };
        if self.network.end(link, At::Near).finished {
            self.fail("a pipe is drained after a shutdown");
        }
        let room = self.network.end(link, At::Near).try_room();
        let room = room.inspect_err(|_| self.network.coverage.meet(Situation::SinkBrokenInBulk))?;
        if room == 0 {
            self.network.coverage.meet(Situation::SinkFullInBulk);
            return Err(Errno(libc::EAGAIN));
        }
        let bytes = pipe.bytes.front(room).to_vec();
        let moved = self.network.write(link, At::Near, &bytes)?;
        pipe.bytes.consume(moved);
        self.note(&[12, moved as u64]);
        Ok(moved as u32)
    }

    fn must_not_be_in_flight(&self, socket: &SimSocket, operation: Operation) {
        let beside = self
            .operations
            .values()
            .any(|pending| pending.socket == socket.0 && pending.operation == operation);
        if beside {
            self.fail(&format!("bulk beside a {operation:?}"));
        }
    }
}
