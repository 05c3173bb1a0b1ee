//! Who owns the bytes: [`Chunk`] and [`Buffers`].
//!
//! A chunk is the only claim to bytes in an arena. It is linear: there is no copy of it, whoever
//! has it hands it on (to a send) or gives it back ([`Buffers::release`]). Sessions see bytes only
//! through [`Buffers`], so the same session runs over the kernel's arena and a simulated one.
#![forbid(unsafe_code)]

use std::fmt;
use std::num::NonZeroU16;

use crate::bounds::{GATHER_CHUNKS, QUEUE_CHUNKS};

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

/// Chunks that wait to be sent in one direction of a session, first in first out.
///
/// Memory: 124 bytes, inline; at most [`QUEUE_CHUNKS`] chunks.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ChunkQueue {
    bytes: u32,
    head: u8,
    count: u8,
    chunks: [Option<Chunk>; QUEUE_CHUNKS],
}

impl ChunkQueue {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of chunks that wait.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The number of bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Adds a chunk at the end, joined to the last one where that is possible, so that a trickle
    /// of small chunks behind a slow reader does not hold a buffer each.
    ///
    /// Errors: the chunk, if the queue is full.
    /// Cost: a copy of the chunk's bytes if it is joined.
    pub fn try_push(&mut self, chunk: Chunk, buffers: &mut impl Buffers) -> Result<(), Chunk> {
        let bytes = chunk.len() as u32;
        let chunk = match self.back_mut() {
            Some(tail) => match buffers.try_append(tail, chunk) {
                Ok(()) => {
                    self.bytes += bytes;
                    return Ok(());
                }
                Err(chunk) => chunk,
            },
            None => chunk,
        };
        if self.count() == QUEUE_CHUNKS {
            return Err(chunk);
        }
        let place = (usize::from(self.head) + self.count()) % QUEUE_CHUNKS;
        self.chunks[place] = Some(chunk);
        self.count += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes the first chunk.
    pub fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks[usize::from(self.head)].take()?;
        self.count -= 1;
        // An empty queue starts again in front, where the cache line is.
        let next = (self.head + 1) % QUEUE_CHUNKS as u8;
        self.head = if self.count == 0 { 0 } else { next };
        self.bytes -= chunk.len() as u32;
        Some(chunk)
    }

    /// Takes as many chunks as one send gathers.
    pub fn take_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        while batch.count() < GATHER_CHUNKS {
            let Some(chunk) = self.pop() else { break };
            batch.chunks[batch.count()] = Some(chunk);
            batch.count += 1;
        }
        batch
    }

    /// Gives every chunk back.
    pub fn clear(&mut self, buffers: &mut impl Buffers) {
        while let Some(chunk) = self.pop() {
            buffers.release(chunk);
        }
    }

    fn back_mut(&mut self) -> Option<&mut Chunk> {
        let last = self.count().checked_sub(1)?;
        self.chunks[(usize::from(self.head) + last) % QUEUE_CHUNKS].as_mut()
    }
}

const _: () = assert!(size_of::<Option<Chunk>>() == 6);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{BUFFER_BYTES, WINDOW_BYTES};

    /// Buffers without bytes that only count: enough to see how a queue joins chunks.
    struct Counting {
        held: usize,
    }

    impl Counting {
        fn chunk(&mut self, len: usize) -> Chunk {
            self.held += 1;
            let len = NonZeroU16::new(len as u16).expect("tests use chunks with bytes");
            Chunk::new(BufferId(0), 0, len)
        }
    }

    impl Buffers for Counting {
        fn bytes(&self, _: &Chunk) -> &[u8] {
            &[]
        }
        fn bytes_mut(&mut self, _: &mut Chunk) -> Option<&mut [u8]> {
            None
        }
        fn alloc(&mut self) -> Option<Chunk> {
            None
        }
        fn split(&mut self, _: &mut Chunk, _: usize) -> Option<Chunk> {
            None
        }
        fn try_append(&mut self, tail: &mut Chunk, chunk: Chunk) -> Result<(), Chunk> {
            if tail.end() + chunk.len() > BUFFER_BYTES {
                return Err(chunk);
            }
            tail.len = tail.len.saturating_add(chunk.len.get());
            self.release(chunk);
            Ok(())
        }
        fn release(&mut self, _: Chunk) {
            self.held -= 1;
        }
        fn share(&self) -> usize {
            WINDOW_BYTES
        }
    }

    #[test]
    fn a_window_of_any_chunks_fits_the_queue() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let mut buffers = Counting { held: 0 };
            let mut queue = ChunkQueue::default();
            let longest = 1 << rng.u32(0..=14);
            while queue.bytes() < WINDOW_BYTES {
                let chunk = buffers.chunk(rng.usize(1..=longest));
                queue
                    .try_push(chunk, &mut buffers)
                    .expect("the queue has room for a window");
                assert_eq!(queue.count(), buffers.held);
            }
            let bytes = queue.bytes();
            let batch = queue.take_batch();
            assert!(batch.count() <= GATHER_CHUNKS);
            assert_eq!(bytes, batch.bytes() + queue.bytes());
            for chunk in batch.into_chunks() {
                buffers.release(chunk);
            }
            queue.clear(&mut buffers);
            assert_eq!((buffers.held, queue.bytes(), queue.count()), (0, 0, 0));
        }
    }

    #[test]
    fn a_full_queue_gives_the_chunk_back() {
        let mut buffers = Counting { held: 0 };
        let mut queue = ChunkQueue::default();
        for _ in 0..QUEUE_CHUNKS {
            let chunk = buffers.chunk(BUFFER_BYTES);
            queue.try_push(chunk, &mut buffers).expect("not full yet");
        }
        let chunk = buffers.chunk(1);
        assert!(queue.try_push(chunk, &mut buffers).is_err());
    }
}
