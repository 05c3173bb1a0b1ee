//! Who owns the bytes: [`Chunk`] and [`Buffers`].
//!
//! A chunk is the only claim to bytes in an arena. It is linear: there is no copy of it, whoever
//! has it hands it on (to a send) or gives it back ([`Buffers::release`]). Sessions see bytes only
//! through [`Buffers`], so the same session runs over the kernel's arena and a simulated one.
#![forbid(unsafe_code)]

pub mod queue;

use std::fmt;
use std::num::NonZeroU16;

use crate::bounds::GATHER_CHUNKS;
use queue::Links;

/// The place of a buffer in its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u16);

/// A claim to `len` bytes of one buffer, from `start`. Never empty; 6 bytes.
#[must_use = "a chunk that is dropped loses its buffer: send it or release it"]
#[derive(PartialEq, Eq)]
pub struct Chunk {
    buffer: BufferId,
    start: u16,
    len: NonZeroU16,
}

impl Chunk {
    /// Makes the claim. Only whoever keeps the count of claims may do so: an arena, when it gives
    /// a buffer out or splits a chunk.
    pub fn new(buffer: BufferId, start: u16, len: NonZeroU16) -> Self {
        Self { buffer, start, len }
    }

    /// The buffer that the bytes are in.
    pub fn buffer(&self) -> BufferId {
        self.buffer
    }

    /// Where in the buffer the bytes start.
    pub fn start(&self) -> usize {
        usize::from(self.start)
    }

    /// The number of bytes, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub fn len(&self) -> usize {
        usize::from(self.len.get())
    }

    /// Where in the buffer the bytes end.
    pub fn end(&self) -> usize {
        self.start() + self.len()
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "chunk({}: {}..{})",
            self.buffer.0,
            self.start,
            self.end()
        )
    }
}

/// Bytes in buffers of one size, as a session sees them.
pub trait Buffers {
    /// The bytes of a chunk.
    fn bytes(&self, chunk: &Chunk) -> &[u8];

    /// The bytes of a chunk that is the only one of its buffer, `None` if it is not.
    fn bytes_mut(&mut self, chunk: &mut Chunk) -> Option<&mut [u8]>;

    /// Takes a whole buffer for output, from the reserve if need be; `None` if even that is empty.
    fn alloc(&mut self) -> Option<Chunk>;

    /// Cuts off and returns what is before `at`; `None` if that or the rest would be empty.
    fn split(&mut self, chunk: &mut Chunk, at: usize) -> Option<Chunk>;

    /// Copies `chunk` behind the bytes of `tail` and releases it, if `tail` is the only chunk of
    /// its buffer and the buffer has the room; otherwise gives `chunk` back.
    ///
    /// Errors: the chunk itself, untouched.
    fn try_append(&mut self, tail: &mut Chunk, chunk: Chunk) -> Result<(), Chunk>;

    /// Gives a chunk back; with the last chunk of a buffer the buffer becomes free.
    fn release(&mut self, chunk: Chunk);

    /// Where queues keep the chunks that wait.
    fn links(&mut self) -> &mut Links;

    /// How many bytes one connection may hold at present: a part of what is free, at least one
    /// buffer and at most [`WINDOW_BYTES`](crate::bounds::WINDOW_BYTES).
    fn share(&self) -> usize;
}

/// Chunks that go out in one send, in order. At most [`GATHER_CHUNKS`], never none once sent.
#[must_use = "a batch that is dropped loses its buffers"]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    chunks: [Option<Chunk>; GATHER_CHUNKS],
    count: u8,
}

impl Batch {
    /// The chunks, in the order in which they are to be sent.
    pub fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().flatten()
    }

    /// The number of chunks.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The number of bytes of all chunks together.
    pub fn bytes(&self) -> usize {
        self.iter().map(Chunk::len).sum()
    }

    /// Adds a chunk at the end.
    ///
    /// Errors: the chunk, if the batch is full.
    pub fn try_push(&mut self, chunk: Chunk) -> Result<(), Chunk> {
        match self.chunks.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = Some(chunk);
                self.count += 1;
                Ok(())
            }
            None => Err(chunk),
        }
    }

    /// Takes the chunks out, in order.
    pub fn into_chunks(self) -> impl Iterator<Item = Chunk> {
        self.chunks.into_iter().flatten()
    }
}

const _: () = assert!(size_of::<Option<Chunk>>() == 6);
