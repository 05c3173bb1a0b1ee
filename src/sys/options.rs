//! Options of sockets, as the plan has them.
//!
//! What is set on a listening socket is inherited by the connections that are accepted from it, so
//! they cost nothing there. On a socket that connects, each costs a system call (0.37 us): what
//! only matters to connections that last is set by [`settle`], later.
#![expect(unsafe_code, reason = "setsockopt(2) that socket2 does not have")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::balance::endpoint::Address;
use crate::plan::options::{ConnectOptions, ListenOptions, SocketOptions};

/// An option that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{option}{}: {}", quoted(value), explained(option, source))]
pub struct Refused {
    /// Its key in the configuration.
    pub option: &'static str,
    /// What it was to be, where that says more.
    pub value: Option<String>,
    /// What the kernel said.
    pub source: io::Error,
}

impl Refused {
    fn of(option: &'static str, value: impl ToString) -> impl FnOnce(io::Error) -> Self {
        let value = Some(value.to_string());
        move |source| Self {
            option,
            value,
            source,
        }
    }
}

fn quoted(value: &Option<String>) -> String {
    match value {
        Some(value) => format!(" `{value}`"),
        None => String::new(),
    }
}

/// What the kernel said, in terms of the option.
fn explained(option: &str, error: &io::Error) -> String {
    match (option, error.raw_os_error()) {
        ("congestion", Some(libc::ENOENT)) => "this kernel has none of that name".to_string(),
        ("interface", Some(libc::ENODEV)) => "this host has none of that name".to_string(),
        ("source", Some(libc::EADDRNOTAVAIL)) => "this host has no such address".to_string(),
        (_, Some(libc::EPERM | libc::EACCES)) => format!("{error}: a capability is missing"),
        _ => error.to_string(),
    }
}

/// Sets what a listening TCP socket has, before it is bound.
///
/// Errors: EPERM for a mark or an interface without the capability, ENODEV for an interface and
/// ENOENT for a congestion control that is not there.
pub(super) fn set_listening(
    socket: &Socket,
    options: &ListenOptions,
    addr: SocketAddr,
) -> Result<(), Refused> {
    let at = |option| {
        move |source| Refused {
            option,
            value: None,
            source,
        }
    };
    if addr.is_ipv6() {
        socket
            .set_only_v6(options.ipv6_only)
            .map_err(at("ipv6_only"))?;
    }
    socket.set_tcp_nodelay(true).map_err(at("nodelay"))?;
    set_packets(socket, &options.socket, addr)?;
    set_keepalive(socket, &options.socket)?;
    if let Some(time) = options.defer_accept {
        let seconds = time.as_secs() as libc::c_int;
        set_tcp(socket.as_fd(), libc::TCP_DEFER_ACCEPT, seconds).map_err(at("defer_accept"))?;
    }
    if let Some(queue) = options.fast_open {
        set_tcp(socket.as_fd(), libc::TCP_FASTOPEN, queue as libc::c_int)
            .map_err(at("fast_open"))?;
    }
    Ok(())
}

/// Makes a socket for connecting to `address`, from `source` if there is one.
///
/// Errors: EMFILE, ENFILE, ENOBUFS, ENOMEM; EADDRNOTAVAIL if this host does not have `source`; for
/// options see [`try_connecting`].
/// Cost: 1.5 us; 0.4 us for each option that is not the default.
pub fn open(
    address: &Address,
    options: &ConnectOptions,
    source: Option<IpAddr>,
) -> io::Result<OwnedFd> {
    prepare(blank(family(address))?, address, options, source)
}

/// Which sockets can connect to `address`.
pub fn family(address: &Address) -> Family {
    match address {
        Address::Tcp(addr) => Domain::for_address(*addr),
        Address::Unix(_) => Domain::UNIX,
    }
}

/// A kind of addresses.
pub type Family = Domain;

/// Makes a socket without any options.
///
/// Errors: EMFILE, ENFILE, ENOBUFS, ENOMEM.
pub fn blank(family: Family) -> io::Result<OwnedFd> {
    Ok(Socket::new(family, Type::STREAM.nonblocking(), None)?.into())
}

