//! A small arena of buffers that knows every claim to its bytes.
//!
//! The kernel's arena counts the chunks of a buffer; this one knows them, so a chunk that nobody
//! gave out, or that was given back, is found at its first use. Freed bytes are overwritten, so
//! whoever reads them late sends nonsense, which the streams' pattern shows.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::num::NonZeroU16;

use ringlane::bounds::{BUFFER_BYTES, RESERVE_PART, SHARE_PART, WAITING_PART, WINDOW_BYTES};
use ringlane::buffers::queue::Links;
use ringlane::buffers::{BufferId, Buffers, Chunk};

/// The buffers of a simulated worker.
#[derive(Debug)]
pub(crate) struct SimArena {
    buffers: Vec<Buffer>,
    free: Vec<u16>,
    posted: VecDeque<u16>,
    posted_target: usize,
    reserve: usize,
    links: Links,
    pub(crate) joined: u64,
}

#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    state: State,
    /// Start and length of each chunk that somebody has.
    claims: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Posted,
    Held,
}

impl SimArena {
    pub(crate) fn new(count: usize, posted: usize) -> Self {
        let buffer = || Buffer {
            bytes: vec![0; BUFFER_BYTES].into_boxed_slice(),
            state: State::Free,
            claims: Vec::new(),
        };
        Self {
            buffers: (0..count).map(|_| buffer()).collect(),
            free: (0..count as u16).rev().collect(),
            posted: VecDeque::new(),
            posted_target: posted,
            reserve: count / RESERVE_PART,
            links: Links::new(WAITING_PART * count),
            joined: 0,
        }
    }

    /// Shows the simulated kernel as many buffers as it should have.
    pub(crate) fn post(&mut self) {
        while self.posted.len() < self.posted_target && self.free.len() > self.reserve {
            let Some(id) = self.free.pop() else { break };
            self.buffers[usize::from(id)].state = State::Posted;
            self.posted.push_back(id);
        }
    }

    pub(crate) fn posted_count(&self) -> usize {
        self.posted.len()
    }

    /// Post twice as many from now on.
    pub(crate) fn note_shortage(&mut self) {
        self.posted_target = (2 * self.posted_target).min(self.buffers.len() - self.reserve);
    }

    /// Takes a posted buffer and fills it, as the kernel does; `None` if none is posted.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> Option<Chunk> {
        let len = NonZeroU16::new(bytes.len() as u16)?;
        let id = self.posted.pop_front()?;
        let buffer = &mut self.buffers[usize::from(id)];
        assert_eq!(buffer.state, State::Posted, "a posted buffer is not posted");
        buffer.bytes[..bytes.len()].copy_from_slice(bytes);
        buffer.state = State::Held;
        buffer.claims.push((0, bytes.len()));
        Some(Chunk::new(BufferId(id), 0, len))
    }

    pub(crate) fn count(&self) -> usize {
        self.buffers.len()
    }

    /// How many buffers somebody holds.
    pub(crate) fn held_count(&self) -> usize {
        self.buffers.len() - self.free.len() - self.posted.len()
    }

    /// Whether receives must wait until somebody gives a buffer back.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.posted.is_empty() && self.free.len() <= self.reserve
    }

    /// The place of a chunk among its buffer's claims.
    fn claim(&self, chunk: &Chunk) -> usize {
        let buffer = &self.buffers[usize::from(chunk.buffer().0)];
        let claim = (chunk.start(), chunk.len());
        match buffer.claims.iter().position(|known| *known == claim) {
            Some(place) => place,
            None => panic!(
                "{chunk:?} is no claim: the buffer is {:?} {:?}",
                buffer.state, buffer.claims
            ),
        }
    }

    fn buffer_mut(&mut self, chunk: &Chunk) -> &mut Buffer {
        &mut self.buffers[usize::from(chunk.buffer().0)]
    }
}

impl Buffers for SimArena {
    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.claim(chunk);
        &self.buffers[usize::from(chunk.buffer().0)].bytes[chunk.start()..chunk.end()]
    }

    fn bytes_mut(&mut self, chunk: &mut Chunk) -> Option<&mut [u8]> {
        self.claim(chunk);
        let buffer = self.buffer_mut(chunk);
        (buffer.claims.len() == 1).then(|| &mut buffer.bytes[chunk.start()..chunk.end()])
    }

    fn alloc(&mut self) -> Option<Chunk> {
        let id = self.free.pop()?;
        let buffer = &mut self.buffers[usize::from(id)];
        buffer.state = State::Held;
        buffer.claims.push((0, BUFFER_BYTES));
        NonZeroU16::new(BUFFER_BYTES as u16).map(|len| Chunk::new(BufferId(id), 0, len))
    }

    fn split(&mut self, chunk: &mut Chunk, at: usize) -> Option<Chunk> {
        let front = NonZeroU16::new(u16::try_from(at).ok()?)?;
        let rest = NonZeroU16::new(u16::try_from(chunk.len().checked_sub(at)?).ok()?)?;
        let place = self.claim(chunk);
        let (id, start) = (chunk.buffer(), chunk.start());
        let buffer = self.buffer_mut(chunk);
        buffer.claims[place] = (start, at);
        buffer.claims.push((start + at, usize::from(rest.get())));
        *chunk = Chunk::new(id, (start + at) as u16, rest);
        Some(Chunk::new(id, start as u16, front))
    }

    fn try_append(&mut self, tail: &mut Chunk, chunk: Chunk) -> Result<(), Chunk> {
        let place = self.claim(tail);
        self.claim(&chunk);
        let end = tail.end() + chunk.len();
        let is_alone = self.buffer_mut(tail).claims.len() == 1;
        if end > BUFFER_BYTES || !is_alone || tail.buffer() == chunk.buffer() {
            return Err(chunk);
        }
        let bytes = self.bytes(&chunk).to_vec();
        let (id, start, from) = (tail.buffer(), tail.start(), tail.end());
        let buffer = self.buffer_mut(tail);
        buffer.bytes[from..end].copy_from_slice(&bytes);
        buffer.claims[place] = (start, end - start);
        if let Some(len) = NonZeroU16::new((end - start) as u16) {
            *tail = Chunk::new(id, start as u16, len);
        }
        self.joined += 1;
        self.release(chunk);
        Ok(())
    }

    fn release(&mut self, chunk: Chunk) {
        let place = self.claim(&chunk);
        let buffer = self.buffer_mut(&chunk);
        buffer.claims.swap_remove(place);
        if buffer.claims.is_empty() {
            buffer.state = State::Free;
            buffer.bytes.fill(0xdd);
            self.free.push(chunk.buffer().0);
        }
    }

    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn share(&self) -> usize {
        let share = (self.free.len() + self.posted.len()) / SHARE_PART * BUFFER_BYTES;
        share.clamp(BUFFER_BYTES, WINDOW_BYTES)
    }
}
