//! Scripts: what happens step by step, and what must be seen of it.
//!
//! A script is data. Each step does something, or waits for something that must come; what bytes a
//! party receives is compared with what the other side sent, in every step. Nobody reads except in
//! a step of its own, so a script decides who is slow; whatever was to be sent goes on being sent
//! while a step waits.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

use ringlane::balance::Policy;
use ringlane::error::CloseReason;
use ringlane::session::Settings;

use super::world::{Order, Party, Read, World};
use crate::sim::pattern::{self, PIECE_MAX};

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) setup: Setup,
    pub(crate) steps: &'static [Step],
    /// How the sessions must have ended, in the order of the reasons.
    pub(crate) closed: &'static [(CloseReason, u64)],
}

/// What a worker is configured with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) endpoints: &'static [Kind],
    pub(crate) weights: &'static [u32],
    /// With more than one, each listener has an endpoint of its own.
    pub(crate) listeners: usize,
    pub(crate) policy: Policy,
    pub(crate) settings: Settings,
    pub(crate) sessions_max: usize,
    /// How many pipes the kernel gives for bulk. Without one, bulk goes through memory over the
    /// kernel and is refused in the simulation.
    pub(crate) pipes: usize,
}

/// What an endpoint is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
    /// Nobody listens.
    Refusing,
    /// A Unix socket that is not there.
    Missing,
    /// Connects are not answered.
    Silent,
}

/// Somebody in a script; the number is that of the stream that they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who(u8);

pub(crate) const C1: Who = Who(1);
pub(crate) const C2: Who = Who(2);
pub(crate) const C3: Who = Who(3);
pub(crate) const E1: Who = Who(11);
pub(crate) const E2: Who = Who(12);
pub(crate) const E3: Who = Who(13);

