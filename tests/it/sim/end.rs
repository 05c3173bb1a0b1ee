//! One end of a connection, and what TCP and Unix sockets do at it.
//!
//! What is modelled is what the kernel was seen to do: data that was received before a RST can
//! still be read; a socket's error is handed out once, to whoever asks first; after a FIN a receive
//! says for ever that the socket is readable; closing with unread bytes resets; resetting drops
//! what was not sent.
#![forbid(unsafe_code)]

use ringlane::error::Errno;
use ringlane::session::{ReceiveEnd, Transport};

use super::coverage::Situation;
use super::network::{At, Network, Stage};
use super::queue::ByteQueue;

/// One end of a connection.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// Handed to the kernel, not yet at the other end.
    pub(crate) outgoing: ByteQueue,
    /// Arrived and not yet read.
    pub(crate) incoming: ByteQueue,
    pub(crate) room: usize,
    /// No more bytes will be sent.
    pub(crate) finished: bool,
    pub(crate) fin_sent: bool,
    pub(crate) fin_received: bool,
    /// A RST was sent or received.
    pub(crate) gone: bool,
    /// The RST was sent from here.
    pub(crate) disconnected: bool,
    /// The other end of a Unix socket takes nothing any more.
    deaf: bool,
    /// The socket's error: given to whoever asks first.
    pub(crate) error: Option<Errno>,
    pub(crate) closed: bool,
    /// How many bytes were read and written here.
    pub(crate) read: u64,
    pub(crate) written: u64,
}

/// What a read finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Bytes,
    Nothing,
    End {
        error: Option<Errno>,
        nonempty: bool,
    },
}

impl End {
    pub(crate) fn new(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// What a read finds; an error that it finds is taken.
    pub(crate) fn find(&mut self, transport: Transport) -> Found {
        if !self.incoming.is_empty() {
            return Found::Bytes;
        }
        let end = |error, nonempty| Found::End { error, nonempty };
        match transport {
            Transport::Tcp if self.fin_received => end(None, true),
            Transport::Tcp if self.gone => match self.error.take() {
                Some(error) => end(Some(error), false),
                None if self.disconnected => end(Some(Errno(libc::ENOTCONN)), false),
                None => end(None, false),
            },
            Transport::Unix if self.fin_received || self.gone => end(self.error.take(), false),
            _ => Found::Nothing,
        }
    }

    /// Whether a read would find something.
    pub(crate) fn is_readable(&self) -> bool {
        !self.incoming.is_empty() || self.fin_received || self.gone
    }

    /// How many bytes can be written now.
    ///
    /// Errors: the socket's error if it has one, which is taken; otherwise EPIPE. A Unix socket
    /// keeps its error for whoever reads.
    pub(crate) fn try_room(&mut self) -> Result<usize, Errno> {
        if self.deaf {
            return Err(Errno(libc::EPIPE));
        }
        if self.gone || self.finished {
            return Err(self.error.take().unwrap_or(Errno(libc::EPIPE)));
        }
        Ok(self.room.saturating_sub(self.outgoing.len()))
    }

    /// Whether a poll would report that something can be written, or never will.
    pub(crate) fn is_writable(&self) -> bool {
        self.gone || self.deaf || self.room > self.outgoing.len()
    }

    /// Whether a poll would report a hang-up or an error.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.gone || (self.finished && self.fin_received)
    }
}

impl Network {
    pub(crate) fn end(&mut self, link: usize, at: At) -> &mut End {
        &mut self.links[link].ends[at as usize]
    }

    /// Reads up to `most` bytes that have arrived.
    pub(crate) fn read(&mut self, link: usize, at: At, most: usize) -> Vec<u8> {
        let end = self.end(link, at);
        let bytes = end.incoming.front(most).to_vec();
        end.incoming.consume(bytes.len());
        end.read += bytes.len() as u64;
        if !bytes.is_empty() {
            self.push_on(link, at.other());
        }
        bytes
    }

    /// What a far end's owner finds when it reads: bytes, or how it ended, or nothing.
    pub(crate) fn read_far(&mut self, link: usize, most: usize) -> Result<Vec<u8>, ReceiveEnd> {
        let transport = self.links[link].transport;
        match self.end(link, At::Far).find(transport) {
            Found::Bytes => Ok(self.read(link, At::Far, most)),
            Found::Nothing => Ok(Vec::new()),
            // Told apart here anew: the worker's way of telling is under test.
            Found::End {
                error: None,
                nonempty,
            } if nonempty || transport == Transport::Unix => Err(ReceiveEnd::Finished),
            Found::End { .. } => Err(ReceiveEnd::Reset),
        }
    }

