//! What one operation in flight points to, and how a send goes on when there is no room for all.
//!
//! ```text
//!              cut short                room, or EAGAIN again
//!   Started ----------------> Waiting <----------------------> Started
//!      |                                                          |
//!      +---- all sent, broken or cancelled ----> Over <-----------+
//! ```
//! No send waits inside the kernel. There it would wait by a one-shot poll, which a FIN from the
//! other side makes report the socket as ready for ever (POLLRDHUP is always asked for): the send is
//! tried 128 times in vain, handed to an `iou-wrk` thread and ends there with what has gone, or
//! holds the thread, in spite of MSG_WAITALL (seen on 6.18). So what does not go at once is sent
//! when a multishot poll, which reports changes only, says that there is room.
//!
//! Memory: about 400 bytes, reused.
#![expect(unsafe_code, reason = "a msghdr")]

use std::os::fd::RawFd;

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use socket2::SockAddr;

use crate::bounds::GATHER_CHUNKS;
use crate::buffers::Batch;
use crate::error::Errno;
use crate::ring::arena::Arena;

/// What one operation in flight points to. It does not move until the operation ends.
pub(super) struct Record {
    pub(super) address: SockAddr,
    /// Where the batch goes to.
    socket: RawFd,
    batch: Batch,
    /// How many bytes of the batch have gone.
    sent: usize,
    stage: Stage,
    room: Room,
    /// Told to end.
    pub(super) cancelled: bool,
    iovecs: [libc::iovec; GATHER_CHUNKS],
    header: libc::msghdr,
}

/// Where a send is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The kernel has it.
    Started,
    /// What is left waits for room.
    Waiting,
    /// It is over, with this error if there was one.
    Over(Option<Errno>),
}

/// Whether a send's socket is polled for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Unwatched,
    Watched,
    /// There has been some since the send was last started.
    Seen,
}

/// What a send needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// Start the poll for room.
    WatchRoom,
    /// Send what is left.
    SendRest,
    /// Tell the poll for room to end.
    CancelRoom,
    /// The send is over.
    End {
        bytes: u32,
        error: Option<Errno>,
    },
}

impl Record {
    /// Takes a batch to be sent.
    pub(super) fn begin_send(&mut self, socket: RawFd, batch: Batch) {
        self.socket = socket;
        self.batch = batch;
        self.sent = 0;
        self.stage = Stage::Started;
        self.room = Room::Unwatched;
        self.cancelled = false;
    }

    /// How much of the batch the kernel has not taken yet.
    pub(super) fn unsent_bytes(&self) -> u32 {
        self.batch.bytes().saturating_sub(self.sent) as u32
    }

