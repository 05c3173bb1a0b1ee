//! Control's side of the workers: gives them views and commands, takes in what they report.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::bounds::STALL_TIME;
use crate::control::watch::{Found, Progress};
use crate::error::Errno;
use crate::id::{EndpointId, Epoch, WorkerIndex};
use crate::metrics::WorkerCounters;
use crate::sys::wake::Waker;
use crate::time::Instant;
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
    progress: Progress,
}

/// What control has to look at.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// An endpoint's shared words.
    Failing(EndpointId),
    /// A worker that has ended because its ring has failed.
    Failed(WorkerIndex, Errno),
}

impl Publisher {
    /// Makes control's side of the workers at the other ends, in the order of their indices.
    pub fn new(links: Vec<(Post, Waker)>, events: Receiver<Event>, now: Instant) -> Self {
        let workers = links
            .into_iter()
            .map(|(post, waker)| WorkerLink {
                post,
                waker,
                acknowledged: Epoch(0),
                stopped: false,
                progress: Progress::new(now),
            })
            .collect();
        Self {
            workers,
            events,
            published: Epoch(0),
        }
    }

    /// The number of the newest view.
    pub fn published(&self) -> Epoch {
        self.published
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
            worker.wake(worker.post.publish(Arc::clone(&view)));
        }
    }

    /// Gives every worker a command. Returns the workers that could not take it: too many wait.
    pub fn command(&self, command: impl Fn() -> Command) -> Vec<WorkerIndex> {
        let mut refused = Vec::new();
        for (index, worker) in self.numbered() {
            match worker.post.try_command(command()) {
                Ok(wake) => worker.wake(wake),
                Err(_) if worker.stopped => {}
                Err(_) => refused.push(index),
            }
        }
        refused
    }

    /// Takes in what workers have reported, until there is something to look at or nothing more.
    /// Views that come back are freed here.
    pub fn poll_report(&mut self) -> Option<Report> {
        while let Ok(event) = self.events.try_recv() {
            if let Some(report) = self.handle_event(event) {
                return Some(report);
            }
        }
        None
    }

    fn handle_event(&mut self, event: Event) -> Option<Report> {
        match event {
            Event::Failing { endpoint } => Some(Report::Failing(endpoint)),
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
            Event::Stopped { worker, failure } => {
                if let Some(link) = self.workers.get_mut(usize::from(worker.0)) {
                    link.stopped = true;
                }
                failure.map(|errno| Report::Failed(worker, errno))
            }
        }
    }

    /// Tells every worker to stop and waits until it has: for a start that has failed.
    pub fn stop(mut self) {
        self.command(|| Command::Stop);
        while !self.all_stopped() {
            match self.events.recv() {
                Ok(event) => self.handle_event(event),
                Err(_) => return,
            };
        }
    }

    /// Looks whether workers work, and nudges those that may only have nothing to do. Returns
    /// what is new.
    pub fn watch(
        &mut self,
        counters: &[Arc<WorkerCounters>],
        now: Instant,
    ) -> Vec<(WorkerIndex, Stall)> {
        let mut news = Vec::new();
        for ((index, worker), counters) in (0u16..).zip(&mut self.workers).zip(counters) {
            if worker.stopped {
                continue;
            }
            match worker
                .progress
                .look(counters.turns.value(), STALL_TIME, now)
            {
                Found::Moving => {}
                Found::Idle => worker.wake(worker.post.nudge()),
                Found::Stalled(time) => news.push((WorkerIndex(index), Stall::Begun(time))),
                Found::Recovered(time) => news.push((WorkerIndex(index), Stall::Over(time))),
            }
        }
        news
    }

    /// For each worker the view that it acts by, and how long it has been stalled if it is.
    pub fn states(&self, now: Instant) -> impl Iterator<Item = (Epoch, Option<Duration>)> {
        let workers = self.workers.iter();
        workers.map(move |worker| (worker.acknowledged, worker.progress.stalled_for(now)))
    }

    /// The workers that do not act by this view yet, or by a newer one.
    pub fn pending(&self, epoch: Epoch) -> Vec<WorkerIndex> {
        self.numbered()
            .filter(|(_, worker)| !worker.stopped && worker.acknowledged < epoch)
            .map(|(index, _)| index)
            .collect()
    }

    /// Whether every worker has ended.
    pub fn all_stopped(&self) -> bool {
        self.workers.iter().all(|worker| worker.stopped)
    }

    fn numbered(&self) -> impl Iterator<Item = (WorkerIndex, &WorkerLink)> {
        (0u16..).map(WorkerIndex).zip(&self.workers)
    }
}

/// What is new about a worker's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// It has not turned for so long.
    Begun(Duration),
    /// It turns again, after so long.
    Over(Duration),
}

impl WorkerLink {
    fn wake(&self, wake: Wake) {
        if wake == Wake::Needed {
            self.waker.wake();
        }
    }
}
