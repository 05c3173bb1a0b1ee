//! [`Driver`] over the kernel's io_uring.
//!
//! Owns the ring, the arena and whatever an operation in flight points to (records). A record is
//! taken when an operation with memory of its own starts (a connect's address, a send's batch) and
//! comes back with its last completion; records are reused, so none is allocated once there were
//! as many as are needed at a time.
//!
//! Memory: 12 bytes per slot, 400 bytes per connect or send in flight, the arena, the queues.
#![expect(unsafe_code, reason = "operations point to memory")]

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode};
use socket2::SockAddr;

use crate::balance::endpoint::Address;
use crate::bounds::{CQ_ENTRIES, JOIN_TIME, RESTING_RECORDS};
use crate::buffers::{Batch, Buffers};
use crate::error::Errno;
use crate::id::{Generation, Slot};
use crate::plan::WaitMode;
use crate::plan::options::{ConnectOptions, SocketOptions};
use crate::ring::arena::Arena;
use crate::ring::driver::{Completion, Driver, Event, Operation, Stock, Wait};
use crate::ring::features::Features;
use crate::ring::pipes::{Pipe, Pipes};
use crate::ring::queue::{Queue, Raw};
use crate::ring::receive::receive_entry;
use crate::ring::record::{Next, Record};
use crate::ring::token;
use crate::session::Transport;
use crate::sys;
use crate::sys::options::Family;
use crate::time::Instant;

/// A socket of the kernel.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    transport: Transport,
}

impl Socket {
    /// Takes over a listening or connected socket.
    pub fn new(fd: OwnedFd, transport: Transport) -> Self {
        Self { fd, transport }
    }

    fn raw(&self) -> Fd {
        Fd(self.fd.as_raw_fd())
    }
}

/// What a ring is made with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How many buffers: a power of two.
    pub buffers: usize,
    /// How many slots there may be. Address space only, until they are used.
    pub slots: usize,
    /// At most so many pipes.
    pub pipes: usize,
    /// What the worker does when there is nothing to do.
    pub wait: WaitMode,
}

/// One worker's ring with its buffers.
pub struct Uring {
    queue: ManuallyDrop<Queue>,
    arena: ManuallyDrop<Arena>,
    /// By slot: what the connect or the send in flight points to.
    records: ManuallyDrop<Vec<Option<Box<Record>>>>,
    /// Connects that were over as soon as they were begun.
    connected: VecDeque<(Slot, Result<(), Errno>)>,
    #[expect(
        clippy::vec_box,
        reason = "a record does not move while the kernel refers to it"
    )]
    spare: Vec<Box<Record>>,
    /// How many records there are, spare or not.
    record_count: usize,
    /// By a listener's slot: what kind of connections it accepts.
    accepting: Vec<Transport>,
    batch: Vec<Raw>,
    next: usize,
    in_flight: usize,
    pipes: Pipes,
    byte_budget: bool,
    now: Instant,
    wake: OwnedFd,
    /// A socket to be used when no other can be made. It is one already, because whatever descriptor
    /// is given up for it another worker may take first.
    reserve: Option<(Family, OwnedFd)>,
    /// The kind of the last endpoint's address.
    family: Family,
    /// Nothing is started any more.
    joining: bool,
}

impl Uring {
    /// Makes a ring that belongs to the calling thread and watches `wake` (an eventfd).
    ///
    /// Errors: ENOMEM, EMFILE and others of io_uring_setup(2) and io_uring_register(2).
    pub fn new(features: &Features, setup: &Setup, wake: OwnedFd) -> io::Result<Self> {
        let arena = Arena::new(setup.buffers)?;
        let queue = Queue::new(features, setup.wait)?;
        let (address, entries) = arena.ring_address();
        // SAFETY: `drop` frees the arena after the queue, or never.
        unsafe { queue.register_buffers(address, entries) }?;
        let mut uring = Self {
            queue: ManuallyDrop::new(queue),
            arena: ManuallyDrop::new(arena),
            records: ManuallyDrop::new(Vec::with_capacity(setup.slots)),
            connected: VecDeque::new(),
            spare: Vec::new(),
            record_count: 0,
            accepting: Vec::new(),
            batch: Vec::with_capacity(CQ_ENTRIES as usize),
            next: 0,
            in_flight: 0,
            pipes: Pipes::new(setup.pipes),
            byte_budget: features.byte_budget,
            now: sys::clock::now(),
            wake,
            reserve: None,
            family: Family::IPV4,
            joining: false,
        };
        uring.arena.post();
        uring.watch_wake();
        Ok(uring)
    }

