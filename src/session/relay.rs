//! The session of a TCP listener: connects to an endpoint and relays bytes both ways.
//!
//! ```text
//!   Header, where clients send a PROXY header: complete, it goes on to Connecting; wrong, late or
//!      cut off, to Aborting
//!
//!               handle_connected
//!   Connecting ------------------> Relaying ---- both sides finished ----> Over (Close)
//!    |  ^   |                         |
//!    |  |   | no endpoint left,       | one side reset
//!    |  |   | client reset            v
//!    |  |   |                      Flushing ---- bytes delivered, or 1 s --+
//!    +--+   |                         |                                    v
//!   retry   +-------------------------+--- timeout, told to end ----> Aborting ---> Over (Abort)
//! ```
//!
//! What holds at every moment, for each of the two directions:
//! - at most one receive is outstanding on its source and one send on its sink;
//! - no byte is received without credit, and queued bytes, bytes in flight and credit together
//!   never exceed the window (by more than one buffer);
//! - bytes leave in the order in which they came; a FIN is carried over after the last of them;
//! - a reset is carried over as a reset, after the bytes that had been received before it.
//!
//! Actions are not queued: each is derived from the state when asked for, so none can be stale.
//! While a direction is moved in bulk it has neither receives nor sends.
//!
//! Memory: 160 bytes per session.
#![forbid(unsafe_code)]

mod attempts;
mod direction;
mod header;
mod timeouts;

use crate::bounds::{FLUSH_TIME, TICK, WATCH_DELAY};
use crate::buffers::{Buffers, Chunk};
use crate::error::CloseReason;
use crate::session::proxy_protocol::Violation;
use crate::session::{Action, BulkEnd, ReceiveEnd, Settings, Side};
use crate::time::Instant;
use direction::{Direction, Regime, Sink, Source, Watch};
use timeouts::Timeouts;

/// A relayed TCP session.
#[derive(Debug)]
pub struct Relay {
    phase: Phase,
    /// By the index of the side that the bytes come from.
    directions: [Direction; 2],
    timeouts: Timeouts,
    started: Instant,
    /// The last time at which a byte came or went.
    last_activity: Instant,
    look: Look,
    /// What the last such look found.
    unsent_bytes: u32,
    /// When the session has lasted as long as it may.
    ends_at: Instant,
    /// When to look for sides on which nothing is received, [`Instant::NEVER`] if there is none.
    watch_at: Instant,
    tries: u8,
    tries_max: u8,
    /// What is wrong with the client's PROXY protocol header.
    violation: Option<Violation>,
    /// The client's PROXY protocol header, until an endpoint is connected.
    header: Option<Chunk>,
    /// Why the last attempt to connect failed.
    failure: Option<CloseReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The client's PROXY protocol header is to come.
    Header {
        deadline: Instant,
    },
    Connecting(Attempt),
    Relaying,
    Flushing(Flush),
    Aborting(CloseReason),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Wanted,
    Pending { deadline: Instant },
}

/// One side is gone; what it had sent still goes to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flush {
    reason: CloseReason,
    to: Side,
    deadline: Instant,
    /// When to look whether the last bytes have reached that side: [`AT_ONCE`] once all have been
    /// handed to the kernel, [`Instant::NEVER`] while the answer is awaited.
    measure_at: Instant,
}

const AT_ONCE: Instant = Instant::from_nanos(0);

/// Before a session is ended for its silence: a look at what the kernel has not yet brought to
/// the sides, one after the other, with the bytes that were found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Look {
    #[default]
    None,
    Wanted(Side, u32),
    Asked(Side, u32),
}

