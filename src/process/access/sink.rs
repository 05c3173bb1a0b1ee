//! Where lines of the access log go: a file, a pipe, or datagrams.
//!
//! A file never shows a part of a line for longer than a write lasts, unless the disk is full: then
//! the rest of the line is the next thing that is written, or what is there of it is cut off when
//! the file is closed.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Loss;
use crate::bounds::ACCESS_PAUSE;
use crate::plan::log::AccessSink;
use crate::process::datagrams::Datagrams;

/// A place for lines.
#[derive(Debug)]
pub(super) enum Sink {
    /// One after the other.
    Stream(Stream),
    /// Each for itself.
    Datagrams(Datagrams),
}

impl Sink {
    /// Opens one.
    pub(super) fn open(to: &AccessSink) -> io::Result<Self> {
        match to {
            AccessSink::Stdout => {
                // Not through the library's own buffer, which would keep a part of a line.
                let stdout = io::stdout().as_fd().try_clone_to_owned()?;
                Ok(Self::Stream(Stream::new(stdout.into(), None)))
            }
            AccessSink::File(path) => {
                let stream = Stream::new(open(path)?, Some(path.clone()));
                Ok(Self::Stream(stream))
            }
            AccessSink::Unixgram(path) => Ok(Self::Datagrams(Datagrams::new(path.clone())?)),
        }
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Loss> {
        match self {
            Self::Stream(stream) => stream.write(lines),
            Self::Datagrams(datagrams) => send_lines(datagrams, lines),
        }
    }

    /// Opens the file by its name again, or connects again. A line that only the old file has a
    /// part of may be lost.
    ///
    /// Errors: the file cannot be opened; the old one is still there.
    pub(super) fn reopen(&mut self) -> io::Result<Result<(), Loss>> {
        match self {
            Self::Stream(stream) => stream.reopen(),
            Self::Datagrams(datagrams) => {
                datagrams.disconnect();
                Ok(Ok(()))
            }
        }
    }

    /// Leaves whole lines behind.
    pub(super) fn finish(&mut self) -> Result<(), Loss> {
        match self {
            Self::Stream(stream) => stream.finish(),
            Self::Datagrams(_) => Ok(()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// A file or a pipe.
#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    /// What it was opened by, if it can be opened again.
    path: Option<PathBuf>,
    /// The rest of a line of which a part is written.
    rest: Vec<u8>,
    /// How long that part is.
    part_bytes: usize,
}

impl Stream {
    /// Lines go to the end of this file.
    pub(super) fn new(file: File, path: Option<PathBuf>) -> Self {
        Self {
            file,
            path,
            rest: Vec::new(),
            part_bytes: 0,
        }
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Loss> {
        self.write_rest().map_err(|error| Loss {
            lines: count_lines(lines),
            error,
        })?;
        let (written, outcome) = write_most(&self.file, lines);
        let Err(error) = outcome else {
            return Ok(());
        };
        let (done, lost) = lines.split_at(written);
        self.part_bytes = done.iter().rev().take_while(|byte| **byte != b'\n').count();
        let begun = match lost.iter().position(|byte| *byte == b'\n') {
            Some(end) if self.part_bytes > 0 => end + 1,
            _ => 0,
        };
        let (rest, lost) = lost.split_at(begun);
        self.rest.extend_from_slice(rest);
        Err(Loss {
            lines: count_lines(lost),
            error,
        })
    }

    /// Completes the line of which a part is written.
    fn write_rest(&mut self) -> io::Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let (written, outcome) = write_most(&self.file, &self.rest);
        self.rest.drain(..written);
        self.part_bytes += written;
        outcome
    }

    fn reopen(&mut self) -> io::Result<Result<(), Loss>> {
        let Some(path) = &self.path else {
            return Ok(Ok(()));
        };
        let file = open(path)?;
        let finished = self.finish();
        self.file = file;
        Ok(finished)
    }

    fn finish(&mut self) -> Result<(), Loss> {
        let Err(error) = self.write_rest() else {
            return Ok(());
        };
        self.rest.clear();
        self.cut_part();
        Err(Loss { lines: 1, error })
    }

    /// Takes a part of a line off the end of a file, unless somebody else has written behind it.
    fn cut_part(&mut self) {
        let Ok(metadata) = self.file.metadata() else {
            return;
        };
        let end = metadata.len();
        if metadata.is_file() && self.file.stream_position().is_ok_and(|at| at == end) {
            let _stays = self.file.set_len(end - self.part_bytes as u64);
        }
    }
}

/// Writes as much as can be written; tells how much that was.
fn write_most(mut file: &File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Sends whole lines, each as a datagram.
///
/// A receiver's queue is short (10 datagrams by default), so it gets a moment to empty it, but only
/// once for all lines. If nobody is there, the first line finds that out for all.
fn send_lines(datagrams: &mut Datagrams, lines: &[u8]) -> Result<(), Loss> {
    let mut patience = Some(ACCESS_PAUSE);
    let mut lines = lines.split_inclusive(|byte| *byte == b'\n');
    let mut outcome = Ok(());
    let mut lost = 0;
    while let Some(line) = lines.next() {
        let sent = datagrams.set_patience(patience);
        let Err(error) = sent.and_then(|()| datagrams.send(line)) else {
            continue;
        };
        patience = None;
        lost += 1;
        if !datagrams.is_connected() {
            lost += lines.by_ref().count() as u64;
        }
        outcome = Err(Loss { lines: lost, error });
    }
    outcome
}
