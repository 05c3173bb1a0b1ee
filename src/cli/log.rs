//! The log: lines to standard error, by a thread of its own.
//!
//! Whoever logs hands a line over and goes on. If standard error does not take lines as fast as
//! they come, or not at all, lines are dropped and counted, and what is balanced is not touched.
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

/// The log as long as it lasts; dropped, it writes what still waits.
pub(super) struct Log {
    lines: Sender<Option<Vec<u8>>>,
    written: Receiver<()>,
}

impl Log {
    /// Starts to log lines of this level and above.
    ///
    /// Errors: no thread can be made.
    pub(super) fn start(level: LevelFilter) -> io::Result<Self> {
        let (lines, waiting) = bounded(LINES_MAX);
        let (end, written) = bounded(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            lines: lines.clone(),
            dropped: Arc::clone(&dropped),
        };
        std::thread::Builder::new()
            .name("log".to_string())
            .spawn(move || {
                write_lines(&waiting, &dropped);
                let _nobody_waits = end.send(());
            })?;
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(writer)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .log_internal_errors(false)
            .init();
        Ok(Self { lines, written })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.lines.send_timeout(None, FLUSH_TIME).is_ok() {
            let _too_slow = self.written.recv_timeout(FLUSH_TIME);
        }
    }
}

/// Writes lines until told to end. What cannot be written is lost: there is nobody to tell.
fn write_lines(waiting: &Receiver<Option<Vec<u8>>>, dropped: &AtomicU64) {
    let mut told = 0;
    for line in waiting.iter().map_while(|line| line) {
        let mut stderr = io::stderr();
        let _lost = stderr.write_all(&line);
        let lines = dropped.load(Ordering::Relaxed);
        if lines > told {
            let _lost = writeln!(stderr, "{} lines of the log were dropped", lines - told);
            told = lines;
        }
    }
}

/// Hands lines over.
#[derive(Clone)]
struct Writer {
    lines: Sender<Option<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
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
        if self.lines.try_send(Some(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
