//! Clients and endpoints: what they do, at random, and what they have seen.
#![forbid(unsafe_code)]

use std::time::Duration;

use ringlane::session::{Side, Transport};
use ringlane::time::Instant;

use super::coverage::Situation;
use super::network::{At, Network};
use super::opening::Opening;
use super::pattern;

/// A client, or the endpoint's side of one connection.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) role: Side,
    pub(crate) link: usize,
    /// The number of the stream that it sends.
    pub(crate) stream: u8,
    pub(crate) habits: Habits,
    /// What comes before the stream.
    pub(crate) opening: Opening,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// The party across, once a byte has told.
    pub(crate) other: Option<usize>,
    pub(crate) finished: bool,
    /// It has reset the connection, or closed it without reading to the end.
    pub(crate) cut: bool,
    pub(crate) sulking: bool,
    pub(crate) seen: Seen,
    pub(crate) closed: bool,
    /// It reads nothing before this.
    pub(crate) reads_from: Instant,
    pub(crate) last_active: Instant,
    /// Since when something is due to it that does not come.
    pub(crate) waiting: Option<(Instant, (u64, Option<usize>))>,
}

/// How a party's receiving has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Open,
    Fin,
    Reset,
}

/// What a party is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) total: u64,
    pub(crate) speaks: Speaks,
    pub(crate) ending: Ending,
    piece: usize,
    pub(crate) read_max: usize,
    pace_max: u64,
    pub(crate) pauses: bool,
    /// A part of what it sends goes in small pieces.
    trickles: bool,
}

/// How much parties have to say to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Volume {
    #[default]
    Any,
    /// Enough to go by pipes.
    Bulk,
    /// A word or two.
    Little,
}

/// When a party starts to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    AtOnce,
    AfterBytes,
    AfterFin,
}

/// What a party does once it has sent so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Finish,
    FinishAfterOther,
    Close,
    ResetAfter(u64),
    ResetAt(Instant),
    /// In the middle of what the other side sends.
    ResetOnceReceived(u64),
    /// It neither reads nor writes any more.
    SulkAfter(u64),
}

impl Habits {
    pub(crate) fn random(
        rng: &mut fastrand::Rng,
        role: Side,
        volume: Volume,
        now: Instant,
    ) -> Self {
        match volume {
            Volume::Any => Self::any(rng, role, now),
            Volume::Little => {
                let habits = Self::any(rng, role, now);
                let total = habits.total.min(rng.u64(..4_000));
                Self { total, ..habits }
            }
            Volume::Bulk => Self::bulk(rng, now),
        }
    }

    /// Much, at once, with breaks.
    fn bulk(rng: &mut fastrand::Rng, now: Instant) -> Self {
        let total = rng.u64(300_000..1_200_000);
        let ending = match rng.u32(..20) {
            0..5 => Ending::Finish,
            5..9 => Ending::FinishAfterOther,
            9..11 => Ending::Close,
            11..16 => Ending::ResetAfter(rng.u64(100_000..=total)),
            16..19 => Ending::ResetAt(now + Duration::from_micros(rng.u64(..100_000))),
            _ => Ending::SulkAfter(rng.u64(100_000..=total)),
        };
        Self {
            total,
            speaks: Speaks::AtOnce,
            ending,
            piece: rng.choice([20_000, 60_000]).unwrap_or(20_000),
            read_max: rng.choice([16_384, 60_000]).unwrap_or(16_384),
            pace_max: rng.choice([60_000, 400_000]).unwrap_or(60_000),
            pauses: rng.bool(),
            trickles: rng.bool(),
        }
    }

    fn any(rng: &mut fastrand::Rng, role: Side, now: Instant) -> Self {
        let total = match rng.u32(..20) {
            0..2 => 0,
            2..4 => 1,
            4..8 => rng.u64(2..200),
            8..11 => rng.u64(200..20_000),
            11..17 => rng.u64(20_000..150_000),
            _ => rng.u64(150_000..500_000),
        };
        let pieces: &[usize] = if total > 20_000 {
            &[2_000, 9_000, 60_000]
        } else {
            &[1, 30, 500, 20_000]
        };
        let least = (total / 400) as usize;
        let speaks = match (role, rng.u32(..10)) {
            (Side::Client, 1..) | (Side::Endpoint, 0..4) => Speaks::AtOnce,
            (Side::Endpoint, 4..6) => Speaks::AfterFin,
            _ => Speaks::AfterBytes,
        };
        let ending = match rng.u32(..40) {
            // In the middle of bulk.
            ..12 if total > 150_000 => Ending::ResetAfter(rng.u64(100_000..=total)),
            0..16 => Ending::Finish,
            16..25 => Ending::FinishAfterOther,
            25..28 => Ending::Close,
            28..31 => Ending::ResetAfter(rng.u64(..=total)),
            31..34 => Ending::ResetOnceReceived(rng.u64(60_000..300_000)),
            34..38 => {
                let micros = rng.choice([3_000, 30_000, 300_000]).unwrap_or(30_000);
                Ending::ResetAt(now + Duration::from_micros(rng.u64(..micros)))
            }
            _ => Ending::SulkAfter(rng.u64(..=total)),
        };
        Self {
            total,
            speaks,
            ending,
            piece: rng.choice(pieces).copied().unwrap_or(1).max(least),
            read_max: rng.choice([512, 4_096, 16_384, 60_000]).unwrap_or(512),
            pace_max: rng
                .choice([60_000, 1_000_000, 10_000_000])
                .unwrap_or(1_000_000),
            pauses: rng.u8(..4) == 0,
            trickles: false,
        }
    }