    /// Gives the batch back.
    pub(super) fn take_batch(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// Takes note of what the kernel made of the send.
    pub(super) fn advance_send(&mut self, result: Result<u32, Errno>) -> Next {
        self.sent += result.unwrap_or(0) as usize;
        let is_blocked = match result {
            Ok(bytes) => bytes > 0 && self.sent < self.batch.bytes(),
            Err(errno) => errno == Errno(libc::EAGAIN),
        };
        if !is_blocked || self.cancelled {
            return self.end(result.err());
        }
        match self.room {
            Room::Unwatched => self.wait(),
            Room::Watched => {
                self.stage = Stage::Waiting;
                Next::Nothing
            }
            Room::Seen => self.go_on(),
        }
    }

    /// Takes note of what the poll for room reported; `more` says whether it goes on.
    pub(super) fn advance_room(&mut self, result: Result<u32, Errno>, more: bool) -> Next {
        let news = (libc::POLLOUT | libc::POLLERR | libc::POLLHUP) as u32;
        let has_room = result.is_ok_and(|mask| mask & news != 0);
        if !more {
            self.room = Room::Unwatched;
        } else if has_room {
            self.room = Room::Seen;
        }
        match self.stage {
            Stage::Started => Next::Nothing,
            Stage::Over(_) if more => Next::Nothing,
            Stage::Over(error) => self.end(error),
            Stage::Waiting if self.cancelled || result.is_err() => self.end(result.err()),
            Stage::Waiting if has_room => self.go_on(),
            Stage::Waiting if more => Next::Nothing,
            Stage::Waiting => self.wait(),
        }
    }

    /// The send is to end early.
    pub(super) fn cancel(&mut self) -> Next {
        self.cancelled = true;
        match self.stage {
            Stage::Waiting => Next::CancelRoom,
            Stage::Started | Stage::Over(_) => Next::Nothing,
        }
    }

    fn wait(&mut self) -> Next {
        self.stage = Stage::Waiting;
        self.room = Room::Watched;
        Next::WatchRoom
    }

    fn go_on(&mut self) -> Next {
        self.stage = Stage::Started;
        if self.room == Room::Seen {
            self.room = Room::Watched;
        }
        Next::SendRest
    }

    /// A send is over only when its socket is not polled any more.
    fn end(&mut self, error: Option<Errno>) -> Next {
        self.stage = Stage::Over(error);
        if self.room != Room::Unwatched {
            return Next::CancelRoom;
        }
        let bytes = self.sent as u32;
        Next::End {
            bytes,
            error: error.filter(|_| bytes == 0),
        }
    }

    /// The poll for room: it reports changes until it is cancelled.
    pub(super) fn room_entry(&self) -> Entry {
        let poll = opcode::PollAdd::new(Fd(self.socket), libc::POLLOUT as u32);
        poll.multi(true).build()
    }

    /// Describes what is left of the record's batch to the kernel: one chunk as it is, several
    /// gathered.
    pub(super) fn send_entry(&mut self, arena: &Arena) -> Entry {
        let socket = Fd(self.socket);
        let (mut skip, mut count) = (self.sent, 0);
        for chunk in self.batch.iter() {
            let gone = skip.min(chunk.len());
            skip -= gone;
            if gone == chunk.len() {
                continue;
            }
            let start = arena.chunk_address(chunk).as_ptr();
            self.iovecs[count] = libc::iovec {
                iov_base: start.wrapping_add(gone).cast(),
                iov_len: chunk.len() - gone,
            };
            count += 1;
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        if count == 1 {
            let [only, ..] = &self.iovecs;
            return opcode::Send::new(socket, only.iov_base.cast(), only.iov_len as u32)
                .flags(flags)
                .build();
        }
        self.header.msg_iov = self.iovecs.as_mut_ptr();
        self.header.msg_iovlen = count;
        opcode::SendMsg::new(socket, &raw const self.header)
            .flags(flags as u32)
            .build()
    }
}

impl Default for Record {
    fn default() -> Self {
        let nothing = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            address: unspecified(),
            socket: -1,
            batch: Batch::default(),
            sent: 0,
            stage: Stage::Started,
            room: Room::Unwatched,
            cancelled: false,
            iovecs: [nothing; GATHER_CHUNKS],
            // SAFETY: a msghdr of zeros is one without name, vectors and control data.
            header: unsafe { std::mem::zeroed() },
        }
    }
}

/// An address that nothing can connect to.
fn unspecified() -> SockAddr {
    SockAddr::from(std::net::SocketAddr::from(([0, 0, 0, 0], 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::{BufferId, Chunk};
    use std::num::NonZeroU16;

    const BLOCKED: Result<u32, Errno> = Err(Errno(libc::EAGAIN));
    const OUT: Result<u32, Errno> = Ok(libc::POLLOUT as u32);

    /// A send of 100 bytes.
    fn record() -> Record {
        let len = NonZeroU16::new(100).expect("not 0");
        let mut batch = Batch::default();
        batch
            .try_push(Chunk::new(BufferId(0), 0, len))
            .expect("there is room");
        let mut record = Record::default();
        record.begin_send(3, batch);
        record
    }

    fn end(bytes: u32, error: Option<i32>) -> Next {
        let error = error.map(Errno);
        Next::End { bytes, error }
    }

    #[test]
    fn a_send_that_goes_whole_polls_nothing() {
        assert_eq!(record().advance_send(Ok(100)), end(100, None));
    }

    #[test]
    fn a_send_that_ends_early_goes_on_when_there_is_room() {
        let mut record = record();
        assert_eq!(record.advance_send(Ok(30)), Next::WatchRoom);
        // Armed on a socket that has seen a FIN, the poll reports that first.
        let hang_up = Ok(libc::POLLRDHUP as u32);
        assert_eq!(record.advance_room(hang_up, true), Next::Nothing);
        assert_eq!(record.advance_room(OUT, true), Next::SendRest);
        assert_eq!(record.advance_send(BLOCKED), Next::Nothing);
        assert_eq!(record.advance_room(OUT, true), Next::SendRest);
        assert_eq!(record.advance_send(Ok(70)), Next::CancelRoom);
        let cancelled = Err(Errno(libc::ECANCELED));
        assert_eq!(record.advance_room(cancelled, false), end(100, None));
    }

    #[test]
    fn room_that_comes_while_the_rest_is_sent_is_not_missed() {
        let mut record = record();
        assert_eq!(record.advance_send(BLOCKED), Next::WatchRoom);
        assert_eq!(record.advance_room(OUT, true), Next::SendRest);
        assert_eq!(record.advance_room(OUT, true), Next::Nothing);
        assert_eq!(record.advance_send(BLOCKED), Next::SendRest);
    }

    #[test]
    fn a_poll_that_ends_by_itself_is_started_anew() {
        let mut record = record();
        assert_eq!(record.advance_send(BLOCKED), Next::WatchRoom);
        assert_eq!(record.advance_room(Ok(0), false), Next::WatchRoom);
        assert_eq!(record.advance_room(OUT, false), Next::SendRest);
        assert_eq!(record.advance_send(BLOCKED), Next::WatchRoom);
    }

    #[test]
    fn a_broken_connection_ends_it() {
        let mut record = record();
        assert_eq!(record.advance_send(Ok(30)), Next::WatchRoom);
        let broken = Ok((libc::POLLERR | libc::POLLHUP) as u32);
        assert_eq!(record.advance_room(broken, true), Next::SendRest);
        let reset = Err(Errno(libc::ECONNRESET));
        assert_eq!(record.advance_send(reset), Next::CancelRoom);
        assert_eq!(
            record.advance_room(Err(Errno(libc::ECANCELED)), false),
            end(30, None)
        );
    }

    #[test]
    fn a_waiting_send_can_be_cancelled() {
        let mut record = record();
        assert_eq!(record.advance_send(BLOCKED), Next::WatchRoom);
        assert_eq!(record.cancel(), Next::CancelRoom);
        let cancelled = Err(Errno(libc::ECANCELED));
        assert_eq!(
            record.advance_room(cancelled, false),
            end(0, Some(libc::ECANCELED))
        );
    }
}
