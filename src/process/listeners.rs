//! Binding: every address once for every worker, and nobody else's.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use crate::bounds::BACKLOG_MAX;
use crate::process::ProcessError;
use crate::sys::socket;

/// Listening sockets, all of which listen.
pub(super) struct Listeners {
    /// The addresses, in the order of the plan, with their real ports.
    pub(super) addrs: Vec<SocketAddr>,
    /// For each worker one socket per address.
    pub(super) by_worker: Vec<Vec<OwnedFd>>,
}

/// Binds each address for each worker.
///
/// The kernel shares a port among all who ask for it to be shared, also with another instance, so
/// each address is first bound without sharing.
///
/// Errors: the first address that cannot be bound, named.
pub(super) fn bind(
    listen: &[SocketAddr],
    workers: usize,
    backlog: usize,
) -> Result<Listeners, ProcessError> {
    let backlog = i32::try_from(backlog).unwrap_or(BACKLOG_MAX);
    let mut addrs = Vec::new();
    let mut by_worker: Vec<Vec<OwnedFd>> = (0..workers).map(|_| Vec::new()).collect();
    for &addr in listen {
        let refused = |error: io::Error| ProcessError::bind(addr, &error);
        let mut bound = socket::probe_free(addr).map_err(refused)?;
        for sockets in &mut by_worker {
            let listener = socket::listen(bound, backlog).map_err(refused)?;
            bound = socket::local_addr(listener.as_fd()).map_err(refused)?;
            sockets.push(listener);
        }
        addrs.push(bound);
    }
    Ok(Listeners { addrs, by_worker })
}
