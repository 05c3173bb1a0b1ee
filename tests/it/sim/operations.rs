//! What the simulated kernel does with operations in flight.
#![forbid(unsafe_code)]

use ringlane::bounds::BUFFER_BYTES;
use ringlane::buffers::Buffers;
use ringlane::error::Errno;
use ringlane::ring::driver::{Event as Outcome, Operation};
use ringlane::session::Transport;

use super::coverage::Situation;
use super::end::Found;
use super::kernel::{Key, Pending, SimDriver, Started, Target};
use super::network::{At, Stage};

impl SimDriver {
    /// Looks at every operation that has started, in an order of the moment's own.
    pub(super) fn look_at_all(&mut self) {
        let started = |pending: &Pending| matches!(pending.stage, Started::Fresh | Started::Yes);
        let mut keys: Vec<Key> = self
            .operations
            .iter()
            .filter(|(_, pending)| started(pending))
            .map(|(key, _)| *key)
            .collect();
        if keys.is_empty() {
            return;
        }
        let first = self.network.rng.usize(..keys.len());
        keys.rotate_left(first);
        if self.network.rng.bool() {
            keys.reverse();
        }
        for key in keys {
            self.look_at(key);
        }
    }

    fn look_at(&mut self, key: Key) {
        let Some(pending) = self.operations.get_mut(&key) else {
            return;
        };
        let fresh = std::mem::replace(&mut pending.stage, Started::Yes) == Started::Fresh;
        let (operation, socket, cancelled) = (pending.operation, pending.socket, pending.cancelled);
        match operation {
            Operation::Accept => self.look_at_accept(key, socket, cancelled, fresh),
            Operation::Connect => self.look_at_connect(key, socket, cancelled),
            Operation::Receive => self.look_at_receive(key, socket, cancelled, fresh),
            Operation::Send => self.look_at_send(key, socket, cancelled),
            Operation::Watch => self.look_at_watch(key, socket, cancelled),
            Operation::Readable | Operation::Writable | Operation::Acceptable => {
                self.look_at_wait(key, operation, socket, cancelled);
            }
            Operation::Wake => {}
        }
    }

    /// Whether a multishot operation must end with the completion that it is about to post.
    fn is_cut_short(&mut self) -> bool {
        if self.posted.len() >= self.kernel.completions {
            self.network.coverage.meet(Situation::CompletionQueueFull);
            return true;
        }
        self.is_odd()
    }

    fn look_at_accept(&mut self, key: Key, socket: usize, cancelled: bool, fresh: bool) {
        let listener = self.listener(socket);
        let failed = |errno| Outcome::Accepted {
            result: Err(Errno(errno)),
            more: false,
        };
        loop {
            let is_waiting = !self.network.listeners[listener].backlog.is_empty();
            if cancelled && (!is_waiting || self.network.rng.bool()) {
                return self.post(key, true, failed(libc::ECANCELED));
            }
            if !self.has_descriptor() && (fresh || is_waiting) {
                self.network.coverage.meet(Situation::AcceptEmfile);
                return self.post(key, true, failed(libc::EMFILE));
            }
            // Not all of a backlog need come at once; there will be another look after a
            // completion.
            let rests = !cancelled && !self.posted.is_empty() && self.network.rng.u8(..3) == 0;
            if !is_waiting || rests {
                return;
            }
            if self.is_odd() && self.network.rng.u8(..3) == 0 {
                self.network.coverage.meet(Situation::AcceptEndedWithout);
                return self.post(key, true, failed(libc::ECONNABORTED));
            }
            let Some(link) = self.network.listeners[listener].backlog.pop_front() else {
                return;
            };
            let client = self.add_socket(Target::Link(link));
            if cancelled {
                self.network.coverage.meet(Situation::LateAccept);
            }
            let more = !self.is_cut_short();
            self.post(
                key,
                !more,
                Outcome::Accepted {
                    result: Ok(client),
                    more,
                },
            );
            if !more {
                return self
                    .network
                    .coverage
                    .meet(Situation::AcceptEndedWithConnection);
            }
        }
    }

    fn look_at_connect(&mut self, key: Key, socket: usize, cancelled: bool) {
        let Some(link) = self.link(socket) else {
            return;
        };
        if cancelled {
            // It may just have come about when the cancel was looked at.
            self.network.resolve_late(link);
        }
        let result = match self.network.links[link].stage {
            Stage::Connected => Ok(()),
            Stage::Failed(errno) => Err(errno),
            Stage::Connecting if cancelled => Err(Errno(libc::ECANCELED)),
            Stage::Connecting => return,
        };
        if cancelled && result.is_ok() {
            self.network.coverage.meet(Situation::LateConnect);
        }
        let situation = match result {
            Err(Errno(libc::ECONNREFUSED | libc::ENOENT)) => Some(Situation::ConnectRefused),
            Err(Errno(libc::EHOSTUNREACH)) => Some(Situation::ConnectUnreachable),
            _ => None,
        };
        if let Some(situation) = situation {
            self.network.coverage.meet(situation);
        }
        self.post(key, true, Outcome::Connected(result));
    }

