//! Every state of a relay meets every event; what comes of it is compared with a committed text.
//!
//! After a change that is meant, `RINGLANE_SNAPSHOT=write cargo test --lib relay` writes it anew.
#![forbid(unsafe_code)]

use super::*;
use crate::bounds::WINDOW_BYTES;
use crate::buffers::BufferId;
use crate::buffers::queue::Links;
use crate::error::Errno;
use crate::session::Transport;
use std::fmt::Write as _;
use std::num::NonZeroU16;
use std::time::Duration;

/// Buffers of which only the number that is held counts.
struct Held(i32, Links);

impl Default for Held {
    fn default() -> Self {
        Self(0, Links::new(64))
    }
}

impl Held {
    fn chunk(&mut self, bytes: u16) -> Chunk {
        self.0 += 1;
        Chunk::new(
            BufferId(0),
            0,
            NonZeroU16::new(bytes).expect("tests use chunks with bytes"),
        )
    }
}

impl Buffers for Held {
    fn bytes(&self, _: &Chunk) -> &[u8] {
        &[]
    }
    fn bytes_mut(&mut self, _: &mut Chunk) -> Option<&mut [u8]> {
        None
    }
    fn alloc(&mut self) -> Option<Chunk> {
        None
    }
    fn split(&mut self, _: &mut Chunk, _: usize) -> Option<Chunk> {
        None
    }
    fn try_append(&mut self, _: &mut Chunk, chunk: Chunk) -> Result<(), Chunk> {
        Err(chunk)
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
    fn start() -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        Self {
            relay: Relay::new(now, Settings::default(), &mut fastrand::Rng::with_seed(1)),
            buffers: Held::default(),
            now,
        }
    }

    /// Carries the conversation on by events that are named; returns what the relay wants then.
    fn after(events: &[&str]) -> Self {
        let mut scene = Self::start();
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
            "client fin" | "endpoint fin" => {
                let end = ReceiveEnd::of(None, true, Transport::Tcp);
                relay.handle_receive_end(now, side(event), end, buffers);
            }
            "client reset" | "endpoint reset" => {
                let end = ReceiveEnd::of(Some(Errno(libc::ECONNRESET)), true, Transport::Tcp);
                relay.handle_receive_end(now, side(event), end, buffers);
            }
            "sent to client" | "sent to endpoint" => {
                relay.handle_sent(now, side(event), 100, buffers);
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

const STATES: [(&str, &[&str]); 12] = [
    ("connecting", &[]),
    ("connecting for long", &["a second passes"]),
    ("relaying", &["connected"]),
    (
        "relaying, bytes under way both ways",
        &["connected", "client bytes", "endpoint bytes"],
    ),
    (
        "relaying, client backed up",
        &["connected", "client credit spent"],
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
];

const EVENTS: [&str; 20] = [
    "connected",
    "refused",
    "short of descriptors",
    "no endpoint",
    "client bytes",
    "endpoint bytes",
    "client credit spent",
    "endpoint credit spent",
    "client fin",
    "endpoint fin",
    "client reset",
    "endpoint reset",
    "sent to client",
    "sent to endpoint",
    "cut off to client",
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
    let mut scene = Scene::start();
    for _ in 0..2 {
        assert_eq!(scene.poll(), "Connect");
        scene.happen("refused");
    }
    assert_eq!(scene.poll(), "Connect");
    scene.happen("refused");
    assert_eq!(scene.poll(), "Abort(ConnectRefused)");

    let mut scene = Scene::start();
    assert_eq!(scene.poll(), "Connect");
    scene.now = scene.now + Duration::from_secs(10);
    scene.happen("refused");
    assert_eq!(scene.poll(), "Abort(ConnectRefused)");
}

#[test]
fn a_connect_that_takes_too_long_is_given_up_for_another() {
    let mut scene = Scene::start();
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
