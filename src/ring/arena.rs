//! The arena: the buffers of one worker and the ring by which the kernel takes them.
//!
//! ```text
//!            post               the kernel fills one
//!   Free -----------> Posted ------------------------> Held(1) <--split/append--> Held(n)
//!     ^                                                   |
//!     +---------------- last chunk released --------------+
//! ```
//! Free buffers are kept last in first out, the kernel's ring is first in first out. Few are
//! posted at a time, so small messages go round in the same, cached memory and the rest of the
//! arena is never touched; when a turn runs out, twice as many are posted from then on.
//!
//! Broken ownership is the one thing that aborts the process: a buffer that is given back twice
//! would be written by the kernel while another session reads it.
//!
//! Memory: address space for all buffers; resident are those that were ever used at once.
#![expect(unsafe_code, reason = "memory that the kernel writes to")]

use std::io;
use std::num::NonZeroU16;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::bounds::{
    BUFFER_BYTES, POSTED_BUFFERS_MAX, POSTED_BUFFERS_MIN, RESERVE_PART, RESTING_BUFFERS,
    SHARE_PART, WAITING_PART, WINDOW_BYTES,
};
use crate::buffers::queue::Links;
use crate::buffers::{BufferId, Buffers, Chunk};

/// The buffers of one worker.
#[derive(Debug)]
pub struct Arena {
    memory: Mapping,
    states: Vec<State>,
    free: Vec<u16>,
    posted: PostedRing,
    /// How many buffers the kernel is to be shown.
    posted_target: usize,
    /// Free buffers that receiving leaves alone.
    reserve: usize,
    links: Links,
    /// The most buffers that were posted or held at once since memory was last given back.
    used_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Posted,
    /// This many chunks claim bytes of it.
    Held(u16),
}

impl Arena {
    /// Maps the memory of `count` buffers (a power of two) and of the kernel's ring.
    ///
    /// Errors: ENOMEM.
    pub fn new(count: usize) -> io::Result<Self> {
        let memory = Mapping::new(count * BUFFER_BYTES)?;
        let posted = PostedRing::new(count.min(POSTED_BUFFERS_MAX))?;
        let reserve = count / RESERVE_PART;
        Ok(Self {
            memory,
            states: vec![State::Free; count],
            // The lowest buffer is used first.
            free: (0..count as u16).rev().collect(),
            posted,
            posted_target: POSTED_BUFFERS_MIN.min(count - reserve),
            reserve,
            links: Links::new(WAITING_PART * count),
            used_max: 0,
        })
    }

    /// The address and the number of entries of the kernel's ring, for its registration.
    pub(super) fn ring_address(&self) -> (u64, u16) {
        (
            self.posted.memory.start.as_ptr() as u64,
            self.posted.entries,
        )
    }

    /// Shows the kernel as many buffers as it should have.
    pub(super) fn post(&mut self) {
        let wanted = self
            .posted_target
            .saturating_sub(usize::from(self.posted.count));
        let spare = self.free.len().saturating_sub(self.reserve);
        for _ in 0..wanted.min(spare) {
            let Some(id) = self.free.pop() else { break };
            self.states[usize::from(id)] = State::Posted;
            let address = self.address(BufferId(id)).as_ptr() as u64;
            self.posted.push(address, id);
        }
        self.posted.publish();
        self.used_max = self.used_max.max(self.states.len() - self.free.len());
    }

    /// How many buffers there are.
    pub(super) fn count(&self) -> usize {
        self.states.len()
    }

    /// How many of them somebody holds.
    pub(super) fn held_count(&self) -> usize {
        self.states.len() - self.free.len() - usize::from(self.posted.count)
    }

    /// Whether much more memory is resident than is in use.
    pub(super) fn is_swollen(&self) -> bool {
        self.used_max > RESTING_BUFFERS && self.held_count() < self.used_max / 4
    }

