//! A worker's connections: one slot per socket, with generations.
//!
//! A connection leaves the table in three steps. *Terminate*: its session lets go of it and its
//! operations are told to end. *Join*: their last completions come in. *Close*: the socket is
//! closed and the slot free for a tenant of the next generation. So a late completion can neither
//! land on another connection nor write to a buffer that is not held for it.
//!
//! Memory: about 32 bytes per connection.
#![forbid(unsafe_code)]

use slab::Slab;

use crate::id::{Generation, Slot};
use crate::ring::driver::Operation;
use crate::session::Side;

/// A socket that carries one side of a session, or has done so.
#[derive(Debug)]
pub(super) struct Connection<S> {
    /// The socket.
    pub(super) socket: S,
    /// The place of the session that it belongs to; `None` once it is terminated.
    pub(super) session: Option<u32>,
    /// Which side of the session it is.
    pub(super) side: Side,
    /// The operations in flight.
    pub(super) armed: Armed,
}

/// A set of operations: those of one slot that are in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Armed(u16);

impl Armed {
    /// Whether none is.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is.
    pub(super) fn contains(self, operation: Operation) -> bool {
        self.0 & Self::bit(operation) != 0
    }

    /// Adds one; `false` if it was in flight already.
    #[must_use]
    pub(super) fn try_insert(&mut self, operation: Operation) -> bool {
        let is_new = !self.contains(operation);
        self.0 |= Self::bit(operation);
        is_new
    }

    /// Removes one.
    pub(super) fn remove(&mut self, operation: Operation) {
        self.0 &= !Self::bit(operation);
    }

    fn bit(operation: Operation) -> u16 {
        1 << operation as u8
    }
}

/// Connections by slot.
#[derive(Debug)]
pub(super) struct Table<S> {
    connections: Slab<Connection<S>>,
    /// The generation of each place's present or next tenant.
    generations: Vec<Generation>,
}

impl<S> Table<S> {
    /// Makes an empty table that grows only beyond `capacity`.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            connections: Slab::with_capacity(capacity),
            generations: Vec::with_capacity(capacity),
        }
    }

    /// Gives the memory of an empty table back. Generations stay.
    pub(super) fn shrink(&mut self) {
        if self.connections.is_empty() {
            self.connections = Slab::with_capacity(self.connections.capacity());
        }
    }

    /// Whether no connection is left.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Gives a connection a slot.
    pub(super) fn insert(&mut self, connection: Connection<S>) -> Slot {
        let index = self.connections.insert(connection);
        if index == self.generations.len() {
            self.generations.push(Generation::default());
        }
        Slot {
            index: index as u32,
            generation: self.generations[index],
        }
    }

    /// The connection of a slot; `None` if that tenant has left.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Connection<S>> {
        let index = slot.index as usize;
        if *self.generations.get(index)? != slot.generation {
            return None;
        }
        self.connections.get_mut(index)
    }

    /// Takes a connection out and frees its slot; `None` if that tenant has left.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Connection<S>> {
        self.get_mut(slot)?;
        let index = slot.index as usize;
        self.generations[index] = slot.generation.next();
        self.connections.try_remove(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(socket: u32) -> Connection<u32> {
        Connection {
            socket,
            session: Some(0),
            side: Side::Client,
            armed: Armed::default(),
        }
    }

    #[test]
    fn a_late_completion_finds_nobody() {
        let mut table = Table::with_capacity(1);
        let first = table.insert(connection(1));
        assert!(table.remove(first).is_some());
        let second = table.insert(connection(2));
        assert_eq!(first.index, second.index);
        assert!(table.get_mut(first).is_none());
        assert!(table.remove(first).is_none());
        assert_eq!(
            table.get_mut(second).map(|connection| connection.socket),
            Some(2)
        );
    }

    #[test]
    fn operations_are_armed_once() {
        let mut armed = Armed::default();
        for operation in Operation::ALL {
            assert!(armed.try_insert(operation));
            assert!(!armed.try_insert(operation));
        }
        for operation in Operation::ALL {
            armed.remove(operation);
        }
        assert!(armed.is_empty());
    }
}
