//! How far a connection is, and until when it may take for that.
//!
//! ```text
//!            a byte           a request            its answer handed over
//! Waiting ─────────► Head ───────────────► Asked ───────────────────────► Told
//!    ▲  due: idle     due: head    due: request, from the first byte        │
//!    └──────────────────────────── flushed ─────────────────────────────────┘
//! ```
//!
//! A connection begins at `Head`. hyper moves everything from inside its poll, so whoever polls it
//! looks at [`Watch::due`] afterwards and needs no other signal.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::{Buf, Bytes};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use monoio::time::Instant;

use crate::control::admin::Limits;

/// How far a connection is.
pub(super) struct Watch {
    limits: Limits,
    phase: Cell<Phase>,
    begun: Cell<Instant>,
    due: Cell<Instant>,
    has_bytes: Cell<bool>,
    has_ended: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Head,
    Asked,
    Told,
}

impl Watch {
    /// The watch of a new connection.
    pub(super) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            limits,
            phase: Cell::new(Phase::Head),
            begun: Cell::new(now),
            due: Cell::new(now + limits.head),
            has_bytes: Cell::new(false),
            has_ended: Cell::new(false),
        }
    }

    /// When the connection has to be further.
    pub(super) fn due(&self) -> Instant {
        self.due.get()
    }

    /// Whether there is no request, or no more than the beginning of one.
    pub(super) fn is_before_request(&self) -> bool {
        matches!(self.phase.get(), Phase::Waiting | Phase::Head)
    }

    /// Whether the beginning of a request is all that there is.
    pub(super) fn is_amid_head(&self) -> bool {
        self.phase.get() == Phase::Head && self.has_bytes.get()
    }

    /// Whether the client has sent its last byte.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// A request is there.
    pub(super) fn on_request(&self) {
        if self.phase.get() == Phase::Waiting {
            self.begun.set(Instant::now());
        }
        self.phase.set(Phase::Asked);
        self.due.set(self.begun.get() + self.limits.request);
    }

    fn on_read(&self, bytes: usize) {
        if bytes == 0 {
            self.has_ended.set(true);
            return;
        }
        match self.phase.get() {
            Phase::Waiting => {
                let now = Instant::now();
                self.begun.set(now);
                self.due.set(now + self.limits.head);
                self.phase.set(Phase::Head);
                self.has_bytes.set(true);
            }
            Phase::Head => self.has_bytes.set(true),
            Phase::Asked | Phase::Told => {}
        }
    }

    fn on_told(&self) {
        if self.phase.get() == Phase::Asked {
            self.phase.set(Phase::Told);
        }
    }

    fn on_flushed(&self) {
        if self.phase.get() == Phase::Told {
            self.phase.set(Phase::Waiting);
            self.has_bytes.set(false);
            self.due.set(Instant::now() + self.limits.idle);
        }
    }
}

/// A connection's bytes, watched.
pub(super) struct Watched<T> {
    io: T,
    watch: Rc<Watch>,
}

impl<T> Watched<T> {
    /// Watches a connection.
    pub(super) fn new(io: T, watch: Rc<Watch>) -> Self {
        Self { io, watch }
    }

    /// The connection itself.
    pub(super) fn into_inner(self) -> T {
        self.io
    }
}

impl<T: Read + Unpin> Read for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut room = [0; READ_BYTES];
        let bytes = cursor.remaining().min(READ_BYTES);
        let mut read = ReadBuf::new(&mut room[..bytes]);
        ready!(Pin::new(&mut this.io).poll_read(cx, read.unfilled()))?;
        this.watch.on_read(read.filled().len());
        cursor.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> Write for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What goes out before there is a request is hyper's own answer to a head that it does not
        // understand. It has no body; ours takes its place when the connection ends for it.
        if this.watch.is_before_request() {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.watch.on_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// The text of an answer. hyper copies it to its buffer whole and drops it then, at once where only
/// a head is asked for.
pub(super) struct Told {
    text: Bytes,
    watch: Rc<Watch>,
}

impl Told {
    /// An answer on a connection.
    pub(super) fn new(text: String, watch: Rc<Watch>) -> Self {
        let text = Bytes::from(text);
        Self { text, watch }
    }
}

impl Buf for Told {
    fn remaining(&self) -> usize {
        self.text.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.text.chunk()
    }

    fn advance(&mut self, bytes: usize) {
        self.text.advance(bytes);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.watch.on_told();
    }
}

/// How much is read at a time: most requests whole.
const READ_BYTES: usize = 4096;
