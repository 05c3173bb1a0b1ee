//! What a worker's bulk goes through: pipes of the kernel, and where there is none, memory.
//!
//! A session holds a pipe only while bytes are in it, so few go round among many sessions, and the
//! same ones stay in cache. A kernel's pipe that is not empty never comes back.
//!
//! Memory: two descriptors per pipe of the kernel, its pages only for what is in it; 512 KiB per
//! other one. Few of either are kept.
#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use socket2::SockRef;

use crate::bounds::{
    MEMORY_PIPE_BYTES, MEMORY_PIPES_KEPT, MEMORY_PIPES_MAX, PIPE_BYTES, PIPE_BYTES_MIN, PIPES_KEPT,
};
use crate::error::Errno;
use crate::ring::driver::Conduit;
use crate::sys::pipe::PipeEnds;

/// A pipe and how much is in it.
#[derive(Debug)]
pub struct Pipe {
    way: Way,
    bytes: u32,
}

#[derive(Debug)]
enum Way {
    /// Bytes do not come here: splice(2).
    Kernel(PipeEnds),
    /// Bytes are copied: recv(2) and send(2), from `start` on.
    Memory { memory: Box<[u8]>, start: usize },
}

impl Conduit for Pipe {
    fn bytes(&self) -> u32 {
        self.bytes
    }
}

impl Pipe {
    /// Fills it from a socket. 0 is the end of the stream.
    ///
    /// Errors: EAGAIN if the socket has nothing or the pipe no room; otherwise the connection is
    /// broken.
    pub(super) fn fill(&mut self, from: BorrowedFd<'_>) -> Result<u32, Errno> {
        let moved = match &mut self.way {
            Way::Kernel(ends) => ends.fill(from, PIPE_BYTES),
            Way::Memory { memory, start } => {
                if self.bytes == 0 {
                    *start = 0;
                }
                match memory.get_mut(*start + self.bytes as usize..) {
                    None | Some([]) => return Err(Errno(libc::EAGAIN)),
                    Some(room) => (&*SockRef::from(&from))
                        .read(room)
                        .map(|bytes| bytes as u32),
                }
            }
        };
        let moved = moved.map_err(|error| Errno::from_io(&error))?;
        self.bytes += moved;
        Ok(moved)
    }

    /// Drains it to a socket.
    ///
    /// Errors: EAGAIN if the socket has no room; otherwise the connection is broken.
    pub(super) fn drain(&mut self, to: BorrowedFd<'_>) -> Result<u32, Errno> {
        let moved = match &mut self.way {
            Way::Kernel(ends) => ends.drain(to, self.bytes),
            Way::Memory { memory, start } => {
                let end = *start + self.bytes as usize;
                let sent = match memory.get(*start..end) {
                    None => Err(io::ErrorKind::InvalidInput.into()),
                    Some(bytes) => SockRef::from(&to).send_with_flags(bytes, libc::MSG_NOSIGNAL),
                };
                sent.map(|bytes| {
                    *start += bytes;
                    bytes as u32
                })
            }
        };
        let moved = moved.map_err(|error| Errno::from_io(&error))?;
        self.bytes -= moved.min(self.bytes);
        Ok(moved)
    }
}

/// The pipes of one worker.
#[derive(Debug)]
pub(super) struct Pipes {
    kernel: Shelf,
    memory: Shelf,
}

/// Pipes of one kind.
#[derive(Debug)]
struct Shelf {
    spare: Vec<Pipe>,
    spare_max: usize,
    /// How many there are, spare or not.
    count: usize,
    count_max: usize,
}

impl Pipes {
    /// Makes none yet, and at most `kernel_max` of the kernel's at a time.
    pub(super) fn new(kernel_max: usize) -> Self {
        let shelf = |count_max, spare_max| Shelf {
            spare: Vec::with_capacity(spare_max),
            spare_max,
            count: 0,
            count_max,
        };
        Self {
            kernel: shelf(kernel_max, PIPES_KEPT),
            memory: shelf(MEMORY_PIPES_MAX, MEMORY_PIPES_KEPT),
        }
    }

