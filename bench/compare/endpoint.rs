//! The endpoint of the benches: one thread that checks requests and answers them.
//!
//! It runs on the CPU of whoever starts it. A request that is not what the generator sends is counted and its
//! connection closed, so that bytes damaged on the way there are seen too.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::sys::{self, Epoll, Interest};
use super::wire::{Answer, REQUEST_BYTES, Request};

/// The running endpoint.
pub(crate) struct Endpoint {
    address: SocketAddrV4,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    bad_requests: AtomicU64,
}

impl Endpoint {
    /// Listens on a free address and starts to answer.
    pub(crate) fn start() -> io::Result<Self> {
        let address = sys::free_address()?;
        let listener = listen(address)?;
        let shared = Arc::new(Shared::default());
        let mut server = Server {
            epoll: Epoll::new()?,
            listener,
            conversations: Vec::new(),
            vacant: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new()
            .name("endpoint".into())
            .spawn(move || server.run())?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Stops; true if every request was as it had been sent.
    pub(crate) fn stop(mut self) -> bool {
        self.end();
        let bad_requests = self.shared.bad_requests.load(Ordering::Relaxed);
        if bad_requests > 0 {
            println!("the endpoint got {bad_requests} damaged requests");
        }
        bad_requests == 0
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return;
        };
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => println!("the endpoint failed: {error}"),
            Err(_) => println!("the endpoint panicked"),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.end();
    }
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    conversations: Vec<Option<Conversation>>,
    vacant: Vec<usize>,
    scratch: Vec<u8>,
    shared: Arc<Shared>,
}

/// One connection: the part of a request that has come, and the answers that have not gone out.
struct Conversation {
    stream: TcpStream,
    request: [u8; REQUEST_BYTES],
    filled: usize,
    answers: VecDeque<Answer>,
}

/// Why a conversation is over.
enum End {
    Gone,
    BadRequest,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        self.epoll.add(&self.listener, LISTENER, Interest::Read)?;
        let mut events = Vec::new();
        while !self.shared.stop.load(Ordering::Relaxed) {
            events.clear();
            self.epoll.wait(&mut events, STOP_CHECK)?;
            for event in &events {
                if event.token == LISTENER {
                    self.accept()?;
                } else {
                    self.converse(event.token as usize, event.ended);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match sys::accept(&self.listener) {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let slot = self.vacant.pop().unwrap_or_else(|| {
                self.conversations.push(None);
                self.conversations.len() - 1
            });
            self.epoll.add(&stream, slot as u64, Interest::Both)?;
            let (request, answers) = ([0; REQUEST_BYTES], VecDeque::new());
            self.conversations[slot] = Some(Conversation {
                stream,
                request,
                filled: 0,
                answers,
            });
        }
    }

    fn converse(&mut self, slot: usize, ended: bool) {
        let Some(conversation) = &mut self.conversations[slot] else {
            return;
        };
        let result = conversation
            .receive(&mut self.scratch, ended)
            .and_then(|()| conversation.send());
        let Err(end) = result else { return };
        if matches!(end, End::BadRequest) {
            self.shared.bad_requests.fetch_add(1, Ordering::Relaxed);
        }
        self.conversations[slot] = None;
        self.vacant.push(slot);
    }
}

impl Conversation {
    fn receive(&mut self, scratch: &mut [u8], ended: bool) -> Result<(), End> {
        loop {
            let count = match self.stream.read(scratch) {
                Ok(0) if self.filled > 0 => return Err(End::BadRequest),
                Ok(0) => return Err(End::Gone),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.take(&scratch[..count])?;
            if count < scratch.len() && !ended {
                return Ok(());
            }
        }
    }

    fn take(&mut self, mut received: &[u8]) -> Result<(), End> {
        while !received.is_empty() {
            let taken = received.len().min(REQUEST_BYTES - self.filled);
            self.request[self.filled..self.filled + taken].copy_from_slice(&received[..taken]);
            self.filled += taken;
            received = &received[taken..];
            if self.filled == REQUEST_BYTES {
                let request = Request::decode(&self.request).ok_or(End::BadRequest)?;
                self.answers.push_back(request.answer());
                self.filled = 0;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), End> {
        while let Some(answer) = self.answers.front_mut() {
            let [head, body] = answer.rest();
            match self
                .stream
                .write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
            {
                Ok(count) => answer.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if answer.is_complete() {
                self.answers.pop_front();
            }
        }
        Ok(())
    }
}

fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::IPV4,
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    SockRef::from(&socket).set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The listener's token; no slot has it.
const LISTENER: u64 = u64::MAX;
const BACKLOG: i32 = 4096;
const SCRATCH_BYTES: usize = 64 * 1024;
const STOP_CHECK: Duration = Duration::from_millis(50);
