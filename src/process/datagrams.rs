//! A Unix datagram socket that finds its receiver again, for logs.
//!
//! Receivers come and go. Nothing is kept for one that is not there: what cannot be sent now is the
//! caller's to count.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

/// A socket whose datagrams go to whoever receives at a path at the time.
#[derive(Debug)]
pub struct Datagrams {
    socket: UnixDatagram,
    path: PathBuf,
    is_connected: bool,
    patience: Option<Duration>,
}

impl Datagrams {
    /// Makes a socket; nobody has to be there yet. It never waits.
    ///
    /// Errors: EMFILE, ENFILE, ENOBUFS, ENOMEM.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            path,
            is_connected: false,
            patience: None,
        })
    }

    /// Sets for how long a datagram may wait for a receiver whose queue is full.
    ///
    /// Errors: none for a time above zero.
    pub fn set_patience(&mut self, patience: Option<Duration>) -> io::Result<()> {
        if self.patience == patience {
            return Ok(());
        }
        if patience.is_some() {
            self.socket.set_write_timeout(patience)?;
        }
        self.socket.set_nonblocking(patience.is_none())?;
        self.patience = patience;
        Ok(())
    }

    /// Whether there was a receiver when last something was sent.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Looks for the receiver anew before the next datagram.
    pub fn disconnect(&mut self) {
        self.is_connected = false;
    }

    /// Sends a datagram; if the receiver has gone, to the one that has come in its place.
    ///
    /// Errors: ENOENT, ECONNREFUSED if nobody is there; EAGAIN, ENOBUFS if the receiver is busy;
    /// EMSGSIZE; EACCES.
    /// Source: unix(7), send(2).
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_connected {
            match self.socket.send(bytes) {
                Ok(_) => return Ok(()),
                Err(error) if is_gone(&error) => self.is_connected = false,
                Err(error) => return Err(error),
            }
        }
        self.socket.connect(&self.path)?;
        self.is_connected = true;
        self.socket.send(bytes).map(|_| ())
    }
}

/// Whether an error says that the receiver is no more, and not that it is busy.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
    )
}
