//! Small requests and answers on connections that stay open: what one message costs.

use std::io;

use super::Stage;
use super::closed::{self, Shape};

pub(super) fn run(stage: &mut Stage<'_>) -> io::Result<()> {
    closed::run(
        stage,
        &Shape {
            connections: 100,
            answer_bytes: 64,
        },
    )
}
