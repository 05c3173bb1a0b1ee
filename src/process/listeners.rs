//! Binding: every address once for every worker, and nobody else's.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use crate::bounds::BACKLOG_MAX;
use crate::plan::Plan;
use crate::plan::place::Bind;
use crate::process::ProcessError;
use crate::session::Transport;
use crate::sys::socket;

/// Listening sockets, all of which listen.
pub(super) struct Listeners {
    /// The places, in the order of the plan, with their real ports.
    pub(super) binds: Vec<Bind>,
    /// For each worker one socket per place.
    pub(super) by_worker: Vec<Vec<Listening>>,
}

/// A socket that listens.
pub(super) struct Listening {
    /// The position of its listener in the plan.
    pub(super) listener: usize,
    pub(super) fd: OwnedFd,
    pub(super) transport: Transport,
}

/// Binds each place for each worker.
///
/// The kernel shares a port among all who ask for it to be shared, also with another instance, so
/// each address is first bound without sharing.
///
/// Errors: the first place that cannot be bound, named.
pub(super) fn bind(plan: &Plan, workers: usize, backlog: usize) -> Result<Listeners, ProcessError> {
    let mut listeners = Listeners {
        binds: Vec::new(),
        by_worker: (0..workers).map(|_| Vec::new()).collect(),
    };
    for (position, listener) in plan.listeners.iter().enumerate() {
        let backlog = i32::try_from(backlog).unwrap_or(BACKLOG_MAX);
        for bind in &listener.binds {
            let refused = |error: io::Error| ProcessError::bind(bind, &error);
            match bind {
                Bind::Tcp(addr) => {
                    let addr = listeners
                        .add_tcp(position, *addr, backlog)
                        .map_err(refused)?;
                    listeners.binds.push(Bind::Tcp(addr));
                }
                Bind::Unix(_) => {
                    return Err(refused(io::ErrorKind::Unsupported.into()));
                }
            }
        }
    }
    Ok(listeners)
}

impl Listeners {
    /// Returns the address with its real port.
    fn add_tcp(
        &mut self,
        listener: usize,
        addr: SocketAddr,
        backlog: i32,
    ) -> io::Result<SocketAddr> {
        let mut bound = socket::probe_free(addr)?;
        for sockets in &mut self.by_worker {
            let fd = socket::listen(bound, backlog)?;
            bound = socket::local_addr(fd.as_fd())?;
            sockets.push(Listening {
                listener,
                fd,
                transport: Transport::Tcp,
            });
        }
        Ok(bound)
    }
}
