//! One direction of a relay: the bytes that one side sends to the other.
#![forbid(unsafe_code)]

use crate::bounds::{BULK_REFUSED_TURNS, BULK_TURN_BYTES, BULK_TURNS};
use crate::buffers::Buffers;
use crate::buffers::queue::ChunkQueue;
use crate::session::{Action, BulkEnd, Side};

/// The bytes that one side sends to the other. In this order what a small message touches is in
/// one cache line, the beginning of the queue included.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Direction {
    pub(super) in_flight_bytes: u32,
    /// What the outstanding receive may still deliver.
    pub(super) credit_bytes: u32,
    /// What came since the session was last asked what it wants.
    pub(super) turn_bytes: u32,
    /// How many turns in a row were full ones; less than none after bulk was refused.
    pub(super) full_turns: i8,
    pub(super) regime: Regime,
    pub(super) receiving: bool,
    /// The outstanding receive waits for a buffer, and notices nothing meanwhile.
    pub(super) starved: bool,
    pub(super) source: Source,
    pub(super) sink: Sink,
    pub(super) watch: Watch,
    pub(super) queue: ChunkQueue,
}

/// How bytes are moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Regime {
    /// Received into buffers and sent from them.
    #[default]
    Flow,
    /// By splice; this session sees only how many.
    Bulk,
}

/// Whether more bytes can come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    #[default]
    Open,
    Finished,
    Gone,
}

/// Whether bytes can still be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sink {
    #[default]
    Open,
    Finished,
    Gone,
}

/// Whether the source is watched for a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watch {
    #[default]
    Off,
    Wanted,
    On,
}

impl Direction {
    /// The next thing to do for the side that the bytes go to.
    pub(super) fn poll_sink(&mut self, sink: Side, buffers: &mut impl Buffers) -> Option<Action> {
        if self.sink != Sink::Open || self.in_flight_bytes > 0 {
            return None;
        }
        if !self.queue.is_empty() {
            let batch = self.queue.take_batch(buffers);
            self.in_flight_bytes = batch.bytes() as u32;
            return Some(Action::Send(sink, batch));
        }
        if self.source == Source::Finished {
            self.sink = Sink::Finished;
            return Some(Action::Shutdown(sink));
        }
        None
    }

    /// Takes note of how much came in this turn.
    pub(super) fn end_turn(&mut self) {
        let bytes = std::mem::take(&mut self.turn_bytes);
        if bytes >= BULK_TURN_BYTES {
            self.full_turns = self.full_turns.saturating_add(1);
        } else if bytes > 0 {
            self.full_turns = self.full_turns.min(0);
        }
    }

    /// Goes over to bulk once nothing is on its way here any more.
    pub(super) fn poll_bulk(&mut self, source: Side) -> Option<Action> {
        let is_still = !self.receiving && self.queue.is_empty() && self.in_flight_bytes == 0;
        let is_open = self.source == Source::Open && self.sink == Sink::Open;
        if self.wants_bulk() && is_still && is_open && self.regime == Regime::Flow {
            self.regime = Regime::Bulk;
            return Some(Action::StartBulk(source));
        }
        None
    }

    /// Goes back to buffers.
    pub(super) fn end_bulk(&mut self, end: BulkEnd) {
        self.regime = Regime::Flow;
        self.full_turns = match end {
            BulkEnd::Refused => -BULK_REFUSED_TURNS,
            BulkEnd::Lean | BulkEnd::Ended => 0,
        };
    }

    fn wants_bulk(&self) -> bool {
        self.full_turns >= BULK_TURNS
    }

    /// Grants new credit once half of this connection's share is free again.
    pub(super) fn grant(&mut self, buffers: &impl Buffers) -> Option<u32> {
        let is_open = self.source == Source::Open && self.sink != Sink::Gone;
        let is_bulk = self.regime == Regime::Bulk;
        if self.receiving || is_bulk || !is_open || self.wants_bulk() {
            return None;
        }
        let held = self.queue.bytes() + self.in_flight_bytes as usize;
        let share = buffers.share();
        if held > share / 2 {
            return None;
        }
        self.receiving = true;
        self.credit_bytes = (share - held) as u32;
        Some(self.credit_bytes)
    }

    /// Whether all bytes have come and gone.
    pub(super) fn is_over(&self) -> bool {
        self.source == Source::Finished && self.queue.is_empty() && self.in_flight_bytes == 0
    }

    /// Whether the kernel has a receive that would tell of a reset of the source.
    pub(super) fn listens(&self) -> bool {
        self.receiving && !self.starved
    }

    /// Whether a reset of the source would go unnoticed.
    pub(super) fn is_blind(&self) -> bool {
        !self.listens() && self.source != Source::Gone && self.watch == Watch::Off
    }
}
