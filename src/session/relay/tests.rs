//! Every state of a relay meets every event; what comes of it is compared with a committed text.
//!
//! After a change that is meant, `RINGLANE_SNAPSHOT=write cargo test --lib relay` writes it anew.
#![forbid(unsafe_code)]

use super::*;
use crate::bounds::{BUFFER_BYTES, WINDOW_BYTES};
use crate::buffers::BufferId;
use crate::buffers::queue::Links;
use crate::error::Errno;
use crate::session::Transport;
use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::time::Duration;

/// Buffers of which only the number that is held counts. What is in them is a header, or nothing
/// that looks like one.
struct Held(i32, Links);

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\nand bytes";
const HALF: u16 = 20;
const BYTES: &[u8] = &[b'a'; BUFFER_BYTES];
/// What has the line in it.
const HEADER: BufferId = BufferId(1);

impl Default for Held {
    fn default() -> Self {
        Self(0, Links::new(64))
    }
}

impl Held {
    fn chunk(&mut self, bytes: u16) -> Chunk {
        self.0 += 1;
        chunk(BufferId(0), 0, bytes)
    }

    /// Those bytes of the line.
    fn header(&mut self, start: u16, end: u16) -> Chunk {
        self.0 += 1;
        chunk(HEADER, start, end - start)
    }
}

fn chunk(buffer: BufferId, start: u16, bytes: u16) -> Chunk {
    let bytes = NonZeroU16::new(bytes).expect("tests use chunks with bytes");
    Chunk::new(buffer, start, bytes)
}

impl Buffers for Held {
    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        let all = if chunk.buffer() == HEADER {
            LINE
        } else {
            BYTES
        };
        &all[chunk.start()..chunk.end()]
    }
    fn bytes_mut(&mut self, _: &mut Chunk) -> Option<&mut [u8]> {
        None
    }
    fn alloc(&mut self) -> Option<Chunk> {
        None
    }
    fn split(&mut self, rest: &mut Chunk, at: usize) -> Option<Chunk> {
        if at == 0 || at >= rest.len() {
            return None;
        }
        let (id, start, end) = (rest.buffer(), rest.start() as u16, rest.end() as u16);
        let middle = start + at as u16;
        self.0 += 1;
        *rest = chunk(id, middle, end - middle);
        Some(chunk(id, start, middle - start))
    }
    fn try_append(&mut self, tail: &mut Chunk, next: Chunk) -> Result<(), Chunk> {
        let fits = tail.buffer() == HEADER && next.buffer() == HEADER && tail.end() == next.start();
        if !fits {
            return Err(next);
        }
        let (start, end) = (tail.start() as u16, next.end() as u16);
        *tail = chunk(HEADER, start, end - start);
        self.release(next);
        Ok(())
    }
    fn release(&mut self, _: Chunk) {
        self.0 -= 1;
    }
    fn links(&mut self) -> &mut Links {
        &mut self.1
    }
    fn share(&self) -> usize {
        WINDOW_BYTES
    }
}

/// A relay in the middle of a conversation.
struct Scene {
    relay: Relay,
    buffers: Held,
    now: Instant,
}

