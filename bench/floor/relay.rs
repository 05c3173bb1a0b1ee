//! The bare relay: one ring, one listener, one endpoint, one `io_uring_enter` per turn.
//!
//! A multishot accept delivers clients; each gets an endpoint socket, and once that is connected both sides have an
//! unbounded multishot receive armed. What arrives on one side is queued for the other, one send in flight per
//! direction. A FIN is carried over by shutdown(2); a pair is closed when it has no operation in flight, which
//! happens after both FINs, or after an error, on which both sockets are shut down.
//!
//! There is no flow control: a slow reader holds buffers of the arena. Memory per pair: two descriptors, two queues.
#![expect(unsafe_code, reason = "the ring takes descriptors and addresses")]

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue, types};

use super::arena::{Arena, GROUP};

/// Relays until the ring or the listener fails; does not return otherwise.
pub(crate) fn run(listener: &TcpListener, to: SocketAddrV4) -> io::Result<()> {
    set_nodelay(listener.as_raw_fd())?;
    // SAFETY: a listening socket may be told its backlog again (listen(2)).
    check(unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) })?;
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(COMPLETIONS)
        .build(SUBMISSIONS)?;
    let (mut submitter, submissions, mut completions) = ring.split();
    submitter.register_ring_fd()?;
    let arena = Arena::new(&submitter)?;
    let mut relay = Relay {
        submitter,
        submissions,
        arena,
        listener: listener.as_raw_fd(),
        endpoint: Box::new(socket_address(to)),
        pairs: Vec::new(),
        vacant: Vec::new(),
        starved: Vec::new(),
        accepting: false,
    };
    loop {
        relay.prepare();
        relay.submissions.sync();
        match relay.submitter.submit_and_wait(1) {
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
                ) => {}
            Err(error) => return Err(error),
        }
        completions.sync();
        for completion in &mut completions {
            relay.dispatch(&completion)?;
        }
    }
}

struct Relay<'ring> {
    submitter: Submitter<'ring>,
    submissions: SubmissionQueue<'ring>,
    arena: Arena,
    listener: RawFd,
    endpoint: Box<libc::sockaddr_in>,
    pairs: Vec<Pair>,
    /// Slots of `pairs` without sockets.
    vacant: Vec<u32>,
    /// Receives that found no buffer; each still counts as in flight.
    starved: Vec<(u32, Side)>,
    accepting: bool,
}

/// Two sockets and what is on its way between them. An array has the client's entry first.
struct Pair {
    sockets: [RawFd; 2],
    /// Chunks towards each side; the first one is being sent.
    queues: [VecDeque<Chunk>; 2],
    /// A FIN has come from this side.
    ended: [bool; 2],
    in_flight: u32,
    broken: bool,
}

#[derive(Clone, Copy)]
struct Chunk {
    buffer: u16,
    bytes: u32,
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Endpoint,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Endpoint,
            Self::Endpoint => Self::Client,
        }
    }
}

/// What a completion belongs to: kind in bits 40 and up, side in bit 32, slot below.
#[derive(Clone, Copy)]
enum Operation {
    Accept,
    Connect(u32),
    Receive(u32, Side),
    Send(u32, Side),
}

impl Operation {
    #[inline]
    fn encode(self) -> u64 {
        match self {
            Self::Accept => 0,
            Self::Connect(slot) => 1 << 40 | u64::from(slot),
            Self::Receive(slot, side) => 2 << 40 | (side as u64) << 32 | u64::from(slot),
            Self::Send(slot, side) => 3 << 40 | (side as u64) << 32 | u64::from(slot),
        }
    }

    #[inline]
    fn decode(user_data: u64) -> Self {
        let slot = user_data as u32;
        let side = if user_data >> 32 & 1 == 0 {
            Side::Client
        } else {
            Side::Endpoint
        };
        match user_data >> 40 {
            0 => Self::Accept,
            1 => Self::Connect(slot),
            2 => Self::Receive(slot, side),
            _ => Self::Send(slot, side),
        }
    }
}

