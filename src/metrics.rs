//! Counters that one thread writes and others read, without a lock and without a shared write.
//!
//! Each block of counters belongs to one worker and is padded to its own cache lines.
#![forbid(unsafe_code)]

pub mod histogram;
pub mod peak;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::CloseReason;
use crate::id::WorkerIndex;
use crate::time::Instant;
use histogram::Histogram;
use peak::Peak;

/// A count with a single writer. Readers see a value that was true a moment ago.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the count. Only the owner of the block that the counter is in may call this.
    ///
    /// Cost: a load and a store of a line that no other thread writes.
    pub fn add(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(amount),
            Ordering::Relaxed,
        );
    }

    /// Replaces the count, for one that also falls. Only the owner may call this.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads the count.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Turns of the event loop.
    pub turns: Counter,
    /// Completions that the driver delivered.
    pub completions: Counter,
    /// Connections accepted.
    pub accepted: Counter,
    /// Sessions that live now.
    pub open_sessions: Counter,
    /// Bytes received from clients.
    pub client_bytes: Counter,
    /// Bytes received from endpoints.
    pub endpoint_bytes: Counter,
    /// Connect attempts after the first of a session.
    pub retries: Counter,
    /// Receives that found no buffer and had to wait for one.
    pub starved: Counter,
    /// Times at which a direction of a session went over to bulk.
    pub bulks: Counter,
    /// Times at which accepting paused for want of descriptors or sessions.
    pub accept_pauses: Counter,
    /// Requests to look at an endpoint that control had no room for. It looks later all the same.
    pub events_dropped: Counter,
    /// Completions of an earlier tenant of a slot, dropped.
    pub stale_completions: Counter,
    /// Completions that one turn brought.
    pub turn_completions: Peak,
    /// Buffers of its arena.
    pub buffers: Counter,
    /// Those of them that sessions hold: neither free nor shown to the kernel.
    pub held_buffers: Peak,
    /// The kernel's pipes that have bytes in them.
    pub pipes: Counter,
    /// Memory in the place of pipes that has bytes in it, in units of a pipe.
    pub memory_pipes: Counter,
    /// Sessions that ended, by reason.
    closed: [Counter; CloseReason::ALL.len()],
}

impl WorkerCounters {
    /// The sessions that ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> &Counter {
        &self.closed[reason as usize]
    }

    /// The buffers that no session holds.
    pub fn free_buffers(&self) -> u64 {
        self.buffers
            .value()
            .saturating_sub(self.held_buffers.last())
    }

    /// The least number of buffers that no session held, in this minute and the one before.
    pub fn free_buffers_min(&self, now: Instant) -> u64 {
        let held = self.held_buffers.most(now);
        self.buffers.value().saturating_sub(held)
    }

    /// The sessions that ended.
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().map(Counter::value).sum()
    }
}

/// What one worker counts of one endpoint.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointCounters {
    /// Sessions that were connected to the endpoint.
    pub sessions: Counter,
    /// Attempts to connect that failed.
    pub connect_failures: Counter,
    /// Bytes received from the endpoint.
    pub bytes: Counter,
}

/// How long the sessions of a cluster took, by worker.
#[derive(Debug)]
pub struct ClusterCounters {
    by_worker: Box<[ClusterTimes]>,
}

impl ClusterCounters {
    /// Makes empty ones for this many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            by_worker: (0..workers).map(|_| ClusterTimes::default()).collect(),
        }
    }

    /// The block that this worker writes; `None` if the process has no such worker.
    pub fn times(&self, worker: WorkerIndex) -> Option<&ClusterTimes> {
        self.by_worker.get(usize::from(worker.0))
    }

    /// Every worker's block.
    pub fn all(&self) -> &[ClusterTimes] {
        &self.by_worker
    }
}

/// What one worker measured of a cluster's sessions.
///
/// Memory: 3 KiB.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ClusterTimes {
    /// From accepting a client to its endpoint being connected.
    pub connect: Histogram,
    /// From accepting a client to its endpoint's first byte.
    pub first_byte: Histogram,
    /// From accepting a client to the end of its session.
    pub duration: Histogram,
}
