//! The access log: a thread that turns records of sessions into lines and writes them.
//!
//! Workers hand records over by a bounded channel and go on, whatever happens to the log: if the
//! channel is full, the record is dropped and counted. Waking a thread up costs whoever does it
//! 8 us, so as long as records come the thread sleeps by the clock between two batches instead of
//! waiting for the next record.
//!
//! ```text
//!  workers ── try_send ──► channel, 8,192 ──► lines ── one write a batch ──► sink
//!                full: dropped                            fails: dropped
//! ```
#![forbid(unsafe_code)]

mod sink;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};

use crate::access::{AccessSender, Record};
use crate::bounds::{
    ACCESS_BATCH_BYTES, ACCESS_FLUSH_TIME, ACCESS_LOSS_TOLD, ACCESS_PAUSE, ACCESS_QUIET,
    ACCESS_RECORDS_MAX, ACCESS_REOPEN_RETRY,
};
use crate::plan::log::AccessPlan;
use crate::sys::clock;
use crate::time::Instant;
use sink::Sink;

/// The access log while it is written; dropped, it writes what still waits, within half a second.
/// What is sent later is dropped too, so workers have ended by then.
#[derive(Debug)]
pub struct AccessLog {
    /// Gone when the log is to end.
    orders: Option<Sender<Reopen>>,
    ended: Receiver<()>,
    /// Keeps the channel open until the end.
    sender: AccessSender,
}

/// The one order that the thread takes.
#[derive(Debug)]
struct Reopen;

impl AccessLog {
    /// Opens what the plan says and starts a thread that writes to it. The other half is for
    /// those who have something to tell.
    ///
    /// Errors: the file cannot be opened; no socket or thread can be made. That nobody receives
    /// datagrams yet is none.
    pub fn start(plan: &AccessPlan) -> io::Result<(Self, AccessSender)> {
        Self::start_with(Sink::open(&plan.to)?)
    }

    fn start_with(sink: Sink) -> io::Result<(Self, AccessSender)> {
        let (sender, waiting) = AccessSender::new();
        let (orders, ordered) = bounded(1);
        let (end, ended) = bounded(1);
        let writer = Writer {
            records: waiting,
            orders: ordered,
            sink,
            lines: Vec::with_capacity(ACCESS_BATCH_BYTES),
            last_record: clock::now(),
            reopen_at: None,
            losses: Losses::new(sender.drops()),
        };
        std::thread::Builder::new()
            .name("access".to_string())
            .spawn(move || {
                writer.run();
                let _nobody_waits = end.send(());
            })?;
        let log = Self {
            orders: Some(orders),
            ended,
            sender: sender.clone(),
        };
        Ok((log, sender))
    }

    /// Opens the file by its name again, as after a rotation; a socket is connected again. What
    /// was sent before may go to either.
    pub fn reopen(&self) {
        if let Some(orders) = &self.orders {
            // Full: an order that was not carried out yet stands for this one too.
            let _one_waits = orders.try_send(Reopen);
        }
    }

    /// The records so far that are not in the log.
    pub fn dropped(&self) -> u64 {
        self.sender.dropped()
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.orders = None;
        let _too_slow = self.ended.recv_timeout(ACCESS_FLUSH_TIME);
    }
}

/// What the thread owns.
#[derive(Debug)]
struct Writer {
    records: Receiver<Record>,
    orders: Receiver<Reopen>,
    sink: Sink,
    /// Whole lines that are not written yet.
    lines: Vec<u8>,
    last_record: Instant,
    /// When to try again what failed.
    reopen_at: Option<Instant>,
    losses: Losses,
}

/// Whether the thread goes on.
enum Flow {
    On,
    End,
}

impl Writer {
    fn run(mut self) {
        loop {
            self.write_waiting();
            let now = clock::now();
            if self.reopen_at.is_some_and(|at| at <= now) {
                self.reopen(now);
            }
            self.losses.tell(now);
            if let Flow::End = self.wait(now) {
                break;
            }
        }
        self.write_waiting();
        if let Err(loss) = self.sink.finish() {
            self.losses.add(loss);
        }
        self.losses.tell(Instant::NEVER);
    }