/// A step of a script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A client connects to the first listener.
    Connect(Who),
    /// A client connects to this listener.
    ConnectTo(Who, usize),
    /// A client tries to connect and is refused.
    Refused,
    /// Waits for a connection to this endpoint.
    Meet(Who, usize),
    /// So many further bytes are to be sent, from now on.
    Send(Who, u64),
    /// These bytes go at once, outside of the stream that the other side is to get.
    Say(Who, &'static [u8]),
    /// The same, with so many bytes of the stream behind them in one piece.
    SayBefore(Who, &'static [u8], usize),
    /// The same, byte by byte: each when the worker has the one before.
    Spell(Who, &'static [u8]),
    /// Waits until the worker has so many bytes of clients.
    Heard(u64),
    /// What was not written by now never will be: how much that is depends on the world.
    Hold(Who),
    /// The first sends so many bytes and the second reads them, so many times.
    Chat(Who, Who, u64, u32),
    /// Waits until so many directions have gone over to bulk, since the last chat if there was one.
    Bulks(u64),
    /// Waits until all that was to be sent is written.
    Sent(Who),
    /// Waits until nothing more is taken for a while, though there is more to send.
    Stuck(Who),
    /// Waits for so many further bytes, and reads them.
    Get(Who, u64),
    /// Reads so many bytes at a time, so many times, and rests in between.
    Dawdle(Who, u64, u32),
    /// Waits until so many bytes can be read, and leaves them.
    Pending(Who, usize),
    /// There is nothing to read at this moment.
    Silence(Who),
    /// Nobody has connected to this endpoint.
    Unmet(usize),
    /// Reads to a FIN, which must come after all that the other side was to send.
    Fin(Who),
    /// Reads to a reset, which may come after any part of what the other side was to send.
    Rst(Who),
    /// Reads exactly so many further bytes, then a reset.
    RstAfter(Who, u64),
    /// Reads to the end, whichever it is.
    Over(Who),
    /// Writes until that fails.
    Broken(Who),
    Finish(Who),
    Reset(Who),
    Close(Who),
    Weights(&'static [u32]),
    Drain(u64),
    Stop,
    /// Waits until so many clients were accepted.
    Accepted(u64),
    /// Waits until so many sessions have ended.
    Closed(u64),
    /// Waits until the worker has ended by itself.
    Ended,
}

/// A row being played in a world.
struct Play<'a, W> {
    world: &'a mut W,
    people: BTreeMap<Who, Person>,
    /// What was seen, to be compared between worlds.
    seen: Vec<String>,
    /// How often a direction had gone over to bulk by the last chat.
    bulks_before: u64,
}

#[derive(Debug, Default)]
struct Person {
    party: Party,
    to_send: u64,
    sent: u64,
    received: u64,
    /// Whose stream it receives.
    from: Option<Who>,
    finish_wanted: bool,
    /// How much it sends depends on the world.
    held: bool,
}

/// Nothing that a script waits for takes longer, in the world's own time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A flow that has stood still for so long has come to rest.
const REST: Duration = Duration::from_millis(60);

/// How long a slow reader rests between two reads.
const DAWDLE: Duration = Duration::from_millis(100);

/// Plays a row; returns what was seen.
///
/// Panics: if something that must come does not come, or something else comes.
pub(crate) fn play<W: World>(row: &Row, world: &mut W) -> Vec<String> {
    let mut play = Play {
        world,
        people: BTreeMap::new(),
        seen: Vec::new(),
        bulks_before: 0,
    };
    for (number, step) in row.steps.iter().enumerate() {
        let result = play.step(*step);
        if let Err(problem) = result {
            play.fail(row, &format!("step {number}, {step:?}: {problem}"));
        }
    }
    let expected: u64 = row.closed.iter().map(|(_, count)| count).sum();
    let all_closed = play.wait(|world, _| world.desk().counters.closed_total() >= expected);
    if let Err(problem) = all_closed {
        play.fail(row, &format!("the sessions' end: {problem}"));
    }
    if !play.world.has_ended() {
        play.world.order(Order::Stop);
    }
    if let Err(problem) = play.wait(|world, _| world.has_ended()) {
        play.fail(row, &format!("the worker's end: {problem}"));
    }
    let closed = play.world.desk().closed();
    if closed != row.closed {
        play.fail(row, &format!("closed {closed:?}, not {:?}", row.closed));
    }
    let mut faults = play.world.desk().faults();
    faults.extend(play.world.faults());
    if !faults.is_empty() {
        play.fail(row, &format!("{faults:?}"));
    }
    play.seen
}

impl<W: World> Play<'_, W> {
    fn fail(&self, row: &Row, problem: &str) -> ! {
        panic!(
            "row {:?}: {problem}\nseen: {:?}\n{:?}\nclosed: {:?}",
            row.name,
            self.seen,
            self.people,
            self.world.desk().closed()
        );
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Connect(who) => self.connect(who, 0)?,
            Step::ConnectTo(who, listener) => self.connect(who, listener)?,
            Step::Refused => {
                if self.world.connect(0).is_some() {
                    return Err("it was accepted".into());
                }
            }
            Step::Send(who, bytes) => {
                self.person(who).to_send += bytes;
                self.pump();
            }
            Step::Finish(who) => {
                self.person(who).finish_wanted = true;
                self.pump();
            }
            Step::Reset(who) => {
                let party = self.leave(who);
                self.world.reset(party);
            }
            Step::Close(who) => {
                let party = self.leave(who);
                self.world.close(party);
            }
            Step::Say(who, bytes) => self.say(who, bytes, 0)?,
            Step::SayBefore(who, bytes, count) => self.say(who, bytes, count)?,
            Step::Hold(who) => {
                let person = self.person(who);
                person.to_send = person.sent;
                person.held = true;
            }
            Step::Unmet(endpoint) => {
                if self.world.meet(endpoint).is_some() {
                    return Err("somebody has".into());
                }
            }
            Step::Weights(weights) => self.world.publish(weights),
            Step::Drain(ms) => self.world.order(Order::Drain(Duration::from_millis(ms))),
            Step::Stop => self.world.order(Order::Stop),
            waiting => return self.await_step(waiting),
        }
        Ok(())
    }

    /// The steps in which something must come.
    fn await_step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Meet(who, endpoint) => {
                let mut met = None;
                self.wait(|world, _| {
                    met = met.or_else(|| world.meet(endpoint));
                    met.is_some()
                })?;
                self.add(who, met.unwrap_or_default());
                Ok(())
            }
            Step::Sent(who) => self.wait(|_, people| people[&who].is_sent()),
            Step::Stuck(who) => self.come_to_rest(who),
            Step::Get(who, bytes) => {
                let until = self.person(who).received + bytes;
                self.read_until(who, Some(until), None)
            }
            Step::Dawdle(who, bytes, times) => {
                for _ in 0..times {
                    let until = self.person(who).received + bytes;
                    self.read_until(who, Some(until), None)?;
                    let rested = self.world.time() + DAWDLE;
                    self.wait(|world, _| world.time() >= rested)?;
                }
                Ok(())
            }
            Step::Spell(who, bytes) => {
                for byte in bytes.chunks(1) {
                    let heard = self.world.desk().counters.client_bytes.value();
                    self.say(who, byte, 0)?;
                    self.wait(|world, _| world.desk().counters.client_bytes.value() > heard)?;
                }
                Ok(())
            }
            Step::Heard(bytes) => {
                self.wait(|world, _| world.desk().counters.client_bytes.value() >= bytes)
            }
            Step::Chat(one, other, bytes, times) => self.chat(one, other, bytes, times),
            Step::Bulks(count) => {
                let enough = self.bulks_before + count;
                self.wait(|world, _| world.desk().counters.bulks.value() >= enough)
            }
            Step::Pending(who, bytes) => {
                let party = self.person(who).party;
                self.wait(|world, _| world.readable(party) >= bytes)
            }
            Step::Silence(who) => {
                let party = self.person(who).party;
                match self.world.read(party, 1) {
                    Read::Nothing => Ok(()),
                    read => Err(format!("there is {read:?}")),
                }
            }
            Step::Fin(who) => self.read_until(who, None, Some(Read::Finished)),
            Step::Rst(who) => self.read_until(who, None, Some(Read::Reset)),
            Step::RstAfter(who, bytes) => {
                let until = self.person(who).received + bytes;
                self.read_until(who, None, Some(Read::Reset))?;
                match self.person(who).received {
                    received if received == until => Ok(()),
                    received => Err(format!("{received} bytes came, not {until}")),
                }
            }
            Step::Over(who) => self.read_until(who, None, None),
            Step::Broken(who) => {
                let party = self.person(who).party;
                self.wait(|world, _| world.write(party, &[0]).is_err())
            }
            Step::Closed(count) => {
                self.wait(|world, _| world.desk().counters.closed_total() >= count)
            }
            Step::Accepted(count) => {
                self.wait(|world, _| world.desk().counters.accepted.value() >= count)
            }
            Step::Ended => self.wait(|world, _| world.has_ended()),
            other => Err(format!("{other:?} waits for nothing")),
        }
    }

    fn connect(&mut self, who: Who, listener: usize) -> Result<(), String> {
        let Some(party) = self.world.connect(listener) else {
            return Err("it was refused".into());
        };
        self.add(who, party);
        Ok(())
    }

    /// Writes bytes that are not of the stream, and so many of it behind them.
    fn say(&mut self, who: Who, bytes: &[u8], count: usize) -> Result<(), String> {
        let person = self.person(who);
        let (party, start) = (person.party, person.sent);
        let piece = [bytes, &pattern::bytes(who.0, start, count)].concat();
        person.sent += count as u64;
        person.to_send += count as u64;
        match self.world.write(party, &piece) {
            Ok(written) if written == piece.len() => Ok(()),
            result => Err(format!("{result:?} of {} bytes went", piece.len())),
        }
    }

    fn chat(&mut self, one: Who, other: Who, bytes: u64, times: u32) -> Result<(), String> {
        for _ in 0..times {
            self.person(one).to_send += bytes;
            let until = self.person(other).received + bytes;
            self.read_until(other, Some(until), None)?;
        }
        self.bulks_before = self.world.desk().counters.bulks.value();
        Ok(())
    }

    fn add(&mut self, who: Who, party: Party) {
        let person = Person {
            party,
            ..Person::default()
        };
        self.people.insert(who, person);
    }

    fn person(&mut self, who: Who) -> &mut Person {
        match self.people.get_mut(&who) {
            Some(person) => person,
            None => panic!("the script has no {who:?} yet"),
        }
    }

    /// What was not written by now never will be.
    fn leave(&mut self, who: Who) -> Party {
        let person = self.person(who);
        person.to_send = person.sent;
        person.finish_wanted = false;
        person.party
    }

    /// Writes what is to be written, as far as it goes.
    fn pump(&mut self) {
        for (who, person) in &mut self.people {
            while person.sent < person.to_send {
                let most = (person.to_send - person.sent).min(PIECE_MAX as u64) as usize;
                let bytes = pattern::bytes(who.0, person.sent, most);
                match self.world.write(person.party, &bytes) {
                    Ok(0) => break,
                    Ok(count) => person.sent += count as u64,
                    Err(_) => person.to_send = person.sent,
                }
            }
            if person.finish_wanted && person.is_sent() {
                person.finish_wanted = false;
                self.world.finish(person.party);
            }
        }
    }

    fn wait(
        &mut self,
        mut is_so: impl FnMut(&mut W, &BTreeMap<Who, Person>) -> bool,
    ) -> Result<(), String> {
        let deadline = self.world.time() + PATIENCE;
        loop {
            self.pump();
            if is_so(self.world, &self.people) {
                return Ok(());
            }
            if self.world.time() > deadline {
                return Err("waited in vain".into());
            }
            self.world.pass();
        }
    }

    fn come_to_rest(&mut self, who: Who) -> Result<(), String> {
        let (mut last, mut since) = (0, self.world.time());
        self.wait(|world, people| {
            let sent = people[&who].sent;
            if sent != last {
                (last, since) = (sent, world.time());
            }
            world.time() - since >= REST
        })?;
        match self.person(who).is_sent() {
            true => Err("all was sent".into()),
            false => Ok(()),
        }
    }

    /// Reads up to a number of bytes, or to an end (any, if none is named).
    fn read_until(
        &mut self,
        who: Who,
        until: Option<u64>,
        end: Option<Read>,
    ) -> Result<(), String> {
        let deadline = self.world.time() + PATIENCE;
        loop {
            self.pump();
            let left = until.map_or(u64::MAX, |until| until - self.person(who).received);
            if left == 0 {
                let received = self.person(who).received;
                self.seen.push(format!("{who:?} has {received}"));
                return Ok(());
            }
            let party = self.person(who).party;
            match self.world.read(party, left.min(64 * 1024) as usize) {
                Read::Bytes(bytes) => self.check(who, &bytes)?,
                Read::Nothing if self.world.time() > deadline => {
                    return Err("waited in vain".into());
                }
                Read::Nothing => self.world.pass(),
                read if until.is_some() => return Err(format!("there is {read:?}")),
                read if end.as_ref().is_some_and(|end| *end != read) => {
                    return Err(format!("there is {read:?}"));
                }
                Read::Finished if end.is_some() => return self.check_whole(who),
                _ => {
                    self.seen.push(format!("{who:?} sees the end: {end:?}"));
                    return Ok(());
                }
            }
        }
    }

    fn check(&mut self, who: Who, bytes: &[u8]) -> Result<(), String> {
        let (start, known) = (self.person(who).received, self.person(who).from);
        let from = known.unwrap_or(Who(bytes[0]));
        if !self.people.contains_key(&from) || from == who {
            return Err(format!("bytes of nobody: {from:?}"));
        }
        if let Some(place) = pattern::mismatch(from.0, start, bytes) {
            return Err(format!("a wrong byte at {place} of {from:?}"));
        }
        let sent = self.person(from).sent;
        let person = self.person(who);
        person.from = Some(from);
        person.received += bytes.len() as u64;
        if person.received > sent {
            return Err(format!("more bytes than the {sent} that were sent"));
        }
        Ok(())
    }

    /// A FIN has come: nothing may be missing.
    fn check_whole(&mut self, who: Who) -> Result<(), String> {
        let (received, from) = (self.person(who).received, self.person(who).from);
        if let Some(from) = from
            && self.person(from).to_send != received
        {
            return Err(format!(
                "a FIN after {received} bytes of {:?}",
                self.person(from)
            ));
        }
        let is_held = from.is_some_and(|from| self.person(from).held);
        self.seen.push(if is_held {
            format!("{who:?} has a FIN after all")
        } else {
            format!("{who:?} has a FIN after {received}")
        });
        Ok(())
    }
}

impl Person {
    fn is_sent(&self) -> bool {
        self.sent == self.to_send
    }
}
