//! A script's world over the kernel: a worker on a thread of its own, sockets on the loopback.
#![forbid(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringlane::balance::endpoint::Address;
use ringlane::bounds::{ARENA_BUFFERS_MIN, BACKLOG_MAX};
use ringlane::id::WorkerIndex;
use ringlane::plan::WaitMode;
use ringlane::plan::options::ListenOptions;
use ringlane::ring::features::Features;
use ringlane::ring::uring::{self, Socket, Uring};
use ringlane::session::Transport;
use ringlane::sys;
use ringlane::sys::wake::Waker;
use ringlane::update::{self, Bell, Event as News, Wake};
use ringlane::worker::{Parts, Worker};
use socket2::{Domain, SockAddr, SockRef, Type};

use super::script::{Kind, Setup};
use super::world::{Broken, Desk, Order, Party, Read, World};

/// A worker over io_uring, with real clients and endpoints.
pub(crate) struct Kernel {
    desk: Desk,
    waker: Waker,
    listeners: Vec<SocketAddr>,
    endpoints: Vec<Listening>,
    parties: Vec<Option<Stream>>,
    /// Which parties' writes have failed.
    broken: Vec<bool>,
    thread: Option<JoinHandle<Vec<String>>>,
    started: Instant,
    _news: crossbeam_channel::Receiver<News>,
}

/// An endpoint's listening socket, or what keeps its address without listening.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
    Nobody { _kept: Vec<socket2::Socket> },
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How long a wait rests before it looks again.
const STEP: Duration = Duration::from_micros(100);

/// The parties' receive buffers: small, so that what is not read stays on the worker's side.
const RECEIVE_BUFFER: usize = 64 * 1024;

impl Kernel {
    /// Starts a worker.
    ///
    /// Errors: the kernel's.
    pub(crate) fn new(setup: Setup, features: Features) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut sockets = Vec::new();
        for _ in 0..setup.listeners {
            let options = ListenOptions::default();
            let socket =
                sys::socket::listen(loopback(), &options, BACKLOG_MAX).map_err(io::Error::other)?;
            listeners.push(sys::socket::local_addr(socket.as_fd())?);
            sockets.push(socket);
        }
        let mut endpoints = Vec::new();
        let mut addresses = Vec::new();
        for kind in setup.endpoints {
            let (listening, address) = endpoint(*kind)?;
            endpoints.push(listening);
            addresses.push(address);
        }
        let (waker, watched) = Waker::new()?;
        let (events_sender, news) = update::events();
        let (post, inbox) = update::channel(WorkerIndex(0), events_sender, Bell::silent());
        let mut desk = Desk::new(post, setup, addresses);
        let _not_asleep_yet = desk.publish(setup.weights);
        let (limit, counters) = (Arc::clone(&desk.limit), Arc::clone(&desk.counters));
        let thread = std::thread::spawn(move || {
            let rings = uring::Setup {
                buffers: ARENA_BUFFERS_MIN,
                slots: 0,
                pipes: setup.pipes,
                wait: WaitMode::Block,
            };
            let driver = match Uring::new(&features, &rings, watched) {
                Ok(driver) => driver,
                Err(error) => return vec![format!("no ring: {error}")],
            };
            let mut worker = Worker::new(Parts {
                driver,
                listeners: sockets
                    .into_iter()
                    .map(|fd| Socket::new(fd, Transport::Tcp))
                    .enumerate()
                    .collect(),
                inbox,
                workers: 1,
                session_limit: limit,
                counters,
                waiting_max: 0,
                access: None,
                process_id: 7,
                seed: 1,
            });
            let mut faults = Vec::new();
            if let Err(errno) = worker.run() {
                faults.push(format!("the worker failed: {errno}"));
            }
            if !worker.driver().is_arena_unheld() {
                faults.push("a buffer was not given back".to_string());
            }
            faults
        });
        Ok(Self {
            desk,
            waker,
            listeners,
            endpoints,
            parties: Vec::new(),
            broken: Vec::new(),
            thread: Some(thread),
            started: Instant::now(),
            _news: news,
        })
    }

    fn add(&mut self, stream: Stream) -> Option<Party> {
        stream.set_nonblocking().ok()?;
        self.parties.push(Some(stream));
        self.broken.push(false);
        Some(self.parties.len() - 1)
    }

    fn party(&mut self, party: Party) -> &mut Stream {
        match &mut self.parties[party] {
            Some(stream) => stream,
            None => panic!("party {party} has left"),
        }
    }

    fn wake(&self, wake: Wake) {
        if wake == Wake::Needed {
            self.waker.wake();
        }
    }
}

