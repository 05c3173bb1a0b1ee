//! Chunks that wait: a queue for each direction of a session, its places in one table of the worker.
//!
//! ```text
//!   queue: head, tail --> place --> place --> place      free --> place --> ...
//! ```
//! An idle session's queues hold nothing but these two numbers each.
//!
//! Memory: 12 bytes per queue; 8 per place, and as many places as chunks ever waited at once.
#![forbid(unsafe_code)]

use crate::bounds::GATHER_CHUNKS;
use crate::buffers::{Batch, Buffers, Chunk};

/// The places of all chunks that wait in one worker's queues.
#[derive(Debug)]
pub struct Links {
    places: Vec<Place>,
    places_max: usize,
    /// The first of the places that are free, linked like a queue.
    free: u16,
}

#[derive(Debug)]
struct Place {
    chunk: Option<Chunk>,
    next: u16,
}

/// No place.
const END: u16 = u16::MAX;

impl Links {
    /// Makes room for `places_max` chunks, at most 65,535. Takes address space only.
    pub fn new(places_max: usize) -> Self {
        let places_max = places_max.min(usize::from(END));
        Self {
            places: Vec::with_capacity(places_max),
            places_max,
            free: END,
        }
    }

    fn try_add(&mut self, chunk: Chunk) -> Result<u16, Chunk> {
        let index = self.free;
        if let Some(place) = self.places.get_mut(usize::from(index)) {
            self.free = std::mem::replace(&mut place.next, END);
            place.chunk = Some(chunk);
            return Ok(index);
        }
        if self.places.len() == self.places_max {
            return Err(chunk);
        }
        self.places.push(Place {
            chunk: Some(chunk),
            next: END,
        });
        Ok((self.places.len() - 1) as u16)
    }

    /// Takes a chunk out. Returns it and the place that follows.
    fn remove(&mut self, index: u16) -> Option<(Chunk, u16)> {
        let place = self.places.get_mut(usize::from(index))?;
        let chunk = place.chunk.take()?;
        let next = std::mem::replace(&mut place.next, self.free);
        self.free = index;
        Some((chunk, next))
    }
}

/// Chunks that wait to be sent in one direction of a session, first in first out.
#[derive(Debug, Default)]
pub struct ChunkQueue {
    bytes: u32,
    count: u16,
    /// Both mean something only while there is a chunk.
    head: u16,
    tail: u16,
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
    /// Errors: the chunk, if the worker's table is full.
    /// Cost: a copy of the chunk's bytes if it is joined.
    pub fn try_push(&mut self, chunk: Chunk, buffers: &mut impl Buffers) -> Result<(), Chunk> {
        let bytes = chunk.len() as u32;
        let chunk = match self.try_join(chunk, buffers) {
            Ok(()) => {
                self.bytes += bytes;
                return Ok(());
            }
            Err(chunk) => chunk,
        };
        let links = buffers.links();
        let index = links.try_add(chunk)?;
        if self.is_empty() {
            self.head = index;
        } else if let Some(place) = links.places.get_mut(usize::from(self.tail)) {
            place.next = index;
        }
        self.tail = index;
        self.count += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Puts a chunk in front of all others.
    ///
    /// Errors: the chunk, if the worker's table is full.
    pub fn try_push_front(
        &mut self,
        chunk: Chunk,
        buffers: &mut impl Buffers,
    ) -> Result<(), Chunk> {
        let bytes = chunk.len() as u32;
        let links = buffers.links();
        let index = links.try_add(chunk)?;
        if self.is_empty() {
            self.tail = index;
        } else if let Some(place) = links.places.get_mut(usize::from(index)) {
            place.next = self.head;
        }
        self.head = index;
        self.count += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes the first chunk.
    pub fn pop(&mut self, buffers: &mut impl Buffers) -> Option<Chunk> {
        if self.is_empty() {
            return None;
        }
        let (chunk, next) = buffers.links().remove(self.head)?;
        self.head = next;
        self.count -= 1;
        self.bytes -= chunk.len() as u32;
        Some(chunk)
    }

    /// Takes as many chunks as one send gathers.
    pub fn take_batch(&mut self, buffers: &mut impl Buffers) -> Batch {
        let mut batch = Batch::default();
        while batch.count() < GATHER_CHUNKS {
            let Some(chunk) = self.pop(buffers) else {
                break;
            };
            batch.chunks[batch.count()] = Some(chunk);
            batch.count += 1;
        }
        batch
    }

    /// Gives every chunk back.
    pub fn clear(&mut self, buffers: &mut impl Buffers) {
        while let Some(chunk) = self.pop(buffers) {
            buffers.release(chunk);
        }
    }

    fn try_join(&mut self, chunk: Chunk, buffers: &mut impl Buffers) -> Result<(), Chunk> {
        if self.is_empty() {
            return Err(chunk);
        }
        let tail = usize::from(self.tail);
        let waiting = buffers.links().places.get_mut(tail);
        let Some(mut last) = waiting.and_then(|place| place.chunk.take()) else {
            return Err(chunk);
        };
        let joined = buffers.try_append(&mut last, chunk);
        buffers.links().places[tail].chunk = Some(last);
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::{BUFFER_BYTES, WINDOW_BYTES};
    use crate::buffers::BufferId;
    use std::num::NonZeroU16;

    /// Buffers without bytes that only count: enough to see how a queue joins chunks.
    struct Counting {
        held: usize,
        links: Links,
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
            let len = NonZeroU16::new((tail.len() + chunk.len()) as u16).expect("bytes");
            *tail = Chunk::new(tail.buffer(), tail.start() as u16, len);
            self.release(chunk);
            Ok(())
        }
        fn release(&mut self, _: Chunk) {
            self.held -= 1;
        }
        fn links(&mut self) -> &mut Links {
            &mut self.links
        }
        fn share(&self) -> usize {
            WINDOW_BYTES
        }
    }

    #[test]
    fn a_queue_keeps_every_byte_and_joins_small_chunks() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let mut buffers = Counting {
                held: 0,
                links: Links::new(64),
            };
            let mut queue = ChunkQueue::default();
            let longest = 1 << rng.u32(0..=14);
            while queue.bytes() < WINDOW_BYTES {
                let chunk = buffers.chunk(rng.usize(1..=longest));
                queue
                    .try_push(chunk, &mut buffers)
                    .expect("the queue has room for a window");
                assert_eq!(queue.count(), buffers.held);
                assert!(queue.count() <= 2 * WINDOW_BYTES / BUFFER_BYTES + 3);
            }
            let bytes = queue.bytes();
            let batch = queue.take_batch(&mut buffers);
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
    fn queues_share_the_places_and_a_full_table_gives_the_chunk_back() {
        let mut buffers = Counting {
            held: 0,
            links: Links::new(4),
        };
        let mut queues: [ChunkQueue; 2] = Default::default();
        for _ in 0..3 {
            for place in [0, 1, 1, 0] {
                let chunk = buffers.chunk(BUFFER_BYTES - place);
                queues[place].try_push(chunk, &mut buffers).expect("room");
            }
            let chunk = buffers.chunk(1);
            let refused = queues[0].try_push(chunk, &mut buffers);
            buffers.release(refused.expect_err("there is no room"));
            for (place, queue) in queues.iter_mut().enumerate() {
                let mut lens = Vec::new();
                while let Some(chunk) = queue.pop(&mut buffers) {
                    lens.push(chunk.len());
                    buffers.release(chunk);
                }
                assert_eq!(lens, [BUFFER_BYTES - place; 2]);
            }
        }
        assert_eq!(buffers.held, 0);
    }
}