impl Scene {
    fn start(settings: Settings) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        Self {
            relay: Relay::new(now, settings, &mut fastrand::Rng::with_seed(1)),
            buffers: Held::default(),
            now,
        }
    }

    /// Carries the conversation on by events that are named, the first of which may be a word on
    /// the listener.
    fn after(events: &[&str]) -> Self {
        let mut settings = Settings::default();
        let events = match events {
            ["a header is wanted", rest @ ..] => {
                settings.header_timeout = Some(Duration::from_secs(3));
                rest
            }
            ["an hour is the most", rest @ ..] => {
                settings.max_age = Some((Duration::from_secs(3600), Duration::ZERO));
                rest
            }
            rest => rest,
        };
        let mut scene = Self::start(settings);
        for event in events {
            scene.poll();
            scene.happen(event);
        }
        scene
    }

    fn happen(&mut self, event: &str) {
        let (relay, buffers, now) = (&mut self.relay, &mut self.buffers, self.now);
        match event {
            "connected" => relay.handle_connected(now, None, buffers),
            "withdrawn" => relay.handle_connect_withdrawn(),
            "refused" => relay.handle_connect_failed(now, CloseReason::ConnectRefused),
            "short of descriptors" => relay.handle_connect_failed(now, CloseReason::LocalShortage),
            "no endpoint" => relay.handle_no_endpoint(CloseReason::NoEndpoint),
            "client bytes" | "endpoint bytes" => {
                let chunk = buffers.chunk(100);
                relay.handle_received(now, side(event), chunk, true, buffers);
            }
            "client credit spent" | "endpoint credit spent" => {
                let chunk = buffers.chunk(100);
                relay.handle_received(now, side(event), chunk, false, buffers);
            }
            "client full turn" | "endpoint full turn" => {
                let chunk = buffers.chunk(BUFFER_BYTES as u16);
                relay.handle_received(now, side(event), chunk, false, buffers);
            }
            "client fin" | "endpoint fin" => {
                let end = ReceiveEnd::of(None, true, Transport::Tcp);
                relay.handle_receive_end(now, side(event), end, buffers);
            }
            "client reset" | "endpoint reset" => {
                let end = ReceiveEnd::of(Some(Errno(libc::ECONNRESET)), true, Transport::Tcp);
                relay.handle_receive_end(now, side(event), end, buffers);
            }
            "sent to client" | "sent to endpoint" => {
                let bytes = relay.directions[side(event).other().index()].in_flight_bytes;
                relay.handle_sent(now, side(event), bytes, buffers);
            }
            "cut off to client" | "cut off to endpoint" => {
                relay.handle_sent(now, side(event), 40, buffers);
            }
            "all acknowledged" => relay.handle_unsent(now, 0),
            "not acknowledged" => relay.handle_unsent(now, 9),
            "a second passes" | "two hours pass" => {
                let time = if event == "a second passes" { 1 } else { 7200 };
                self.now = now + Duration::from_secs(time);
                relay.handle_timeout(self.now);
            }
            "told to end" => relay.abort(CloseReason::Drained),
            other => self.happen_apart(other),
        }
    }

    /// Events of headers, of bulk and of what is not a receive or a send.
    fn happen_apart(&mut self, event: &str) {
        let (relay, buffers, now) = (&mut self.relay, &mut self.buffers, self.now);
        match event {
            "client's four turns" | "endpoint's four turns" => {
                for turn in 1..=4 {
                    let name = event.split('\'').next().unwrap_or_default();
                    self.happen(&format!("{name} full turn"));
                    if turn < 4 {
                        self.poll();
                        self.happen(if name == "client" {
                            "sent to endpoint"
                        } else {
                            "sent to client"
                        });
                        self.poll();
                    }
                }
            }
            "client's half a header" => {
                let chunk = buffers.header(0, HALF);
                relay.handle_received(now, Side::Client, chunk, true, buffers);
            }
            "client's other half" => {
                let chunk = buffers.header(HALF, LINE.len() as u16);
                relay.handle_received(now, Side::Client, chunk, true, buffers);
            }
            "client's header" => {
                let chunk = buffers.header(0, LINE.len() as u16 - 9);
                relay.handle_received(now, Side::Client, chunk, true, buffers);
            }
            "client starved" | "endpoint starved" => relay.handle_starved(side(event)),
            "bulk moved" => relay.handle_moved(now),
            "client bulk refused" | "endpoint bulk refused" => {
                relay.handle_bulk_end(side(event), BulkEnd::Refused);
            }
            "client bulk lean" | "endpoint bulk lean" => {
                relay.handle_bulk_end(side(event), BulkEnd::Lean);
            }
            "client bulk ended" | "endpoint bulk ended" => {
                relay.handle_bulk_end(side(event), BulkEnd::Ended);
            }
            "client found broken" | "endpoint found broken" => {
                relay.handle_reset(now, side(event), buffers);
            }
            "client watch over" | "endpoint watch over" => relay.handle_watch_end(side(event)),
            unknown => panic!("no such event: {unknown}"),
        }
    }

    /// All that the relay wants, in words.
    fn poll(&mut self) -> String {
        let mut wants = Vec::new();
        while let Some(action) = self.relay.poll_action(self.now, &mut self.buffers) {
            wants.push(match action {
                Action::Send(side, batch) => {
                    let bytes = batch.bytes();
                    batch
                        .into_chunks()
                        .for_each(|chunk| self.buffers.release(chunk));
                    format!("Send({side:?}, {bytes} bytes)")
                }
                other => format!("{other:?}"),
            });
            assert!(wants.len() < 20, "the relay wants without end: {wants:?}");
        }
        wants.join(", ")
    }
}

