//! Sockets: making them, resetting them, asking about them.
#![expect(
    unsafe_code,
    reason = "connect(2) with AF_UNSPEC, ioctl(2) SIOCOUTQ, and the descriptor of a runtime's stream"
)]

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::plan::options::ListenOptions;
use crate::sys::options::{self, Refused};

/// Why a socket does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error("{0}")]
    Address(#[from] io::Error),
    /// An option cannot be set.
    #[error("{0}")]
    Option(#[from] Refused),
}

/// Binds and listens. Sockets made by several calls for one address share its connections.
///
/// What is set here is inherited by the connections that are accepted.
///
/// Errors: EADDRINUSE, EACCES, EADDRNOTAVAIL and other errors of bind(2); an option.
pub fn listen(
    addr: SocketAddr,
    options: &ListenOptions,
    backlog: i32,
) -> Result<OwnedFd, ListenError> {
    let socket = bound(addr, options, true)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Tells whether an address is free: whether a socket could listen there that shares it with no
/// other. Without this look, SO_REUSEPORT would silently share the port with another instance.
///
/// Returns the port, which is a free one if `addr` has none.
///
/// Errors: EADDRINUSE if somebody listens; other errors of bind(2); an option.
pub fn probe_free(addr: SocketAddr, options: &ListenOptions) -> Result<SocketAddr, ListenError> {
    let socket = bound(addr, options, false)?;
    // With SO_REUSEADDR a bind alone succeeds beside a listener that has it too.
    socket.listen(1)?;
    let bound = socket.local_addr()?;
    bound
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput).into())
}

fn bound(
    addr: SocketAddr,
    options: &ListenOptions,
    share_port: bool,
) -> Result<Socket, ListenError> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    if share_port {
        socket.set_reuse_port(true)?;
    }
    options::set_listening(&socket, options, addr)?;
    socket.bind(&SockAddr::from(addr))?;
    Ok(socket)
}

/// Held by the one instance of this network namespace that is binding.
#[derive(Debug)]
pub struct BindLock {
    _socket: Socket,
}

impl BindLock {
    /// Takes the lock.
    ///
    /// Errors: EADDRINUSE if somebody has it.
    /// Source: unix(7), abstract sockets.
    pub fn try_take() -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix("\0ringlane is binding")?)?;
        Ok(Self { _socket: socket })
    }
}

/// Binds a Unix stream socket and listens. A file that is left of a socket on which nobody listens
/// any more is replaced.
///
/// Errors: EADDRINUSE if somebody listens there or the file is no socket; EACCES, ENOENT and other
/// errors of bind(2).
/// Source: unix(7).
pub fn listen_unix(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<OwnedFd> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path, &address) => {
            std::fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        outcome => outcome?,
    }
    if let Some(mode) = mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Whether a file is that of a Unix socket and belongs to nobody who listens.
fn is_left_over(path: &Path, address: &SockAddr) -> bool {
    // Connecting to any other file is refused, too.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)
            .and_then(|socket| socket.connect(address))
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Connects a Unix socket, which is over at once.
///
/// Errors: ECONNREFUSED, ENOENT, EACCES; EAGAIN if the other side's backlog is full; ENAMETOOLONG.
/// Source: unix(7).
pub fn connect_unix(socket: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    SockRef::from(&socket).connect(&SockAddr::unix(path)?)
}

/// Accepts a connection that already waits.
///
/// Errors: EAGAIN if none does; others of accept(2).
pub fn accept_waiting(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (socket, _) = SockRef::from(&listener).accept()?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Begins to connect a TCP socket. Returns whether it is connected already; if not, it becomes
/// writable when that is over, and [`take_error`] says how.
///
/// Errors: ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL and others of connect(2).
pub fn begin_connect(socket: BorrowedFd<'_>, addr: SocketAddr) -> io::Result<bool> {
    match SockRef::from(&socket).connect(&SockAddr::from(addr)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Tells how connecting ended.
///
/// Errors: why it failed.
/// Source: connect(2), EINPROGRESS.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).take_error()?.map_or(Ok(()), Err)
}

/// Sends what the kernel takes at once. Never raises a signal.
///
/// Errors: EAGAIN if it takes nothing now; EPIPE, ECONNRESET and others of send(2).
pub fn send_some(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(&socket).send_with_flags(bytes, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
}

/// Receives what has come, 0 at the end of the stream.
///
/// Errors: EAGAIN if nothing has; ECONNRESET and others of recv(2).
pub fn receive_some(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    (&*SockRef::from(&socket)).read(into)
}

/// The descriptor of a stream of the runtime that control and the prober have, which does not lend
/// it by itself.
pub fn descriptor(stream: &monoio::net::UnixStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and closes it when it is dropped, which the borrow
    // does not allow before it has ended itself.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// Says that no more bytes will be sent.
///
/// Errors: ENOTCONN if the connection is already broken.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).shutdown(std::net::Shutdown::Write)
}

/// Resets a connection at once: what was not sent is dropped and the other side gets a RST. A Unix
/// socket has no such thing and is shut down both ways.
///
/// Source: connect(2) with AF_UNSPEC, which is tcp_disconnect.
pub fn reset(socket: BorrowedFd<'_>) {
    let unspecified = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    // SAFETY: the address points to one sockaddr of the length given, which the kernel only reads.
    let result = unsafe {
        libc::connect(
            socket.as_raw_fd(),
            &raw const unspecified,
            size_of::<libc::sockaddr>() as libc::socklen_t,
        )
    };
    if result != 0 {
        // A Unix socket, or one that was never connected. If this fails too there is nothing left
        // to end.
        let _never_connected = SockRef::from(&socket).shutdown(std::net::Shutdown::Both);
    }
}

/// The bytes of a TCP socket that the other side has not acknowledged; of a Unix socket those that
/// it has not read. 0 if the kernel does not say.
///
/// Source: tcp(7), unix(7), SIOCOUTQ.
pub fn unsent_bytes(socket: BorrowedFd<'_>) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int to a place that is one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        u32::try_from(bytes).unwrap_or(0)
    } else {
        0
    }
}

/// The address that a TCP socket is bound to; an IPv4 one as such, also on an IPv6 socket.
///
/// Errors: those of getsockname(2).
pub fn local_addr(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    plain(SockRef::from(&socket).local_addr()?)
}

/// The address of a TCP connection's other side, likewise.
///
/// Errors: ENOTCONN if the connection is gone; InvalidInput for a Unix socket.
/// Cost: 0.4 us.
pub fn peer_addr(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    plain(SockRef::from(&socket).peer_addr()?)
}

fn plain(addr: SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket()
        .map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port()))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}