impl World for Kernel {
    fn connect(&mut self, listener: usize) -> Option<Party> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER).ok()?;
        socket.set_tcp_nodelay(true).ok()?;
        socket
            .connect(&SockAddr::from(self.listeners[listener]))
            .ok()?;
        self.add(Stream::Tcp(socket.into()))
    }

    fn meet(&mut self, endpoint: usize) -> Option<Party> {
        let stream = match &self.endpoints[endpoint] {
            Listening::Tcp(listener) => Stream::Tcp(listener.accept().ok()?.0),
            Listening::Unix(listener, _) => Stream::Unix(listener.accept().ok()?.0),
            Listening::Nobody { .. } => return None,
        };
        self.add(stream)
    }

    fn write(&mut self, party: Party, bytes: &[u8]) -> Result<usize, Broken> {
        let Some(stream) = &mut self.parties[party] else {
            return Err(Broken);
        };
        let result = match stream {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        };
        match result {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(_) => {
                self.broken[party] = true;
                Err(Broken)
            }
        }
    }

    fn read(&mut self, party: Party, most: usize) -> Read {
        let mut bytes = vec![0; most];
        let result = match self.party(party) {
            Stream::Tcp(stream) => stream.read(&mut bytes),
            Stream::Unix(stream) => stream.read(&mut bytes),
        };
        match result {
            // The kernel hands an error out once: if a write took it, a read finds an end.
            Ok(0) if self.broken[party] => Read::Reset,
            Ok(0) => Read::Finished,
            Ok(count) => {
                bytes.truncate(count);
                Read::Bytes(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(_) => Read::Reset,
        }
    }

    fn readable(&mut self, party: Party) -> usize {
        let mut bytes = vec![0; 64 * 1024];
        match self.party(party) {
            Stream::Tcp(stream) => stream.peek(&mut bytes).unwrap_or(0),
            // The standard library cannot look into a Unix socket; the system call can.
            Stream::Unix(stream) => {
                let mut bytes = vec![std::mem::MaybeUninit::uninit(); 64 * 1024];
                SockRef::from(&*stream).peek(&mut bytes).unwrap_or(0)
            }
        }
    }

    fn finish(&mut self, party: Party) {
        // A broken connection has nothing to finish.
        let _broken = match self.party(party) {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    fn reset(&mut self, party: Party) {
        if let Some(Stream::Tcp(stream)) = &self.parties[party]
            && let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO))
        {
            panic!("no reset: {error}");
        }
        self.parties[party] = None;
    }

    fn close(&mut self, party: Party) {
        self.parties[party] = None;
    }

    fn order(&mut self, order: Order) {
        let wake = self.desk.order(order, sys::clock::now());
        self.wake(wake);
    }

    fn publish(&mut self, weights: &[u32]) {
        let wake = self.desk.publish(weights);
        self.wake(wake);
    }

    fn has_ended(&mut self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn pass(&mut self) {
        std::thread::park_timeout(STEP);
    }

    fn time(&self) -> Duration {
        self.started.elapsed()
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn faults(&mut self) -> Vec<String> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(faults)) => faults,
            Some(Err(_)) => vec!["the worker panicked".to_string()],
            None => Vec::new(),
        }
    }
}

impl Stream {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(true),
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _gone_already = std::fs::remove_file(path);
        }
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn endpoint(kind: Kind) -> io::Result<(Listening, Address)> {
    match kind {
        Kind::Tcp => {
            let listener = TcpListener::bind(loopback())?;
            SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER)?;
            listener.set_nonblocking(true)?;
            let address = Address::Tcp(listener.local_addr()?);
            Ok((Listening::Tcp(listener), address))
        }
        Kind::Unix => {
            let path = unused_path();
            let listener = UnixListener::bind(&path)?;
            listener.set_nonblocking(true)?;
            Ok((Listening::Unix(listener, path.clone()), Address::Unix(path)))
        }
        Kind::Missing => Ok((
            Listening::Nobody { _kept: Vec::new() },
            Address::Unix(unused_path()),
        )),
        Kind::Refusing => {
            // Bound, so that nobody else gets the port, and not listening.
            let (socket, addr) = bound()?;
            Ok((
                Listening::Nobody {
                    _kept: vec![socket],
                },
                Address::Tcp(addr),
            ))
        }
        Kind::Silent => {
            // One connection fills the backlog; what the next ones send is dropped.
            let (socket, addr) = bound()?;
            socket.listen(0)?;
            let filler = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
            filler.connect(&SockAddr::from(addr))?;
            Ok((
                Listening::Nobody {
                    _kept: vec![socket, filler],
                },
                Address::Tcp(addr),
            ))
        }
    }
}

fn bound() -> io::Result<(socket2::Socket, SocketAddr)> {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SockAddr::from(loopback()))?;
    let addr = socket.local_addr()?.as_socket();
    addr.map(|addr| (socket, addr))
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn unused_path() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("ringlane-{}-{number}.sock", std::process::id()))
}