    /// Whether no chunk is held by anybody.
    pub fn is_arena_unheld(&self) -> bool {
        self.arena.is_unheld()
    }

    fn watch_wake(&mut self) {
        let entry =
            opcode::PollAdd::new(Fd(self.wake.as_raw_fd()), libc::POLLIN as u32).multi(true);
        let slot = Slot {
            index: 0,
            generation: Generation::default(),
        };
        self.start(entry.build(), Operation::Wake, slot);
    }

    fn start(&mut self, entry: Entry, operation: Operation, slot: Slot) {
        self.push(entry.user_data(token::pack(operation, slot)));
    }

    fn push(&mut self, entry: Entry) {
        self.in_flight += 1;
        // SAFETY: entries point to a record of this slot, which stays until the last completion,
        // or to the arena's buffers, which are freed after the queue, or to nothing. Their sockets
        // are closed only after the last completion (the contract of `Driver`).
        unsafe { self.queue.push(&entry) };
    }

    fn take_record(&mut self) -> Box<Record> {
        self.spare.pop().unwrap_or_else(|| {
            self.record_count += 1;
            // So that their coming back, all at once maybe, allocates nothing.
            self.spare.reserve(self.record_count);
            Box::new(Record::default())
        })
    }

    /// Ties a record to its slot for as long as the operation is in flight.
    fn keep_record(&mut self, slot: Slot, record: Box<Record>) {
        let index = slot.index as usize;
        if index >= self.records.len() {
            self.records.resize_with(index + 1, || None);
        }
        assert!(
            self.records[index].is_none(),
            "two operations with memory in flight on one slot"
        );
        self.records[index] = Some(record);
    }

    /// The operation of this slot has ended: releases what it sent.
    fn return_record(&mut self, slot: Slot) {
        let record = self
            .records
            .get_mut(slot.index as usize)
            .and_then(Option::take);
        if let Some(mut record) = record {
            for chunk in record.take_batch().into_chunks() {
                self.arena.release(chunk);
            }
            self.spare.push(record);
        }
    }

    fn record(&mut self, slot: Slot) -> Option<&mut Record> {
        self.records.get_mut(slot.index as usize)?.as_deref_mut()
    }

    /// Does what a send needs next; the event if that is the end of it.
    fn follow(&mut self, slot: Slot, next: Next) -> Option<Event<Socket>> {
        let Some(Some(record)) = self.records.get_mut(slot.index as usize) else {
            return None;
        };
        match next {
            Next::Nothing => {}
            Next::WatchRoom => {
                let entry = record.room_entry().user_data(token::pack_room(slot));
                self.push(entry);
            }
            Next::SendRest => {
                let entry = record.send_entry(&self.arena);
                self.start(entry, Operation::Send, slot);
            }
            Next::CancelRoom => self.cancel_token(token::pack_room(slot)),
            Next::End { bytes, error } => {
                self.return_record(slot);
                return Some(Event::Sent { bytes, error });
            }
        }
        None
    }