    /// Gives the memory of buffers that nobody holds back to the kernel. Those that are posted stay
    /// so: what is received into them gets new memory.
    ///
    /// Source: madvise(2), MADV_DONTNEED.
    pub(super) fn shrink(&mut self) {
        self.posted_target = POSTED_BUFFERS_MIN.min(self.posted_target);
        self.used_max = 0;
        let mut start = 0;
        while start < self.states.len() {
            let is_unheld = |state: &&State| !matches!(state, State::Held(_));
            let count = self.states[start..].iter().take_while(is_unheld).count();
            if count > 0 {
                self.memory
                    .forget(start * BUFFER_BYTES, count * BUFFER_BYTES);
            }
            start += count + 1;
        }
    }

    /// Takes over a buffer that the kernel has filled with `bytes` bytes, at least 1.
    ///
    /// Panics: if the kernel names a buffer that it was not given. Nothing is known any more of
    /// who owns what then.
    pub(super) fn take_filled(&mut self, id: u16, bytes: NonZeroU16) -> Chunk {
        assert_eq!(
            self.states.get(usize::from(id)),
            Some(&State::Posted),
            "the kernel filled a buffer that it does not have"
        );
        assert!(
            usize::from(bytes.get()) <= BUFFER_BYTES,
            "the kernel filled more than a buffer"
        );
        self.posted.count -= 1;
        self.states[usize::from(id)] = State::Held(1);
        Chunk::new(BufferId(id), 0, bytes)
    }

    /// How many buffers the kernel has to fill.
    pub(super) fn posted_count(&self) -> usize {
        usize::from(self.posted.count)
    }

    /// A receive found no buffer: post more from now on, as far as there are.
    pub(super) fn note_shortage(&mut self) {
        let most = (self.states.len() - self.reserve).min(usize::from(self.posted.entries));
        self.posted_target = (self.posted_target * 2).min(most);
    }

    /// Whether every buffer is free or posted: nobody holds a chunk.
    pub fn is_unheld(&self) -> bool {
        self.held_count() == 0
    }

    /// Where a chunk's bytes are, for an operation that owns the chunk.
    pub(super) fn chunk_address(&self, chunk: &Chunk) -> NonNull<u8> {
        // SAFETY: a chunk lies within its buffer, and buffers within the mapping.
        unsafe { self.address(chunk.buffer()).add(chunk.start()) }
    }

    fn address(&self, buffer: BufferId) -> NonNull<u8> {
        let index = usize::from(buffer.0);
        assert!(index < self.states.len(), "a buffer of another arena");
        // SAFETY: the mapping has `states.len()` buffers of this size.
        unsafe { self.memory.start.add(index * BUFFER_BYTES) }
    }

    fn holders(&self, chunk: &Chunk) -> u16 {
        match self.states.get(usize::from(chunk.buffer().0)) {
            Some(State::Held(holders)) => *holders,
            _ => panic!("a chunk of a buffer that is not held: {chunk:?}"),
        }
    }
}