impl Relay {
    /// Starts a session for a client that was accepted at `now`. Chance decides by how much less
    /// than the greatest age it may last.
    pub fn new(now: Instant, settings: Settings, rng: &mut fastrand::Rng) -> Self {
        let phase = match settings.header_timeout {
            Some(time) => Phase::Header {
                deadline: now + time,
            },
            None => Phase::Connecting(Attempt::Wanted),
        };
        Self {
            phase,
            header: None,
            violation: None,
            directions: Default::default(),
            timeouts: Timeouts::new(&settings),
            tries_max: settings.tries,
            started: now,
            last_activity: now,
            look: Look::None,
            unsent_bytes: 0,
            ends_at: timeouts::end(now, &settings, rng),
            watch_at: now + WATCH_DELAY,
            tries: 0,
            failure: None,
        }
    }

    /// The endpoint of the last [`Action::Connect`] is connected. It gets the preface, if there is
    /// one, before all that the client sends.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        preface: Option<Chunk>,
        buffers: &mut impl Buffers,
    ) {
        if let Some(header) = self.header.take() {
            buffers.release(header);
        }
        if let Some(preface) = preface {
            let queue = &mut self.directions[Side::Client.index()].queue;
            if let Err(preface) = queue.try_push_front(preface, buffers) {
                buffers.release(preface);
                return self.abort(CloseReason::Internal);
            }
        }
        if matches!(self.phase, Phase::Connecting(Attempt::Pending { .. })) {
            self.phase = Phase::Relaying;
            let client = &mut self.directions[Side::Client.index()];
            if client.watch == Watch::Wanted {
                client.watch = Watch::Off;
            }
            self.last_activity = now;
            self.watch_at = Instant::NEVER;
        }
    }

    /// Whether bytes are, or were, relayed.
    pub fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Header { .. } | Phase::Connecting(_))
    }

    /// Whether a side has neither finished nor gone.
    pub fn is_source_open(&self, side: Side) -> bool {
        self.directions[side.index()].source == Source::Open
    }

    /// The client's PROXY protocol header, once it is complete and until an endpoint is connected.
    pub fn header(&self) -> Option<&Chunk> {
        self.header.as_ref()
    }

    /// What was wrong with it, if that is why the session ends.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// When it began.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How many endpoints were tried.
    pub fn tries(&self) -> u8 {
        self.tries
    }

    /// Bytes came from `side`; `more` says whether the receive goes on.
    pub fn handle_received(
        &mut self,
        now: Instant,
        side: Side,
        chunk: Chunk,
        more: bool,
        buffers: &mut impl Buffers,
    ) {
        let direction = &mut self.directions[side.index()];
        if !direction.receiving {
            buffers.release(chunk);
            return self.abort(CloseReason::Internal);
        }
        direction.receiving = more;
        direction.starved = false;
        let bytes = chunk.len() as u32;
        direction.credit_bytes = direction.credit_bytes.saturating_sub(bytes);
        direction.turn_bytes = direction.turn_bytes.saturating_add(bytes);
        self.last_activity = now;
        self.unsent_bytes = 0;
        if direction.sink == Sink::Gone {
            buffers.release(chunk);
        } else if let Err(chunk) = direction.queue.try_push(chunk, buffers) {
            buffers.release(chunk);
            self.abort(CloseReason::Internal);
        }
    }

    /// The receive on `side` waits for a buffer. It is still outstanding, but tells of nothing, so
    /// the side is watched if that lasts.
    pub fn handle_starved(&mut self, side: Side) {
        self.directions[side.index()].starved = true;
    }

    /// The receive on `side` ended and brought no bytes.
    pub fn handle_receive_end(
        &mut self,
        now: Instant,
        side: Side,
        end: ReceiveEnd,
        buffers: &mut impl Buffers,
    ) {
        let direction = &mut self.directions[side.index()];
        direction.receiving = false;
        direction.starved = false;
        direction.credit_bytes = 0;
        match end {
            ReceiveEnd::Finished => {
                if direction.source == Source::Open {
                    direction.source = Source::Finished;
                    self.last_activity = now;
                }
            }
            ReceiveEnd::Reset => {
                if direction.source == Source::Open {
                    direction.source = Source::Gone;
                }
                self.handle_reset(now, side, buffers);
            }
        }
    }

    /// The send to `side` is over and `bytes` of it have gone. Fewer than were given, or an error
    /// (which counts as none), mean that the connection is broken.
    ///
    /// Returns whether there may be something to ask for. A small message that has gone leaves
    /// nothing behind, and that is half of all that a worker hears.
    pub fn handle_sent(
        &mut self,
        now: Instant,
        side: Side,
        bytes: u32,
        buffers: &mut impl Buffers,
    ) -> bool {
        let direction = &mut self.directions[side.other().index()];
        if direction.in_flight_bytes == 0 {
            self.abort(CloseReason::Internal);
            return true;
        }
        let cut_off = bytes < direction.in_flight_bytes;
        direction.in_flight_bytes = 0;
        self.last_activity = now;
        self.unsent_bytes = 0;
        let is_at_rest = direction.queue.is_empty() && direction.receiving;
        if cut_off {
            self.handle_reset(now, side, buffers);
        }
        cut_off || !is_at_rest || self.phase != Phase::Relaying
    }

    /// Bytes were moved in bulk, into a pipe or out of it.
    pub fn handle_moved(&mut self, now: Instant) {
        self.last_activity = now;
        self.unsent_bytes = 0;
    }

    /// The bytes of `side` are no longer moved in bulk; all that were taken have gone, unless the
    /// other side is broken.
    pub fn handle_bulk_end(&mut self, side: Side, end: BulkEnd) {
        let direction = &mut self.directions[side.index()];
        if direction.regime == Regime::Bulk {
            direction.end_bulk(end);
        }
    }

    /// The connection of `side` is broken: what it had sent still goes to the other side, then
    /// that one is reset too.
    pub fn handle_reset(&mut self, now: Instant, side: Side, buffers: &mut impl Buffers) {
        let reason = match side {
            Side::Client => CloseReason::ClientReset,
            Side::Endpoint => CloseReason::EndpointReset,
        };
        let to = &mut self.directions[side.other().index()];
        to.sink = Sink::Gone;
        to.queue.clear(buffers);
        match self.phase {
            Phase::Relaying => {
                self.phase = Phase::Flushing(Flush {
                    reason,
                    to: side.other(),
                    deadline: now + FLUSH_TIME,
                    measure_at: AT_ONCE,
                });
            }
            // The side that was being flushed to is gone too.
            Phase::Flushing(flush) if flush.to == side => self.abort(flush.reason),
            Phase::Header { .. } | Phase::Connecting(_) => self.abort(reason),
            Phase::Flushing(_) | Phase::Aborting(_) | Phase::Over => {}
        }
    }

    /// The watch of `side` is over without a word: it is wanted again if the side is still blind.
    pub fn handle_watch_end(&mut self, side: Side) {
        self.directions[side.index()].watch = Watch::Off;
    }

    /// The answer to [`Action::MeasureUnsent`].
    pub fn handle_unsent(&mut self, now: Instant, bytes: u32) {
        match (&mut self.phase, std::mem::take(&mut self.look)) {
            (Phase::Flushing(flush), _) if bytes > 0 => flush.measure_at = now + TICK,
            (Phase::Flushing(flush), _) => {
                let reason = flush.reason;
                self.abort(reason);
            }
            (Phase::Relaying, Look::Asked(Side::Client, _)) => {
                self.look = Look::Wanted(Side::Endpoint, bytes);
            }
            (Phase::Relaying, Look::Asked(Side::Endpoint, before)) => {
                self.end_silence(now, before.saturating_add(bytes));
            }
            _ => {}
        }
    }

    /// Whatever the session waited for may be due: to be called at [`deadline`](Self::deadline)
    /// or later; earlier does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.watch_at {
            self.watch_at = Instant::NEVER;
            self.want_watches();
        }
        if now >= self.ends_at {
            return self.abort(CloseReason::MaxAge);
        }
        match self.phase {
            Phase::Header { deadline } if now >= deadline => {
                self.abort(CloseReason::ProxyHeaderTimeout);
            }
            Phase::Connecting(Attempt::Pending { deadline }) if now >= deadline => {
                self.handle_connect_failed(now, CloseReason::ConnectTimeout);
            }
            Phase::Relaying if now >= self.inactivity_deadline() => {
                self.look = Look::Wanted(Side::Client, 0);
            }
            Phase::Flushing(flush) if now >= flush.deadline => self.abort(flush.reason),
            _ => {}
        }
    }

    /// Ends the session at the next [`poll_action`](Self::poll_action), both sides reset. The
    /// first reason stands.
    pub fn abort(&mut self, reason: CloseReason) {
        if !matches!(self.phase, Phase::Aborting(_) | Phase::Over) {
            self.phase = Phase::Aborting(reason);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub fn deadline(&self) -> Instant {
        let phase = match self.phase {
            Phase::Connecting(Attempt::Wanted) | Phase::Aborting(_) | Phase::Over => {
                return Instant::NEVER;
            }
            Phase::Header { deadline } | Phase::Connecting(Attempt::Pending { deadline }) => {
                deadline
            }
            Phase::Relaying => self.inactivity_deadline(),
            // Completions, not time, bring about what is to happen at once.
            Phase::Flushing(flush) if flush.measure_at == AT_ONCE => flush.deadline,
            Phase::Flushing(flush) => flush.deadline.min(flush.measure_at),
        };
        phase.min(self.watch_at).min(self.ends_at)
    }

    /// What to do now; to be asked after every `handle_*` until it answers `None`.
    pub fn poll_action(&mut self, now: Instant, buffers: &mut impl Buffers) -> Option<Action> {
        if let Phase::Header { .. } = self.phase {
            if let Some(action) = self.poll_header(buffers) {
                return Some(action);
            }
            if let Phase::Header { .. } = self.phase {
                return None;
            }
        }
        match self.phase {
            Phase::Header { .. } => None,
            Phase::Connecting(Attempt::Wanted) => {
                self.tries += 1;
                let deadline = self.timeouts.connect.after(now);
                self.phase = Phase::Connecting(Attempt::Pending { deadline });
                Some(Action::Connect)
            }
            Phase::Connecting(Attempt::Pending { .. }) => self.poll_early_receive(buffers),
            Phase::Relaying => self.poll_relay(now, buffers),
            Phase::Flushing(flush) => self.poll_flush(now, flush, buffers),
            Phase::Aborting(reason) => {
                self.phase = Phase::Over;
                Some(Action::Abort(reason))
            }
            Phase::Over => None,
        }
    }

    /// Ends the session: gives back all that it holds. Nothing is to be asked of it any more.
    pub fn end(&mut self, buffers: &mut impl Buffers) {
        self.phase = Phase::Over;
        if let Some(header) = self.header.take() {
            buffers.release(header);
        }
        for direction in &mut self.directions {
            direction.queue.clear(buffers);
        }
    }

    /// What the outstanding receive on `side` may still deliver, in bytes.
    pub fn credit(&self, side: Side) -> u32 {
        self.directions[side.index()].credit_bytes
    }

    /// Waits for the client's header; what comes behind it stays in the queue.
    fn poll_header(&mut self, buffers: &mut impl Buffers) -> Option<Action> {
        let direction = &mut self.directions[Side::Client.index()];
        match header::take(&mut direction.queue, buffers) {
            Ok(Some(header)) => {
                direction.turn_bytes = 0;
                self.header = Some(header);
                self.phase = Phase::Connecting(Attempt::Wanted);
                None
            }
            Ok(None) if direction.source == Source::Open => {
                let credit = direction.grant(buffers)?;
                Some(Action::Receive(Side::Client, credit))
            }
            Ok(None) => {
                self.abort(CloseReason::ProxyHeader);
                None
            }
            Err(violation) => {
                self.violation = Some(violation);
                self.abort(CloseReason::ProxyHeader);
                None
            }
        }
    }

    /// While connecting takes long, the client's side is received from, within its credit, and
    /// watched once nothing can be received: this is what shows that the client has gone.
    fn poll_early_receive(&mut self, buffers: &mut impl Buffers) -> Option<Action> {
        let direction = &mut self.directions[Side::Client.index()];
        if direction.watch == Watch::Off {
            return None;
        }
        if let Some(credit) = direction.grant(buffers) {
            return Some(Action::Receive(Side::Client, credit));
        }
        if direction.watch == Watch::Wanted && !direction.listens() {
            direction.watch = Watch::On;
            return Some(Action::Watch(Side::Client));
        }
        None
    }

    fn poll_relay(&mut self, now: Instant, buffers: &mut impl Buffers) -> Option<Action> {
        if self.directions.iter().all(Direction::is_over) {
            // Closing says that no more bytes will come, so the last side need not be told.
            self.phase = Phase::Over;
            return Some(Action::Close(CloseReason::Finished));
        }
        if let Look::Wanted(side, bytes) = self.look {
            self.look = Look::Asked(side, bytes);
            return Some(Action::MeasureUnsent(side));
        }
        for side in Side::BOTH {
            let direction = &mut self.directions[side.index()];
            if let Some(action) = direction.poll_sink(side.other(), buffers) {
                return Some(action);
            }
            direction.end_turn();
            if let Some(action) = direction.poll_bulk(side) {
                return Some(action);
            }
            if let Some(credit) = direction.grant(buffers) {
                return Some(Action::Receive(side, credit));
            }
            if direction.watch == Watch::Wanted {
                direction.watch = Watch::On;
                return Some(Action::Watch(side));
            }
            if direction.is_blind() && self.watch_at == Instant::NEVER {
                self.watch_at = now + WATCH_DELAY;
            }
        }
        None
    }

    fn poll_flush(
        &mut self,
        now: Instant,
        flush: Flush,
        buffers: &mut impl Buffers,
    ) -> Option<Action> {
        let gone = flush.to.other();
        let direction = &mut self.directions[gone.index()];
        if let Some(action) = direction.poll_sink(flush.to, buffers) {
            return Some(action);
        }
        // What is moved in bulk comes to its end by itself.
        direction.full_turns = direction.full_turns.min(0);
        // The kernel still has what came before the reset; the receive brings it, and then the end.
        if let Some(credit) = direction.grant(buffers) {
            return Some(Action::Receive(gone, credit));
        }
        let still_flows = direction.source == Source::Open || direction.in_flight_bytes > 0;
        if still_flows || now < flush.measure_at {
            return None;
        }
        if let Phase::Flushing(flush) = &mut self.phase {
            flush.measure_at = Instant::NEVER;
        }
        Some(Action::MeasureUnsent(flush.to))
    }

    /// After a while without a receive, a side is watched instead; while connecting, the client is
    /// received from.
    fn want_watches(&mut self) {
        let connecting = !self.is_connected();
        for direction in &mut self.directions {
            if connecting || direction.is_blind() {
                direction.watch = Watch::Wanted;
            }
            if connecting {
                break;
            }
        }
    }

    /// Nothing came or went for the timeout. Bytes that the kernel holds for a slow reader still
    /// go, though, without our being told: as long as that changes, the session is not silent. It
    /// changes with the last of them too: whoever took it may have done so a moment ago.
    fn end_silence(&mut self, now: Instant, unsent_bytes: u32) {
        let goes_on = unsent_bytes != self.unsent_bytes;
        self.unsent_bytes = unsent_bytes;
        if goes_on {
            self.last_activity = now;
        } else if self.is_half_closed() {
            self.abort(CloseReason::HalfCloseTimeout);
        } else {
            self.abort(CloseReason::IdleTimeout);
        }
    }

    fn is_half_closed(&self) -> bool {
        self.directions
            .iter()
            .any(|direction| direction.sink == Sink::Finished)
    }

    fn inactivity_deadline(&self) -> Instant {
        let timeout = if self.is_half_closed() {
            self.timeouts.half_close.min(self.timeouts.idle)
        } else {
            self.timeouts.idle
        };
        timeout.after(self.last_activity)
    }
}

#[cfg(test)]
mod tests;