    fn cancel_token(&mut self, token: u64) {
        let entry = opcode::AsyncCancel::new(token).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.queue.push(&entry.user_data(token::IGNORED)) };
    }

    fn decode(&mut self, raw: Raw) -> Option<Completion<Socket>> {
        let more = cqueue::more(raw.flags);
        let room = token::unpack_room(raw.token);
        let (operation, slot) = match room {
            Some(slot) => (Operation::Send, slot),
            None => token::unpack(raw.token)?,
        };
        if !more {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        let result = match u32::try_from(raw.result) {
            Ok(result) => Ok(result),
            Err(_) => Err(Errno(-raw.result)),
        };
        let event = match operation {
            Operation::Accept => Event::Accepted {
                result: result.map(|fd| {
                    // SAFETY: the kernel has just made this descriptor for us.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
                    Socket::new(fd, self.accepted_transport(slot))
                }),
                more,
            },
            Operation::Connect => {
                self.return_record(slot);
                Event::Connected(result.map(drop))
            }
            Operation::Receive => self.decode_receive(result, raw.flags, more),
            Operation::Send => {
                let joining = self.joining;
                let record = self.record(slot)?;
                record.cancelled |= joining;
                let next = match room {
                    Some(_) => record.advance_room(result, more),
                    None => record.advance_send(result),
                };
                self.follow(slot, next)?
            }
            Operation::Watch => Event::Watched {
                reset: result.is_ok_and(|mask| mask & libc::POLLERR as u32 != 0),
                more,
            },
            Operation::Readable => Event::Readable,
            Operation::Writable => Event::Writable,
            Operation::Acceptable => Event::Acceptable,
            Operation::Wake => {
                if !more && !self.joining {
                    self.watch_wake();
                }
                Event::Woken { more: true }
            }
        };
        Some(Completion { slot, event })
    }

    fn accepted_transport(&self, listener: Slot) -> Transport {
        let transport = self.accepting.get(listener.index as usize);
        transport.copied().unwrap_or(Transport::Tcp)
    }

    fn decode_receive(
        &mut self,
        result: Result<u32, Errno>,
        flags: u32,
        more: bool,
    ) -> Event<Socket> {
        let filled = cqueue::buffer_select(flags).map(|buffer| {
            let bytes = u16::try_from(result.unwrap_or(0)).unwrap_or(u16::MAX);
            (NonZeroU16::new(bytes).is_some(), {
                self.arena
                    .take_filled(buffer, NonZeroU16::new(bytes).unwrap_or(NonZeroU16::MIN))
            })
        });
        let chunk = match filled {
            Some((true, chunk)) => Some(chunk),
            Some((false, unused)) => {
                self.arena.release(unused);
                None
            }
            None => None,
        };
        if result == Err(Errno(libc::ENOBUFS)) {
            self.arena.note_shortage();
        }
        Event::Received {
            chunk,
            error: result.err(),
            nonempty: cqueue::sock_nonempty(flags),
            more,
        }
    }

    /// Ends what is still in flight; `false` if the kernel does not let go of it in time.
    fn join(&mut self) -> bool {
        let deadline = sys::clock::now() + JOIN_TIME;
        self.joining = true;
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        // SAFETY: the entry points to nothing.
        unsafe { self.queue.push(&cancel.user_data(token::IGNORED)) };
        loop {
            while self.poll_completion().is_some() {}
            if self.in_flight == 0 {
                return true;
            }
            let now = sys::clock::now();
            if now >= deadline || self.turn(Wait::Until(now + JOIN_TIME / 100)).is_err() {
                return false;
            }
        }
    }
}

impl Driver for Uring {
    type Socket = Socket;
    type Buffers = Arena;
    type Pipe = Pipe;

    fn now(&self) -> Instant {
        self.now
    }

    fn buffers(&mut self) -> &mut Arena {
        &mut self.arena
    }

    fn replenish(&mut self) -> usize {
        self.arena.post();
        self.arena.posted_count()
    }

    fn stock(&self) -> Stock {
        Stock {
            buffers: self.arena.count(),
            held_buffers: self.arena.held_count(),
            pipes: self.pipes.kernel_used(),
            memory_pipes: self.pipes.memory_used(),
        }
    }

    fn transport(&self, socket: &Socket) -> Transport {
        socket.transport
    }

    fn accept(&mut self, listener: &Socket, slot: Slot) {
        let index = slot.index as usize;
        if index >= self.accepting.len() {
            self.accepting.resize(index + 1, Transport::Tcp);
        }
        self.accepting[index] = listener.transport;
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let entry = opcode::AcceptMulti::new(listener.raw())
            .flags(flags)
            .build();
        self.start(entry, Operation::Accept, slot);
    }

