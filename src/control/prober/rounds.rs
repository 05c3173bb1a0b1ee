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
use crate::bounds::{PROBE_REPORTS_MAX, PROBER_WAIT_MAX, PROBES_MAX};
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
        let wait = next.map_or(PROBER_WAIT_MAX, |at| (at - now).min(PROBER_WAIT_MAX));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::HealthState;
    use crossbeam_channel::unbounded;
    use std::time::Duration;

    fn turn(reports: Sender<ProbeReport>) -> Turn {
        let (_, targets) = crossbeam_channel::bounded(1);
        Turn {
            rounds: Rounds {
                targets,
                reports,
                bell: Bell::silent(),
                counters: Arc::default(),
            },
            schedule: Schedule::new(fastrand::Rng::with_seed(1)),
            running: FuturesUnordered::new(),
            handles: HashMap::new(),
            untold: HashMap::new(),
        }
    }

    fn report(id: u32, outcome: Outcome, changed: bool) -> ProbeReport {
        let state = if outcome.is_success() {
            HealthState::Up
        } else {
            HealthState::Down
        };
        ProbeReport {
            endpoint: EndpointId(id),
            outcome,
            state,
            changed,
            failures: 0,
            took: Duration::ZERO,
            ended: Instant::default(),
            is_first: false,
        }
    }

    #[test]
    fn without_room_news_is_kept_and_the_rest_dropped() {
        let (reports, told) = unbounded();
        let mut turn = turn(reports);
        let well = || report(1, Outcome::Success("well".into()), false);
        for _ in 0..PROBE_REPORTS_MAX {
            turn.report(well());
        }
        let dropped = |turn: &Turn| turn.rounds.counters.dropped_reports.value();
        assert_eq!(dropped(&turn), 0);
        turn.report(well());
        assert_eq!((dropped(&turn), told.len()), (1, PROBE_REPORTS_MAX));
        // A change is kept; what follows stands for it too, as long as there is no room.
        turn.report(report(1, Outcome::Failure("dead".into()), true));
        assert_eq!(dropped(&turn), 1);
        turn.report(report(1, Outcome::Failure("still".into()), false));
        assert_eq!((dropped(&turn), turn.untold.len()), (2, 1));
        while told.try_recv().is_ok() {}
        turn.report(report(1, Outcome::Failure("still dead".into()), false));
        let report = told.try_recv().expect("there is room");
        assert!(report.changed);
        assert_eq!(report.outcome.detail(), "still dead");
        assert!(turn.untold.is_empty() && told.is_empty());
    }

    #[test]
    fn the_bell_is_rung_for_news_alone() {
        let (reports, _told) = unbounded();
        let (ring, rung) = crossbeam_channel::bounded(8);
        let mut turn = turn(reports);
        let bell = Bell::new(move || ring.try_send(()).unwrap_or_default());
        turn.rounds.bell = bell.clone();
        let mut check = |report: ProbeReport, expected: bool| {
            bell.quiet();
            turn.report(report);
            assert_eq!(rung.try_recv().is_ok(), expected);
        };
        check(report(1, Outcome::Success("well".into()), false), false);
        check(report(1, Outcome::Success("well".into()), true), true);
        check(report(1, Outcome::Failure("dead".into()), false), true);
        check(report(1, Outcome::Late("late".into()), false), true);
        // One success of several that it takes.
        let mut recovering = report(1, Outcome::Success("well".into()), false);
        recovering.state = HealthState::Down;
        check(recovering, true);
    }
}
