//! What is told of each worker.
#![forbid(unsafe_code)]

use crate::control::exposition::page::{Column, Labels, Reading};
use crate::control::exposition::{Scrape, WorkerState};
use crate::id::Epoch;
use crate::metrics::WorkerCounters;
use crate::time::Instant;

/// A worker.
pub(super) struct WorkerRow<'a> {
    counters: &'a WorkerCounters,
    state: Option<&'a WorkerState>,
    published: Epoch,
    now: Instant,
}

impl<'a> WorkerRow<'a> {
    pub(super) const COLUMNS: [Column<Self>; 16] = [
        Column::counter(
            "ringlane_connections_accepted_total",
            "Connections accepted.",
            |row| Reading::Whole(row.counters.accepted.value()),
        ),
        Column::gauge("ringlane_worker_sessions", "Sessions open now.", |row| {
            Reading::Whole(row.counters.open_sessions.value())
        }),
        Column::counter(
            "ringlane_worker_turns_total",
            "Turns of the event loop.",
            |row| Reading::Whole(row.counters.turns.value()),
        ),
        Column::counter(
            "ringlane_worker_completions_total",
            "Completions of I/O that turns brought.",
            |row| Reading::Whole(row.counters.completions.value()),
        ),
        Column::gauge(
            "ringlane_worker_completions_per_turn_max",
            "The most completions that one turn has brought in this minute and the one before.",
            |row| Reading::Whole(row.counters.turn_completions.most(row.now)),
        ),
        Column::counter(
            "ringlane_worker_accept_pauses_total",
            "Times at which accepting paused for want of descriptors or sessions.",
            |row| Reading::Whole(row.counters.accept_pauses.value()),
        ),
        Column::gauge(
            "ringlane_worker_buffers",
            "Buffers of 16 KiB that there are.",
            |row| Reading::Whole(row.counters.buffers.value()),
        ),
        Column::gauge(
            "ringlane_worker_buffers_free",
            "Buffers that no session holds now.",
            |row| Reading::Whole(row.counters.free_buffers()),
        ),
        Column::gauge(
            "ringlane_worker_buffers_free_min",
            "The fewest buffers that no session held, in this minute and the one before.",
            |row| Reading::Whole(row.counters.free_buffers_min(row.now)),
        ),
        Column::counter(
            "ringlane_worker_starved_receives_total",
            "Receives that found no buffer and had to wait for one.",
            |row| Reading::Whole(row.counters.starved.value()),
        ),
        Column::gauge(
            "ringlane_worker_pipes_used",
            "The kernel's pipes that bulk is in now.",
            |row| Reading::Whole(row.counters.pipes.value()),
        ),
        Column::gauge(
            "ringlane_worker_memory_pipes_used",
            "Blocks of memory that bulk is in now for want of a pipe.",
            |row| Reading::Whole(row.counters.memory_pipes.value()),
        ),
        Column::counter(
            "ringlane_worker_bulk_total",
            "Times at which a direction of a session went over to bulk.",
            |row| Reading::Whole(row.counters.bulks.value()),
        ),
        Column::counter(
            "ringlane_worker_stale_completions_total",
            "Completions that came after their connection had gone, dropped.",
            |row| Reading::Whole(row.counters.stale_completions.value()),
        ),
        Column::gauge(
            "ringlane_worker_epoch_lag",
            "Views published since the one that the worker acts by.",
            |row| Reading::of_option(row.epoch_lag()),
        ),
        Column::gauge(
            "ringlane_worker_stalled_seconds",
            "How long the worker has not turned, 0 if it is not stalled.",
            |row| row.stalled(),
        ),
    ];

    pub(super) fn all(scrape: &'a Scrape<'a>) -> impl Iterator<Item = (Labels, Self)> {
        let workers = scrape.workers.iter().enumerate();
        workers.map(|(index, counters)| {
            let row = Self {
                counters,
                state: scrape.worker_states.get(index),
                published: scrape.process.epoch,
                now: scrape.now,
            };
            ([("worker", index.to_string().into())].into(), row)
        })
    }

    fn epoch_lag(&self) -> Option<u64> {
        let acknowledged = self.state?.acknowledged;
        Some(self.published.0.saturating_sub(acknowledged.0))
    }

    fn stalled(&self) -> Reading {
        self.state.map_or(Reading::None, |state| {
            Reading::Real(state.stalled.unwrap_or_default().as_secs_f64())
        })
    }
}
