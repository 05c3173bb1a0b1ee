//! What clients of the admin interface ask for, and what they are told.
#![forbid(unsafe_code)]

use futures_channel::oneshot;

use crate::bounds::{ACKNOWLEDGE_WAIT, FIRST_ROUND_PATIENCE};
use crate::control::desk::{Desk, Stage};
use crate::control::request::{Answer, EndpointStatus, Refusal, Request, Wanted};
use crate::id::Epoch;
use crate::sys::clock;
use crate::time::Instant;

/// A client who waits until every worker acts by a change.
pub(super) struct Waiter {
    epoch: Epoch,
    pub(super) deadline: Instant,
    endpoint: Box<EndpointStatus>,
    reply: oneshot::Sender<Result<Answer, Refusal>>,
}

impl Desk {
    /// Answers a request, or sees to it that it is answered.
    pub(super) fn handle_request(&mut self, request: Request) {
        let Request { wanted, reply } = request;
        let now = clock::now();
        let answer = match wanted {
            Wanted::Clusters => Ok(Answer::Clusters(self.roster.clusters_status())),
            Wanted::Cluster(name) => {
                let status = self.roster.cluster_status(&name);
                status.map(|status| Answer::Cluster(Box::new(status)))
            }
            Wanted::Endpoints(cluster) => {
                let status = self.roster.endpoints_status(&cluster, now);
                status.map(Answer::Endpoints)
            }
            Wanted::Endpoint(cluster, key) => {
                let status = self.roster.endpoint_status(&cluster, &key, now);
                status.map(|status| Answer::Endpoint(Box::new(status)))
            }
            Wanted::Ready => Ok(self.readiness()),
            Wanted::Metrics => Ok(Answer::Metrics(self.metrics(now))),
            change @ (Wanted::Add(..) | Wanted::Change(..) | Wanted::Remove(..)) => {
                match self.change(change, now) {
                    Ok(endpoint) => return self.await_workers(endpoint, reply, now),
                    Err(refusal) => Err(refusal),
                }
            }
        };
        let _client_is_gone = reply.send(answer);
    }

    /// Makes a change. Returns the endpoint as it is then.
    fn change(&mut self, change: Wanted, now: Instant) -> Result<Box<EndpointStatus>, Refusal> {
        let gone = || Refusal::Unavailable {
            detail: "the endpoint is gone".to_string(),
        };
        let roster = &mut self.roster;
        let id = match change {
            Wanted::Add(cluster, plan) => roster.add(&cluster, &plan, now)?,
            Wanted::Change(cluster, key, change) => roster.change(&cluster, &key, change)?,
            Wanted::Remove(cluster, key, policy) => roster.remove(&cluster, &key, policy, now)?,
            _ => return Err(gone()),
        };
        self.settle(now);
        let status = self.roster.status_of(id, now);
        status.map(Box::new).ok_or_else(gone)
    }

    /// Has a client wait for the view that has its change in it.
    fn await_workers(
        &mut self,
        endpoint: Box<EndpointStatus>,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
        now: Instant,
    ) {
        let epoch = match self.roster.is_unpublished() {
            true => self.publisher.next_epoch(),
            false => self.publisher.published(),
        };
        self.waiters.push(Waiter {
            epoch,
            deadline: now + ACKNOWLEDGE_WAIT,
            endpoint,
            reply,
        });
    }

    /// Answers those whose change every worker has taken, and those who have waited for too long.
    pub(super) fn answer_waiters(&mut self, now: Instant) {
        let publisher = &self.publisher;
        let (over, waiting): (Vec<Waiter>, Vec<Waiter>) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| {
                let is_taken = waiter.epoch <= publisher.published()
                    && publisher.pending(waiter.epoch).is_empty();
                is_taken || now >= waiter.deadline
            });
        self.waiters = waiting;
        for waiter in over {
            let pending = self.publisher.pending(waiter.epoch);
            let _client_is_gone = waiter.reply.send(Ok(Answer::Changed {
                endpoint: waiter.endpoint,
                pending_workers: pending.into_iter().map(|worker| worker.0).collect(),
            }));
        }
    }

    fn readiness(&self) -> Answer {
        match self.stage {
            Stage::Starting | Stage::Introducing => {
                Answer::NotReady("workers do not accept yet".to_string())
            }
            Stage::Draining => Answer::NotReady("it is about to end".to_string()),
            Stage::Serving if !self.is_first_round_over() => {
                Answer::NotReady("endpoints have not been probed yet".to_string())
            }
            Stage::Serving => match self.stalled().or_else(|| self.roster.outage()) {
                Some(why) => Answer::NotReady(why),
                None => Answer::Ready,
            },
        }
    }

    /// Which worker has stalled, if one has: the kernel still gives it clients.
    fn stalled(&self) -> Option<String> {
        let mut states = self.publisher.states(clock::now());
        let worker = states.position(|(_, stalled)| stalled.is_some())?;
        Some(format!("the worker {worker} has stalled"))
    }

    /// Whether every endpoint has been probed, or had the time to be.
    fn is_first_round_over(&self) -> bool {
        self.roster.is_probed() || clock::now() - self.started >= FIRST_ROUND_PATIENCE
    }
}
