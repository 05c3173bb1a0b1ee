//! Clients of actors: one session at a time, long ones, and many short ones at once.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use super::{prepare, wait_until};

/// A client of an actor.
pub(crate) struct Caller {
    stream: BufReader<TcpStream>,
}

impl Caller {
    /// Connects one.
    pub(crate) fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        prepare(&stream);
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Connects until one is served by the actor of this name, and asks it once.
    pub(crate) fn of(addr: SocketAddr, name: &str) -> Self {
        let mut found = None;
        wait_until(&format!("a session is at {name}"), || {
            let mut caller = Self::connect(addr).expect("the balancer accepts");
            if caller.ask().is_ok_and(|answer| answer == name) {
                found = Some(caller);
            }
            found.is_some()
        });
        found.expect("it has been found")
    }

    /// Says a line.
    pub(crate) fn say(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"hello\n")
    }

    /// Waits for the answer to a line.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_string())
    }

    /// Says a line and waits for the answer.
    pub(crate) fn ask(&mut self) -> io::Result<String> {
        self.say()?;
        self.hear()
    }

    /// Ends the session in order.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.stream.get_mut().shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest)?;
        assert!(rest.is_empty(), "{rest:?}");
        Ok(())
    }

    /// The connection.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }
}

/// A whole session: who served it.
pub(crate) fn ask(addr: SocketAddr) -> io::Result<String> {
    let mut caller = Caller::connect(addr)?;
    let name = caller.ask()?;
    caller.finish()?;
    Ok(name)
}

/// How many of so many sessions, one after the other, each actor served.
///
/// Panics: if one of them is not served.
pub(crate) fn ask_often(addr: SocketAddr, sessions: usize) -> BTreeMap<String, usize> {
    let mut served = BTreeMap::new();
    for _ in 0..sessions {
        let name = ask(addr).expect("the session is served");
        *served.entry(name).or_default() += 1;
    }
    served
}

/// Threads that make sessions one after the other until it is dropped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// Every session holds it until it is in the tally; whoever locks it finds none under way.
    gate: RwLock<()>,
    tally: Mutex<Tally>,
}

/// What has become of sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// By the name of who served them.
    pub(crate) served: BTreeMap<String, u64>,
    /// Why those that were not served were not.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// The sessions that this actor served.
    pub(crate) fn of(&self, name: &str) -> u64 {
        self.served.get(name).copied().unwrap_or_default()
    }

    /// The sessions that were served.
    pub(crate) fn total(&self) -> u64 {
        self.served.values().sum()
    }
}

impl Load {
    /// Starts so many threads.
    pub(crate) fn start(addr: SocketAddr, threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..threads).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.run(addr))
        });
        Self {
            threads: threads.collect(),
            shared: Arc::clone(&shared),
        }
    }

    /// Does something while no session is under way.
    pub(crate) fn between<T>(&self, act: impl FnOnce() -> T) -> T {
        let _no_session = self.shared.gate.write().expect("no panic");
        act()
    }

    /// What has become of sessions so far.
    pub(crate) fn tally(&self) -> Tally {
        self.shared.tally.lock().expect("no panic").clone()
    }

    /// Waits for so many further sessions to be served. Returns what has become of them.
    pub(crate) fn await_more(&self, sessions: u64) -> Tally {
        let before = self.tally();
        let mut now = before.clone();
        wait_until("sessions are served", || {
            std::thread::yield_now();
            now = self.tally();
            now.total() >= before.total() + sessions
        });
        for (name, count) in &mut now.served {
            *count -= before.of(name);
        }
        now.failures.drain(..before.failures.len());
        now
    }

    /// Ends it. Returns what has become of all sessions.
    pub(crate) fn end(mut self) -> Tally {
        self.stop();
        self.tally()
    }

    fn stop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self, addr: SocketAddr) {
        while !self.is_over.load(Ordering::SeqCst) {
            let _under_way = self.gate.read().expect("no panic");
            let outcome = ask(addr);
            let mut tally = self.tally.lock().expect("no panic");
            match outcome {
                Ok(name) => *tally.served.entry(name).or_default() += 1,
                Err(error) => tally.failures.push(error.to_string()),
            }
        }
    }
}
