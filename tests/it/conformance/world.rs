//! The world as a script sees it: a worker, clients, endpoints, and time that goes by.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use ringlane::balance::endpoint::{Address, Endpoint};
use ringlane::balance::{Candidates, Member};
use ringlane::error::CloseReason;
use ringlane::id::{ClusterId, EndpointId, Epoch, ListenerId};
use ringlane::limits::Limit;
use ringlane::metrics::WorkerCounters;
use ringlane::update::{Command, Post, Wake};
use ringlane::view::{ClusterView, ListenerView, View};

use super::script::Setup;

/// A connection as the world numbers it: a client's, or an endpoint's side of one.
pub(crate) type Party = usize;

/// What a read finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(Vec<u8>),
    Nothing,
    Finished,
    Reset,
}

/// The connection does not take bytes any more.
#[derive(Debug)]
pub(crate) struct Broken;

/// An order to the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    Drain(Duration),
    Stop,
}

/// A worker with clients and endpoints around it.
pub(crate) trait World {
    /// A client connects to a listener; `None` if it is refused.
    fn connect(&mut self, listener: usize) -> Option<Party>;

    /// The next connection that was made to an endpoint, if there is one.
    fn meet(&mut self, endpoint: usize) -> Option<Party>;

    fn write(&mut self, party: Party, bytes: &[u8]) -> Result<usize, Broken>;

    fn read(&mut self, party: Party, most: usize) -> Read;

    /// How many bytes could be read at once.
    fn readable(&mut self, party: Party) -> usize;

    /// Sends a FIN.
    fn finish(&mut self, party: Party);

    /// Sends a RST; the party is gone.
    fn reset(&mut self, party: Party);

    /// Closes, whatever that makes of it.
    fn close(&mut self, party: Party);

    fn order(&mut self, order: Order);

    fn publish(&mut self, weights: &[u32]);

    /// Whether the worker has ended.
    fn has_ended(&mut self) -> bool;

    /// Lets a little time go by.
    fn pass(&mut self);

    /// The time since the beginning.
    fn time(&self) -> Duration;

    /// What control knows of the worker.
    fn desk(&self) -> &Desk;

    /// What is not as it must be once the worker has ended.
    fn faults(&mut self) -> Vec<String>;
}

/// Control's side of the worker, the same in every world.
pub(crate) struct Desk {
    pub(crate) post: Post,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) limit: Arc<Limit>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) setup: Setup,
    epoch: u64,
}

impl Desk {
    pub(crate) fn new(post: Post, setup: Setup, addresses: Vec<Address>) -> Self {
        let endpoint = |(id, address): (u32, Address)| {
            let name = format!("endpoint {id}");
            Arc::new(Endpoint::new(EndpointId(id), name, address, 1))
        };
        Self {
            post,
            counters: Arc::default(),
            limit: Arc::new(Limit::new(setup.sessions_max)),
            endpoints: (0u32..).zip(addresses).map(endpoint).collect(),
            setup,
            epoch: 0,
        }
    }

    /// Publishes a view: one cluster of all endpoints, or one for each listener.
    pub(crate) fn publish(&mut self, weights: &[u32]) -> Wake {
        self.epoch += 1;
        let members: Vec<Member> = self
            .endpoints
            .iter()
            .zip(weights)
            .map(|(endpoint, weight)| Member::new(Arc::clone(endpoint), *weight))
            .collect();
        let groups: Vec<Vec<Member>> = if self.setup.listeners == 1 {
            vec![members]
        } else {
            members.into_iter().map(|member| vec![member]).collect()
        };
        let cluster = |(id, members): (u32, Vec<Member>)| {
            let candidates = Candidates::new(members);
            let name = format!("cluster {id}");
            Arc::new(ClusterView::new(
                ClusterId(id),
                name,
                self.setup.policy,
                candidates,
            ))
        };
        let listener = |place: usize| {
            let id = ListenerId(place as u32);
            Arc::new(ListenerView::new(
                id,
                format!("listener {place}"),
                place,
                self.setup.settings,
            ))
        };
        self.post.publish(Arc::new(View {
            epoch: Epoch(self.epoch),
            listeners: (0..self.setup.listeners).map(listener).collect(),
            clusters: (0u32..).zip(groups).map(cluster).collect(),
            evictions: Vec::new(),
        }))
    }

    pub(crate) fn order(&self, order: Order, now: ringlane::time::Instant) -> Wake {
        let command = match order {
            Order::Drain(time) => Command::Drain {
                deadline: now + time,
            },
            Order::Stop => Command::Stop,
        };
        match self.post.try_command(command) {
            Ok(wake) => wake,
            Err(command) => panic!("the worker takes no command: {command:?}"),
        }
    }

    /// The sessions that ended, by reason, as far as there are any.
    pub(crate) fn closed(&self) -> Vec<(CloseReason, u64)> {
        CloseReason::ALL
            .iter()
            .map(|reason| (*reason, self.counters.closed(*reason).value()))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// What control finds wrong once the worker has ended.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must_be = |is_so: bool, what: &str| {
            if !is_so {
                faults.push(what.to_string());
            }
        };
        must_be(self.limit.count() == 0, "the limit counts sessions");
        let open = self
            .endpoints
            .iter()
            .any(|endpoint| endpoint.open_sessions() > 0);
        must_be(!open, "an endpoint counts sessions");
        let stale = self.counters.stale_completions.value();
        must_be(stale == 0, "a completion was stale");
        let accepted = self.counters.accepted.value();
        must_be(
            accepted == self.counters.closed_total(),
            "accepted and closed differ",
        );
        faults
    }
}
