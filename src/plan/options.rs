//! What listeners and clusters may set on their sockets.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::time::Duration;

/// Options of sockets, for those of a listener and those to endpoints alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Probes of a silent connection; none if `None`.
    pub keepalive: Option<Keepalive>,
    /// How long bytes may remain unacknowledged, or a reader take nothing, before the kernel ends
    /// the connection; the kernel's way (about 15 minutes, and for ever) if `None`.
    pub user_timeout: Option<Duration>,
    /// The network interface that connections have to use.
    pub interface: Option<String>,
    /// The firewall mark of packets.
    pub mark: Option<u32>,
    /// The differentiated services code point of packets, 0 to 63.
    pub dscp: Option<u8>,
    /// The congestion control by name; the kernel's default if `None`.
    pub congestion: Option<String>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            keepalive: Some(Keepalive::default()),
            user_timeout: Some(Duration::from_secs(600)),
            interface: None,
            mark: None,
            dscp: None,
            congestion: None,
        }
    }
}

/// When the kernel asks a silent connection whether it still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// After this time without a byte. Whole seconds.
    pub idle: Duration,
    /// Between two probes. Whole seconds.
    pub interval: Duration,
    /// How many unanswered probes end it, 1 to 127.
    pub probes: u8,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            probes: 6,
        }
    }
}

/// Options of a listener's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Those that endpoints' sockets have too; accepted connections inherit them.
    pub socket: SocketOptions,
    /// Connections that may wait to be accepted, for each worker; 4,096 if `None`. The kernel cuts
    /// it to `net.core.somaxconn`.
    pub backlog: Option<u32>,
    /// Whether an IPv6 address stands for IPv6 alone.
    pub ipv6_only: bool,
    /// Hand over a connection only once bytes have come, or after this time. Whole seconds.
    pub defer_accept: Option<Duration>,
    /// TCP Fast Open: how many such connections may wait at a time; off if `None`.
    pub fast_open: Option<u32>,
    /// The permissions of Unix sockets; by the process's mask if `None`.
    pub unix_mode: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            socket: SocketOptions::default(),
            backlog: None,
            ipv6_only: true,
            defer_accept: None,
            fast_open: None,
            unix_mode: None,
        }
    }
}

/// Options of the sockets that connect to a cluster's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Those that listeners have too.
    pub socket: SocketOptions,
    /// The local addresses to connect from, in turn; the kernel's choice if empty.
    pub source: Vec<IpAddr>,
    /// TCP Fast Open: the client's first bytes go with the SYN.
    pub fast_open: bool,
}
