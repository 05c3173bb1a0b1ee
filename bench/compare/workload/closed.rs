//! The closed loop that `rt` and `bulk` share: each connection asks again as soon as it is answered.

use std::io;
use std::time::Instant;

use super::{Stage, TURN_MOST};

/// How many connections, and what they ask for.
pub(super) struct Shape {
    pub(super) connections: u32,
    pub(super) answer_bytes: u32,
}

/// Plays the loop until the recorder says stop.
pub(super) fn run(stage: &mut Stage<'_>, shape: &Shape) -> io::Result<()> {
    let mut clients = stage.open(shape.connections)?;
    stage.recorder.start();
    for index in 0..clients.count() {
        clients.with_index(stage, index, |client, stage| {
            if stage.recorder.try_claim() {
                client.ask(shape.answer_bytes, Instant::now())?;
            }
            Ok(())
        });
    }
    let mut events = Vec::new();
    while stage.recorder.turn(clients.outstanding()) {
        events.clear();
        stage.epoll.wait(&mut events, TURN_MOST)?;
        for event in &events {
            clients.with(stage, event, |client, stage| {
                for _ in 0..stage.receive(client, event)? {
                    if stage.recorder.try_claim() {
                        client.ask(shape.answer_bytes, Instant::now())?;
                    }
                }
                Ok(())
            });
        }
    }
    Ok(())
}
