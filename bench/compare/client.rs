//! One connection of the generator: sends requests and checks every byte of the answers, in order.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::sys;
use super::wire::{Answer, REQUEST_BYTES, Request};

/// A connection and the answers that it still expects.
pub(crate) struct Client {
    stream: TcpStream,
    number: u32,
    sequence: u32,
    expected: VecDeque<Expected>,
}

struct Expected {
    is_seen_whole: bool,
    answer: Answer,
    since: Instant,
}

impl Expected {
    /// How much of the answer may be left unseen: the middle of a long one, unless it is one of those that are
    /// seen whole. Copying and comparing each byte would make the generator, not the relay, what limits bulk.
    fn skippable(&self) -> usize {
        if self.is_seen_whole || self.answer.done() == 0 {
            return 0;
        }
        self.answer.left().saturating_sub(SEEN_BYTES)
    }
}

/// What went wrong with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Bytes came that are not the answer.
    Corrupt,
    /// The connection ended before the answer was complete.
    Ended,
    /// The connection was refused.
    Refused,
    /// The answer did not come in time.
    Lost,
    /// A request did not fit into the socket: the relay is far behind.
    Stalled,
    /// No source port was free.
    NoPort,
    /// Another error, by its number.
    Other(i32),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EADDRNOTAVAIL) => Self::NoPort,
            Some(libc::ECONNREFUSED) => Self::Refused,
            Some(libc::ECONNRESET | libc::EPIPE) => Self::Ended,
            number => Self::Other(number.unwrap_or(0)),
        }
    }
}

impl Client {
    /// Starts to connect, from one of several loopback addresses.
    pub(crate) fn connect(to: SocketAddrV4, number: u32) -> Result<Self, Fault> {
        let socket = Socket::new(
            Domain::IPV4,
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        socket.set_tcp_nodelay(true)?;
        sys::bind_address_only(socket.as_fd())?;
        let source = Ipv4Addr::new(127, 0, 0, 1 + (number % SOURCES) as u8);
        socket.bind(&SocketAddrV4::new(source, 0).into())?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error.into()),
            _ => Ok(Self {
                stream: socket.into(),
                number,
                sequence: 0,
                expected: VecDeque::new(),
            }),
        }
    }

    /// The socket, to be watched.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// How many answers are outstanding.
    pub(crate) fn outstanding(&self) -> usize {
        self.expected.len()
    }

    /// Sends a request whose latency counts from `since`; false if the connection is not made yet.
    pub(crate) fn try_ask(&mut self, answer_bytes: u32, since: Instant) -> Result<bool, Fault> {
        let id = u64::from(self.number) << 32 | u64::from(self.sequence);
        let request = Request { id, answer_bytes };
        match self.stream.write(&request.encode()) {
            Ok(REQUEST_BYTES) => {}
            Ok(_) => return Err(Fault::Stalled),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.expected.push_back(Expected {
            is_seen_whole: self.sequence.is_multiple_of(SEEN_WHOLE_EVERY),
            answer: request.answer(),
            since,
        });
        Ok(true)
    }

    /// Sends a request on a connection that is made.
    pub(crate) fn ask(&mut self, answer_bytes: u32, since: Instant) -> Result<(), Fault> {
        if self.try_ask(answer_bytes, since)? {
            Ok(())
        } else {
            Err(Fault::Stalled)
        }
    }

    /// Reads what is there and calls `answered` with the start of each request whose answer is complete.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut [u8],
        ended: bool,
        mut answered: impl FnMut(Instant),
    ) -> Result<(), Fault> {
        loop {
            let skippable = self.expected.front().map_or(0, Expected::skippable);
            let read = if skippable > 0 {
                sys::discard(self.stream.as_fd(), skippable)
            } else {
                self.stream.read(scratch)
            };
            let count = match read {
                Ok(0) => return Err(Fault::Ended),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            if skippable > 0 {
                if let Some(expected) = self.expected.front_mut() {
                    expected.answer.advance(count);
                }
                continue;
            }
            let mut received = &scratch[..count];
            while !received.is_empty() {
                let Some(expected) = self.expected.front_mut() else {
                    return Err(Fault::Corrupt);
                };
                let Some(taken) = expected.answer.check(received) else {
                    return Err(Fault::Corrupt);
                };
                received = &received[taken..];
                if expected.answer.is_complete() {
                    answered(expected.since);
                    self.expected.pop_front();
                }
            }
            if count < scratch.len() && !ended {
                return Ok(());
            }
        }
    }
}

/// Of each long answer the first and so many of the last bytes are compared; of one in so many every byte.
const SEEN_BYTES: usize = 4096;
const SEEN_WHOLE_EVERY: u32 = 16;
/// How many addresses connections come from: each has its own ports.
const SOURCES: u32 = 16;