    /// Writes all that waits, but no more than can wait at a time.
    fn write_waiting(&mut self) {
        for _ in 0..ACCESS_RECORDS_MAX {
            let Ok(record) = self.records.try_recv() else {
                break;
            };
            self.add(&record);
        }
        self.write();
    }

    fn add(&mut self, record: &Record) {
        let now = clock::now();
        self.last_record = now;
        let age = now.saturating_since(record.start);
        let start = SystemTime::now().checked_sub(age);
        record.write_line(start.unwrap_or(SystemTime::UNIX_EPOCH), &mut self.lines);
        if self.lines.len() >= ACCESS_BATCH_BYTES {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        if let Err(loss) = self.sink.write(&self.lines) {
            self.losses.add(loss);
        }
        self.lines.clear();
    }

    /// Sleeps for a while; if no record has come for long, until there is something to do.
    fn wait(&mut self, now: Instant) -> Flow {
        if now - self.last_record < ACCESS_QUIET {
            return match self.orders.recv_timeout(ACCESS_PAUSE) {
                Ok(Reopen) => self.obey(),
                Err(RecvTimeoutError::Timeout) => Flow::On,
                Err(RecvTimeoutError::Disconnected) => Flow::End,
            };
        }
        select! {
            recv(self.records) -> record => match record {
                Ok(record) => {
                    self.add(&record);
                    Flow::On
                }
                Err(_) => Flow::End,
            },
            recv(self.orders) -> order => match order {
                Ok(Reopen) => self.obey(),
                Err(_) => Flow::End,
            },
            default(self.patience()) => Flow::On,
        }
    }

    /// How long there is nothing to do if no record and no order comes.
    fn patience(&self) -> Duration {
        match (self.reopen_at, self.losses.are_untold()) {
            (Some(_), _) => ACCESS_REOPEN_RETRY,
            (None, true) => ACCESS_LOSS_TOLD,
            (None, false) => Duration::MAX,
        }
    }

    fn obey(&mut self) -> Flow {
        // What was sent before the order stands in the old file, as far as it is here already.
        self.write_waiting();
        self.reopen(clock::now());
        Flow::On
    }

    fn reopen(&mut self, now: Instant) {
        match self.sink.reopen() {
            Ok(lost) => {
                self.reopen_at = None;
                if let Err(loss) = lost {
                    self.losses.add(loss);
                }
            }
            Err(error) => {
                if self.reopen_at.is_none() {
                    tracing::warn!(%error, "the access log cannot be opened again; the old file is kept");
                }
                self.reopen_at = Some(now + ACCESS_REOPEN_RETRY);
            }
        }
    }
}

/// Lines that were not written, and why.
#[derive(Debug)]
struct Loss {
    lines: u64,
    error: io::Error,
}

/// Counts losses and speaks of them now and then.
#[derive(Debug)]
struct Losses {
    /// All of them, with those that workers count.
    dropped: Arc<AtomicU64>,
    told: u64,
    told_at: Option<Instant>,
    /// What went wrong last with writing since then.
    cause: Option<io::Error>,
}

impl Losses {
    fn new(dropped: Arc<AtomicU64>) -> Self {
        Self {
            dropped,
            told: 0,
            told_at: None,
            cause: None,
        }
    }

    fn add(&mut self, loss: Loss) {
        self.dropped.fetch_add(loss.lines, Ordering::Relaxed);
        self.cause = Some(loss.error);
    }

    fn are_untold(&self) -> bool {
        self.dropped.load(Ordering::Relaxed) != self.told
    }

    /// Says how many lines were lost and why, if that was not said a moment ago.
    fn tell(&mut self, now: Instant) {
        let Some(lines) = self.due(now) else {
            return;
        };
        let cause = match self.cause.take() {
            Some(error) => error.to_string(),
            None => "too many waited to be written".to_string(),
        };
        tracing::warn!(lines, cause, "lines of the access log were lost");
    }

    /// The losses to speak of now.
    fn due(&mut self, now: Instant) -> Option<u64> {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let is_due = self
            .told_at
            .is_none_or(|told_at| now - told_at >= ACCESS_LOSS_TOLD);
        if dropped == self.told || !is_due {
            return None;
        }
        let lines = dropped - self.told;
        self.told = dropped;
        self.told_at = Some(now);
        Some(lines)
    }
}