    /// An empty pipe; `None` if there are too many.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        self.kernel
            .take(make_kernel)
            .or_else(|| self.memory.take(make_memory))
    }

    /// How many of the kernel's are given out.
    pub(super) fn kernel_used(&self) -> usize {
        self.kernel.used()
    }

    /// How many of the others are.
    pub(super) fn memory_used(&self) -> usize {
        self.memory.used()
    }

    /// Takes a pipe back.
    pub(super) fn give(&mut self, pipe: Pipe) {
        match pipe.way {
            Way::Kernel(_) => self.kernel.give(pipe),
            Way::Memory { .. } => self.memory.give(Pipe { bytes: 0, ..pipe }),
        }
    }
}

impl Shelf {
    fn take(&mut self, make: fn() -> Option<Way>) -> Option<Pipe> {
        if let Some(pipe) = self.spare.pop() {
            return Some(pipe);
        }
        if self.count >= self.count_max {
            return None;
        }
        let way = make()?;
        self.count += 1;
        Some(Pipe { way, bytes: 0 })
    }

    fn used(&self) -> usize {
        self.count - self.spare.len()
    }

    fn give(&mut self, pipe: Pipe) {
        if pipe.bytes == 0 && self.spare.len() < self.spare_max {
            self.spare.push(pipe);
        } else {
            self.count -= 1;
        }
    }
}

/// A pipe of the kernel, if it gives a good one: an ordinary user's pages for pipes are limited.
fn make_kernel() -> Option<Way> {
    let (ends, holds) = PipeEnds::new(PIPE_BYTES).ok()?;
    (holds >= PIPE_BYTES_MIN).then_some(Way::Kernel(ends))
}

fn make_memory() -> Option<Way> {
    let memory = vec![0; MEMORY_PIPE_BYTES as usize].into_boxed_slice();
    Some(Way::Memory { memory, start: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// Moves a stream through a pipe, with a sink that is read only now and then.
    fn check(mut pipe: Pipe) {
        let (mut one, from) = UnixStream::pair().expect("sockets");
        let (to, mut other) = UnixStream::pair().expect("sockets");
        for socket in [&one, &from, &to, &other] {
            socket.set_nonblocking(true).expect("a socket");
        }
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut written, mut seen) = (0u64, 0u64);
        let mut scratch = vec![0; 100_000];
        while seen < 3_000_000 {
            let block: Vec<u8> = (written..written + 5_000).map(|at| at as u8).collect();
            if let Ok(bytes) = one.write(&block) {
                written += bytes as u64;
            }
            for _ in 0..rng.u32(..3) {
                let _nothing_to_move = pipe.fill(from.as_fd());
            }
            if pipe.bytes() > 0 {
                let _no_room = pipe.drain(to.as_fd());
            }
            if rng.u8(..4) == 0
                && let Ok(bytes) = other.read(&mut scratch)
            {
                for byte in &scratch[..bytes] {
                    assert_eq!(*byte, seen as u8);
                    seen += 1;
                }
            }
        }
        drop(other);
        while pipe.bytes() == 0 {
            let _nothing_yet = one.write(&[1]);
            let _nothing_yet = pipe.fill(from.as_fd());
        }
        let broken = pipe.drain(to.as_fd());
        assert_eq!(broken, Err(Errno(libc::EPIPE)));
    }

    #[test]
    fn both_kinds_keep_order_and_count() {
        let mut pipes = Pipes::new(1);
        let (kernel, memory) = (pipes.take(), pipes.take());
        check(kernel.expect("a pipe"));
        check(memory.expect("memory"));
    }

    #[test]
    fn there_are_never_too_many_and_few_are_kept() {
        let mut pipes = Pipes::new(PIPES_KEPT + 1);
        let taken: Vec<Pipe> = std::iter::from_fn(|| pipes.take()).collect();
        assert_eq!(taken.len(), PIPES_KEPT + 1 + MEMORY_PIPES_MAX);
        assert_eq!(pipes.kernel_used(), PIPES_KEPT + 1);
        assert_eq!(pipes.memory_used(), MEMORY_PIPES_MAX);
        for pipe in taken {
            pipes.give(pipe);
        }
        assert_eq!(pipes.kernel.spare.len(), PIPES_KEPT);
        assert_eq!(pipes.memory.spare.len(), MEMORY_PIPES_KEPT);
        assert_eq!(pipes.kernel.count, PIPES_KEPT);
        assert_eq!(pipes.memory.count, MEMORY_PIPES_KEPT);
        assert_eq!((pipes.kernel_used(), pipes.memory_used()), (0, 0));
    }
}
