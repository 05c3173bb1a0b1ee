//! Lines to standard error, standard output and the system's log, by threads of their own.
//!
//! Whoever has something to say hands a line over and goes on. If nobody takes lines as fast as
//! they come, or at all, lines are dropped and counted, and what is balanced is not touched.
#![forbid(unsafe_code)]

mod syslog;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::{Dispatch, Level, Metadata, dispatcher};
use tracing_subscriber::fmt::MakeWriter;

use crate::plan::log::{LogFormat, LogPlan, LogSink};
use syslog::Syslog;

/// The most lines that wait to be written.
const LINES_MAX: usize = 4096;

/// How long the end of the process waits for lines that are not written yet.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// Starts to log events as the plan says, for as long as the result lives.
///
/// Errors: no thread or socket can be made; it has been started before. That the system's log
/// is not there yet is none.
pub(super) fn start(plan: &LogPlan) -> io::Result<Lines> {
    let lines = match &plan.to {
        LogSink::Stderr => Lines::start(io::stderr())?,
        LogSink::Syslog(path) => {
            let mut syslog = Syslog::new(path.clone())?;
            Lines::start_by(move |line| syslog.send(line.level, &line.text))?
        }
    };
    let dispatch = dispatch(plan, lines.writer.clone());
    dispatcher::set_global_default(dispatch).map_err(io::Error::other)?;
    Ok(lines)
}

/// What makes lines of events.
fn dispatch(plan: &LogPlan, writer: Writer) -> Dispatch {
    let lines = tracing_subscriber::fmt()
        .with_max_level(plan.level)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false);
    match (plan.format, &plan.to) {
        (LogFormat::Text, LogSink::Stderr) => {
            lines.with_ansi(io::stderr().is_terminal()).finish().into()
        }
        // The time and the level stand before the message already.
        (LogFormat::Text, LogSink::Syslog(_)) => {
            lines.without_time().with_level(false).finish().into()
        }
        (LogFormat::Json, _) => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .into(),
    }
}

/// A line and how severe it is.
struct Line {
    level: Level,
    /// With its end.
    text: Vec<u8>,
}

/// Lines on their way to where they are written; dropped, it writes what still waits.
pub(super) struct Lines {
    writer: Writer,
    written: Receiver<()>,
}

impl Lines {
    /// Starts a thread that writes lines to `sink`.
    ///
    /// Errors: no thread can be made.
    pub(super) fn start(mut sink: impl Write + Send + 'static) -> io::Result<Self> {
        Self::start_by(move |line| sink.write_all(&line.text))
    }

    /// The same by whatever writes one line.
    fn start_by(write: impl FnMut(&Line) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = bounded(LINES_MAX);
        let (end, written) = bounded(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_string())
            .spawn(move || {
                write_lines(write, &waiting, &counter);
                let _nobody_waits = end.send(());
            })?;
        let writer = Writer {
            lines,
            dropped,
            level: Level::INFO,
        };
        Ok(Self { writer, written })
    }

    /// How many lines were lost.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.writer.dropped)
    }

    /// Says a line.
    pub(super) fn say(&self, line: &str) {
        self.writer.hand_over(format!("{line}\n").into_bytes());
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if self.writer.lines.send_timeout(None, FLUSH_TIME).is_ok() {
            let _too_slow = self.written.recv_timeout(FLUSH_TIME);
        }
    }
}

/// Writes lines until told to end, and how many were lost once something can be written again.
fn write_lines(
    mut write: impl FnMut(&Line) -> io::Result<()>,
    waiting: &Receiver<Option<Line>>,
    dropped: &AtomicU64,
) {
    let mut told = 0;
    let mut tell = |write: &mut dyn FnMut(&Line) -> io::Result<()>| {
        let lost = dropped.load(Ordering::Relaxed);
        let line = || Line {
            level: Level::WARN,
            text: format!("{} lines were dropped\n", lost - told).into_bytes(),
        };
        if lost == told || write(&line()).is_ok() {
            told = lost;
        }
    };
    for line in waiting.iter().map_while(|line| line) {
        if write(&line).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            tell(&mut write);
        }
    }
    tell(&mut write);
}

/// Hands lines over.
#[derive(Clone)]
struct Writer {
    lines: Sender<Option<Line>>,
    dropped: Arc<AtomicU64>,
    /// Of the lines that are handed over next.
    level: Level,
}

impl Writer {
    fn hand_over(&self, text: Vec<u8>) {
        let level = self.level;
        let line = Line { level, text };
        if self.lines.try_send(Some(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self {
        Self {
            level: *event.level(),
            ..self.clone()
        }
    }
}

impl Write for Writer {
    /// One call is one line, as the subscriber writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.hand_over(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
