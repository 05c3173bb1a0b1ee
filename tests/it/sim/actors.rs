//! Everybody outside the worker, and what they must and must not see.
//!
//! The rules, for each party: bytes come exactly as the other side sent them; a FIN comes after the
//! last of them, and only if the other side finished; a reset comes only with a cause, and not
//! before the bytes that the worker had received; whatever is due comes within [`PATIENCE`].
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::time::Duration;

use ringlane::bounds::{BUFFER_BYTES, FLUSH_TIME, WINDOW_BYTES};
use ringlane::session::{ReceiveEnd, Side, Transport};
use ringlane::time::Instant;

use super::control::{Control, Deed};
use super::coverage::Situation;
use super::kernel::SimDriver;
use super::live::Live;
use super::network::{Answer, At, Event, Manner, Network};
use super::opening::Opening;
use super::party::{Ending, Habits, Party, Seen, Volume};
use super::pattern;
use super::plans;

/// Parties act at random, control at its times; in a script nobody does.
#[derive(Default)]
pub(crate) struct Actors {
    pub(crate) parties: Vec<Party>,
    pub(crate) control: Option<Control>,
    pub(crate) volume: Volume,
    /// Whether clients have to send a PROXY protocol header.
    pub(crate) headers: bool,
    /// The least age at which the worker ends a session.
    pub(crate) age_min: Option<Duration>,
    /// Until when the worker is to do nothing.
    pub(crate) doze_until: Option<Instant>,
    /// Since when all is well, and the first client that has come since.
    pub(crate) calm: Option<(Instant, usize)>,
}

/// How long something that is due may take to come, in virtual time: longer than all tries to
/// connect, shorter than any idle timeout.
const PATIENCE: Duration = Duration::from_secs(25);

/// A client that is not served yet may have to wait for others to time out.
const QUEUE_PATIENCE: Duration = Duration::from_secs(400);

/// After so long at most an endpoint that is well is picked again.
const RECOVERY_TIME: Duration = Duration::from_secs(400);

/// So many clients come soon after each other to see that, and so many are there at a time.
const CALM_CLIENTS_SOON: usize = 15;
const CALM_CLIENTS_AT_ONCE: usize = 3;

/// No timeout of a session ends it before it was without a byte for so long.
const TIMEOUT_MIN: Duration = Duration::from_secs(25);

impl Actors {
    /// A client connects.
    pub(crate) fn add_client(&mut self, network: &mut Network, listener: usize) {
        let rooms: &[usize] = match self.volume {
            Volume::Any | Volume::Little => &[4_000, 12_000, 200_000],
            Volume::Bulk => &[200_000],
        };
        let room = network.rng.choice(rooms).copied().unwrap_or(4_000);
        let link = network.connect(listener, room);
        self.add_party(network, Side::Client, link);
    }

    /// Endpoints take the connections that were made to them.
    pub(crate) fn adopt(&mut self, network: &mut Network) {
        if self.control.is_none() {
            return;
        }
        for remote in 0..network.remotes.len() {
            while let Some(link) = network.remotes[remote].accepted.pop_front() {
                self.add_party(network, Side::Endpoint, link);
            }
        }
    }

    fn add_party(&mut self, network: &mut Network, role: Side, link: usize) {
        let number = self.parties.len();
        let habits = self.habits(network, role, link);
        let Ok(stream) = u8::try_from(number) else {
            panic!("more than 256 parties")
        };
        let mut party = Party::new(role, link, stream, habits, network.now);
        if self.headers && role == Side::Client {
            party.opening = Opening::random(&mut network.rng);
            while self.calm.is_some() && !party.opening.is_right() {
                party.opening = Opening::random(&mut network.rng);
            }
        }
        if habits.pauses && network.rng.bool() {
            party.reads_from = network.now + Duration::from_millis(network.rng.u64(..2_500));
        }
        if matches!(habits.ending, Ending::ResetAt(_)) && network.rng.u8(..4) > 0 {
            // It resets without having read: what is on its way to it is stuck by then.
            party.reads_from = network.now + PATIENCE;
        }
        self.parties.push(party);
        let pace = habits.pace(&mut network.rng);
        network.schedule(pace, Event::Act(number));
    }

