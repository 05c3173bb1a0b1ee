//! Connecting sessions to endpoints.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;

use crate::access::Micros;
use crate::balance::Balancer;
use crate::balance::endpoint::{Address, Endpoint};
use crate::bounds::PICKS_MAX;
use crate::error::{CloseReason, Errno};
use crate::id::{ClusterId, Slot};
use crate::ring::driver::{Driver, Operation};
use crate::session::Side;
use crate::view::ClusterView;
use crate::worker::Worker;
use crate::worker::introduce::NoBuffer;
use crate::worker::sessions::Ending;
use crate::worker::table::{Armed, Connection};

/// What a worker keeps for a cluster.
#[derive(Debug)]
pub(super) struct ClusterState {
    pub(super) id: ClusterId,
    /// The state of its policy.
    pub(super) balancer: Balancer,
    /// How many connections were made: local addresses take turns.
    connects: usize,
}

impl ClusterState {
    pub(super) fn new(id: ClusterId, balancer: Balancer) -> Self {
        Self {
            id,
            balancer,
            connects: 0,
        }
    }

    /// The local address to connect to `address` from, if the cluster says which.
    fn next_source(&mut self, cluster: &ClusterView, address: &Address) -> Option<IpAddr> {
        let Address::Tcp(addr) = address else {
            return None;
        };
        let sources = &cluster.connect.source;
        let fitting = || {
            let of_family = |source: &&IpAddr| source.is_ipv4() == addr.is_ipv4();
            sources.iter().filter(of_family)
        };
        let count = fitting().count();
        if count == 0 {
            return None;
        }
        self.connects = self.connects.wrapping_add(1);
        fitting().nth(self.connects % count).copied()
    }
}

impl<D: Driver> Worker<D> {
    /// Picks an endpoint and connects to it, in place of an attempt that failed or takes too long.
    pub(super) fn connect(&mut self, key: u32) {
        self.count_timeout(key);
        self.abandon_attempt(key);
        match self.pick(key) {
            Ok((endpoint, source)) => {
                if self.sessions[key as usize].relay.tries() > 1 {
                    self.counters.retries.add(1);
                }
                self.connect_to(key, endpoint, source);
            }
            Err(reason) => self.sessions[key as usize].relay.handle_no_endpoint(reason),
        }
    }

    fn abandon_attempt(&mut self, key: u32) {
        let session = &mut self.sessions[key as usize];
        let abandoned = session.upstream.take();
        if let Some(endpoint) = session.endpoint.take() {
            endpoint.session_closed();
        }
        if let Some(slot) = abandoned {
            self.terminate(slot, Ending::Close);
        }
    }

    /// Chooses an endpoint, counts the session in there, and says where to connect from.
    ///
    /// Errors: why there is none.
    fn pick(&mut self, key: u32) -> Result<(Arc<Endpoint>, Option<IpAddr>), CloseReason> {
        let session = &self.sessions[key as usize];
        let found = self.view.cluster_of(session.listener as usize);
        let Some((place, cluster)) = found else {
            return Err(CloseReason::NoEndpoint);
        };
        let Some(state) = self.clusters.get_mut(place) else {
            return Err(CloseReason::NoEndpoint);
        };
        let (candidates, tried) = (&cluster.candidates, &session.tried);
        // Another worker may take the last place at an endpoint between a look and the count.
        for _ in 0..PICKS_MAX {
            let Some(endpoint) = state.balancer.pick(candidates, tried, &mut self.rng) else {
                break;
            };
            if endpoint.try_open_session() {
                let address = endpoint.address.as_ref();
                let source = address.and_then(|address| state.next_source(cluster, address));
                return Ok((Arc::clone(endpoint), source));
            }
        }
        Err(if candidates.is_any_full() {
            CloseReason::EndpointsFull
        } else {
            CloseReason::NoEndpoint
        })
    }

    fn connect_to(&mut self, key: u32, endpoint: Arc<Endpoint>, source: Option<IpAddr>) {
        let session = &mut self.sessions[key as usize];
        session.tried.add(endpoint.id);
        let cluster = self.view.cluster_of(session.listener as usize);
        let opened = match (&endpoint.address, cluster) {
            (Some(address), Some((_, cluster))) => {
                self.driver.open(address, &cluster.connect, source)
            }
            _ => Err(Errno(libc::EINVAL)),
        };
        let socket = match opened {
            Ok(socket) => socket,
            Err(errno) => {
                endpoint.session_closed();
                let reason = CloseReason::of_connect(errno);
                return session.relay.handle_connect_failed(self.now, reason);
            }
        };
        let mut armed = Armed::default();
        let _nothing_else_in_flight = armed.try_insert(Operation::Connect);
        let slot = self.connections.insert(Connection {
            socket,
            session: Some(key),
            side: Side::Endpoint,
            armed,
        });
        session.upstream = Some(slot);
        if let (Some(connection), Some(address)) =
            (self.connections.get_mut(slot), &endpoint.address)
        {
            self.driver.connect(&connection.socket, slot, address);
        }
        session.endpoint = Some(endpoint);
        self.keep_reserve();
    }

    pub(super) fn handle_connected(&mut self, slot: Slot, result: Result<(), Errno>) {
        let Some((key, _)) = self.owner(slot, Operation::Connect, false) else {
            return;
        };
        let session = &mut self.sessions[key as usize];
        let counters = session
            .endpoint
            .as_ref()
            .map(|endpoint| endpoint.counters(self.index));
        match result {
            Ok(()) => {
                if let Some(counters) = counters {
                    counters.sessions.add(1);
                }
                let started = session.relay.started();
                session.progress.connect = Some(Micros::between(started, self.now));
                match self.preface(key) {
                    Ok(preface) => {
                        let relay = &mut self.sessions[key as usize].relay;
                        relay.handle_connected(self.now, preface, self.driver.buffers());
                    }
                    Err(NoBuffer) => {
                        let relay = &mut self.sessions[key as usize].relay;
                        relay.abort(CloseReason::LocalShortage);
                    }
                }
            }
            Err(errno) => {
                if let Some(counters) = counters {
                    counters.connect_failures.add(1);
                }
                session
                    .relay
                    .handle_connect_failed(self.now, CloseReason::of_connect(errno));
            }
        }
        self.touch(key);
    }

    /// Sets what only matters to a session that lasts, once.
    pub(super) fn settle(&mut self, key: u32) {
        let session = &mut self.sessions[key as usize];
        if session.settled || !session.relay.is_connected() {
            return;
        }
        session.settled = true;
        let cluster = self.view.cluster_of(session.listener as usize);
        let upstream = session
            .upstream
            .and_then(|slot| self.connections.get_mut(slot));
        if let (Some((_, cluster)), Some(connection)) = (cluster, upstream) {
            self.driver
                .settle(&connection.socket, &cluster.connect.socket);
        }
    }

    /// An attempt that is given up while it is still under way has failed without a completion that
    /// says so.
    pub(super) fn count_timeout(&mut self, key: u32) {
        let Some(session) = self.sessions.get(key as usize) else {
            return;
        };
        let (Some(slot), Some(endpoint)) = (session.upstream, &session.endpoint) else {
            return;
        };
        let under_way = self
            .connections
            .get_mut(slot)
            .is_some_and(|connection| connection.armed.contains(Operation::Connect));
        if under_way {
            endpoint.counters(self.index).connect_failures.add(1);
        }
    }
}