impl Buffers for Arena {
    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.holders(chunk);
        let start = self.chunk_address(chunk);
        // SAFETY: the bytes lie within a held buffer, which the kernel does not write to; they are
        // initialised, by the kernel (anonymous memory is zero before that). The slice borrows the
        // arena, so nobody writes to them meanwhile.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), chunk.len()) }
    }

    fn bytes_mut(&mut self, chunk: &mut Chunk) -> Option<&mut [u8]> {
        if self.holders(chunk) != 1 {
            return None;
        }
        let start = self.chunk_address(chunk);
        // SAFETY: as for `bytes`, and this chunk is the only claim to the buffer.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), chunk.len()) })
    }

    fn alloc(&mut self) -> Option<Chunk> {
        let id = self.free.pop()?;
        self.states[usize::from(id)] = State::Held(1);
        NonZeroU16::new(BUFFER_BYTES as u16).map(|len| Chunk::new(BufferId(id), 0, len))
    }

    fn split(&mut self, chunk: &mut Chunk, at: usize) -> Option<Chunk> {
        let front = NonZeroU16::new(u16::try_from(at).ok()?)?;
        let rest = NonZeroU16::new(u16::try_from(chunk.len().checked_sub(at)?).ok()?)?;
        let holders = self.holders(chunk);
        let (buffer, start) = (chunk.buffer(), chunk.start() as u16);
        self.states[usize::from(buffer.0)] = State::Held(holders + 1);
        *chunk = Chunk::new(buffer, start + front.get(), rest);
        Some(Chunk::new(buffer, start, front))
    }

    fn try_append(&mut self, tail: &mut Chunk, chunk: Chunk) -> Result<(), Chunk> {
        let end = tail.end() + chunk.len();
        if end > BUFFER_BYTES || self.holders(tail) != 1 || tail.buffer() == chunk.buffer() {
            return Err(chunk);
        }
        self.holders(&chunk);
        let from = self.chunk_address(&chunk);
        let target = self.address(tail.buffer());
        // SAFETY: `tail.end()` lies within the buffer, as was just looked at.
        let target = unsafe { target.add(tail.end()) };
        // SAFETY: both ranges lie within held buffers of this arena, and these are different ones.
        // The tail's buffer has no other claim, so nobody reads or sends what is written.
        unsafe { target.copy_from_nonoverlapping(from, chunk.len()) };
        if let Some(len) = NonZeroU16::new((tail.len() + chunk.len()) as u16) {
            *tail = Chunk::new(tail.buffer(), tail.start() as u16, len);
        }
        self.release(chunk);
        Ok(())
    }

    fn release(&mut self, chunk: Chunk) {
        let id = chunk.buffer().0;
        match self.holders(&chunk) {
            1 => {
                self.states[usize::from(id)] = State::Free;
                self.free.push(id);
            }
            holders => self.states[usize::from(id)] = State::Held(holders - 1),
        }
    }

    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn share(&self) -> usize {
        let share = (self.free.len() + usize::from(self.posted.count)) / SHARE_PART * BUFFER_BYTES;
        share.clamp(BUFFER_BYTES, WINDOW_BYTES)
    }
}

/// The ring by which the kernel takes buffers: entries in shared memory and a tail that it reads.
///
/// Source: io_uring_register_buf_ring(3).
#[derive(Debug)]
struct PostedRing {
    memory: Mapping,
    entries: u16,
    tail: u16,
    /// Posted and not yet seen filled.
    count: u16,
}

impl PostedRing {
    fn new(entries: usize) -> io::Result<Self> {
        let memory = Mapping::new(entries * size_of::<BufRingEntry>())?;
        Ok(Self {
            memory,
            entries: entries as u16,
            tail: 0,
            count: 0,
        })
    }

    /// Adds a buffer, not yet visible to the kernel. The target is never above the ring's entries,
    /// so it cannot be full.
    fn push(&mut self, address: u64, id: u16) {
        let place = usize::from(self.tail & (self.entries - 1));
        let start = self.memory.start.cast::<BufRingEntry>();
        // SAFETY: `place` is below the number of entries, which the mapping has room for.
        let entry = unsafe { start.add(place) };
        // SAFETY: the entry lies in the mapping, which is zeroed or was written here before. The
        // kernel reads it only once the tail says so. (The first entry's spare field is the tail;
        // the setters do not touch it.)
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.count += 1;
    }

