//! Identities: newtypes for every number that names something.
//!
//! An id never means a position in a table unless its name says so ([`WorkerIndex`], [`Slot`]).
//! Ids are handed out by control and are not used again while a session that knows them lives.
#![forbid(unsafe_code)]

use std::fmt;

/// The position of a worker among the workers of the process, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerIndex(pub u16);

/// The identity of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// The identity of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub u32);

/// The identity of an endpoint: another address is another endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

/// The number of a [`View`](crate::view::View): each one published has a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// The identity of a session, unique in the process: the worker in the upper 16 bits, a count below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// Makes the id of the `count`th session of a worker.
    pub fn new(worker: WorkerIndex, count: u64) -> Self {
        Self(u64::from(worker.0) << 48 | count & ((1 << 48) - 1))
    }

    /// The id as a number.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}

/// A place in a worker's connection table together with the generation of its tenant.
///
/// An operation carries the slot that it was started for; when the place has a new tenant by the
/// time the operation ends, the generations differ and the completion is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The position in the table.
    pub index: u32,
    /// How often the place had been given out before, modulo 2^24.
    pub generation: Generation,
}

/// Counts the tenants of one place in a table, modulo 2^24.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generation(u32);

impl Generation {
    /// The bits that a generation occupies in an operation's token.
    pub const BITS: u32 = 24;

    /// Takes the lower 24 bits of a number as a generation.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    /// The generation as a number below 2^24.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The generation of the next tenant.
    #[must_use]
    pub fn next(self) -> Self {
        Self::from_bits(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_wrap_at_24_bits() {
        assert_eq!(
            Generation::from_bits(0xff_ffff).next(),
            Generation::default()
        );
        assert_eq!(Generation::default().next().bits(), 1);
    }

    #[test]
    fn session_ids_keep_workers_apart() {
        let first = SessionId::new(WorkerIndex(1), 7);
        assert_ne!(first, SessionId::new(WorkerIndex(2), 7));
        assert_eq!(first.to_string(), "1000000000007");
    }
}