    fn connect(&mut self, socket: &Socket, slot: Slot, address: &Address) {
        let addr = match address {
            Address::Tcp(addr) => addr,
            // It never waits, so the ring could only hand a full backlog to a thread.
            Address::Unix(path) => {
                let result = sys::socket::connect_unix(socket.fd.as_fd(), path);
                let result = result.map_err(|error| Errno::from_io(&error));
                return self.connected.push_back((slot, result));
            }
        };
        let mut record = self.take_record();
        record.address = SockAddr::from(*addr);
        let entry = opcode::Connect::new(
            socket.raw(),
            record.address.as_ptr().cast(),
            record.address.len(),
        );
        self.keep_record(slot, record);
        self.start(entry.build(), Operation::Connect, slot);
    }

    fn receive(&mut self, socket: &Socket, slot: Slot, credit: u32) {
        // A multishot receive on a Unix socket can lose its end on some kernels since 6.17.
        let budget = (self.byte_budget && socket.transport == Transport::Tcp).then_some(credit);
        self.start(
            receive_entry(socket.fd.as_raw_fd(), budget),
            Operation::Receive,
            slot,
        );
    }

    fn send(&mut self, socket: &Socket, slot: Slot, batch: Batch) {
        let mut record = self.take_record();
        record.begin_send(socket.fd.as_raw_fd(), batch);
        let entry = record.send_entry(&self.arena);
        self.keep_record(slot, record);
        self.start(entry, Operation::Send, slot);
    }

    fn watch(&mut self, socket: &Socket, slot: Slot) {
        // No event is asked for: errors and hang-ups are always reported.
        let entry = opcode::PollAdd::new(socket.raw(), 0).multi(true).build();
        self.start(entry, Operation::Watch, slot);
    }

    fn await_readable(&mut self, socket: &Socket, slot: Slot) {
        let entry = opcode::PollAdd::new(socket.raw(), (libc::POLLIN | libc::POLLRDHUP) as u32);
        self.start(entry.build(), Operation::Readable, slot);
    }

    fn await_writable(&mut self, socket: &Socket, slot: Slot) {
        let entry = opcode::PollAdd::new(socket.raw(), libc::POLLOUT as u32);
        self.start(entry.build(), Operation::Writable, slot);
    }

    fn await_client(&mut self, listener: &Socket, slot: Slot) {
        let entry = opcode::PollAdd::new(listener.raw(), libc::POLLIN as u32);
        self.start(entry.build(), Operation::Acceptable, slot);
    }

    fn cancel(&mut self, operation: Operation, slot: Slot) {
        self.cancel_token(token::pack(operation, slot));
        if operation == Operation::Send
            && let Some(record) = self.record(slot)
        {
            let next = record.cancel();
            let _goes_on = self.follow(slot, next);
        }
    }

    fn settle(&mut self, socket: &Socket, options: &SocketOptions) {
        // The connection broke; its receive says so too.
        let _broken = sys::options::settle(socket.fd.as_fd(), options);
    }

    fn open(
        &mut self,
        address: &Address,
        options: &ConnectOptions,
        source: Option<IpAddr>,
    ) -> Result<Socket, Errno> {
        self.family = sys::options::family(address);
        let mut opened = sys::options::open(address, options, source);
        if let Err(error) = &opened
            && Errno::from_io(error) == Errno(libc::EMFILE)
            && let Some((family, blank)) = self.reserve.take()
        {
            opened = if family == self.family {
                sys::options::prepare(blank, address, options, source)
            } else {
                drop(blank);
                sys::options::open(address, options, source)
            };
        }
        let fd = opened.map_err(|error| Errno::from_io(&error))?;
        Ok(Socket {
            fd,
            transport: address.transport(),
        })
    }

    fn has_reserve(&mut self) -> bool {
        let family = self.family;
        if self.reserve.as_ref().is_none_or(|(of, _)| *of != family) {
            self.reserve = None;
            let blank = sys::options::blank(family).ok();
            self.reserve = blank.map(|blank| (family, blank));
        }
        self.reserve.is_some()
    }

