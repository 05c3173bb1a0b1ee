//! Connect, one request, one answer, close, the client first: what a connection costs.

use std::io;
use std::time::Instant;

use super::{Client, Event, Fault, Interest, Stage, TURN_MOST};

pub(super) fn run(stage: &mut Stage<'_>) -> io::Result<()> {
    let mut churn = Churn {
        visits: (0..VISITS).map(|_| None).collect(),
        next: 0,
    };
    stage.recorder.start();
    for index in 0..VISITS {
        churn.renew(stage, index)?;
    }
    let mut events = Vec::new();
    while stage.recorder.turn(churn.visits.iter().flatten().count()) {
        events.clear();
        stage.epoll.wait(&mut events, TURN_MOST)?;
        for event in &events {
            churn.on_event(stage, event)?;
        }
    }
    Ok(())
}

struct Churn {
    /// A visit that failed is not renewed, so faults stay few.
    visits: Vec<Option<Visit>>,
    /// The number of the next connection, which also chooses its source address.
    next: u32,
}

struct Visit {
    client: Client,
    asked: bool,
    since: Instant,
}

impl Churn {
    fn renew(&mut self, stage: &mut Stage<'_>, index: usize) -> io::Result<()> {
        self.visits[index] = None;
        if !stage.recorder.try_claim() {
            return Ok(());
        }
        self.next = self.next.wrapping_add(1);
        match Visit::begin(stage, self.next) {
            Ok(visit) => {
                // On loopback the connection mostly stands by now, and the request has gone out.
                let interest = if visit.asked {
                    Interest::Read
                } else {
                    Interest::Write
                };
                stage
                    .epoll
                    .add(visit.client.stream(), index as u64, interest)?;
                self.visits[index] = Some(visit);
            }
            Err(fault) => stage.recorder.fault(fault),
        }
        Ok(())
    }

    fn on_event(&mut self, stage: &mut Stage<'_>, event: &Event) -> io::Result<()> {
        let index = event.token as usize;
        let Some(visit) = &mut self.visits[index] else {
            return Ok(());
        };
        if !visit.asked {
            match visit.ask() {
                Ok(()) if visit.asked => {
                    stage
                        .epoll
                        .modify(visit.client.stream(), event.token, Interest::Read)?;
                }
                Ok(()) => {}
                Err(fault) => {
                    stage.recorder.fault(fault);
                    self.visits[index] = None;
                }
            }
            return Ok(());
        }
        match stage.receive(&mut visit.client, event) {
            Ok(0) => Ok(()),
            Ok(_) => self.renew(stage, index),
            Err(fault) => {
                stage.recorder.fault(fault);
                self.visits[index] = None;
                Ok(())
            }
        }
    }
}

impl Visit {
    fn begin(stage: &Stage<'_>, number: u32) -> Result<Self, Fault> {
        let since = Instant::now();
        let client = Client::connect(stage.target, number)?;
        let mut visit = Self {
            client,
            asked: false,
            since,
        };
        visit.ask()?;
        Ok(visit)
    }

    fn ask(&mut self) -> Result<(), Fault> {
        self.asked = self.client.try_ask(ANSWER_BYTES, self.since)?;
        Ok(())
    }
}

/// How many connections are there at a time.
const VISITS: usize = 64;
const ANSWER_BYTES: u32 = 64;
