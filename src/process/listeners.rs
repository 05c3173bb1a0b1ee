//! Binding: every address once for every worker, and nobody else's.
#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use crate::bounds::BACKLOG_MAX;
use crate::plan::Plan;
use crate::plan::options::ListenOptions;
use crate::plan::place::Bind;
use crate::plan::problems::Problem;
use crate::process::ProcessError;
use crate::session::Transport;
use crate::sys::socket::{self, ListenError};

/// Listening sockets, all of which listen.
pub(super) struct Listeners {
    /// The places, in the order of the plan, with their real ports.
    pub(super) binds: Vec<Bind>,
    /// How many clients may wait to be accepted, in all backlogs together.
    pub(super) waiting_max: usize,
    /// For each worker one socket per place.
    pub(super) by_worker: Vec<Vec<Listening>>,
    /// The files of those that are Unix sockets.
    pub(super) files: Vec<SocketFile>,
}

/// The file of a Unix socket, removed once: after that another instance may have made its own.
#[derive(Debug)]
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    pub(super) removed: Once,
}

impl SocketFile {
    /// Removes it. To be called while the socket listens, because only then nobody else can have
    /// taken its place.
    pub(super) fn remove(&self) {
        self.removed.call_once(|| {
            // Another user's folder: then the file is left, and replaced by the next start.
            let _left = std::fs::remove_file(&self.path);
        });
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
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
pub(super) fn bind(plan: &Plan, workers: usize) -> Result<Listeners, ProcessError> {
    let mut listeners = Listeners {
        binds: Vec::new(),
        waiting_max: 0,
        by_worker: (0..workers).map(|_| Vec::new()).collect(),
        files: Vec::new(),
    };
    for (position, listener) in plan.listeners.iter().enumerate() {
        let backlog = listener.options.backlog.map(i32::try_from);
        let backlog = backlog.and_then(Result::ok).unwrap_or(BACKLOG_MAX);
        listeners.waiting_max += backlog as usize * listener.binds.len() * workers;
        for bind in &listener.binds {
            let refused = |error| match error {
                ListenError::Address(error) => ProcessError::bind(bind, &error),
                ListenError::Option(refused) => {
                    let path = format!("listeners[{position}].{}", refused.option);
                    let problem = Problem::new(path, refused.source.to_string());
                    ProcessError::Plan(vec![problem])
                }
            };
            let added = match bind {
                Bind::Tcp(addr) => listeners.add_tcp(position, *addr, &listener.options, backlog),
                Bind::Unix(path) => listeners.add_unix(position, path, &listener.options, backlog),
            };
            let bound = added.map_err(refused)?;
            listeners.binds.push(bound);
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
        options: &ListenOptions,
        backlog: i32,
    ) -> Result<Bind, ListenError> {
        let mut bound = socket::probe_free(addr, options)?;
        for sockets in &mut self.by_worker {
            let fd = socket::listen(bound, options, backlog)?;
            bound = socket::local_addr(fd.as_fd())?;
            sockets.push(Listening {
                listener,
                fd,
                transport: Transport::Tcp,
            });
        }
        Ok(Bind::Tcp(bound))
    }

    /// There is one socket, whose connections go to whichever worker takes them first.
    fn add_unix(
        &mut self,
        listener: usize,
        path: &Path,
        options: &ListenOptions,
        backlog: i32,
    ) -> Result<Bind, ListenError> {
        let socket = listen_unix(path, options.unix_mode, backlog)?;
        self.files.push(SocketFile {
            path: path.to_path_buf(),
            removed: Once::new(),
        });
        for sockets in &mut self.by_worker {
            sockets.push(Listening {
                listener,
                fd: socket.try_clone()?,
                transport: Transport::Unix,
            });
        }
        Ok(Bind::Unix(path.to_path_buf()))
    }
}

/// Binds a Unix socket. The listener of an instance that was killed lives on for some milliseconds
/// in the kernel, which ends that instance's ring meanwhile, so one in use is looked at again.
pub(super) fn listen_unix(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<OwnedFd> {
    retry_in_use(|| socket::listen_unix(path, mode, backlog))
}

/// Listens, and looks again for a while if somebody else does.
pub(super) fn retry_in_use<T>(listen: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..LISTEN_RETRIES {
        match listen() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                std::thread::sleep(LISTEN_RETRY);
            }
            outcome => return outcome,
        }
    }
    listen()
}

const LISTEN_RETRIES: u32 = 10;
const LISTEN_RETRY: Duration = Duration::from_millis(20);
