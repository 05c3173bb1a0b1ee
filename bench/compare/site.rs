//! What surrounds one measurement: a network of its own, an endpoint and one relay, all new.
//!
//! A connection that has ended stays in TIME_WAIT for a minute, and a few seconds of churn leave more of them than
//! the kernel keeps by default; beyond that number closing becomes much cheaper. In one shared network the cost of
//! a connection would thus depend on what ran before it. So each measurement has its own loopback, with room for
//! all of them, and leaves nothing behind.

use std::io;
use std::sync::Once;

use super::endpoint::Endpoint;
use super::launch::{Kind, Place, Running};
use super::sys;

/// What every site has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The CPU of the relay.
    pub(crate) cpu: usize,
    /// The congestion control of every socket; the system's default if none.
    pub(crate) congestion: Option<&'a str>,
}

/// A relay in front of an endpoint. Dropping it ends both, the relay first.
pub(crate) struct Site {
    relay: Running,
    endpoint: Endpoint,
}

impl Site {
    /// Sets everything up, or says why the relay does not start.
    pub(crate) fn set_up(kind: Kind, ground: &Ground) -> io::Result<Result<Self, String>> {
        let Ground { cpu, congestion } = *ground;
        match sys::enter_private_network() {
            Ok(()) => congestion.map_or(Ok(()), sys::set_congestion)?,
            Err(error) if congestion.is_some() => return Err(error),
            Err(error) => warn_once(&error),
        }
        let endpoint = Endpoint::start()?;
        let place = Place {
            listen: sys::free_address()?,
            to: endpoint.address(),
            cpu,
        };
        Ok(Running::start(kind, &place).map(|relay| Self { relay, endpoint }))
    }

    /// The relay.
    pub(crate) fn relay(&self) -> &Running {
        &self.relay
    }

    /// Ends both; true if every request reached the endpoint undamaged.
    pub(crate) fn tear_down(self) -> bool {
        drop(self.relay);
        self.endpoint.stop()
    }
}

fn warn_once(error: &io::Error) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        println!("WARNING: no private network ({error}); connections in TIME_WAIT distort churn");
    });
}
