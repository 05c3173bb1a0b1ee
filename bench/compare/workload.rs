//! The workloads by name, and the stage on which they play: an epoll instance, a target and a recorder.

mod bulk;
mod churn;
mod closed;
mod rate;
mod rt;

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::client::{Client, Fault};
use super::recorder::Recorder;
use super::sys::{Epoll, Event, Interest};
use super::wire::ANSWER_BYTES_MIN;

/// What is done to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Small requests and answers on connections that stay open, as fast as they go
    Rt,
    /// Connect, one request, one answer, close
    Churn,
    /// Answers of 1 MiB
    Bulk,
    /// Small requests at a fixed rate
    Rate,
}

impl Workload {
    /// Plays the workload to its end.
    pub(crate) fn run(self, stage: &mut Stage<'_>) -> io::Result<()> {
        match self {
            Self::Rt => rt::run(stage),
            Self::Churn => churn::run(stage),
            Self::Bulk => bulk::run(stage),
            Self::Rate => rate::run(stage),
        }
    }

    /// What it is, for the head of a table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Rt => "rt: 64 B request, 64 B answer, 100 connections kept open; unit: request",
            Self::Churn => "churn: connect, request, answer, close; 64 at a time; unit: connection",
            Self::Bulk => "bulk: 1 MiB answers on 16 connections; unit: MiB",
            Self::Rate => "rate: 20,000 requests/s over 100 connections; unit: request",
        }
    }

    /// How many units are traced; none if it cannot be slowed down.
    pub(crate) fn traced_units(self) -> Option<u64> {
        match self {
            Self::Rt => Some(20_000),
            Self::Churn => Some(5_000),
            Self::Bulk => Some(500),
            Self::Rate => None,
        }
    }
}

/// What a workload needs.
pub(crate) struct Stage<'a> {
    /// The relay's address.
    pub(crate) target: SocketAddrV4,
    /// Watches the clients, each by its index.
    pub(crate) epoll: Epoll,
    /// Says when to go on and takes down what happens.
    pub(crate) recorder: Recorder<'a>,
    scratch: Vec<u8>,
}

impl<'a> Stage<'a> {
    /// An empty stage.
    pub(crate) fn new(target: SocketAddrV4, recorder: Recorder<'a>) -> io::Result<Self> {
        Ok(Self {
            target,
            epoll: Epoll::new()?,
            recorder,
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Opens connections and exchanges one small message on each, so that both halves of each stand.
    pub(crate) fn open(&mut self, count: u32) -> io::Result<Clients> {
        let mut clients = Clients(Vec::new());
        for number in 0..count {
            let client = Client::connect(self.target, number);
            if let Ok(client) = &client {
                self.epoll
                    .add(client.stream(), u64::from(number), Interest::Both)?;
            }
            clients
                .0
                .push(client.map_err(|fault| self.recorder.fault(fault)).ok());
        }
        let mut asked = vec![false; count as usize];
        let mut events = Vec::new();
        let deadline = Instant::now() + OPEN_MOST;
        while Instant::now() < deadline {
            if asked.iter().all(|asked| *asked) && clients.outstanding() == 0 {
                return Ok(clients);
            }
            events.clear();
            self.epoll.wait(&mut events, TURN_MOST)?;
            for event in &events {
                let asked = &mut asked[event.token as usize];
                clients.with(self, event, |client, stage| {
                    if !*asked {
                        *asked = client.try_ask(ANSWER_BYTES_MIN, Instant::now())?;
                    }
                    stage.receive(client, event).map(drop)
                });
            }
        }
        self.recorder.fault(Fault::Lost);
        Ok(clients)
    }

    /// Lets a client read; says how many answers were completed.
    pub(crate) fn receive(&mut self, client: &mut Client, event: &Event) -> Result<usize, Fault> {
        let mut answers = 0;
        let recorder = &mut self.recorder;
        client.receive(&mut self.scratch, event.ended, |since| {
            recorder.answered(since);
            answers += 1;
        })?;
        Ok(answers)
    }
}

/// Connections by index; one that failed is gone for good.
pub(crate) struct Clients(Vec<Option<Client>>);

impl Clients {
    /// How many answers are outstanding.
    pub(crate) fn outstanding(&self) -> usize {
        self.0.iter().flatten().map(Client::outstanding).sum()
    }

    /// How many there were at first.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Does something with the client that an event belongs to; a fault is recorded and ends it.
    pub(crate) fn with<'a>(
        &mut self,
        stage: &mut Stage<'a>,
        event: &Event,
        act: impl FnOnce(&mut Client, &mut Stage<'a>) -> Result<(), Fault>,
    ) {
        self.with_index(stage, event.token as usize, act);
    }

    /// Does something with the client of that index.
    pub(crate) fn with_index<'a>(
        &mut self,
        stage: &mut Stage<'a>,
        index: usize,
        act: impl FnOnce(&mut Client, &mut Stage<'a>) -> Result<(), Fault>,
    ) {
        let Some(client) = &mut self.0[index] else {
            return;
        };
        if let Err(fault) = act(client, stage) {
            stage.recorder.fault(fault);
            self.0[index] = None;
        }
    }
}

/// The longest wait for events, after which the time is looked at.
const TURN_MOST: Duration = Duration::from_millis(5);
/// How long opening may take.
const OPEN_MOST: Duration = Duration::from_secs(5);
const SCRATCH_BYTES: usize = 128 * 1024;
