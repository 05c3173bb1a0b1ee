//! The admin interface: JSON over HTTP/1.1, on the control thread.
//!
//! It reads requests and writes answers; what is so and what changes is control's, which it asks by
//! messages. Everything that a client can make it hold is bounded: connections, bytes, and time. All
//! connections live inside [`serve`] and end with it.
//!
//! ```text
//! accept ──► connection (hyper, watched) ──► guard ──► route ──► body ──► Request ──► control
//!                                  ◄─────────────── reply ◄──────────────── Answer ◄──
//! ```
//!
//! Memory: up to 16 KiB a connection, and 64 KiB while a body is read; the answer's size while it is
//! written.
#![forbid(unsafe_code)]

mod body;
mod calls;
mod connection;
mod fault;
mod guard;
mod reply;
mod route;
#[cfg(test)]
mod tests;
mod watch;

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, select};
use monoio::net::tcp::stream_poll::TcpStreamPoll;
use monoio::net::unix::stream_poll::UnixStreamPoll;

use crate::bounds::{
    ADMIN_ACCEPT_RETRY, ADMIN_BODY_TIME, ADMIN_CONNECTIONS_MAX, ADMIN_CONTROL_TIME,
    ADMIN_HEAD_TIME, ADMIN_IDLE_TIME, ADMIN_LINGER_TIME, ADMIN_REFUSALS_MAX, ADMIN_REQUEST_TIME,
    ADMIN_REQUESTS_MAX,
};
use crate::control::admin::calls::Desk;
use crate::control::admin::guard::{Door, Guard};
use crate::control::request::RequestSender;
use crate::plan::admin::AdminPlan;
use crate::sys::descriptors::close_on_exec;

/// Where the interface accepts: bound and listening already.
pub enum AdminListener {
    /// At an address.
    Tcp(std::net::TcpListener),
    /// At a path.
    Unix(std::os::unix::net::UnixListener),
}

/// What the interface is told once.
pub struct Admin {
    guard: Guard,
    limits: Limits,
}

impl Admin {
    /// The interface of a plan. The token is the plan's, read from where it is; an empty one lets
    /// nobody in.
    pub fn new(plan: AdminPlan, token: Option<String>) -> Self {
        Self {
            guard: Guard::new(plan, token),
            limits: Limits::default(),
        }
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

/// How much and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Requests of a connection.
    pub requests: u32,
    /// For the head of a request.
    pub head: Duration,
    /// For its body.
    pub body: Duration,
    /// For control's answer.
    pub control: Duration,
    /// From the first byte of a request to the last of its answer.
    pub request: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the client to go, after the last answer.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: ADMIN_CONNECTIONS_MAX,
            requests: ADMIN_REQUESTS_MAX,
            head: ADMIN_HEAD_TIME,
            body: ADMIN_BODY_TIME,
            control: ADMIN_CONTROL_TIME,
            request: ADMIN_REQUEST_TIME,
            idle: ADMIN_IDLE_TIME,
            linger: ADMIN_LINGER_TIME,
        }
    }
}

/// Serves the interface until it is dropped, and all its connections with it.
///
/// It has to run in a monoio runtime with timers, on the thread of whoever answers the requests: the
/// runtime's wakers do not reach across threads. It returns only if that cannot take the listener,
/// which the log says.
pub async fn serve(listener: AdminListener, admin: Rc<Admin>, requests: RequestSender) {
    let listening = match Listening::over(listener) {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(%error, "the admin interface cannot accept connections");
            return;
        }
    };
    let connections_max = admin.limits.connections;
    let desk = Rc::new(Desk::new(admin, requests));
    let mut served = FuturesUnordered::new();
    let mut refused = FuturesUnordered::new();
    // One accept is always under way: to drop it could be to lose a connection.
    let mut next = pin!(listening.next().fuse());
    loop {
        select! {
            stream = next => {
                next.set(listening.next().fuse());
                let desk = Rc::clone(&desk);
                if served.len() < connections_max {
                    served.push(stream.serve(desk).boxed_local());
                } else if refused.len() < ADMIN_REFUSALS_MAX {
                    refused.push(stream.refuse(desk).boxed_local());
                }
            }
            () = served.select_next_some() => {}
            () = refused.select_next_some() => {}
        }
    }
}

/// A listener of the runtime.
enum Listening {
    Tcp(monoio::net::TcpListener),
    Unix(monoio::net::UnixListener),
}

impl Listening {
    /// The ring waits by itself, and would be told at once that there is nothing to wait for if the
    /// listener did not block.
    fn over(listener: AdminListener) -> io::Result<Self> {
        let polls = monoio::utils::is_legacy();
        Ok(match listener {
            AdminListener::Tcp(listener) => {
                listener.set_nonblocking(polls)?;
                Self::Tcp(monoio::net::TcpListener::from_std(listener)?)
            }
            AdminListener::Unix(listener) => {
                listener.set_nonblocking(polls)?;
                Self::Unix(monoio::net::UnixListener::from_std(listener)?)
            }
        })
    }

    /// Waits for the next connection, however long that takes.
    async fn next(&self) -> Stream {
        loop {
            match self.accept().await {
                Ok(stream) => return stream,
                // Mostly there are no descriptors left, and the client waits in the backlog.
                Err(error) => {
                    tracing::debug!(%error, "the admin interface could not accept a connection");
                    monoio::time::sleep(ADMIN_ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                close_on_exec(&stream)?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?.ip().to_canonical();
                let stream = stream.try_into_poll_io().map_err(|(error, _)| error)?;
                Ok(Stream::Tcp(stream, local))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                close_on_exec(&stream)?;
                let stream = stream.try_into_poll_io().map_err(|(error, _)| error)?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}

/// A connection, and the address of this host that it came to.
enum Stream {
    Tcp(TcpStreamPoll, IpAddr),
    Unix(UnixStreamPoll),
}

impl Stream {
    async fn serve(self, desk: Rc<Desk>) {
        match self {
            Self::Tcp(stream, local) => connection::serve(stream, Door::Tcp(local), desk).await,
            Self::Unix(stream) => connection::serve(stream, Door::Unix, desk).await,
        }
    }

    async fn refuse(self, desk: Rc<Desk>) {
        match self {
            Self::Tcp(stream, _) => connection::refuse(stream, &desk).await,
            Self::Unix(stream) => connection::refuse(stream, &desk).await,
        }
    }
}
