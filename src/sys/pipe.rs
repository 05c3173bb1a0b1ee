//! Pipes, and moving bytes between a socket and a pipe without bringing them into the process.
//!
//! Whoever splices to a socket that is shut or reset gets EPIPE and SIGPIPE; Rust's start-up code
//! ignores the signal, and so must any other program that this runs in.
#![expect(unsafe_code, reason = "pipe2(2), fcntl(2) F_SETPIPE_SZ, splice(2)")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The two ends of a pipe.
#[derive(Debug)]
pub struct PipeEnds {
    read: OwnedFd,
    write: OwnedFd,
}

impl PipeEnds {
    /// Makes a pipe that holds `bytes` bytes, or fewer where the user's pages for pipes are used
    /// up. Returns it with what it holds.
    ///
    /// Errors: EMFILE, ENFILE.
    /// Cost: 5.5 us.
    /// Source: pipe(7), fcntl(2) F_SETPIPE_SZ.
    pub fn new(bytes: u32) -> io::Result<(Self, u32)> {
        let mut fds: [RawFd; 2] = [-1; 2];
        // SAFETY: the kernel writes two descriptors to a place for two.
        let made = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
        if made != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor and nobody else knows it.
        let read = unsafe { OwnedFd::from_raw_fd(fds[0]) };
        // SAFETY: as above.
        let write = unsafe { OwnedFd::from_raw_fd(fds[1]) };
        // SAFETY: takes a number. Whether it worked is asked next.
        unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, bytes as libc::c_int) };
        // SAFETY: takes no argument.
        let holds = unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) };
        Ok((Self { read, write }, u32::try_from(holds).unwrap_or(0)))
    }

    /// Moves at most `bytes_max` bytes from a socket into the pipe. 0 is the end of the stream.
    ///
    /// Errors: EAGAIN if the socket has none or the pipe is full, whichever: only with an empty
    /// pipe it is certainly the socket. ECONNRESET and its kin if the connection is broken.
    /// Source: splice(2).
    pub fn fill(&self, from: BorrowedFd<'_>, bytes_max: u32) -> io::Result<u32> {
        splice(from.as_raw_fd(), self.write.as_raw_fd(), bytes_max)
    }

    /// Moves at most `bytes_max` bytes out of the pipe to a socket.
    ///
    /// Errors: EAGAIN if the socket has no room; EPIPE and ECONNRESET if the connection is broken:
    /// the pipe keeps its bytes.
    /// Source: splice(2).
    pub fn drain(&self, to: BorrowedFd<'_>, bytes_max: u32) -> io::Result<u32> {
        splice(self.read.as_raw_fd(), to.as_raw_fd(), bytes_max)
    }
}

fn splice(from: RawFd, to: RawFd, bytes_max: u32) -> io::Result<u32> {
    // SAFETY: no pointers: both ends have no offset.
    let moved = unsafe {
        libc::splice(
            from,
            std::ptr::null_mut(),
            to,
            std::ptr::null_mut(),
            bytes_max as usize,
            libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
        )
    };
    u32::try_from(moved).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_go_from_one_socket_to_another() {
        let (pipe, holds) = PipeEnds::new(256 * 1024).expect("a pipe");
        assert!(holds >= 4096);
        let (mut one, from) = UnixStream::pair().expect("sockets");
        let (to, mut other) = UnixStream::pair().expect("sockets");
        from.set_nonblocking(true).expect("a socket");
        let blocked = pipe.fill(from.as_fd(), 100).map_err(|error| error.kind());
        assert_eq!(blocked, Err(io::ErrorKind::WouldBlock));
        one.write_all(b"hello").expect("room");
        assert_eq!(pipe.fill(from.as_fd(), 100).expect("bytes"), 5);
        assert_eq!(pipe.drain(to.as_fd(), 5).expect("room"), 5);
        let mut seen = [0; 5];
        other.read_exact(&mut seen).expect("bytes");
        assert_eq!(&seen, b"hello");
        drop(one);
        assert_eq!(pipe.fill(from.as_fd(), 100).expect("the end"), 0);
    }
}