fn side(event: &str) -> Side {
    if event.contains("client") {
        Side::Client
    } else {
        Side::Endpoint
    }
}

const STATES: [(&str, &[&str]); 29] = [
    ("connecting", &[]),
    ("connecting for long", &["a second passes"]),
    ("header awaited", &["a header is wanted"]),
    (
        "header awaited for long",
        &["a header is wanted", "a second passes"],
    ),
    (
        "half a header is there",
        &["a header is wanted", "client's half a header"],
    ),
    (
        "connecting, header and bytes behind it are there",
        &[
            "a header is wanted",
            "client's half a header",
            "client's other half",
        ],
    ),
    ("relaying", &["connected"]),
    (
        "relaying behind a header, bytes under way",
        &[
            "a header is wanted",
            "client's half a header",
            "client's other half",
            "connected",
        ],
    ),
    (
        "relaying for an hour at most",
        &["an hour is the most", "connected"],
    ),
    (
        "relaying, bytes under way both ways",
        &["connected", "client bytes", "endpoint bytes"],
    ),
    (
        "relaying, client backed up",
        &["connected", "client credit spent"],
    ),
    (
        "connecting for long, client starved",
        &["a second passes", "client starved"],
    ),
    (
        "relaying, client starved for long",
        &["connected", "client starved", "a second passes"],
    ),
    ("client finished", &["connected", "client fin"]),
    ("endpoint finished", &["connected", "endpoint fin"]),
    (
        "client finished, bytes under way",
        &["connected", "client bytes", "client fin"],
    ),
    ("client reset", &["connected", "client reset"]),
    (
        "endpoint reset, its bytes under way",
        &["connected", "endpoint bytes", "endpoint reset"],
    ),
    ("told to end", &["connected", "told to end"]),
    ("finished", &["connected", "client fin", "endpoint fin"]),
    (
        "client about to go over to bulk",
        &["connected", "client's four turns"],
    ),
    (
        "client in bulk",
        &["connected", "client's four turns", "sent to endpoint"],
    ),
    (
        "endpoint in bulk",
        &["connected", "endpoint's four turns", "sent to client"],
    ),
    (
        "both in bulk",
        &[
            "connected",
            "client's four turns",
            "sent to endpoint",
            "endpoint's four turns",
            "sent to client",
        ],
    ),
    (
        "client in bulk and watched",
        &[
            "connected",
            "client's four turns",
            "sent to endpoint",
            "a second passes",
        ],
    ),
    (
        "client in bulk, endpoint finished",
        &[
            "connected",
            "client's four turns",
            "sent to endpoint",
            "endpoint fin",
        ],
    ),
    (
        "client in bulk and found broken",
        &[
            "connected",
            "client's four turns",
            "sent to endpoint",
            "client found broken",
        ],
    ),
    (
        "client in bulk, endpoint found broken",
        &[
            "connected",
            "client's four turns",
            "sent to endpoint",
            "endpoint found broken",
        ],
    ),
    (
        "client refused bulk",
        &[
            "connected",
            "client's four turns",
            "sent to endpoint",
            "client bulk refused",
        ],
    ),
];

const EVENTS: [&str; 39] = [
    "connected",
    "refused",
    "withdrawn",
    "short of descriptors",
    "no endpoint",
    "client's half a header",
    "client's other half",
    "client's header",
    "client bytes",
    "endpoint bytes",
    "client credit spent",
    "endpoint credit spent",
    "client full turn",
    "endpoint full turn",
    "client starved",
    "endpoint starved",
    "client fin",
    "endpoint fin",
    "client reset",
    "endpoint reset",
    "client found broken",
    "endpoint found broken",
    "client watch over",
    "endpoint watch over",
    "sent to client",
    "sent to endpoint",
    "cut off to client",
    "bulk moved",
    "client bulk refused",
    "client bulk lean",
    "client bulk ended",
    "endpoint bulk refused",
    "endpoint bulk lean",
    "endpoint bulk ended",
    "all acknowledged",
    "not acknowledged",
    "a second passes",
    "two hours pass",
    "told to end",
];

