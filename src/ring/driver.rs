//! The seam between a worker and whatever carries its I/O: [`Driver`].
//!
//! The kernel's io_uring implements it in [`uring`](crate::ring::uring), a seeded simulation does
//! in the tests. A worker is compiled for one driver; nothing is dispatched at run time.
//!
//! The contract, which both sides may rely on:
//! - **Submitted** operations end in completions. At most one of a kind is in flight per slot. A
//!   completion with `more` is not the last of its operation; every operation has a last one, also
//!   after a cancel.
//! - **Immediate** operations have happened when they return.
//! - Nothing submitted is guaranteed to start before [`Driver::turn`].
//! - A socket is closed only when none of its operations is in flight (terminate, join, close).
//! - A driver takes the batch that it is given to send and releases its buffers itself.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use crate::balance::endpoint::Address;
use crate::buffers::{Batch, Buffers, Chunk};
use crate::error::Errno;
use crate::id::Slot;
use crate::plan::options::{ConnectOptions, SocketOptions};
use crate::session::Transport;
use crate::time::Instant;

/// The kinds of submitted operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Accept connections until told to stop; the slot is a listener's.
    Accept = 1,
    /// Connect a socket.
    Connect,
    /// Receive into the driver's buffers, as far as the credit goes.
    Receive,
    /// Send a batch, whole.
    Send,
    /// Wait for the connection to break.
    Watch,
    /// Wait for another thread's word.
    Wake,
    /// Wait until there is something to receive, or the end of it.
    Readable,
    /// Wait until there is room to send.
    Writable,
    /// Wait until a client waits; the slot is a listener's.
    Acceptable,
}

impl Operation {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Accept,
        Self::Connect,
        Self::Receive,
        Self::Send,
        Self::Watch,
        Self::Wake,
        Self::Readable,
        Self::Writable,
        Self::Acceptable,
    ];
}

/// How long [`Driver::turn`] may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until a point in time.
    Until(Instant),
    /// Until there is one.
    Forever,
}

/// The end of an operation, or one of several results of it.
#[derive(Debug)]
pub struct Completion<S> {
    /// The slot that the operation was started for.
    pub slot: Slot,
    /// What happened.
    pub event: Event<S>,
}

/// What happened to an operation.
#[derive(Debug)]
pub enum Event<S> {
    /// A connection was accepted, or accepting failed.
    Accepted {
        /// The connection, or why there is none.
        result: Result<S, Errno>,
        /// Whether accepting goes on.
        more: bool,
    },
    /// The attempt to connect is over.
    Connected(Result<(), Errno>),
    /// Bytes came, or the receive is over, or both.
    Received {
        /// The bytes, `None` at the end of them.
        chunk: Option<Chunk>,
        /// What failed: ENOBUFS means that no buffer was free and that nothing is lost.
        error: Option<Errno>,
        /// Whether the socket was readable after this receive: tells a FIN from a reset.
        nonempty: bool,
        /// Whether the receive goes on.
        more: bool,
    },
    /// The send is over; its buffers are released.
    Sent {
        /// How many bytes went. Fewer than given mean that the connection is broken.
        bytes: u32,
        /// What failed, if nothing went.
        error: Option<Errno>,
    },
    /// The watched connection broke, or the watch is over.
    Watched {
        /// Whether the connection is reset.
        reset: bool,
        /// Whether the watch goes on.
        more: bool,
    },
    /// There is something to receive, or the connection has ended, or the wait was cancelled.
    Readable,
    /// There is room to send, or the connection has ended, or the wait was cancelled.
    Writable,
    /// A client waits, or the wait was cancelled.
    Acceptable,
    /// Another thread has left something.
    Woken {
        /// Whether further words will be noticed.
        more: bool,
    },
}

/// What bytes are moved through from one socket to another, without being seen. It holds them while
/// the second socket has no room.
pub trait Conduit {
    /// How many bytes are in it.
    fn bytes(&self) -> u32;
}

/// What a driver has to give out, and how much of it is given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// The buffers of the arena.
    pub buffers: usize,
    /// Those of them that chunks claim bytes of.
    pub held_buffers: usize,
    /// The kernel's pipes that are given out.
    pub pipes: usize,
    /// What is given out in the place of pipes.
    pub memory_pipes: usize,
}

/// What a worker needs of the world.
pub trait Driver {
    /// A socket: a listener's, a client's or an endpoint's.
    type Socket;
    /// The arena that receives go to.
    type Buffers: Buffers;
    /// What bulk goes through.
    type Pipe: Conduit;

    /// The present time, read once a turn.
    fn now(&self) -> Instant;

    /// The arena.
    fn buffers(&mut self) -> &mut Self::Buffers;

    /// Makes free buffers ready to be received into, and says how many are.
    fn replenish(&mut self) -> usize;