    fn accept_waiting(&mut self, listener: &Socket) -> Result<Socket, Errno> {
        let accepted = sys::socket::accept_waiting(listener.fd.as_fd());
        accepted
            .map(|fd| Socket::new(fd, listener.transport))
            .map_err(|error| Errno::from_io(&error))
    }

    fn take_pipe(&mut self) -> Option<Pipe> {
        self.pipes.take()
    }

    fn give_pipe(&mut self, pipe: Pipe) {
        self.pipes.give(pipe);
    }

    fn fill(&mut self, pipe: &mut Pipe, from: &Socket) -> Result<u32, Errno> {
        pipe.fill(from.fd.as_fd())
    }

    fn drain(&mut self, pipe: &mut Pipe, to: &Socket) -> Result<u32, Errno> {
        pipe.drain(to.fd.as_fd())
    }

    fn client_addr(&self, client: &Socket) -> Option<SocketAddr> {
        sys::socket::peer_addr(client.fd.as_fd()).ok()
    }

    fn local_addr(&self, client: &Socket) -> Option<SocketAddr> {
        sys::socket::local_addr(client.fd.as_fd()).ok()
    }

    fn shutdown(&mut self, socket: &Socket) {
        // ENOTCONN: the connection broke; its receive says so too.
        let _broken = sys::socket::shutdown_write(socket.fd.as_fd());
    }

    fn reset(&mut self, socket: &Socket) {
        sys::socket::reset(socket.fd.as_fd());
    }

    fn unsent_bytes(&mut self, socket: &Socket, slot: Slot) -> u32 {
        let in_flight = self.record(slot).map_or(0, |record| record.unsent_bytes());
        sys::socket::unsent_bytes(socket.fd.as_fd()).saturating_add(in_flight)
    }

    fn is_swollen(&self) -> bool {
        self.arena.is_swollen() || self.spare.len() > RESTING_RECORDS
    }

    fn shrink(&mut self) {
        self.arena.shrink();
        let spare = self.spare.len().min(RESTING_RECORDS);
        self.record_count -= self.spare.len() - spare;
        self.spare.truncate(spare);
        self.spare.shrink_to(self.record_count);
    }

    fn close(&mut self, socket: Socket) {
        drop(socket);
    }

    fn turn(&mut self, wait: Wait) -> Result<(), Errno> {
        self.arena.post();
        let wait = match wait {
            _ if !self.connected.is_empty() => Some(std::time::Duration::ZERO),
            Wait::No => Some(std::time::Duration::ZERO),
            Wait::Until(deadline) => Some(deadline.saturating_since(self.now)),
            Wait::Forever => None,
        };
        // What the last turn brought has been taken by now; nothing may be lost if it has not.
        self.batch.drain(..self.next);
        self.next = 0;
        let result = self.queue.enter(wait);
        self.now = sys::clock::now();
        self.queue.reap(&mut self.batch);
        result
    }

    fn poll_completion(&mut self) -> Option<Completion<Socket>> {
        if let Some((slot, result)) = self.connected.pop_front() {
            let event = Event::Connected(result);
            return Some(Completion { slot, event });
        }
        while let Some(raw) = self.batch.get(self.next).copied() {
            self.next += 1;
            if let Some(completion) = self.decode(raw) {
                return Some(completion);
            }
        }
        None
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.join() {
            // The kernel may still write to the arena and read the records: let them be.
            tracing::error!(
                operations = self.in_flight,
                "the kernel keeps operations in flight"
            );
            return;
        }
        // SAFETY: dropped once, here; nothing refers to it.
        unsafe { ManuallyDrop::drop(&mut self.queue) };
        // SAFETY: as above; no operation is in flight that could refer to a record.
        unsafe { ManuallyDrop::drop(&mut self.records) };
        // SAFETY: as above; the queue, and with it the registration of the buffers, is gone.
        unsafe { ManuallyDrop::drop(&mut self.arena) };
    }
}
