//! Pipes of the simulated kernel: what splice(2) does between them and sockets.
//!
//! What is modelled is what was seen: a full pipe, at the end of the stream or not, and an empty
//! socket all say EAGAIN; 0 is the end; a broken sink leaves the bytes in the pipe; there may be no
//! pipe.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

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
    /// The links that its bytes came from and last went to.
    from: Option<usize>,
    to: Option<usize>,
}

/// What is known of the links whose bytes go, or went, by pipes.
#[derive(Debug, Default)]
pub(crate) struct Bulks {
    sources: BTreeMap<usize, Source>,
    /// The turn in which there was no pipe.
    no_pipe_at: u64,
}

/// A link whose bytes went by a pipe.
#[derive(Clone, Copy, Debug)]
struct Source {
    regime: Regime,
    /// Where they go.
    to: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Regime {
    /// By a pipe; the last look at it found an end, or did not.
    Bulk {
        ended: bool,
    },
    Flow,
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
            self.bulks.no_pipe_at = self.turn;
            return None;
        }
        self.pipes_held += 1;
        Some(SimPipe::default())
    }

    pub(super) fn take_pipe_back(&mut self, pipe: &SimPipe) {
        if pipe.bytes() > 0 {
            self.network.coverage.meet(Situation::PipeLost);
            let links = [pipe.from, pipe.to].into_iter().flatten();
            let is_broken = |link: usize| self.network.links[link].near_broken_at.is_some();
            let times = u64::from(links.into_iter().any(is_broken));
            self.network.coverage.add(Situation::ResetAtFullPipe, times);
        }
        self.pipes_held -= 1;
    }

    pub(super) fn fill_pipe(&mut self, pipe: &mut SimPipe, from: &SimSocket) -> Result<u32, Errno> {
        self.must_not_be_in_flight(from, Operation::Receive);
        let Some(link) = self.link(from.0) else {
            self.fail("a pipe is filled from what is no connection");
        };
        self.network.coverage.meet(Situation::Bulk);
        pipe.from = Some(link);
        self.note_bulk(link);
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
                self.note_end(link);
                Ok(0)
            }
            Found::End {
                error: Some(errno), ..
            } => {
                self.network.coverage.meet(Situation::ResetInBulk);
                self.note_end(link);
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
        pipe.to = Some(link);
        self.note_sink(pipe.from, link);
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

    /// A pipe is filled from a link.
    fn note_bulk(&mut self, link: usize) {
        let source = self.bulks.sources.entry(link).or_insert(Source {
            regime: Regime::Bulk { ended: false },
            to: None,
        });
        if source.regime == Regime::Flow {
            source.regime = Regime::Bulk { ended: false };
            self.network.coverage.meet(Situation::BulkAgain);
        }
    }

    fn note_end(&mut self, link: usize) {
        if let Some(source) = self.bulks.sources.get_mut(&link) {
            source.regime = Regime::Bulk { ended: true };
        }
    }

    /// What came from a link is drained to another.
    fn note_sink(&mut self, from: Option<usize>, to: usize) {
        if let Some(source) = from.and_then(|from| self.bulks.sources.get_mut(&from)) {
            source.to = Some(to);
        }
        let back = self.bulks.sources.get(&to);
        if back.is_some_and(|back| back.to == from && matches!(back.regime, Regime::Bulk { .. })) {
            self.network.coverage.meet(Situation::BothBulk);
        }
    }

    /// A receive starts on a link: its bytes do not go by a pipe any more.
    pub(super) fn note_flow(&mut self, link: usize) {
        let Some(source) = self.bulks.sources.get_mut(&link) else {
            return;
        };
        let before = std::mem::replace(&mut source.regime, Regime::Flow);
        if before == (Regime::Bulk { ended: false }) {
            let is_refused = self.bulks.no_pipe_at == self.turn;
            self.network.coverage.meet(if is_refused {
                Situation::BulkRefusedLater
            } else {
                Situation::BulkEndedLean
            });
        }
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
