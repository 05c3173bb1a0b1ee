//! Bytes in a socket: first in, first out, moved by slices.
#![forbid(unsafe_code)]

/// A queue of bytes. (A `VecDeque` moves them one by one in a debug build.)
#[derive(Debug, Default)]
pub(crate) struct ByteQueue {
    bytes: Vec<u8>,
    head: usize,
}

impl ByteQueue {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `len` bytes, or all if there are fewer.
    pub(crate) fn front(&self, len: usize) -> &[u8] {
        &self.bytes[self.head..][..len.min(self.len())]
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.head += len.min(self.len());
        if self.head == self.bytes.len() {
            self.clear();
        } else if self.head > 256 * 1024 {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.head = 0;
    }
}
