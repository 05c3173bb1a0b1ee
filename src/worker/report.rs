//! What the access log is told of sessions.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::access::{AccessSender, Micros, Record};
use crate::error::{CloseReason, Phase};
use crate::ring::driver::Driver;
use crate::session::Side;
use crate::time::Instant;
use crate::worker::Worker;
use crate::worker::sessions::Session;

/// Where a worker reports sessions to, and how often while they go on.
#[derive(Clone, Debug)]
pub struct Access {
    /// The log.
    pub sender: AccessSender,
    /// The age at which a session that goes on is told of, and again each time that it has passed;
    /// never if `None`.
    pub interval: Option<Duration>,
}

/// What a session keeps for its record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// By side: the bytes that came from it.
    pub(super) bytes: [u64; 2],
    pub(super) connect: Option<Micros>,
    pub(super) first_byte: Option<Micros>,
}

impl Progress {
    /// Takes note of bytes from a side. Returns whether they are the first of the endpoint.
    pub(super) fn add(&mut self, side: Side, bytes: u64, started: Instant, now: Instant) -> bool {
        self.bytes[side.index()] += bytes;
        let is_first = side == Side::Endpoint && self.first_byte.is_none();
        if is_first {
            self.first_byte = Some(Micros::between(started, now));
        }
        is_first
    }
}

impl<D: Driver> Worker<D> {
    /// When a session that starts now is to be told of first.
    pub(super) fn first_report(&self) -> Instant {
        match &self.access {
            Some(Access {
                interval: Some(interval),
                ..
            }) => self.now + *interval,
            _ => Instant::NEVER,
        }
    }

    /// Tells of a session that goes on, if it is time.
    pub(super) fn report_progress(&mut self, key: u32) {
        let session = &mut self.sessions[key as usize];
        if self.now < session.report_at {
            return;
        }
        if let Some(access) = &self.access
            && let Some(interval) = access.interval
        {
            session.report_at = self.now + interval;
            let session = &self.sessions[key as usize];
            self.report(session, None);
        }
    }

    /// Tells of a session: that it has ended, and why, or that it goes on.
    pub(super) fn report(&self, session: &Session, reason: Option<CloseReason>) {
        let Some(access) = &self.access else { return };
        let listener = session.listener as usize;
        let (Some(view), Some((_, cluster))) = (
            self.view.listeners.get(listener),
            self.view.cluster_of(listener),
        ) else {
            return;
        };
        let phase = if session.progress.connect.is_some() {
            Phase::Relaying
        } else if session.relay.tries() > 0 {
            Phase::Connecting
        } else {
            Phase::Header
        };
        access.sender.send(Record {
            id: session.id,
            listener: view.clone(),
            cluster: cluster.clone(),
            client: session.client_addr,
            endpoint: session.endpoint.clone(),
            tries: session.relay.tries(),
            client_bytes: session.progress.bytes[Side::Client.index()],
            endpoint_bytes: session.progress.bytes[Side::Endpoint.index()],
            connect: session.progress.connect,
            first_byte: session.progress.first_byte,
            start: session.relay.started(),
            end: self.now,
            reason,
            phase,
        });
    }
}
