//! Connecting sessions to endpoints.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::sync::Arc;

use crate::access::Micros;
use crate::balance::endpoint::{Address, Endpoint, TrialEnd, TrialPermit};
use crate::balance::{Balancer, Candidates, Member, Role, Tried};
use crate::bounds::{PICKS_MAX, SETTLE_AGE, TRIAL_TIME};
use crate::error::{CloseReason, Errno};
use crate::id::{ClusterId, Slot};
use crate::ring::driver::{Driver, Operation};
use crate::session::Side;
use crate::time::Instant;
use crate::view::ClusterView;
use crate::worker::Worker;
use crate::worker::introduce::NoBuffer;
use crate::worker::outcome::Avoided;
use crate::worker::sessions::Ending;
use crate::worker::table::{Armed, Connection};

/// What a worker keeps for a cluster.
#[derive(Debug)]
pub(super) struct ClusterState {
    pub(super) id: ClusterId,
    /// The state of its policy.
    pub(super) balancer: Balancer,
    /// Endpoints that have just failed too often.
    pub(super) avoided: Avoided,
    /// How many connections were made: local addresses take turns.
    connects: usize,
}

/// An endpoint in which a session is counted, and how it gets there.
struct Picked {
    endpoint: Arc<Endpoint>,
    /// The local address to connect from.
    source: Option<IpAddr>,
    trial: Option<TrialPermit>,
}

impl ClusterState {
    pub(super) fn new(id: ClusterId, balancer: Balancer) -> Self {
        Self {
            id,
            balancer,
            avoided: Avoided::default(),
            connects: 0,
        }
    }

    /// Chooses an endpoint and counts a session in there: one that has not just failed too often,
    /// if there is one.
    fn pick<'a>(
        &mut self,
        candidates: &'a Candidates,
        tried: &Tried,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Option<&'a Member> {
        let avoided = self.avoided.beside(tried, now);
        let first = avoided.and_then(|tried| self.pick_beside(candidates, &tried, rng));
        first.or_else(|| self.pick_beside(candidates, tried, rng))
    }

    fn pick_beside<'a>(
        &mut self,
        candidates: &'a Candidates,
        tried: &Tried,
        rng: &mut fastrand::Rng,
    ) -> Option<&'a Member> {
        // Another worker may take the last place at an endpoint between a look and the count.
        for _ in 0..PICKS_MAX {
            let member = self.balancer.pick(candidates, tried, rng)?;
            if member.endpoint.try_open_session(member.max_connections) {
                return Some(member);
            }
        }
        None
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
            Ok(picked) => {
                if self.sessions[key as usize].relay.tries() > 1 {
                    self.counters.retries.add(1);
                }
                self.connect_to(key, picked);
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
    fn pick(&mut self, key: u32) -> Result<Picked, CloseReason> {
        let session = &self.sessions[key as usize];
        let found = self.view.cluster_of(session.listener as usize);
        let Some((place, cluster)) = found else {
            return Err(CloseReason::NoEndpoint);
        };
        let Some(state) = self.clusters.get_mut(place) else {
            return Err(CloseReason::NoEndpoint);
        };
        let (candidates, tried) = (&cluster.candidates, &session.tried);
        let (worker, now) = (self.index, self.now);
        let to_try = candidates.trials().find_map(|member| {
            if !member.has_room() || tried.contains(member.endpoint.id) {
                return None;
            }
            let permit = member
                .endpoint
                .try_take_trial(worker, now, now + TRIAL_TIME)?;
            if member.endpoint.try_open_session(member.max_connections) {
                return Some((member, Some(permit)));
            }
            member.endpoint.end_trial(permit, TrialEnd::Unused);
            None
        });
        let picked = to_try.or_else(|| {
            let member = state.pick(candidates, tried, now, &mut self.rng)?;
            let is_last = member.role == Role::LastResort;
            Some((member, is_last.then_some(TrialPermit::LAST_RESORT)))
        });
        match picked {
            Some((member, trial)) => Ok(Picked {
                source: state.next_source(cluster, &member.endpoint.address),
                endpoint: Arc::clone(&member.endpoint),
                trial,
            }),
            None if candidates.is_any_full() => Err(CloseReason::EndpointsFull),
            None => Err(CloseReason::NoEndpoint),
        }
    }

    fn connect_to(&mut self, key: u32, picked: Picked) {
        let endpoint = picked.endpoint;
        let session = &mut self.sessions[key as usize];
        session.tried.add(endpoint.id);
        session.trial = picked.trial;
        session.is_judged = false;
        let opened = match self.view.cluster_of(session.listener as usize) {
            Some((_, cluster)) => {
                let options = &cluster.connect;
                self.driver.open(&endpoint.address, options, picked.source)
            }
            None => Err(Errno(libc::EINVAL)),
        };
        let socket = match opened {
            Ok(socket) => socket,
            Err(errno) => {
                session.endpoint = Some(endpoint);
                let reason = CloseReason::of_connect(errno);
                session.relay.handle_connect_failed(self.now, reason);
                return self.conclude_connect(key, reason);
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
        if let Some(connection) = self.connections.get_mut(slot) {
            let address = &endpoint.address;
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
                self.measure(key, |times| &times.connect);
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
                let reason = CloseReason::of_connect(errno);
                session.relay.handle_connect_failed(self.now, reason);
                self.conclude_connect(key, reason);
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
        let settle_at = session.relay.started() + SETTLE_AGE;
        if self.now < settle_at {
            // The timer may be one that short sessions have too.
            return self.wheel.arm(key, settle_at);
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
        if under_way && !session.is_judged {
            endpoint.counters(self.index).connect_failures.add(1);
            self.conclude_connect(key, CloseReason::ConnectTimeout);
        }
    }
}