    /// A little, at once, to the end.
    pub(crate) fn polite(rng: &mut fastrand::Rng) -> Self {
        Self {
            total: rng.u64(1..3_000),
            speaks: Speaks::AtOnce,
            ending: Ending::Finish,
            piece: 3_000,
            read_max: 16_384,
            pace_max: 1_000_000,
            pauses: false,
            trickles: false,
        }
    }

    pub(crate) fn pace(&self, rng: &mut fastrand::Rng) -> Duration {
        Duration::from_nanos(rng.u64(20_000..=self.pace_max))
    }
}

impl Party {
    pub(crate) fn new(role: Side, link: usize, stream: u8, habits: Habits, now: Instant) -> Self {
        Self {
            role,
            link,
            stream,
            habits,
            opening: Opening::default(),
            sent: 0,
            received: 0,
            other: None,
            finished: false,
            cut: false,
            sulking: false,
            seen: Seen::Open,
            closed: false,
            reads_from: now,
            last_active: now,
            waiting: None,
        }
    }

    /// How many bytes of its stream the worker has taken.
    pub(crate) fn read_of_stream(&self, network: &Network) -> u64 {
        let read = network.links[self.link].ends[At::Near as usize].read;
        read.saturating_sub(self.opening.sent() as u64)
    }

    /// Sends, finishes, resets or closes, as it is its habit; `true` if its connection turns out
    /// to be broken.
    pub(crate) fn speak(&mut self, network: &mut Network) -> bool {
        if self.is_time_to_cut(network.now) {
            // A Unix socket has no reset: it is closed, which is an end to who reads.
            match network.links[self.link].transport {
                Transport::Tcp => network.reset(self.link, At::Far),
                Transport::Unix => self.finished = true,
            }
            network.close(self.link, At::Far);
            self.cut = true;
            self.closed = true;
            return false;
        }
        if let Ending::SulkAfter(bytes) = self.habits.ending
            && self.sent >= bytes
        {
            self.sulking = true;
            return false;
        }
        if !self.opening.is_sent() {
            return self.write_opening(network);
        }
        if !self.opening.is_right() {
            return false;
        }
        let may_speak = match self.habits.speaks {
            Speaks::AtOnce => true,
            Speaks::AfterBytes => self.received > 0 || self.seen == Seen::Fin,
            Speaks::AfterFin => self.seen == Seen::Fin,
        };
        if may_speak && self.sent < self.habits.total && self.write(network) {
            return true;
        }
        if may_speak && self.sent == self.habits.total && !self.finished {
            self.end(network);
        }
        if self.finished && self.seen == Seen::Fin && !self.closed {
            network.close(self.link, At::Far);
            self.closed = true;
        }
        false
    }

    fn is_time_to_cut(&self, now: Instant) -> bool {
        match self.habits.ending {
            Ending::ResetAfter(bytes) => self.sent >= bytes,
            Ending::ResetAt(at) => now >= at,
            Ending::ResetOnceReceived(bytes) => self.received >= bytes,
            _ => false,
        }
    }

    /// Sends a piece of what comes before the stream, and perhaps the stream's beginning with it.
    fn write_opening(&mut self, network: &mut Network) -> bool {
        let piece = self.opening.piece(&mut network.rng);
        let is_last = self.opening.sent() + piece.len() == self.opening.len();
        let behind = if is_last && self.opening.is_right() && network.rng.bool() {
            let most = self.habits.total.min(40_000) as usize;
            pattern::bytes(self.stream, 0, network.rng.usize(..=most))
        } else {
            Vec::new()
        };
        let Ok(count) = network.write(self.link, At::Far, &[piece, &behind].concat()) else {
            return true;
        };
        self.last_active = network.now;
        if self.opening.advance(count.min(piece.len())) {
            network.coverage.meet(Situation::HeaderInParts);
        }
        self.sent += count.saturating_sub(piece.len()) as u64;
        if self.sent > 0 {
            network.coverage.meet(Situation::HeaderWithBytes);
        }
        false
    }

    /// How much it sends at a time at this place of its stream.
    fn piece_max(&self) -> u64 {
        let middle = self.habits.total / 2;
        if self.habits.trickles && (middle..middle + 20_000).contains(&self.sent) {
            250
        } else {
            self.habits.piece as u64
        }
    }

    fn write(&mut self, network: &mut Network) -> bool {
        let most = self.piece_max().min(self.habits.total - self.sent) as usize;
        let bytes = pattern::bytes(self.stream, self.sent, network.rng.usize(1..=most));
        match network.write(self.link, At::Far, &bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.sent += count as u64;
                self.last_active = network.now;
                false
            }
            Err(_) => true,
        }
    }

    fn end(&mut self, network: &mut Network) {
        match self.habits.ending {
            Ending::FinishAfterOther if self.seen != Seen::Fin => return,
            Ending::Close => {
                self.cut = self.seen != Seen::Fin;
                network.close(self.link, At::Far);
                self.closed = true;
            }
            _ => network.finish(self.link, At::Far),
        }
        self.finished = true;
        self.last_active = network.now;
    }
}
