//! What a session's fate says about its endpoint.
//!
//! An endpoint has served a session once its first byte has come, or once it has answered the
//! client's FIN with its own. It has failed one if it could not be connected to, or if it reset or
//! finished the connection, or was silent for the idle timeout to a client that had spoken, before
//! its first byte and before the client finished. All else (a client that leaves, a limit of ours)
//! says nothing. Each attempt is judged once.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::balance::Tried;
use crate::balance::endpoint::TrialEnd;
use crate::bounds::{AVOID_TIME, AVOIDED_MAX};
use crate::error::{CloseReason, Party};
use crate::id::EndpointId;
use crate::metrics::ClusterTimes;
use crate::metrics::histogram::Histogram;
use crate::ring::driver::Driver;
use crate::session::{ReceiveEnd, Side};
use crate::time::Instant;
use crate::worker::Worker;

/// The endpoints that this worker has just seen fail too often. It avoids them until control has
/// had the time to eject them.
#[derive(Debug, Default)]
pub(super) struct Avoided {
    /// Oldest first.
    endpoints: Vec<(EndpointId, Instant)>,
}

impl Avoided {
    fn add(&mut self, endpoint: EndpointId, now: Instant) {
        self.endpoints
            .retain(|(known, until)| *known != endpoint && *until > now);
        if self.endpoints.len() == AVOIDED_MAX {
            self.endpoints.remove(0);
        }
        self.endpoints.push((endpoint, now + AVOID_TIME));
    }

    /// What a session has tried and what it had better not try; `None` if there is nothing of the
    /// second kind.
    pub(super) fn beside(&mut self, tried: &Tried, now: Instant) -> Option<Tried> {
        if self.endpoints.is_empty() {
            return None;
        }
        self.endpoints.retain(|(_, until)| *until > now);
        let mut all = *tried;
        for (endpoint, _) in self.endpoints.iter().rev() {
            all.add(*endpoint);
        }
        (!self.endpoints.is_empty()).then_some(all)
    }
}

impl<D: Driver> Worker<D> {
    /// Judges the present attempt, unless it has been judged.
    pub(super) fn conclude(&mut self, key: u32, end: TrialEnd) {
        let Some(session) = self.sessions.get_mut(key as usize) else {
            return;
        };
        let Some(endpoint) = session.endpoint.as_ref().filter(|_| !session.is_judged) else {
            return;
        };
        session.is_judged = true;
        let permit = session.trial.take();
        let mut must_look = permit.is_some_and(|permit| endpoint.end_trial(permit, end));
        match end {
            TrialEnd::Succeeded => endpoint.count_success(),
            TrialEnd::Unused => {}
            TrialEnd::Failed => {
                let failures = endpoint.count_failure();
                let Some((place, cluster)) = self.view.cluster_of(session.listener as usize) else {
                    return;
                };
                if cluster.failure_threshold.is_some_and(|max| failures >= max) {
                    must_look = true;
                    if let Some(state) = self.clusters.get_mut(place) {
                        state.avoided.add(endpoint.id, self.now);
                    }
                }
            }
        }
        if must_look && !self.inbox.ask_to_look(endpoint.id) {
            self.counters.events_dropped.add(1);
        }
    }

    /// Judges an attempt to connect that failed for this reason.
    pub(super) fn conclude_connect(&mut self, key: u32, reason: CloseReason) {
        self.conclude(key, end_of(reason));
    }

    /// Judges by how the endpoint's bytes ended, if none has come.
    pub(super) fn conclude_receive(&mut self, key: u32, end: ReceiveEnd) {
        let is_open = self.sessions[key as usize]
            .relay
            .is_source_open(Side::Client);
        self.conclude(
            key,
            match end {
                ReceiveEnd::Finished if !is_open => TrialEnd::Succeeded,
                ReceiveEnd::Finished | ReceiveEnd::Reset => TrialEnd::Failed,
            },
        );
    }

    /// Judges by why the session ends, if nothing else has.
    pub(super) fn conclude_session(&mut self, key: u32, reason: CloseReason) {
        let session = &self.sessions[key as usize];
        let was_asked = session.progress.bytes[Side::Client.index()] > 0;
        self.conclude(
            key,
            match reason {
                CloseReason::IdleTimeout if was_asked && session.relay.is_connected() => {
                    TrialEnd::Failed
                }
                reason => end_of(reason),
            },
        );
    }

    /// Counts a time since the session's start, in one of its cluster's histograms.
    pub(super) fn measure(&self, key: u32, histogram: fn(&ClusterTimes) -> &Histogram) {
        let session = &self.sessions[key as usize];
        let cluster = self.view.cluster_of(session.listener as usize);
        let counters = cluster.and_then(|(_, cluster)| cluster.counters.as_ref());
        if let Some(times) = counters.and_then(|counters| counters.times(self.index)) {
            let time: Duration = self.now - session.relay.started();
            histogram(times).record(time);
        }
    }
}

fn end_of(reason: CloseReason) -> TrialEnd {
    match reason.party() {
        Party::Endpoint => TrialEnd::Failed,
        Party::Both | Party::Client | Party::Ringlane => TrialEnd::Unused,
    }
}
