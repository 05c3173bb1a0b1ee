//! Answers of 1 MiB: what a byte costs. Depends on the congestion control more than on anything else.

use std::io;

use super::Stage;
use super::closed::{self, Shape};

pub(super) fn run(stage: &mut Stage<'_>) -> io::Result<()> {
    closed::run(
        stage,
        &Shape {
            connections: 16,
            answer_bytes: 1 << 20,
        },
    )
}
