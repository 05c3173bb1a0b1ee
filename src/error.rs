//! Why things end: the kernel's error numbers and the closed list of reasons for which a session
//! is closed.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

/// An error number of the kernel (positive, as in errno(3)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// Takes the number out of an error of the standard library; errors that carry none are EIO.
    pub fn from_io(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// Whether the process or the machine ran out of descriptors or memory, which passes.
    pub fn is_shortage(self) -> bool {
        matches!(
            self.0,
            libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM
        )
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(formatter)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Errno({}: {self})", self.0)
    }
}

/// Who ended a session, or on whose side the cause lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// Both sides, in agreement.
    Both,
    /// The client.
    Client,
    /// The endpoint.
    Endpoint,
    /// Ringlane itself: a limit, a timeout, its operator, a fault.
    Ringlane,
}

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $party:ident, $retryable:literal;)*) => {
        /// Why a session was closed: a closed list that goes to counters and logs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum CloseReason {
            $($(#[$doc])* $name,)*
        }

        impl CloseReason {
            /// Every reason, in the order of its discriminant.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason as one word, for logs and metrics.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// On whose side the cause lies.
            pub fn party(self) -> Party {
                match self {
                    $(Self::$name => Party::$party,)*
                }
            }

            /// Whether another endpoint may be tried instead of closing. Only ever true of a
            /// failure before the first byte went to an endpoint.
            pub fn is_retryable(self) -> bool {
                match self {
                    $(Self::$name => $retryable,)*
                }
            }
        }
    };
}

close_reasons! {
    /// Both sides sent all they had and said so.
    Finished = "finished", Both, false;
    /// The client reset the connection, or vanished.
    ClientReset = "client_reset", Client, false;
    /// The endpoint reset the connection, or vanished.
    EndpointReset = "endpoint_reset", Endpoint, false;
    /// The cluster had no endpoint that may be picked.
    NoEndpoint = "no_endpoint", Ringlane, false;
    /// The endpoint refused the connection.
    ConnectRefused = "connect_refused", Endpoint, true;
    /// The endpoint did not answer within the connect timeout.
    ConnectTimeout = "connect_timeout", Endpoint, true;
    /// There is no route to the endpoint, or a router said that it is not there.
    ConnectUnreachable = "connect_unreachable", Endpoint, true;
    /// Connecting failed in a way that has no reason of its own.
    ConnectFailed = "connect_failed", Endpoint, true;
    /// This host has no local port left for connecting to the endpoint; another one may have.
    NoLocalPort = "no_local_port", Ringlane, true;
    /// This host ran out of descriptors or memory for the endpoint's connection.
    LocalShortage = "local_shortage", Ringlane, false;
    /// No byte went either way for the idle timeout.
    IdleTimeout = "idle_timeout", Ringlane, false;
    /// One side had finished and the other sent and took nothing for the half-close timeout.
    HalfCloseTimeout = "half_close_timeout", Ringlane, false;
    /// The process was told to stop and the session outlived the drain timeout.
    Drained = "drained", Ringlane, false;
    /// A broken invariant of Ringlane's own. Please report it.
    Internal = "internal", Ringlane, false;
}

impl CloseReason {
    /// The reason for which a connect attempt that failed with `errno` ended.
    pub fn of_connect(errno: Errno) -> Self {
        match errno.0 {
            // ENOENT: a Unix socket that is not there; EAGAIN: one whose backlog is full.
            libc::ECONNREFUSED | libc::ECONNRESET | libc::ENOENT | libc::EAGAIN => {
                Self::ConnectRefused
            }
            libc::ETIMEDOUT => Self::ConnectTimeout,
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN => {
                Self::ConnectUnreachable
            }
            libc::EADDRNOTAVAIL => Self::NoLocalPort,
            _ if errno.is_shortage() => Self::LocalShortage,
            _ => Self::ConnectFailed,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_in_the_order_of_their_discriminants() {
        for (position, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
        }
    }

    #[test]
    fn only_failures_to_connect_are_retryable() {
        for reason in CloseReason::ALL {
            let is_of_connect =
                reason.word().starts_with("connect_") || *reason == CloseReason::NoLocalPort;
            assert_eq!(reason.is_retryable(), is_of_connect, "{reason}");
        }
    }

    #[test]
    fn connect_errors_have_reasons() {
        let check = |errno, reason| assert_eq!(CloseReason::of_connect(Errno(errno)), reason);
        check(libc::ECONNREFUSED, CloseReason::ConnectRefused);
        check(libc::ENOENT, CloseReason::ConnectRefused);
        check(libc::ETIMEDOUT, CloseReason::ConnectTimeout);
        check(libc::EHOSTUNREACH, CloseReason::ConnectUnreachable);
        check(libc::EADDRNOTAVAIL, CloseReason::NoLocalPort);
        check(libc::EMFILE, CloseReason::LocalShortage);
        check(libc::EACCES, CloseReason::ConnectFailed);
    }
}
