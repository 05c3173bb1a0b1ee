//! Control as a simulated worker knows it: views, commands, and the wake-ups that go with them.
//!
//! For some seeds views are drawn at random, as no roster would make them; for the others a
//! [`Desk`] makes them of what happens.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringlane::balance::endpoint::Endpoint;
use ringlane::balance::{Candidates, Member, Policy};
use ringlane::id::{ClusterId, Epoch, ListenerId};
use ringlane::session::Settings;
use ringlane::time::Instant;
use ringlane::update::{Command, Post, Wake};
use ringlane::view::{ClusterView, ListenerView, View};

use super::coverage::Situation;
use super::desk::Desk;
use super::live::{Live, Published};
use super::network::{Event, Network};

/// The control side of one worker.
pub(crate) struct Control {
    /// `None` once control is gone.
    post: Option<Post>,
    pub(crate) mind: Mind,
    deeds: VecDeque<(Instant, Deed)>,
    /// From when on the worker may reset sessions that did nothing wrong.
    resets_from: Instant,
}

/// Where views come from.
pub(crate) enum Mind {
    Views(Views),
    Desk(Box<Desk>),
}

/// Something that happens at a time that was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A client connects to this listener.
    Connect(usize),
    /// A view with other weights and policies.
    Publish,
    /// An operator changes something.
    Change,
    /// An endpoint behaves otherwise.
    Fate,
    /// Control does nothing for so long.
    Stall(Duration),
    /// The worker does nothing for so long.
    Doze(Duration),
    /// Every endpoint is well, and nobody changes anything any more.
    Calm,
    /// Whether every endpoint is picked again by now.
    Look,
    Drain(Duration),
    Stop,
    /// Control goes away, which is an order to stop.
    Vanish,
}

impl Control {
    pub(crate) fn new(post: Post, mind: Mind, mut deeds: Vec<(Instant, Deed)>) -> Self {
        deeds.sort_by_key(|(at, _)| *at);
        Self {
            post: Some(post),
            mind,
            deeds: deeds.into(),
            resets_from: Instant::NEVER,
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

    /// Plans one deed more.
    pub(crate) fn plan(&mut self, after: Duration, deed: Deed, network: &mut Network) {
        let at = network.now + after;
        let place = self.deeds.partition_point(|(other, _)| *other <= at);
        self.deeds.insert(place, (at, deed));
        network.schedule(after, Event::Control);
    }

    /// Whether the worker was told to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.resets_from != Instant::NEVER
    }

    /// Whether the worker may reset any session by now.
    pub(crate) fn may_reset(&self, now: Instant) -> bool {
        now >= self.resets_from
    }

    pub(crate) fn desk(&mut self) -> Option<&mut Desk> {
        match &mut self.mind {
            Mind::Desk(desk) => Some(desk),
            Mind::Views(_) => None,
        }
    }

    /// The desk has its turn; `true` if the worker must be woken.
    pub(crate) fn turn_desk(&mut self, network: &mut Network, live: &mut Live) -> bool {
        match (&mut self.mind, &self.post) {
            (Mind::Desk(desk), Some(post)) => desk.turn(post, network, live),
            _ => false,
        }
    }

    /// Does it; `true` if the worker must be woken.
    pub(crate) fn perform(&mut self, deed: Deed, network: &mut Network, live: &mut Live) -> bool {
        let Some(post) = &self.post else { return false };
        let wake = match deed {
            Deed::Publish => match &mut self.mind {
                Mind::Views(views) => Ok(views.publish(post, network, live)),
                Mind::Desk(_) => return false,
            },
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
            _ => return false,
        };
        match wake {
            Ok(wake) => wake == Wake::Needed,
            Err(command) => panic!("the worker takes no commands: {command:?}"),
        }
    }
}

/// Views drawn at random.
pub(crate) struct Views {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) listeners: usize,
    pub(crate) settings: Settings,
    pub(crate) epoch: u64,
}

impl Views {
    fn publish(&mut self, post: &Post, network: &mut Network, live: &mut Live) -> Wake {
        let view = Arc::new(self.next_view(&mut network.rng));
        let published = Published {
            view: Arc::clone(&view),
            made: network.now,
            modes: Vec::new(),
        };
        live.publish(published, network);
        post.publish(view)
    }

    /// A view in which weights and policies are drawn anew; the first one has no weight of 0.
    fn next_view(&mut self, rng: &mut fastrand::Rng) -> View {
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
