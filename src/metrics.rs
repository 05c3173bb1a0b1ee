//! Counters that one thread writes and others read, without a lock and without a shared write.
//!
//! Each block of counters belongs to one worker and is padded to its own cache lines.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::CloseReason;

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
    /// Completions of an earlier tenant of a slot, dropped.
    pub stale_completions: Counter,
    /// Sessions that ended, by reason.
    closed: [Counter; CloseReason::ALL.len()],
}

impl WorkerCounters {
    /// The sessions that ended for this reason.
    pub fn closed(&self, reason: CloseReason) -> &Counter {
        &self.closed[reason as usize]
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
