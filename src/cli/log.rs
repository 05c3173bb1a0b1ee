//! Lines to standard error and standard output, by threads of their own.
//!
//! Whoever has something to say hands a line over and goes on. If nobody takes lines as fast as
//! they come, or at all, lines are dropped and counted, and what is balanced is not touched.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The most lines that wait to be written.
const LINES_MAX: usize = 4096;

/// How long the end of the process waits for lines that are not written yet.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// Starts to log events of this level and above to standard error, for as long as the result lives.
///
/// Errors: no thread can be made.
pub(super) fn start(level: LevelFilter) -> io::Result<Lines> {
    let lines = Lines::start(io::stderr())?;
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(lines.writer.clone())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false)
        .init();
    Ok(lines)
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
    pub(super) fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = bounded(LINES_MAX);
        let (end, written) = bounded(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_string())
            .spawn(move || {
                write_lines(sink, &waiting, &counter);
                let _nobody_waits = end.send(());
            })?;
        let writer = Writer { lines, dropped };
        Ok(Self { writer, written })
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
fn write_lines(mut sink: impl Write, waiting: &Receiver<Option<Vec<u8>>>, dropped: &AtomicU64) {
    let mut told = 0;
    let mut tell = |sink: &mut dyn Write| {
        let lines = dropped.load(Ordering::Relaxed);
        let is_told =
            lines == told || writeln!(sink, "{} lines were dropped", lines - told).is_ok();
        if is_told {
            told = lines;
        }
    };
    for line in waiting.iter().map_while(|line| line) {
        if sink.write_all(&line).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            tell(&mut sink);
        }
    }
    tell(&mut sink);
}

/// Hands lines over.
#[derive(Clone)]
struct Writer {
    lines: Sender<Option<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn hand_over(&self, line: Vec<u8>) {
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
