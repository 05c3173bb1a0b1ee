//! Publisher's side of the workers: gives them views and commands, takes in what they report.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::error::Errno;
use crate::id::{Epoch, WorkerIndex};
use crate::sys::wake::Waker;
use crate::update::{Command, Event, Post, Wake};
use crate::view::View;

/// Control's side of every worker.
#[derive(Debug)]
pub struct Publisher {
    workers: Vec<WorkerLink>,
    events: Receiver<Event>,
    published: Epoch,
}

/// What control knows of one worker and how it reaches it.
#[derive(Debug)]
struct WorkerLink {
    post: Post,
    waker: Waker,
    acknowledged: Epoch,
    stopped: bool,
}

impl Publisher {
    /// Makes the publisher for the workers at the other ends, in the order of their indices.
    pub fn new(links: Vec<(Post, Waker)>, events: Receiver<Event>) -> Self {
        let workers = links
            .into_iter()
            .map(|(post, waker)| WorkerLink {
                post,
                waker,
                acknowledged: Epoch(0),
                stopped: false,
            })
            .collect();
        Self {
            workers,
            events,
            published: Epoch(0),
        }
    }

    /// The channel that workers report by, for waiting on it beside other things. What comes out
    /// of it is to be given to [`handle_event`](Self::handle_event).
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The number that the next view has to have.
    pub fn next_epoch(&self) -> Epoch {
        Epoch(self.published.0 + 1)
    }

    /// Gives every worker a view.
    pub fn publish(&mut self, view: View) {
        self.published = view.epoch;
        let view = Arc::new(view);
        for worker in &self.workers {
            if worker.post.publish(Arc::clone(&view)) == Wake::Needed {
                worker.waker.wake();
            }
        }
    }

    /// Gives every worker a command. Returns the workers that could not take it: too many wait.
    pub fn command(&self, command: impl Fn() -> Command) -> Vec<WorkerIndex> {
        let mut refused = Vec::new();
        for (index, worker) in (0u16..).zip(&self.workers) {
            match worker.post.try_command(command()) {
                Ok(Wake::Needed) => worker.waker.wake(),
                Ok(Wake::Awake) => {}
                Err(_) if worker.stopped => {}
                Err(_) => refused.push(WorkerIndex(index)),
            }
        }
        refused
    }

    /// Takes in a report. Returns why a worker has failed, if that is what it says. A view that
    /// comes back is freed here.
    pub fn handle_event(&mut self, event: Event) -> Option<(WorkerIndex, Errno)> {
        match event {
            Event::Acknowledged {
                worker,
                epoch,
                retired: _,
            } => {
                if let Some(link) = self.workers.get_mut(usize::from(worker.0)) {
                    link.acknowledged = epoch;
                }
                None
            }
            Event::Failing { endpoint: _ } => None,
            Event::Stopped { worker, failure } => {
                if let Some(link) = self.workers.get_mut(usize::from(worker.0)) {
                    link.stopped = true;
                }
                failure.map(|errno| (worker, errno))
            }
        }
    }

    /// Waits until every worker acts by the newest view. Returns those that do not yet.
    pub fn await_acknowledged(&mut self, timeout: Duration) -> Vec<WorkerIndex> {
        let deadline = Instant::now() + timeout;
        loop {
            let pending = self.pending_workers();
            if pending.is_empty() {
                return pending;
            }
            match self.events.recv_deadline(deadline) {
                Ok(event) => {
                    self.handle_event(event);
                }
                Err(_) => return pending,
            }
        }
    }

    /// The workers that do not act by the newest view yet.
    pub fn pending_workers(&self) -> Vec<WorkerIndex> {
        (0u16..)
            .zip(&self.workers)
            .filter(|(_, worker)| !worker.stopped && worker.acknowledged < self.published)
            .map(|(index, _)| WorkerIndex(index))
            .collect()
    }

    /// Whether every worker has ended.
    pub fn all_stopped(&self) -> bool {
        self.workers.iter().all(|worker| worker.stopped)
    }
}