    /// What somebody is like who comes now.
    fn habits(&self, network: &mut Network, role: Side, link: usize) -> Habits {
        let mut habits = Habits::random(&mut network.rng, role, self.volume, network.now);
        let remote = network.links[link].remote;
        match remote.map(|remote| network.remotes[remote].manner) {
            None if self.calm.is_some() => Habits::polite(&mut network.rng),
            Some(Manner::Polite) => Habits::polite(&mut network.rng),
            Some(Manner::Reset) => {
                habits.ending = Ending::ResetAfter(0);
                habits
            }
            Some(Manner::Mute) => {
                habits.ending = Ending::SulkAfter(0);
                habits
            }
            None | Some(Manner::Serve) => habits,
        }
    }

    /// Whether the worker may reset any session by now.
    pub(crate) fn may_reset(&self, now: Instant) -> bool {
        self.control
            .as_ref()
            .is_some_and(|control| control.may_reset(now))
    }

    pub(crate) fn are_done(&self) -> bool {
        self.parties.iter().all(|party| party.closed)
    }

    /// What was planned for this time happens; `true` if the worker must be woken.
    pub(crate) fn control(&mut self, network: &mut Network, live: &mut Live) -> bool {
        let Some(control) = &mut self.control else {
            return false;
        };
        let Some(deed) = control.next_deed(network.now) else {
            return false;
        };
        match deed {
            Deed::Connect(listener) => self.add_client(network, listener),
            Deed::Doze(time) => self.doze_until = Some(network.now + time),
            Deed::Fate if self.calm.is_none() => {
                // One, or all at once.
                let one = network.rng.usize(..network.remotes.len());
                let (answer, manner) = plans::fate(&mut network.rng);
                let is_common = network.rng.u8(..3) == 0;
                for (place, remote) in network.remotes.iter_mut().enumerate() {
                    if is_common || place == one {
                        (remote.answer, remote.manner) = (answer, manner);
                    }
                }
            }
            Deed::Change => {
                if let Some(desk) = control.desk() {
                    desk.change(network);
                }
            }
            Deed::Stall(time) => {
                if let Some(desk) = control.desk() {
                    desk.stall(time, network);
                }
            }
            Deed::Calm => self.calm_down(network),
            Deed::Look => self.look_at_recovery(network, live),
            deed => return control.perform(deed, network, live),
        }
        false
    }

    /// The desk has its turn; `true` if the worker must be woken.
    pub(crate) fn turn_desk(&mut self, network: &mut Network, live: &mut Live) -> bool {
        let control = self.control.as_mut();
        control.is_some_and(|control| control.turn_desk(network, live))
    }

    /// It is time to probe.
    pub(crate) fn probe(&mut self, network: &mut Network) {
        if let Some(desk) = self.control.as_mut().and_then(Control::desk) {
            desk.probe(network);
        }
    }

    /// From now on every endpoint is well.
    fn calm_down(&mut self, network: &mut Network) {
        self.calm = Some((network.now, self.parties.len()));
        for remote in &mut network.remotes {
            (remote.answer, remote.manner) = (Answer::Accept, Manner::Polite);
        }
        if let Some(control) = &mut self.control {
            if let Some(desk) = control.desk() {
                desk.calm_down(network);
            }
            control.plan(Duration::from_millis(500), Deed::Look, network);
        }
    }

    /// Once all is well each endpoint that its operator lets is picked again, if clients come; then
    /// there is nothing more to see.
    fn look_at_recovery(&mut self, network: &mut Network, live: &mut Live) {
        let Some((since, first)) = self.calm else {
            return;
        };
        let Some(control) = &mut self.control else {
            return;
        };
        let Some((listener, what)) = control.desk().and_then(|desk| desk.trouble(network, live))
        else {
            network.coverage.meet(Situation::AllRecovered);
            let time = Duration::from_millis(network.rng.u64(..3_000));
            return control.plan(time, Deed::Drain(time), network);
        };
        if network.now.saturating_since(since) > RECOVERY_TIME {
            return live.accuse(format!("it is well, and not picked again: {what}"));
        }
        let clients = self.parties[first..].iter();
        let clients = clients.filter(|party| party.role == Side::Client);
        let open = clients.clone().filter(|party| !party.closed).count();
        let pause = match clients.count() {
            ..CALM_CLIENTS_SOON => Duration::from_secs(1),
            _ => Duration::from_secs(10),
        };
        control.plan(pause, Deed::Look, network);
        if open < CALM_CLIENTS_AT_ONCE {
            self.add_client(network, listener);
        }
    }