    fn look_at_receive(&mut self, key: Key, socket: usize, cancelled: bool, fresh: bool) {
        let Some(link) = self.link(socket) else {
            return;
        };
        let transport = self.network.links[link].transport;
        let is_multishot = self.kernel.byte_budget && transport == Transport::Tcp;
        let failed = |errno| Outcome::Received {
            chunk: None,
            error: Some(Errno(errno)),
            nonempty: false,
            more: false,
        };
        if fresh && self.arena.posted_count() == 0 && self.network.rng.bool() {
            // Armed on an empty ring of buffers: it fails even with nothing to read.
            self.arena.note_shortage();
            self.network.coverage.meet(Situation::Starved);
            return self.post(key, true, failed(libc::ENOBUFS));
        }
        loop {
            match self.network.end(link, At::Near).find(transport) {
                Found::Nothing if cancelled => {
                    return self.post(key, true, failed(libc::ECANCELED));
                }
                Found::Nothing => return,
                Found::End { error, nonempty } => {
                    if transport == Transport::Tcp && error.is_none() && !nonempty {
                        self.network.coverage.meet(Situation::LostReset);
                    }
                    let event = Outcome::Received {
                        chunk: None,
                        error,
                        nonempty,
                        more: false,
                    };
                    return self.post(key, true, event);
                }
                Found::Bytes if cancelled && self.network.rng.bool() => {
                    return self.post(key, true, failed(libc::ECANCELED));
                }
                Found::Bytes if self.arena.posted_count() == 0 => {
                    self.arena.note_shortage();
                    self.network.coverage.meet(Situation::Starved);
                    return self.post(key, true, failed(libc::ENOBUFS));
                }
                Found::Bytes => {
                    if !self.receive_once(key, link, is_multishot) {
                        return;
                    }
                }
            }
        }
    }

    /// Fills one buffer; says whether the receive goes on.
    fn receive_once(&mut self, key: Key, link: usize, is_multishot: bool) -> bool {
        let bytes = self.network.read(link, At::Near, BUFFER_BYTES);
        let Some(chunk) = self.arena.fill(&bytes) else {
            return false;
        };
        let Some(pending) = self.operations.get_mut(&key) else {
            return false;
        };
        pending.credit -= bytes.len() as i64;
        let left = pending.credit;
        let nonempty = self.network.end(link, At::Near).is_readable();
        let more = is_multishot && left > 0 && !self.is_cut_short();
        let situation = match left {
            _ if !is_multishot => Some(Situation::OneShotReceive),
            0 => Some(Situation::CreditSpent),
            ..0 => Some(Situation::CreditExceeded),
            _ if !more => Some(Situation::ReceiveEndedEarly),
            _ => None,
        };
        if let Some(situation) = situation {
            self.network.coverage.meet(situation);
        }
        let event = Outcome::Received {
            chunk: Some(chunk),
            error: None,
            nonempty,
            more,
        };
        self.post(key, !more, event);
        more
    }

    fn look_at_send(&mut self, key: Key, socket: usize, cancelled: bool) {
        let Some(link) = self.link(socket) else {
            return;
        };
        let room = self.network.end(link, At::Near).try_room();
        let Some(pending) = self.operations.get_mut(&key) else {
            return;
        };
        let Some(batch) = &pending.batch else { return };
        let total = batch.bytes();
        let room = match room {
            Ok(room) => room,
            Err(errno) => {
                let sent = pending.sent as u32;
                let error = (sent == 0).then_some(errno);
                self.network.coverage.meet(Situation::ShortSend);
                return self.post(key, true, Outcome::Sent { bytes: sent, error });
            }
        };
        let mut bytes = Vec::new();
        let mut skip = pending.sent;
        for chunk in batch.iter() {
            let chunk = self.arena.bytes(chunk);
            bytes.extend_from_slice(&chunk[skip.min(chunk.len())..]);
            skip = skip.saturating_sub(chunk.len());
            if bytes.len() >= room {
                break;
            }
        }
        bytes.truncate(room);
        if let Ok(count) = self.network.write(link, At::Near, &bytes) {
            pending.sent += count;
        }
        let sent = pending.sent;
        if sent == total {
            self.post(
                key,
                true,
                Outcome::Sent {
                    bytes: sent as u32,
                    error: None,
                },
            );
        } else if cancelled {
            let error = (sent == 0).then_some(Errno(libc::ECANCELED));
            self.network.coverage.meet(Situation::ShortSend);
            self.post(
                key,
                true,
                Outcome::Sent {
                    bytes: sent as u32,
                    error,
                },
            );
        }
    }

    /// A poll that reports once.
    fn look_at_wait(&mut self, key: Key, operation: Operation, socket: usize, cancelled: bool) {
        let (is_ready, event) = match operation {
            Operation::Acceptable => {
                let listener = self.listener(socket);
                let is_waiting = !self.network.listeners[listener].backlog.is_empty();
                (is_waiting, Outcome::Acceptable)
            }
            _ => {
                let Some(link) = self.link(socket) else {
                    return;
                };
                let end = self.network.end(link, At::Near);
                match operation {
                    Operation::Readable => (end.is_readable(), Outcome::Readable),
                    _ => (end.is_writable(), Outcome::Writable),
                }
            }
        };
        if is_ready || cancelled {
            self.post(key, true, event);
        }
    }

    fn look_at_watch(&mut self, key: Key, socket: usize, cancelled: bool) {
        let Some(link) = self.link(socket) else {
            return;
        };
        let end = self.network.end(link, At::Near);
        let (hung_up, reset) = (end.is_hung_up(), end.error.is_some());
        let Some(pending) = self.operations.get_mut(&key) else {
            return;
        };
        // It fires once for each thing that happens: `sent` keeps what it has fired for.
        let happened = usize::from(hung_up) + usize::from(reset);
        let news = happened > pending.sent;
        pending.sent = happened;
        if news {
            if reset {
                self.network.coverage.meet(Situation::WatchedReset);
            }
            let more = !self.is_cut_short();
            self.post(key, !more, Outcome::Watched { reset, more });
            if !more {
                return;
            }
        }
        if cancelled {
            self.post(
                key,
                true,
                Outcome::Watched {
                    reset: false,
                    more: false,
                },
            );
        }
    }
}
