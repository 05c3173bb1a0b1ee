//! Sockets: making them, resetting them, asking about them.
#![expect(
    unsafe_code,
    reason = "connect(2) with AF_UNSPEC and ioctl(2) SIOCOUTQ"
)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::balance::endpoint::Address;

/// Binds and listens. Sockets made by several calls for one address share its connections.
///
/// What is set here is inherited by the connections that are accepted: TCP_NODELAY.
///
/// Errors: EADDRINUSE, EACCES, EADDRNOTAVAIL and other errors of bind(2).
pub fn listen(addr: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = bound(addr, true)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Tells whether an address is free: whether a socket could listen there that shares it with no
/// other. Without this look, SO_REUSEPORT would silently share the port with another instance.
///
/// Returns the port, which is a free one if `addr` has none.
///
/// Errors: EADDRINUSE if somebody listens; other errors of bind(2).
pub fn probe_free(addr: SocketAddr) -> io::Result<SocketAddr> {
    let socket = bound(addr, false)?;
    // With SO_REUSEADDR a bind alone succeeds beside a listener that has it too.
    socket.listen(1)?;
    let bound = socket.local_addr()?;
    bound
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

fn bound(addr: SocketAddr, share_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    if share_port {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SockAddr::from(addr))?;
    Ok(socket)
}

/// Makes a socket for connecting to `address`.
///
/// Errors: EMFILE, ENFILE, ENOBUFS, ENOMEM, EAFNOSUPPORT.
/// Cost: 1.5 us; one more system call for TCP_NODELAY.
pub fn open(address: &Address) -> io::Result<OwnedFd> {
    let socket = match address {
        Address::Tcp(addr) => {
            let socket = Socket::new(Domain::for_address(*addr), Type::STREAM.nonblocking(), None)?;
            socket.set_tcp_nodelay(true)?;
            socket
        }
        Address::Unix(_) => Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?,
    };
    Ok(socket.into())
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

/// The address that a listener is bound to.
///
/// Errors: those of getsockname(2).
pub fn local_addr(listener: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let addr = SockRef::from(&listener).local_addr()?;
    addr.as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}