    /// Writes as many of the bytes as there is room for.
    ///
    /// Errors: the connection is broken, or was finished from here.
    pub(crate) fn write(&mut self, link: usize, at: At, bytes: &[u8]) -> Result<usize, Errno> {
        let end = self.end(link, at);
        let count = end.try_room()?.min(bytes.len());
        if count > 0 {
            end.outgoing.push(&bytes[..count]);
            end.written += count as u64;
            self.push_on(link, at);
        }
        Ok(count)
    }

    /// Sends a FIN after what was written.
    pub(crate) fn finish(&mut self, link: usize, at: At) {
        self.end(link, at).finished = true;
        self.push_on(link, at);
    }

    /// Resets a connection from one end.
    pub(crate) fn reset(&mut self, link: usize, at: At) {
        let now = self.now;
        let transport = self.links[link].transport;
        if at == At::Near && self.links[link].near_reset_at.is_none() {
            self.links[link].near_reset_at = Some(now);
        }
        if self.links[link].stage != Stage::Connected || self.end(link, at).gone {
            return;
        }
        if transport == Transport::Unix {
            // Shut down both ways: there is no RST.
            self.end(link, at.other()).deaf = true;
            self.end(link, at).fin_received = true;
            return self.finish(link, at);
        }
        let end = self.end(link, at);
        if end.finished && !end.fin_sent && end.outgoing.is_empty() {
            // A FIN with nothing before it leaves at once: the other end sees it before the RST.
            end.fin_sent = true;
            let other = self.end(link, at.other());
            other.fin_received = !other.gone;
        }
        let end = self.end(link, at);
        let all_said = end.fin_sent && end.fin_received;
        end.outgoing.clear();
        end.incoming.clear();
        end.gone = true;
        end.disconnected = true;
        end.fin_received = false;
        if !all_said {
            end.error = Some(Errno(libc::ECONNRESET));
            let delay = self.delay();
            self.schedule(delay, super::network::Event::Reset(link, at.other()));
        }
    }

    /// A RST arrives at an end.
    pub(crate) fn break_end(&mut self, link: usize, at: At) {
        let now = self.now;
        let end = self.end(link, at);
        if end.gone || (end.closed && end.outgoing.is_empty()) {
            return;
        }
        let (unread, unsent) = (!end.incoming.is_empty(), !end.outgoing.is_empty());
        end.gone = true;
        end.outgoing.clear();
        let error = if end.fin_received {
            libc::EPIPE
        } else {
            libc::ECONNRESET
        };
        end.error = Some(Errno(error));
        if at == At::Near {
            self.links[link].near_broken_at = Some(now);
            if unread {
                self.coverage.meet(Situation::ResetBehindBytes);
            }
            if unsent {
                self.coverage.meet(Situation::ResetAgainstBytes);
            }
        }
    }

    /// Closes one end: what was written still goes, but unread bytes make it a reset.
    pub(crate) fn close(&mut self, link: usize, at: At) {
        let transport = self.links[link].transport;
        let end = self.end(link, at);
        end.closed = true;
        if end.gone {
            return;
        }
        let unread = !end.incoming.is_empty();
        match transport {
            Transport::Tcp if unread => {
                self.reset(link, at);
            }
            Transport::Tcp => self.finish(link, at),
            Transport::Unix => {
                let other = self.end(link, at.other());
                other.deaf = true;
                if unread {
                    other.error = Some(Errno(libc::ECONNRESET));
                }
                self.finish(link, at);
            }
        }
    }
}

impl End {
    /// Whether nothing that is written here arrives any more.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.gone || self.deaf
    }

    /// The end's state, in words.
    pub(crate) fn picture(&self) -> String {
        let mut words = format!(
            "{} out, {} in, {} written, {} read",
            self.outgoing.len(),
            self.incoming.len(),
            self.written,
            self.read
        );
        let flags = [
            (self.finished, "finished"),
            (self.fin_sent, "FIN sent"),
            (self.fin_received, "FIN received"),
            (self.gone, "gone"),
            (self.disconnected, "disconnected"),
            (self.deaf, "deaf"),
            (self.closed, "closed"),
            (self.error.is_some(), "error pending"),
        ];
        for (_, word) in flags.iter().filter(|(is_so, _)| *is_so) {
            words.push_str(", ");
            words.push_str(word);
        }
        words
    }
}
