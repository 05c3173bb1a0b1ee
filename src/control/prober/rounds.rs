//! The prober's thread: starts what is due, takes in what has ended, and reports.
//!
//! One loop owns everything; probes are futures that it polls, so nothing is shared. It waits for
//! whichever is first: word from control, the end of a probe, the time of the next one.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::{FuturesUnordered, StreamExt, unfold};
use futures_util::{FutureExt, select_biased};
use monoio::time::{Sleep, sleep};

use super::connection::Connection;
use super::probe::Ended;
use super::schedule::{Due, Schedule, Serial};
use super::{Outcome, ProbeReport, ProberCounters, Target};
use crate::bounds::{PROBE_REPORTS_MAX, PROBE_TICK, PROBER_WAIT_MAX, PROBES_MAX};
use crate::id::EndpointId;
use crate::sys::clock;
use crate::time::Instant;
use crate::update::Bell;

/// What the thread is given.
pub(super) struct Rounds {
    /// The newest set of targets that was not taken yet.
    pub(super) targets: Receiver<Vec<Target>>,
    pub(super) reports: Sender<ProbeReport>,
    pub(super) bell: Bell,
    pub(super) counters: Arc<ProberCounters>,
}

/// A probe with what it is to be told by when it has ended.
struct Running {
    endpoint: EndpointId,
    serial: Serial,
    end: Ended,
}

type Probing = Pin<Box<dyn Future<Output = Result<Running, Aborted>>>>;

/// What the loop has going.
struct Turn {
    rounds: Rounds,
    schedule: Schedule,
    running: FuturesUnordered<Probing>,
    /// How each probe that is under way is told to end.
    handles: HashMap<Serial, AbortHandle>,
    /// News for which there was no room.
    untold: HashMap<EndpointId, ProbeReport>,
}

impl Rounds {
    /// Runs until the other end of `word` is closed. Every byte of it says that there is a new set.
    pub(super) async fn run(self, word: Connection) {
        let words = unfold(word, async |word| {
            let mut bytes = [0; 64];
            match word.receive(&mut bytes).await {
                Ok(0) | Err(_) => None,
                Ok(_) => Some(((), word)),
            }
        });
        let mut words = pin!(words.fuse());
        let mut pause = pin!(sleep(PROBER_WAIT_MAX));
        let mut turn = Turn {
            rounds: self,
            schedule: Schedule::new(fastrand::Rng::new()),
            running: FuturesUnordered::new(),
            handles: HashMap::new(),
            untold: HashMap::new(),
        };
        loop {
            let now = clock::now();
            turn.start_due(now);
            turn.set_pause(pause.as_mut(), now);
            select_biased! {
                word = words.next() => match word {
                    Some(()) => turn.take_targets(),
                    None => break,
                },
                ended = turn.running.select_next_some() => turn.handle_ended(ended),
                () = pause.as_mut().fuse() => {}
            }
        }
    }
}

impl Turn {
    /// Starts what is due, as far as there is room.
    fn start_due(&mut self, now: Instant) {
        while self.running.len() < PROBES_MAX
            && let Some(due) = self.schedule.take_due(now)
        {
            self.start(due, now);
        }
    }

    fn start(&mut self, due: Due, now: Instant) {
        let Due {
            endpoint,
            serial,
            at,
            probe,
        } = due;
        let counters = &self.rounds.counters;
        counters.probes.add(1);
        counters.lateness.record(now - at);
        let (handle, registration) = AbortHandle::new_pair();
        self.handles.insert(serial, handle);
        let probing = async move {
            Running {
                endpoint,
                serial,
                end: probe.run().await,
            }
        };
        self.running
            .push(Box::pin(Abortable::new(probing, registration)));
    }

    /// Sets the time of the next look.
    fn set_pause(&self, pause: Pin<&mut Sleep>, now: Instant) {
        let next = match self.schedule.next_due() {
            // What is due waits for room, and that for the end of a probe.
            Some(_) if self.running.len() >= PROBES_MAX => None,
            next => next,
        };
        let wait = next.map_or(PROBER_WAIT_MAX, |at| {
            (at - now).max(PROBE_TICK).min(PROBER_WAIT_MAX)
        });
        pause.reset(monoio::time::Instant::now() + wait);
    }

    fn take_targets(&mut self) {
        let Ok(targets) = self.rounds.targets.try_recv() else {
            return;
        };
        for gone in self.schedule.replace(targets, clock::now()) {
            if let Some(handle) = self.handles.remove(&gone) {
                handle.abort();
            }
        }
        let schedule = &self.schedule;
        self.untold
            .retain(|endpoint, _| schedule.contains(*endpoint));
        self.rounds.counters.targets.set(self.schedule.len() as u64);
    }

    fn handle_ended(&mut self, ended: Result<Running, Aborted>) {
        let Ok(Running {
            endpoint,
            serial,
            end,
        }) = ended
        else {
            return;
        };
        self.handles.remove(&serial);
        let counters = &self.rounds.counters;
        match end.outcome {
            Outcome::Success(_) => {}
            Outcome::Failure(_) => counters.failures.add(1),
            Outcome::Late(_) => counters.late.add(1),
        }
        let now = clock::now();
        if let Some(report) = self.schedule.handle_ended(endpoint, serial, end, now) {
            self.report(report);
        }
    }

    /// Tells control. Without room, what says nothing new is dropped, and news waits for the next
    /// report of its target, which then stands for both.
    fn report(&mut self, mut report: ProbeReport) {
        let counters = &self.rounds.counters;
        let mut is_news = report.is_news();
        if let Some(untold) = self.untold.remove(&report.endpoint) {
            report.changed |= untold.changed;
            report.is_first |= untold.is_first;
            is_news = true;
            counters.dropped_reports.add(1);
        }
        // This thread alone sends, so there never are more.
        if self.rounds.reports.len() < PROBE_REPORTS_MAX {
            let _control_is_gone = self.rounds.reports.send(report);
            if is_news {
                self.rounds.bell.ring();
            }
        } else if is_news {
            self.untold.insert(report.endpoint, report);
        } else {
            counters.dropped_reports.add(1);
        }
    }
}
