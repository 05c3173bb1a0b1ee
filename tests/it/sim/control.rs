//! Control as a simulated worker knows it: views, commands, and the wake-ups that go with them.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use ringlane::balance::endpoint::Endpoint;
use ringlane::balance::{Candidates, Member, Policy};
use ringlane::id::{ClusterId, Epoch, ListenerId};
use ringlane::session::Settings;
use ringlane::time::Instant;
use ringlane::update::{Command, Event, Post, Wake};
use ringlane::view::{ClusterView, ListenerView, View};

use super::coverage::Situation;
use super::network::Network;

/// The control side of one worker.
pub(crate) struct Control {
    /// `None` once control is gone.
    post: Option<Post>,
    events: Receiver<Event>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    listeners: usize,
    settings: Settings,
    epoch: u64,
    deeds: VecDeque<(Instant, Deed)>,
    /// From when on the worker may reset sessions that did nothing wrong.
    resets_from: Instant,
    pub(crate) acknowledged: u64,
}

/// Something that happens at a time that was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A client connects to this listener.
    Connect(usize),
    /// A view with other weights and policies.
    Publish,
    Drain(Duration),
    Stop,
    /// Control goes away, which is an order to stop.
    Vanish,
}

impl Control {
    pub(crate) fn new(
        (post, events): (Post, Receiver<Event>),
        endpoints: Vec<Arc<Endpoint>>,
        listeners: usize,
        settings: Settings,
        mut deeds: Vec<(Instant, Deed)>,
    ) -> Self {
        deeds.sort_by_key(|(at, _)| *at);
        Self {
            post: Some(post),
            events,
            endpoints,
            listeners,
            settings,
            epoch: 0,
            deeds: deeds.into(),
            resets_from: Instant::NEVER,
            acknowledged: 0,
        }
    }

    /// The times at which there is something to do.
    pub(crate) fn times(&self) -> Vec<Instant> {
        self.deeds.iter().map(|(at, _)| *at).collect()
    }

    pub(crate) fn next_deed(&mut self, now: Instant) -> Option<Deed> {
        if self.deeds.front()?.0 > now {
            return None;
        }
        self.deeds.pop_front().map(|(_, deed)| deed)
    }

    /// Whether the worker was told to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.resets_from != Instant::NEVER
    }

    /// Whether the worker may reset any session by now.
    pub(crate) fn may_reset(&self, now: Instant) -> bool {
        now >= self.resets_from
    }

    /// Does it; `true` if the worker must be woken.
    pub(crate) fn perform(&mut self, deed: Deed, network: &mut Network) -> bool {
        while let Ok(event) = self.events.try_recv() {
            if let Event::Acknowledged { epoch, .. } = event {
                assert!(
                    epoch.0 <= self.epoch,
                    "a view was acknowledged that was never published"
                );
                self.acknowledged = epoch.0;
            }
        }
        let Some(post) = &self.post else { return false };
        let wake = match deed {
            Deed::Connect(_) => return false,
            Deed::Publish => {
                let view = self.next_view(&mut network.rng);
                match &self.post {
                    Some(post) => Ok(post.publish(Arc::new(view))),
                    None => return false,
                }
            }
            Deed::Drain(time) => {
                let deadline = network.now + time;
                self.resets_from = self.resets_from.min(deadline);
                post.try_command(Command::Drain { deadline })
            }
            Deed::Stop => {
                network.coverage.meet(Situation::Stop);
                self.resets_from = network.now;
                post.try_command(Command::Stop)
            }
            Deed::Vanish => {
                self.resets_from = network.now;
                self.post = None;
                return true;
            }
        };
        match wake {
            Ok(wake) => wake == Wake::Needed,
            Err(command) => panic!("the worker takes no commands: {command:?}"),
        }
    }

    /// A view in which weights and policies are drawn anew; the first one has no weight of 0.
    pub(crate) fn next_view(&mut self, rng: &mut fastrand::Rng) -> View {
        self.epoch += 1;
        let least = u32::from(self.epoch == 1);
        let mut cluster = |id: u32| {
            let member = |endpoint: &Arc<Endpoint>| {
                let weight = if rng.u8(..8) == 0 {
                    least
                } else {
                    rng.u32(1..4)
                };
                Member::new(Arc::clone(endpoint), weight)
            };
            let members = self.endpoints.iter().map(member).collect();
            let policy = if rng.bool() {
                Policy::RoundRobin
            } else {
                Policy::LeastConn
            };
            let candidates = Candidates::new(members);
            let name = format!("cluster {id}");
            Arc::new(ClusterView::new(ClusterId(id), name, policy, candidates))
        };
        let clusters = vec![cluster(0), cluster(1)];
        let listener = |place: usize| {
            let id = ListenerId(place as u32);
            Arc::new(ListenerView::new(
                id,
                format!("listener {place}"),
                place % 2,
                self.settings,
            ))
        };
        let listeners = (0..self.listeners).map(listener).collect();
        View {
            epoch: Epoch(self.epoch),
            listeners,
            clusters,
            evictions: Vec::new(),
        }
    }
}
