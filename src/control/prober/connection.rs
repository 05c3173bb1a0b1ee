//! A probe's connection.
//!
//! Of the runtime it has readiness alone; the bytes go by plain calls that do not wait. So one way
//! works with io_uring and with epoll, sockets have every option that sessions' have, and nothing
//! but a poll is ever in flight when a probe is given up.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;

use monoio::net::UnixStream;

use crate::balance::endpoint::Address;
use crate::plan::options::ConnectOptions;
use crate::sys::{options, socket};

/// A connection that is reset when it is dropped, so that neither side keeps anything of it
/// (TIME_WAIT).
#[derive(Debug)]
pub(super) struct Connection {
    /// Of whatever family: to the runtime a descriptor is a descriptor.
    stream: UnixStream,
}

impl Connection {
    /// Connects to `address`, from `source` if there is one. To be called on the runtime.
    ///
    /// Errors: those of making a socket, of its options and of connect(2).
    pub(super) async fn open(
        address: &Address,
        options: &ConnectOptions,
        source: Option<IpAddr>,
    ) -> io::Result<Self> {
        let socket = if options.fast_open {
            // Its connect would be over before anything was sent, and prove nothing.
            let options = ConnectOptions {
                fast_open: false,
                ..options.clone()
            };
            options::open(address, &options, source)?
        } else {
            options::open(address, options, source)?
        };
        let is_connected = match address {
            Address::Tcp(addr) => socket::begin_connect(socket.as_fd(), *addr)?,
            Address::Unix(path) => {
                socket::connect_unix(socket.as_fd(), path)?;
                true
            }
        };
        let connection = Self::of(StdStream::from(socket))?;
        if !is_connected {
            connection.stream.writable(false).await?;
            socket::take_error(socket::descriptor(&connection.stream))?;
        }
        Ok(connection)
    }

    /// Takes a stream that is connected and does not block.
    ///
    /// Errors: the runtime cannot watch it: ENOSPC, ENOMEM.
    pub(super) fn of(stream: StdStream) -> io::Result<Self> {
        Ok(Self {
            stream: UnixStream::from_std(stream)?,
        })
    }

    /// The address that it connects from. Errors: it is a Unix socket.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        socket::local_addr(socket::descriptor(&self.stream))
    }

    /// Sends all bytes.
    ///
    /// Errors: EPIPE, ECONNRESET and others of send(2).
    pub(super) async fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match socket::send_some(socket::descriptor(&self.stream), rest) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stream.writable(false).await?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for bytes and receives them. Returns how many there are, 0 at the end.
    ///
    /// Errors: ECONNRESET and others of recv(2).
    pub(super) async fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match socket::receive_some(socket::descriptor(&self.stream), into) {
                Ok(received) => return Ok(received),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stream.readable(false).await?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Not left to the close, which the runtime may put off.
        socket::reset(socket::descriptor(&self.stream));
    }
}
