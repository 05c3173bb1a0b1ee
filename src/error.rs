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

/// How far a session had come when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The client's PROXY protocol header was not complete.
    Header,
    /// No endpoint was connected yet.
    Connecting,
    /// Bytes were relayed.
    Relaying,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 3] = [Self::Header, Self::Connecting, Self::Relaying];
}

macro_rules! close_reasons {
    ($(
        $(#[$doc:meta])*
        $name:ident = $word:literal, $party:ident, $retryable:literal, $codes:expr;
    )*) => {
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

            /// The reason as two letters in HAProxy's manner, for those who read its logs: who or
            /// what ended it (`C` the client, `S` the endpoint, `P` a rule or limit, `R` a
            /// shortage, `K` its operator, `D` the endpoint being found down, `I` a fault, small letters a timeout on that side),
            /// and when (`R` before the header was complete, `C` while connecting, `D` while
            /// relaying, `L` with one side finished).
            ///
            /// Source: HAProxy's configuration manual, section 8.5.
            pub fn code(self, phase: Phase) -> &'static str {
                let codes: [&'static str; 3] = match self {
                    $(Self::$name => $codes,)*
                };
                codes[phase as usize]
            }
        }
    };
}

// A reason, its word, its party, if another endpoint may be tried, and its code in each phase.
close_reasons! {
    /// Both sides sent all they had and said so.
    Finished = "finished", Both, false, ["--"; 3];
    /// The client reset the connection, or vanished.
    ClientReset = "client_reset", Client, false, ["CR", "CC", "CD"];
    /// The endpoint reset the connection, or vanished.
    EndpointReset = "endpoint_reset", Endpoint, false, ["SC", "SC", "SD"];
    /// The cluster had no endpoint that may be picked.
    NoEndpoint = "no_endpoint", Ringlane, false, ["SC"; 3];
    /// Every endpoint that may be picked had as many sessions as it may have.
    EndpointsFull = "endpoints_full", Ringlane, false, ["PC"; 3];
    /// The endpoint refused the connection.
    ConnectRefused = "connect_refused", Endpoint, true, ["SC"; 3];
    /// The endpoint did not answer within the connect timeout.
    ConnectTimeout = "connect_timeout", Endpoint, true, ["sC"; 3];
    /// There is no route to the endpoint, or a router said that it is not there.
    ConnectUnreachable = "connect_unreachable", Endpoint, true, ["SC"; 3];
    /// Connecting failed in a way that has no reason of its own.
    ConnectFailed = "connect_failed", Endpoint, true, ["SC"; 3];
    /// This host has no local port left for connecting to the endpoint; another one may have.
    NoLocalPort = "no_local_port", Ringlane, true, ["RC"; 3];
    /// This host ran out of descriptors or memory for the endpoint's connection.
    LocalShortage = "local_shortage", Ringlane, false, ["RC"; 3];
    /// No byte went either way for the idle timeout.
    IdleTimeout = "idle_timeout", Ringlane, false, ["cR", "cC", "cD"];
    /// One side had finished and the other sent and took nothing for the half-close timeout.
    HalfCloseTimeout = "half_close_timeout", Ringlane, false, ["cR", "cC", "cL"];
    /// The session had lasted as long as it may.
    MaxAge = "max_age", Ringlane, false, ["PR", "PC", "PD"];
    /// The endpoint was taken out of its cluster.
    EndpointRemoved = "endpoint_removed", Ringlane, false, ["KR", "KC", "KD"];
    /// The endpoint's probes failed, and its sessions are not to outlive that.
    EndpointUnhealthy = "endpoint_unhealthy", Ringlane, false, ["DR", "DC", "DD"];
    /// The endpoint was disabled, and its sessions are not to outlive that.
    EndpointDisabled = "endpoint_disabled", Ringlane, false, ["KR", "KC", "KD"];
    /// The client's PROXY protocol header was missing or wrong.
    ProxyHeader = "proxy_header", Client, false, ["PR"; 3];
    /// The client's PROXY protocol header was not complete in time.
    ProxyHeaderTimeout = "proxy_header_timeout", Client, false, ["cR"; 3];
    /// The client may not send a PROXY protocol header.
    ProxyUntrusted = "proxy_untrusted", Client, false, ["PR"; 3];
    /// The process was told to stop and the session outlived the drain timeout.
    Drained = "drained", Ringlane, false, ["KR", "KC", "KD"];
    /// A broken invariant of Ringlane's own. Please report it.
    Internal = "internal", Ringlane, false, ["IR", "IC", "ID"];
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
    fn words_are_distinct() {
        let words: std::collections::HashSet<_> =
            CloseReason::ALL.iter().map(|one| one.word()).collect();
        assert_eq!(words.len(), CloseReason::ALL.len());
    }

    #[test]
    fn codes_are_those_of_the_manual() {
        let check = |reason: CloseReason, codes: [&str; 3]| {
            assert_eq!(
                Phase::ALL.map(|phase| reason.code(phase)),
                codes,
                "{reason}"
            );
        };
        check(CloseReason::Finished, ["--", "--", "--"]);
        check(CloseReason::ClientReset, ["CR", "CC", "CD"]);
        check(CloseReason::EndpointReset, ["SC", "SC", "SD"]);
        check(CloseReason::NoEndpoint, ["SC", "SC", "SC"]);
        check(CloseReason::EndpointsFull, ["PC", "PC", "PC"]);
        check(CloseReason::ConnectRefused, ["SC", "SC", "SC"]);
        check(CloseReason::ConnectTimeout, ["sC", "sC", "sC"]);
        check(CloseReason::NoLocalPort, ["RC", "RC", "RC"]);
        check(CloseReason::LocalShortage, ["RC", "RC", "RC"]);
        check(CloseReason::IdleTimeout, ["cR", "cC", "cD"]);
        check(CloseReason::HalfCloseTimeout, ["cR", "cC", "cL"]);
        check(CloseReason::MaxAge, ["PR", "PC", "PD"]);
        check(CloseReason::ProxyHeader, ["PR", "PR", "PR"]);
        check(CloseReason::ProxyHeaderTimeout, ["cR", "cR", "cR"]);
        check(CloseReason::ProxyUntrusted, ["PR", "PR", "PR"]);
        check(CloseReason::Drained, ["KR", "KC", "KD"]);
        check(CloseReason::EndpointRemoved, ["KR", "KC", "KD"]);
        check(CloseReason::EndpointUnhealthy, ["DR", "DC", "DD"]);
        check(CloseReason::EndpointDisabled, ["KR", "KC", "KD"]);
        check(CloseReason::Internal, ["IR", "IC", "ID"]);
    }

    #[test]
    fn codes_have_the_letters_of_the_manual() {
        for reason in CloseReason::ALL {
            for phase in Phase::ALL {
                let code = reason.code(phase);
                let is_known = code == "--"
                    || matches!(code.as_bytes(), [first, second]
                        if b"CSPRKDIcs".contains(first) && b"RCDL".contains(second));
                assert!(is_known, "{reason}: {code}");
                // What is of the client's header can only end a session that waits for it.
                let is_of_header = reason.word().starts_with("proxy_");
                assert!(!is_of_header || code.ends_with('R'), "{reason}: {code}");
                assert!(!is_of_header || reason.party() == Party::Client);
            }
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