#[test]
fn every_state_meets_every_event() {
    let mut table = String::new();
    for (state, history) in STATES {
        let wants = Scene::after(history).poll();
        writeln!(table, "{state}: {}", or_nothing(&wants)).expect("a string takes it");
        for event in EVENTS {
            let mut scene = Scene::after(history);
            scene.poll();
            scene.happen(event);
            let wants = scene.poll();
            writeln!(table, "  {event}: {}", or_nothing(&wants)).expect("a string takes it");
            // Whatever happened: what is held is what waits, and an end gives it all back.
            scene.relay.end(&mut scene.buffers);
            assert_eq!(
                scene.buffers.0, 0,
                "{state}, {event}: buffers held after the end"
            );
            assert_eq!(
                scene.poll(),
                "",
                "{state}, {event}: it wants something after the end"
            );
        }
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/session/relay/transitions.txt"
    );
    if std::env::var_os("RINGLANE_SNAPSHOT").is_some() {
        std::fs::write(path, &table).expect("the tree can be written to");
    }
    let committed = include_str!("transitions.txt");
    for (now, then) in table.lines().zip(committed.lines()) {
        assert_eq!(now, then, "see the head of this file");
    }
    assert_eq!(table.lines().count(), committed.lines().count());
}

fn or_nothing(wants: &str) -> &str {
    if wants.is_empty() { "-" } else { wants }
}

#[test]
fn tries_end_with_the_number_or_the_time() {
    let mut scene = Scene::start(Settings::default());
    for _ in 0..2 {
        assert_eq!(scene.poll(), "Connect");
        scene.happen("refused");
    }
    assert_eq!(scene.poll(), "Connect");
    scene.happen("refused");
    assert_eq!(scene.poll(), "Abort(ConnectRefused)");

    let mut scene = Scene::start(Settings::default());
    assert_eq!(scene.poll(), "Connect");
    scene.now = scene.now + Duration::from_secs(10);
    scene.happen("refused");
    assert_eq!(scene.poll(), "Abort(ConnectRefused)");
}

#[test]
fn a_connect_that_takes_too_long_is_given_up_for_another() {
    let mut scene = Scene::start(Settings::default());
    assert_eq!(scene.poll(), "Connect");
    scene.now = scene.now + Duration::from_secs(5);
    scene.relay.handle_timeout(scene.now);
    assert!(scene.poll().starts_with("Connect"));
    scene.happen("no endpoint");
    assert_eq!(scene.poll(), "Abort(ConnectTimeout)");
}

#[test]
fn half_closed_sessions_wait_less() {
    let open = Scene::after(&["connected"]).relay.deadline();
    let mut scene = Scene::after(&["connected", "client fin"]);
    scene.poll();
    scene.relay.watch_at = Instant::NEVER;
    assert_eq!(open - scene.now, Duration::from_secs(3600));
    assert_eq!(scene.relay.deadline() - scene.now, Duration::from_secs(60));
}

#[test]
fn what_was_taken_since_the_last_look_is_no_silence() {
    let mut scene = Scene::after(&["connected", "client fin"]);
    scene.poll();
    for (found, expected) in [(9, ""), (5, ""), (0, ""), (0, "Abort(HalfCloseTimeout)")] {
        scene.now = scene.now + Duration::from_secs(60);
        scene.relay.handle_timeout(scene.now);
        assert!(scene.poll().starts_with("MeasureUnsent(Client)"));
        scene.relay.handle_unsent(scene.now, 0);
        assert_eq!(scene.poll(), "MeasureUnsent(Endpoint)");
        scene.relay.handle_unsent(scene.now, found);
        assert_eq!(scene.poll(), expected, "{found} bytes found");
    }
}
