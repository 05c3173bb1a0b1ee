//! Sessions: state machines without I/O.
//!
//! A session is told what happened (`handle_*`, with the time) and asked what to do about it
//! ([`poll_action`](relay::Relay::poll_action), until it has nothing more). It never sees a
//! socket, a clock or an environment, so the same code runs over the kernel and in a simulation.
//!
//! This file has the words of that conversation; [`relay`] is the session of a TCP listener.
#![forbid(unsafe_code)]

pub mod proxy_protocol;
pub mod relay;

use std::time::Duration;

use crate::buffers::Batch;
use crate::error::{CloseReason, Errno};

/// One of the two sides of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The connection that was accepted.
    Client,
    /// The connection that was made.
    Endpoint,
}

impl Side {
    /// Both sides.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Endpoint];

    /// The side across.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Endpoint,
            Self::Endpoint => Self::Client,
        }
    }

    /// 0 for the client, 1 for the endpoint.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What a session wants done: a closed list.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Pick an endpoint that was not tried yet and connect to it; drop the attempt before, if any.
    Connect,
    /// Deliver what this side sends, up to this many bytes, then stop. A driver may go over the
    /// credit by less than one buffer.
    Receive(Side, u32),
    /// Send all of this to this side, in order.
    Send(Side, Batch),
    /// Move what this side sends to the other without bringing it here, until that is not worth
    /// it any more.
    StartBulk(Side),
    /// Tell this side that no more bytes will come.
    Shutdown(Side),
    /// Say if this side is reset; nothing is received on it at present.
    Watch(Side),
    /// Say how many bytes the kernel has not yet brought to this side.
    MeasureUnsent(Side),
    /// Close both sides, which have nothing more to say. The session is over.
    Close(CloseReason),
    /// Reset both sides. The session is over.
    Abort(CloseReason),
}

/// Why bytes are no longer moved in bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkEnd {
    /// There is nothing to move them through at present.
    Refused,
    /// Too few come at a time.
    Lean,
    /// The source has ended, one way or the other: a receive will say how.
    Ended,
}

/// How a receive ended, if it brought no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The other side has sent all that it will send.
    Finished,
    /// The connection is broken.
    Reset,
}

/// What kind of socket a connection has: they differ in how a kernel tells the end of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    Tcp,
    /// A Unix stream socket.
    Unix,
}

impl ReceiveEnd {
    /// Tells a FIN from a reset in what a receive without bytes reported.
    ///
    /// The kernel hands a socket's error out once. If a send took it, the receive ends with 0 like
    /// after a FIN; but after a genuine FIN the socket counts as readable for ever, and a receive
    /// says so (`nonempty`), which it does not after a reset. A Unix socket never says so, and its
    /// 0 is an end.
    ///
    /// Source: io_uring(7) IORING_CQE_F_SOCK_NONEMPTY, and experiment.
    pub fn of(error: Option<Errno>, nonempty: bool, transport: Transport) -> Self {
        match (error, transport) {
            (None, Transport::Unix) => Self::Finished,
            (None, Transport::Tcp) if nonempty => Self::Finished,
            (None, Transport::Tcp) => Self::Reset,
            // Whatever the error: ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOTCONN after our own
            // reset. No byte will come any more.
            (Some(_), _) => Self::Reset,
        }
    }
}

/// What a session keeps of its listener's and cluster's configuration: in force when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the client's PROXY protocol header may take, if it sends one.
    pub header_timeout: Option<Duration>,
    /// How long one attempt to connect to an endpoint may take.
    pub connect_timeout: Duration,
    /// How many endpoints are tried, at least 1.
    pub tries: u8,
    /// No further endpoint is tried after this time, counted from the session's start.
    pub retry_within: Duration,
    /// How long a session may go without a byte either way.
    pub idle_timeout: Duration,
    /// The same once one side has finished.
    pub half_close_timeout: Duration,
    /// How long a session may last, if there is an end to it, and by how much less at random.
    pub max_age: Option<(Duration, Duration)>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_timeout: None,
            connect_timeout: Duration::from_secs(5),
            tries: 3,
            retry_within: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(3600),
            half_close_timeout: Duration::from_secs(60),
            max_age: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_reset_is_not_taken_for_a_fin() {
        let check = |error, nonempty, transport, expected| {
            assert_eq!(ReceiveEnd::of(error, nonempty, transport), expected);
        };
        let reset = Some(Errno(libc::ECONNRESET));
        check(None, true, Transport::Tcp, ReceiveEnd::Finished);
        check(None, false, Transport::Tcp, ReceiveEnd::Reset);
        check(reset, true, Transport::Tcp, ReceiveEnd::Reset);
        check(None, false, Transport::Unix, ReceiveEnd::Finished);
        check(reset, false, Transport::Unix, ReceiveEnd::Reset);
    }
}
