//! Endpoints that play what a test asks of them: they serve, fail in several ways, die and come
//! back at the same address.
//!
//! Each has an address of this host to itself, so nobody else gets its port while it is dead, and
//! nobody who connects there can by chance meet himself.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use socket2::SockRef;

use super::{PATIENCE, prepare, reset};

/// What an actor does with a session once its first line has come, and with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers each line by its name, and probes by 200.
    Serve,
    /// Serves sessions, and answers probes by 503.
    Sick,
    /// Serves sessions, and leaves probes without an answer until it has another manner.
    Shy,
    /// Resets the connection.
    Reset,
    /// Ends it in order, without a byte.
    Close,
    /// Says nothing until it has another manner.
    Mute,
}

/// An endpoint.
pub(crate) struct Actor {
    /// What it answers.
    pub(crate) name: &'static str,
    /// Where it is, dead or alive.
    pub(crate) addr: SocketAddr,
    part: Arc<Part>,
    listening: Mutex<Option<Listening>>,
}

struct Listening {
    listener: TcpListener,
    thread: JoinHandle<()>,
}

/// What all connections of an actor know.
struct Part {
    name: &'static str,
    manner: Mutex<Manner>,
    changed: Condvar,
    connections: AtomicU64,
    probes: AtomicU64,
    /// When the first line of each session came.
    sessions: Mutex<Vec<Instant>>,
}

impl Actor {
    /// One that is alive and serves.
    pub(crate) fn start(name: &'static str) -> Self {
        Self::with(name, Manner::Serve)
    }

    /// One that is alive and has this manner from the start.
    pub(crate) fn with(name: &'static str, manner: Manner) -> Self {
        let actor = Self::dead(name);
        actor.play(manner);
        actor.revive();
        actor
    }

    /// One that refuses connections.
    pub(crate) fn dead(name: &'static str) -> Self {
        let free = TcpListener::bind((own_ip(), 0)).expect("a free port");
        let addr = free.local_addr().expect("a bound socket has an address");
        Self {
            name,
            addr,
            part: Arc::new(Part {
                name,
                manner: Mutex::new(Manner::Serve),
                changed: Condvar::new(),
                connections: AtomicU64::new(0),
                probes: AtomicU64::new(0),
                sessions: Mutex::new(Vec::new()),
            }),
            listening: Mutex::new(None),
        }
    }

    /// Has it refuse connections from now on. Those that it has accepted go on.
    pub(crate) fn kill(&self) {
        let listening = self.listening.lock().expect("no panic").take();
        if let Some(Listening { listener, thread }) = listening {
            // It ends the accept that is under way.
            SockRef::from(&listener)
                .shutdown(Shutdown::Both)
                .expect("it listens");
            drop(listener);
            thread.join().expect("it accepted until now");
        }
    }

    /// Has it accept connections.
    pub(crate) fn revive(&self) {
        let mut listening = self.listening.lock().expect("no panic");
        if listening.is_some() {
            return;
        }
        let listener = TcpListener::bind(self.addr).expect("the address is ours alone");
        let accepting = listener.try_clone().expect("a descriptor");
        let part = Arc::clone(&self.part);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                part.connections.fetch_add(1, Ordering::SeqCst);
                let part = Arc::clone(&part);
                // Tests look at what clients see; an endpoint whose client left is no failure.
                std::thread::spawn(move || part.converse(stream));
            }
        });
        *listening = Some(Listening { listener, thread });
    }

    /// Has it another manner from now on.
    pub(crate) fn play(&self, manner: Manner) {
        *self.part.manner.lock().expect("no panic") = manner;
        self.part.changed.notify_all();
    }

    /// The connections that it has accepted, probes included.
    pub(crate) fn connections(&self) -> u64 {
        self.part.connections.load(Ordering::SeqCst)
    }

    /// The probes whose request has come.
    pub(crate) fn probes(&self) -> u64 {
        self.part.probes.load(Ordering::SeqCst)
    }

    /// The sessions whose first line has come.
    pub(crate) fn sessions(&self) -> usize {
        self.part.sessions.lock().expect("no panic").len()
    }

    /// When the first line of a session came.
    pub(crate) fn session_at(&self, number: usize) -> Instant {
        self.part.sessions.lock().expect("no panic")[number]
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.play(Manner::Close);
        if !std::thread::panicking() {
            self.kill();
        }
    }
}

impl Part {
    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        prepare(&stream);
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        let mut is_first = true;
        while reader.read_line(&mut line)? > 0 {
            if line.starts_with("GET ") {
                return self.answer_probe(reader);
            }
            if std::mem::take(&mut is_first) {
                let mut sessions = self.sessions.lock().expect("no panic");
                sessions.push(Instant::now());
            }
            match self.await_manner(&[Manner::Mute]) {
                Manner::Serve | Manner::Sick | Manner::Shy => {
                    writeln!(reader.get_mut(), "{}", self.name)?;
                }
                Manner::Reset => {
                    reset(reader.into_inner());
                    return Ok(());
                }
                Manner::Close | Manner::Mute => return Ok(()),
            }
            line.clear();
        }
        Ok(())
    }

    fn answer_probe(&self, mut reader: BufReader<TcpStream>) -> io::Result<()> {
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 && line.trim_end() != "" {
            line.clear();
        }
        self.probes.fetch_add(1, Ordering::SeqCst);
        let status = match self.await_manner(&[Manner::Mute, Manner::Shy]) {
            Manner::Serve => "200 OK",
            _ => "503 Service Unavailable",
        };
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    }

    /// The present manner, once it is none of those that wait.
    fn await_manner(&self, waiting: &[Manner]) -> Manner {
        let manner = self.manner.lock().expect("no panic");
        let waited = self
            .changed
            .wait_timeout_while(manner, PATIENCE, |manner| waiting.contains(manner));
        *waited.expect("no panic").0
    }
}

/// An address of this host that nobody else has been given.
pub(crate) fn own_ip() -> Ipv4Addr {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(fastrand::u64(..)));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let part = |bits: u64, count: u64| (number / bits % count) as u8;
    // Not 127.0.0.x, which others use.
    Ipv4Addr::new(
        127,
        16 + part(250 * 250, 200),
        1 + part(250, 250),
        1 + part(1, 250),
    )
}