impl Relay<'_> {
    /// Posts buffers, then re-arms what had ended for want of buffers or of a descriptor.
    fn prepare(&mut self) {
        self.arena.post();
        if !self.accepting {
            self.accepting = true;
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let entry = opcode::AcceptMulti::new(types::Fd(self.listener))
                .flags(flags)
                .build();
            self.push(entry, Operation::Accept);
        }
        while self.arena.has_posted()
            && let Some((slot, side)) = self.starved.pop()
        {
            let pair = &mut self.pairs[slot as usize];
            pair.in_flight -= 1;
            if pair.broken {
                self.close_if_idle(slot);
            } else {
                self.receive(slot, side);
            }
        }
    }

    #[inline]
    fn dispatch(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let (result, flags) = (completion.result(), completion.flags());
        match Operation::decode(completion.user_data()) {
            Operation::Accept => self.on_accepted(result, flags)?,
            Operation::Connect(slot) => self.on_connected(slot, result),
            Operation::Receive(slot, side) => self.on_received(slot, side, result, flags),
            Operation::Send(slot, side) => self.on_sent(slot, side, result),
        }
        Ok(())
    }

    fn on_accepted(&mut self, result: i32, flags: u32) -> io::Result<()> {
        self.accepting = cqueue::more(flags);
        if result < 0 {
            // Out of descriptors is the end: there is nothing to wait for that would bring one back.
            let gone = matches!(-result, libc::ECONNABORTED | libc::EPROTO);
            return if gone {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(-result))
            };
        }
        let domain_type = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointer (socket(2)).
        let endpoint = unsafe { libc::socket(libc::AF_INET, domain_type, 0) };
        check(endpoint)?;
        set_nodelay(endpoint)?;
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.pairs.push(Pair {
                sockets: [-1; 2],
                queues: [VecDeque::new(), VecDeque::new()],
                ended: [false; 2],
                in_flight: 0,
                broken: false,
            });
            (self.pairs.len() - 1) as u32
        });
        let pair = &mut self.pairs[slot as usize];
        pair.sockets = [result, endpoint];
        pair.ended = [false; 2];
        pair.in_flight = 1;
        pair.broken = false;
        let address: *const libc::sockaddr_in = &raw const *self.endpoint;
        let bytes = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        let entry = opcode::Connect::new(types::Fd(endpoint), address.cast(), bytes).build();
        self.push(entry, Operation::Connect(slot));
        Ok(())
    }

    fn on_connected(&mut self, slot: u32, result: i32) {
        self.pairs[slot as usize].in_flight -= 1;
        if result < 0 {
            return self.abort(slot);
        }
        self.receive(slot, Side::Client);
        self.receive(slot, Side::Endpoint);
    }

    #[inline]
    fn on_received(&mut self, slot: u32, from: Side, result: i32, flags: u32) {
        let to = from.other();
        let pair = &mut self.pairs[slot as usize];
        let more = cqueue::more(flags);
        if !more {
            pair.in_flight -= 1;
        }
        if let Some(buffer) = cqueue::buffer_select(flags) {
            self.arena.taken();
            if pair.broken || result <= 0 {
                self.arena.release(buffer);
            } else {
                pair.queues[to as usize].push_back(Chunk {
                    buffer,
                    bytes: result as u32,
                });
                if pair.queues[to as usize].len() == 1 {
                    self.send_first(slot, to);
                }
            }
        }
        let pair = &mut self.pairs[slot as usize];
        if pair.broken {
            self.close_if_idle(slot);
        } else if result > 0 {
            if !more {
                self.receive(slot, from);
            }
        } else if result == 0 {
            pair.ended[from as usize] = true;
            if pair.in_flight == 0 {
                self.close(slot);
            } else if pair.queues[to as usize].is_empty() {
                shutdown(pair.sockets[to as usize], libc::SHUT_WR);
            }
        } else if result == -libc::ENOBUFS {
            pair.in_flight += 1;
            self.starved.push((slot, from));
        } else {
            self.abort(slot);
        }
    }

    #[inline]
    fn on_sent(&mut self, slot: u32, to: Side, result: i32) {
        let pair = &mut self.pairs[slot as usize];
        pair.in_flight -= 1;
        let Some(chunk) = pair.queues[to as usize].pop_front() else {
            return;
        };
        self.arena.release(chunk.buffer);
        if pair.broken {
            self.close_if_idle(slot);
        } else if result != chunk.bytes as i32 {
            // With MSG_WAITALL a short count means that the socket is gone.
            self.abort(slot);
        } else if !pair.queues[to as usize].is_empty() {
            self.send_first(slot, to);
        } else if pair.in_flight == 0 {
            self.close(slot);
        } else if pair.ended[to.other() as usize] {
            shutdown(pair.sockets[to as usize], libc::SHUT_WR);
        }
    }

    #[inline]
    fn receive(&mut self, slot: u32, from: Side) {
        let pair = &mut self.pairs[slot as usize];
        pair.in_flight += 1;
        let entry = opcode::RecvMulti::new(types::Fd(pair.sockets[from as usize]), GROUP).build();
        self.push(entry, Operation::Receive(slot, from));
    }

    #[inline]
    fn send_first(&mut self, slot: u32, to: Side) {
        let pair = &mut self.pairs[slot as usize];
        let Some(chunk) = pair.queues[to as usize].front() else {
            return;
        };
        pair.in_flight += 1;
        let address = self.arena.address(chunk.buffer);
        let fd = types::Fd(pair.sockets[to as usize]);
        let entry = opcode::Send::new(fd, address, chunk.bytes)
            .flags(libc::MSG_WAITALL)
            .build();
        self.push(entry, Operation::Send(slot, to));
    }

    /// Shuts both sockets down, which ends every operation on them, and drops what was not being sent.
    fn abort(&mut self, slot: u32) {
        let pair = &mut self.pairs[slot as usize];
        pair.broken = true;
        for queue in &mut pair.queues {
            for chunk in queue.drain(1.min(queue.len())..) {
                self.arena.release(chunk.buffer);
            }
        }
        for socket in pair.sockets {
            shutdown(socket, libc::SHUT_RDWR);
        }
        self.close_if_idle(slot);
    }

    fn close_if_idle(&mut self, slot: u32) {
        if self.pairs[slot as usize].in_flight == 0 {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: u32) {
        for socket in self.pairs[slot as usize].sockets {
            // SAFETY: the pair owns the descriptor and has no operation in flight on it (close(2)).
            unsafe { libc::close(socket) };
        }
        self.vacant.push(slot);
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry, operation: Operation) {
        let entry = entry.user_data(operation.encode());
        // SAFETY: descriptors, buffers and the address stay as they are until the operation has ended.
        while unsafe { self.submissions.push(&entry) }.is_err() {
            self.submissions.sync();
            // Whatever keeps the kernel from taking entries shows again in the wait of this turn.
            let _ = self.submitter.submit();
            self.submissions.sync();
        }
    }
}

fn set_nodelay(socket: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one int at the given address (tcp(7)).
    check(unsafe {
        libc::setsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            bytes,
        )
    })
}

fn shutdown(socket: RawFd, how: libc::c_int) {
    // SAFETY: takes no pointer; a socket that is not connected any more is left as it is (shutdown(2)).
    unsafe { libc::shutdown(socket, how) };
}

fn socket_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

const SUBMISSIONS: u32 = 1024;
/// Holds a whole backlog and more.
const COMPLETIONS: u32 = 16 * 1024;
const BACKLOG: libc::c_int = 4096;
