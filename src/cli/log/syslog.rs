//! The system's log, by its datagram socket.
//!
//! ```text
//!  <30>Feb 29 12:00:00 ringlane[4711]: listening addr=0.0.0.0:8080
//!   ^ 8 x facility (3, a daemon) + severity     no host: there is none on a local socket
//! ```
//!
//! Source: RFC 3164, section 4.1, and what syslog(3) sends.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::PathBuf;

use jiff::Zoned;
use tracing::Level;

use crate::process::datagrams::Datagrams;

/// The facility of daemons.
const FACILITY: u8 = 3;

/// A log daemon that may come and go.
#[derive(Debug)]
pub(super) struct Syslog {
    datagrams: Datagrams,
    process: u32,
    /// The last message; kept for its room.
    message: Vec<u8>,
}

impl Syslog {
    /// Messages go to the daemon that receives at this path.
    ///
    /// Errors: no socket can be made.
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            datagrams: Datagrams::new(path)?,
            process: std::process::id(),
            message: Vec::new(),
        })
    }

    /// Sends one message now or never.
    ///
    /// Errors: nobody is there, or the daemon does not read.
    pub(super) fn send(&mut self, level: Level, text: &[u8]) -> io::Result<()> {
        self.message.clear();
        let priority = 8 * FACILITY + severity(level);
        let now = Zoned::now();
        write!(
            self.message,
            "<{priority}>{} ringlane[{}]: ",
            now.strftime("%b %e %H:%M:%S"),
            self.process
        )?;
        // A daemon would make several messages of several lines.
        let text = text.trim_ascii_end().iter();
        let one_line = text.map(|byte| if *byte == b'\n' { b' ' } else { *byte });
        self.message.extend(one_line);
        self.datagrams.send(&self.message)
    }
}

/// How severe a message is.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}