    /// Makes what was added visible.
    fn publish(&self) {
        let start = self.memory.start.cast::<BufRingEntry>().as_ptr();
        // SAFETY: `start` is the first entry of a buffer ring.
        let tail = unsafe { BufRingEntry::tail(start) }.cast_mut();
        // SAFETY: the tail is an aligned 16-bit word in the mapping, which only this thread writes
        // and the kernel reads.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed memory of our own, page-aligned, resident only where it is touched.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping, wherever the kernel likes.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }
}

impl Mapping {
    /// Makes a part of it zero again and no longer resident.
    fn forget(&self, start: usize, bytes: usize) {
        assert!(
            start + bytes <= self.bytes,
            "a part that is not of the mapping"
        );
        // SAFETY: the part lies within the mapping.
        let start = unsafe { self.start.add(start) };
        // SAFETY: the part lies within the mapping, and nobody reads it before it is written: the
        // caller says so. A refusal leaves it as it is.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length. Whoever drops the arena has seen
        // the last completion of every operation that could write to it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::ARENA_BUFFERS_MIN;

    fn filled(arena: &mut Arena, content: &[u8]) -> Chunk {
        let mut chunk = arena.alloc().expect("the arena is not empty");
        arena.bytes_mut(&mut chunk).expect("the only claim")[..content.len()]
            .copy_from_slice(content);
        if content.len() == BUFFER_BYTES {
            return chunk;
        }
        let front = arena
            .split(&mut chunk, content.len())
            .expect("not the whole buffer");
        arena.release(chunk);
        front
    }

    #[test]
    fn a_split_buffer_is_free_when_both_parts_are() {
        let mut arena = Arena::new(ARENA_BUFFERS_MIN).expect("memory");
        let mut rest = filled(&mut arena, b"hello world");
        let front = arena.split(&mut rest, 5).expect("both parts have bytes");
        assert_eq!(
            (arena.bytes(&front), arena.bytes(&rest)),
            (&b"hello"[..], &b" world"[..])
        );
        assert!(arena.bytes_mut(&mut rest).is_none());
        arena.release(front);
        assert!(!arena.is_unheld());
        arena.release(rest);
        assert!(arena.is_unheld());
    }

    #[test]
    fn appending_joins_bytes_and_frees_a_buffer() {
        let mut arena = Arena::new(ARENA_BUFFERS_MIN).expect("memory");
        let mut tail = filled(&mut arena, b"hello");
        let next = filled(&mut arena, b" world");
        arena.try_append(&mut tail, next).expect("there is room");
        assert_eq!(arena.bytes(&tail), b"hello world");
        let long = filled(&mut arena, &[7; BUFFER_BYTES]);
        let long = arena
            .try_append(&mut tail, long)
            .expect_err("there is no room");
        arena.release(long);
        arena.release(tail);
        assert!(arena.is_unheld());
    }

    #[test]
    fn receiving_leaves_the_reserve_alone() {
        let mut arena = Arena::new(ARENA_BUFFERS_MIN).expect("memory");
        for _ in 0..20 {
            arena.note_shortage();
            arena.post();
        }
        let reserve = ARENA_BUFFERS_MIN / RESERVE_PART;
        assert_eq!(arena.posted_count(), ARENA_BUFFERS_MIN - reserve);
        let kept: Vec<Chunk> = std::iter::from_fn(|| arena.alloc()).collect();
        assert_eq!(kept.len(), reserve);
        for chunk in kept {
            arena.release(chunk);
        }
    }

    #[test]
    fn a_share_shrinks_with_what_is_free() {
        let mut arena = Arena::new(ARENA_BUFFERS_MIN).expect("memory");
        assert_eq!(arena.share(), WINDOW_BYTES);
        let kept: Vec<Chunk> = std::iter::from_fn(|| arena.alloc()).collect();
        assert_eq!(arena.share(), BUFFER_BYTES);
        for chunk in kept {
            arena.release(chunk);
        }
        assert_eq!(arena.share(), WINDOW_BYTES);
    }

    #[test]
    fn what_is_held_stays_when_memory_is_given_back() {
        let mut arena = Arena::new(2 * RESTING_BUFFERS).expect("memory");
        let mut chunks: Vec<Chunk> = (0..RESTING_BUFFERS + 1)
            .map(|_| filled(&mut arena, b"hello"))
            .collect();
        arena.post();
        assert!(!arena.is_swollen());
        let kept = chunks.swap_remove(RESTING_BUFFERS / 2);
        for chunk in chunks {
            arena.release(chunk);
        }
        assert!(arena.is_swollen());
        arena.shrink();
        assert!(!arena.is_swollen());
        assert_eq!(arena.bytes(&kept), b"hello");
        let new = arena.alloc().expect("the arena is not empty");
        assert_eq!(arena.bytes(&new)[..5], [0; 5]);
        arena.release(new);
        arena.release(kept);
        assert!(arena.is_unheld());
    }

    #[test]
    #[should_panic(expected = "not held")]
    fn giving_a_buffer_back_twice_is_fatal() {
        let mut arena = Arena::new(ARENA_BUFFERS_MIN).expect("memory");
        let chunk = filled(&mut arena, b"x");
        let twice = Chunk::new(chunk.buffer(), 0, NonZeroU16::MIN);
        arena.release(chunk);
        arena.release(twice);
    }
}