/// Makes a blank socket of the right family what [`open`] would have made.
///
/// Errors: those of [`open`], but for want of descriptors.
pub fn prepare(
    blank: OwnedFd,
    address: &Address,
    options: &ConnectOptions,
    source: Option<IpAddr>,
) -> io::Result<OwnedFd> {
    let Address::Tcp(addr) = address else {
        return Ok(blank);
    };
    let socket = Socket::from(blank);
    socket.set_tcp_nodelay(true)?;
    set_packets(&socket, &options.socket, *addr).map_err(|refused| refused.source)?;
    if options.fast_open {
        set_tcp(socket.as_fd(), TCP_FASTOPEN_CONNECT, 1)?;
    }
    if let Some(source) = source {
        // The port is chosen when connecting, by both ends: 28,000 per endpoint, not in all.
        set(
            socket.as_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            1,
        )?;
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    }
    Ok(socket.into())
}

/// Tells whether sockets that connect can have these options, for both families.
///
/// Errors: the first that the kernel refuses.
pub fn try_connecting(options: &ConnectOptions) -> Result<(), Refused> {
    let any: [SocketAddr; 2] = [([0, 0, 0, 0], 0).into(), ([0u16; 8], 0).into()];
    for addr in any {
        // A host without IPv6 has nothing to refuse there.
        let Ok(socket) = Socket::new(Domain::for_address(addr), Type::STREAM, None) else {
            continue;
        };
        set_packets(&socket, &options.socket, addr)?;
        set_keepalive(&socket, &options.socket)?;
    }
    for source in &options.source {
        let found = Socket::new(
            Domain::for_address(SocketAddr::new(*source, 0)),
            Type::STREAM,
            None,
        )
        .and_then(|socket| socket.bind(&SockAddr::from(SocketAddr::new(*source, 0))));
        found.map_err(Refused::of("source", source))?;
    }
    Ok(())
}

/// Sets what only matters to a connection that lasts.
///
/// Errors: the kernel's; what could be set is set.
/// Cost: 0.4 us for each option.
pub fn settle(socket: BorrowedFd<'_>, options: &SocketOptions) -> Result<(), Refused> {
    set_keepalive(&SockRef::from(&socket), options)
}

/// What packets carry and where they go.
fn set_packets(socket: &Socket, options: &SocketOptions, addr: SocketAddr) -> Result<(), Refused> {
    let at = |option| {
        move |source| Refused {
            option,
            value: None,
            source,
        }
    };
    if let Some(interface) = &options.interface {
        socket
            .bind_device(Some(interface.as_bytes()))
            .map_err(Refused::of("interface", interface))?;
    }
    if let Some(mark) = options.mark {
        socket.set_mark(mark).map_err(at("mark"))?;
    }
    if let Some(dscp) = options.dscp {
        // The upper six of eight bits.
        let class = u32::from(dscp) << 2;
        if addr.is_ipv6() {
            socket.set_tclass_v6(class).map_err(at("dscp"))?;
        }
        // IPv6 sockets, too: they may carry IPv4.
        socket.set_tos_v4(class).map_err(at("dscp"))?;
    }
    if let Some(name) = &options.congestion {
        socket
            .set_tcp_congestion(name.as_bytes())
            .map_err(Refused::of("congestion", name))?;
    }
    Ok(())
}

fn set_keepalive(socket: &Socket, options: &SocketOptions) -> Result<(), Refused> {
    let at = |option| {
        move |source| Refused {
            option,
            value: None,
            source,
        }
    };
    if let Some(keepalive) = options.keepalive {
        let times = TcpKeepalive::new()
            .with_time(keepalive.idle)
            .with_interval(keepalive.interval)
            .with_retries(u32::from(keepalive.probes));
        socket.set_tcp_keepalive(&times).map_err(at("keepalive"))?;
    }
    if let Some(time) = options.user_timeout {
        socket
            .set_tcp_user_timeout(Some(time))
            .map_err(at("user_timeout"))?;
    }
    Ok(())
}

fn set_tcp(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, option, value)
}

fn set(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads one int, whose size it is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Source: linux/tcp.h (4.11).
const TCP_FASTOPEN_CONNECT: libc::c_int = 30;
