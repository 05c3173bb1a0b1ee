//! An endpoint: an address that never changes and the words that all workers share about it.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::id::{EndpointId, WorkerIndex};
use crate::metrics::{Counter, EndpointCounters};
use crate::session::Transport;

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// The kind of socket that connects to it.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Tcp(_) => Transport::Tcp,
            Self::Unix(_) => Transport::Unix,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// One endpoint of a cluster. Views hold it, and each session that it serves, so it outlives its
/// removal from the configuration for as long as it is used.
#[derive(Debug)]
pub struct Endpoint {
    /// Its identity in this process.
    pub id: EndpointId,
    /// Its name in logs and statistics.
    pub name: String,
    /// Where it is; `None` for a name that did not resolve, which is never picked.
    pub address: Option<Address>,
    /// At most so many sessions at a time, over all workers.
    pub max_connections: Option<u32>,
    open: OpenCount,
    counters: Box<[EndpointCounters]>,
}

/// Sessions that are open, over all workers; alone in its cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct OpenCount(AtomicU32);

impl Endpoint {
    /// Makes an endpoint that `workers` workers count for.
    pub fn new(id: EndpointId, name: String, address: Option<Address>, workers: usize) -> Self {
        let counters = (0..workers).map(|_| EndpointCounters::default()).collect();
        Self {
            id,
            name,
            address,
            max_connections: None,
            open: OpenCount::default(),
            counters,
        }
    }

    /// The sessions that are open or being connected now, over all workers.
    pub fn open_sessions(&self) -> u32 {
        self.open.0.load(Ordering::Relaxed)
    }

    /// Whether there is room for another session; another worker may take it first.
    pub fn has_room(&self) -> bool {
        self.max_connections
            .is_none_or(|max| self.open_sessions() < max)
    }

    /// Counts a session in; `false` if that would be one too many.
    ///
    /// Cost: one atomic operation on a line that all workers share.
    #[must_use]
    pub fn try_open_session(&self) -> bool {
        let Some(max) = self.max_connections else {
            self.open.0.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let raised = |count: u32| (count < max).then_some(count + 1);
        self.open
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised)
            .is_ok()
    }

    /// Counts a session out that [`try_open_session`](Self::try_open_session) counted in.
    pub fn session_closed(&self) {
        self.open.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The block that this worker writes.
    ///
    /// Panics: never for a worker of the process that the endpoint was made for.
    pub fn counters(&self, worker: WorkerIndex) -> &EndpointCounters {
        &self.counters[usize::from(worker.0)]
    }

    /// The sum over all workers of one counter.
    pub fn total(&self, counter: impl Fn(&EndpointCounters) -> &Counter) -> u64 {
        self.counters
            .iter()
            .map(|block| counter(block).value())
            .sum()
    }
}