    /// What it has and what of that is in use.
    ///
    /// Cost: reads a few numbers; a worker asks twice a turn.
    fn stock(&self) -> Stock;

    /// What kind of socket it is.
    fn transport(&self, socket: &Self::Socket) -> Transport;

    // Submitted operations.

    /// Accepts connections on a listening socket until cancelled or out of something.
    fn accept(&mut self, listener: &Self::Socket, slot: Slot);

    /// Connects a socket made by [`open`](Self::open).
    fn connect(&mut self, socket: &Self::Socket, slot: Slot, address: &Address);

    /// Receives up to `credit` bytes, or less than one buffer more; may end earlier.
    fn receive(&mut self, socket: &Self::Socket, slot: Slot, credit: u32);

    /// Sends all of a batch.
    fn send(&mut self, socket: &Self::Socket, slot: Slot, batch: Batch);

    /// Reports when the connection is reset.
    fn watch(&mut self, socket: &Self::Socket, slot: Slot);

    /// Reports once that there is something to receive, or that nothing more will come.
    fn await_readable(&mut self, socket: &Self::Socket, slot: Slot);

    /// Reports once that there is room to send, or that nothing more can be sent.
    fn await_writable(&mut self, socket: &Self::Socket, slot: Slot);

    /// Reports once that a client waits to be accepted.
    fn await_client(&mut self, listener: &Self::Socket, slot: Slot);

    /// Asks an operation to end early. It still completes, whatever it completes with.
    fn cancel(&mut self, operation: Operation, slot: Slot);

    // Immediate operations.

    /// Makes a socket for connecting to `address`, from `source` if there is one.
    ///
    /// Errors: the kernel's, mostly EMFILE and its kin.
    fn open(
        &mut self,
        address: &Address,
        options: &ConnectOptions,
        source: Option<IpAddr>,
    ) -> Result<Self::Socket, Errno>;

    /// Sets what only matters to a connection that lasts. Failure needs no report: the connection
    /// is broken, which its receive or the next send will say.
    fn settle(&mut self, socket: &Self::Socket, options: &SocketOptions);

    /// Whether a descriptor is kept in reserve, which [`open`](Self::open) takes when there is no
    /// other; tries to get one.
    fn has_reserve(&mut self) -> bool;

    /// Accepts one connection that already waits.
    ///
    /// Errors: EAGAIN if none waits; otherwise the kernel's.
    fn accept_waiting(&mut self, listener: &Self::Socket) -> Result<Self::Socket, Errno>;

    /// An empty pipe; `None` if there is none at present.
    fn take_pipe(&mut self) -> Option<Self::Pipe>;

    /// Takes a pipe back; what is in it is lost.
    fn give_pipe(&mut self, pipe: Self::Pipe);

    /// Moves what has come on a socket into a pipe, as much as it holds. 0 is the end of the
    /// stream, one way or the other.
    ///
    /// Errors: EAGAIN if nothing has come, or the pipe is full: only with an empty pipe it is
    /// certainly the former. Otherwise the connection is broken.
    fn fill(&mut self, pipe: &mut Self::Pipe, from: &Self::Socket) -> Result<u32, Errno>;

    /// Moves what is in a pipe to a socket, as much as it has room for.
    ///
    /// Errors: EAGAIN if there is no room. Otherwise the connection is broken.
    fn drain(&mut self, pipe: &mut Self::Pipe, to: &Self::Socket) -> Result<u32, Errno>;

    /// The address of the other side of an accepted TCP connection; `None` for a Unix socket, or if
    /// the connection is gone.
    fn client_addr(&self, client: &Self::Socket) -> Option<SocketAddr>;

    /// The address that an accepted TCP connection came to.
    fn local_addr(&self, client: &Self::Socket) -> Option<SocketAddr>;

    /// Says that no more bytes will be sent. Failure needs no report: the connection is broken,
    /// which its receive or the next send will say.
    fn shutdown(&mut self, socket: &Self::Socket);

    /// Resets the connection now. Its connects, receives and sends end by themselves; watches do
    /// not.
    fn reset(&mut self, socket: &Self::Socket);

    /// The bytes handed over which the other side has not acknowledged: by the kernel's word, and
    /// what of the send in flight it has not taken yet.
    fn unsent_bytes(&mut self, socket: &Self::Socket, slot: Slot) -> u32;

    /// Closes a socket on which no operation is in flight.
    fn close(&mut self, socket: Self::Socket);

    /// Whether much more memory is resident than is in use.
    fn is_swollen(&self) -> bool;

    /// Gives memory that a burst took back.
    fn shrink(&mut self);

    // The turn.

    /// Starts what was submitted and waits for a completion.
    ///
    /// Errors: the kernel's, if the ring can no longer be used at all.
    fn turn(&mut self, wait: Wait) -> Result<(), Errno>;

    /// The next of the completions that the last turn brought.
    fn poll_completion(&mut self) -> Option<Completion<Self::Socket>>;
}