    /// A party acts.
    pub(crate) fn act(&mut self, number: usize, network: &mut Network) {
        if self.parties[number].closed {
            return;
        }
        if self.parties[number].sulking {
            let [near, far] = &network.links[self.parties[number].link].ends;
            if far.is_cut_off() || near.closed {
                self.parties[number].closed = true;
                network.close(self.parties[number].link, At::Far);
            }
        } else {
            if network.now >= self.parties[number].reads_from {
                self.read(number, network);
            }
            let party = &mut self.parties[number];
            if !party.closed && party.speak(network) && party.seen == Seen::Fin {
                self.see_reset(number, network);
            }
        }
        let party = &mut self.parties[number];
        if !party.closed {
            let pace = party.habits.pace(&mut network.rng);
            let idle = network.now.saturating_since(party.last_active);
            network.schedule(pace.max(idle / 20), Event::Act(number));
        }
    }

    fn read(&mut self, number: usize, network: &mut Network) {
        let party = &mut self.parties[number];
        if party.habits.pauses && network.rng.u8(..200) == 0 {
            party.reads_from = network.now + Duration::from_millis(network.rng.u64(..2_500));
        }
        if party.seen == Seen::Fin {
            return;
        }
        match network.read_far(party.link, party.habits.read_max) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => self.see_bytes(number, network, &bytes),
            Err(ReceiveEnd::Finished) => self.see_fin(number, network),
            Err(ReceiveEnd::Reset) => self.see_reset(number, network),
        }
    }

    fn see_bytes(&mut self, number: usize, network: &mut Network, bytes: &[u8]) {
        self.introduce(number, bytes[0]);
        let party = &self.parties[number];
        let Some(other) = party.other.map(|other| &self.parties[other]) else {
            return self.fail(number, network, "bytes of nobody");
        };
        if party.received + bytes.len() as u64 > other.sent {
            self.fail(number, network, "more bytes than were sent");
        }
        if let Some(place) = pattern::mismatch(other.stream, party.received, bytes) {
            self.fail(number, network, &format!("a wrong byte at {place}"));
        }
        let party = &mut self.parties[number];
        party.received += bytes.len() as u64;
        party.last_active = network.now;
    }

    /// The first byte of a stream says whose it is.
    fn introduce(&mut self, number: usize, first: u8) {
        if self.parties[number].received > 0 {
            return;
        }
        let other = usize::from(first);
        let known = self.parties[number].other;
        let fits = self.parties.get(other).is_some_and(|party| {
            party.role != self.parties[number].role
                && party.other.is_none_or(|across| across == number)
        });
        if fits && known.is_none_or(|known| known == other) {
            self.parties[number].other = Some(other);
            self.parties[other].other = Some(number);
        } else {
            self.parties[number].other = None;
        }
    }

    fn see_fin(&mut self, number: usize, network: &mut Network) {
        let party = &self.parties[number];
        if !party.opening.is_right() {
            self.fail(number, network, "a FIN in place of a reset");
        }
        let link = &network.links[party.link];
        let is_due = match party.other.map(|other| &self.parties[other]) {
            Some(other) => other.finished && other.sent == party.received,
            None => {
                let is_silent = |other: &Party| {
                    other.role != party.role
                        && other.finished
                        && other.sent == 0
                        && other.other.is_none()
                };
                link.abandoned || self.parties.iter().any(is_silent)
            }
        };
        // A Unix socket cannot tell a reset from an end.
        let is_reset = link.transport == Transport::Unix && link.near_reset_at.is_some();
        if is_reset {
            return self.see_reset(number, network);
        }
        if !is_due {
            self.fail(
                number,
                network,
                "a FIN that nobody sent, or before the last byte",
            );
        }
        if !party.finished {
            network.coverage.meet(match party.role {
                Side::Client => Situation::HalfCloseByEndpoint,
                Side::Endpoint => Situation::HalfCloseByClient,
            });
        }
        let party = &mut self.parties[number];
        party.seen = Seen::Fin;
        party.last_active = network.now;
    }

    fn see_reset(&mut self, number: usize, network: &mut Network) {
        let party = &self.parties[number];
        let other = party.other.map(|other| &self.parties[other]);
        let is_evicted = |party: &Party| network.links[party.link].evicted;
        let has_ended = self.may_reset(network.now)
            || self.may_be_too_old(number, network)
            || is_evicted(party)
            || other.is_some_and(is_evicted);
        let active = other.map_or(party.last_active, |other| {
            other.last_active.max(party.last_active)
        });
        let idle = network.now.saturating_since(active);
        if let Some(other) = other
            && !other.cut
            && !has_ended
            && idle < TIMEOUT_MIN
        {
            self.fail(number, network, "a reset without a cause");
        }
        if let Some(other) = other {
            let received = other.read_of_stream(network);
            let broken = network.links[other.link].near_broken_at;
            let reset = network.links[party.link].near_reset_at;
            if let (true, Some(broken), Some(reset)) = (received > party.received, broken, reset)
                && !has_ended
                && idle < TIMEOUT_MIN
            {
                if reset.saturating_since(broken) < FLUSH_TIME {
                    self.fail(number, network, "bytes received before a reset were lost");
                }
                network.coverage.meet(Situation::FlushTimeout);
            }
        }
        let party = &mut self.parties[number];
        party.seen = Seen::Reset;
        party.closed = true;
        network.close(party.link, At::Far);
    }

    /// Whether a party's session may have lasted as long as it may.
    fn may_be_too_old(&self, number: usize, network: &Network) -> bool {
        let party = &self.parties[number];
        let other = party.other.map_or(party, |other| &self.parties[other]);
        let began = network.links[party.link]
            .since
            .min(network.links[other.link].since);
        self.age_min
            .is_some_and(|age| network.now.saturating_since(began) >= age)
    }

    /// Looks at what must hold at any time.
    pub(crate) fn check_queues(&self, network: &Network) {
        for (number, party) in self.parties.iter().enumerate() {
            let Some(other) = party.other.map(|other| &self.parties[other]) else {
                continue;
            };
            let to = &network.links[party.link].ends[At::Near as usize];
            let held = other.read_of_stream(network).saturating_sub(to.written);
            if !to.gone && held > (WINDOW_BYTES + BUFFER_BYTES) as u64 {
                self.fail(number, network, &format!("{held} bytes are queued"));
            }
        }
    }

    /// Looks whether something is due to somebody and does not come.
    pub(crate) fn check_progress(&mut self, network: &Network, is_exhausted: bool) {
        for number in 0..self.parties.len() {
            let party = &self.parties[number];
            let listens = !party.closed && !party.sulking && party.seen == Seen::Open;
            let is_due = match party.other.map(|other| &self.parties[other]) {
                Some(other) => other.cut || other.sent > party.received || other.finished,
                None => {
                    let has_spoken = party.sent > 0 || party.finished;
                    party.role == Side::Client && (has_spoken || !party.opening.is_right())
                }
            };
            let waits = listens && is_due && network.now >= party.reads_from && !is_exhausted;
            let patience = if party.other.is_some() {
                PATIENCE
            } else {
                QUEUE_PATIENCE
            };
            // Whatever comes, and getting to know the other side, starts the wait anew.
            let progress = (party.received, party.other);
            let waiting = match party.waiting {
                _ if !waits => None,
                Some((since, before)) if before == progress => Some((since, before)),
                _ => Some((network.now, progress)),
            };
            self.parties[number].waiting = waiting;
            if let Some((since, _)) = waiting
                && network.now.saturating_since(since) > patience
            {
                self.fail(
                    number,
                    network,
                    "nothing comes any more, though something is due",
                );
            }
        }
    }

    fn fail(&self, number: usize, network: &Network, message: &str) {
        panic!("party {number}: {message}\n{}", self.picture(network));
    }

    /// Everybody's state, in words.
    pub(crate) fn picture(&self, network: &Network) -> String {
        let mut text = format!("at {:.6} s\n", network.now.as_nanos() as f64 / 1e9);
        for (number, party) in self.parties.iter().enumerate() {
            let _infallible = writeln!(text, "party {number}: {party:?}");
            let link = &network.links[party.link];
            let _infallible = writeln!(
                text,
                "    {:?} near broken at {:?}, reset at {:?}",
                link.stage, link.near_broken_at, link.near_reset_at
            );
            for (name, end) in ["near", "far"].iter().zip(&link.ends) {
                let _infallible = writeln!(text, "    {name}: {}", end.picture());
            }
        }
        text
    }
}

impl SimDriver {
    /// The whole world, in words.
    pub(crate) fn picture(&self) -> String {
        let mut text = self.actors.picture(&self.network);
        for pending in self.operations.values() {
            let _infallible = writeln!(text, "in flight: {pending:?}");
        }
        let _infallible = writeln!(text, "buffers held: {}", self.arena.held_count());
        text
    }
}
