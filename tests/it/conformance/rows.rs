//! The table: all rows, by theme.
#![forbid(unsafe_code)]

mod ages;
pub(super) mod bulk;
mod bytes;
mod connecting;
mod ending;
mod halves;
mod headers;
mod resets;

use std::time::Duration;

use ringlane::balance::Policy;
use ringlane::bounds::{BUFFER_BYTES, WINDOW_BYTES};
use ringlane::error::CloseReason;
use ringlane::session::Settings;

use super::script::{Kind, Row, Setup, Step};

/// All rows.
pub(super) fn table() -> Vec<Row> {
    [
        bytes::ROWS,
        halves::ROWS,
        resets::ROWS,
        connecting::ROWS,
        ending::ROWS,
        bulk::ROWS,
        headers::ROWS,
        ages::ROWS,
    ]
    .concat()
}

const fn row(
    name: &'static str,
    setup: Setup,
    steps: &'static [Step],
    closed: &'static [(CloseReason, u64)],
) -> Row {
    Row {
        name,
        setup,
        steps,
        closed,
    }
}

const BUFFER: u64 = BUFFER_BYTES as u64;
const WINDOW: u64 = WINDOW_BYTES as u64;
const MIB: u64 = 1024 * 1024;

/// More than all buffers between a client and an endpoint that does not read can take.
const FLOOD: u64 = 96 * MIB;

const SETTINGS: Settings = Settings {
    header_timeout: None,
    connect_timeout: Duration::from_millis(1500),
    tries: 3,
    retry_within: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    half_close_timeout: Duration::from_secs(60),
    max_age: None,
};

/// One endpoint over TCP.
pub(super) const ONE: Setup = to(&[Kind::Tcp]);
/// One endpoint over a Unix socket.
const UNIX: Setup = to(&[Kind::Unix]);

/// Up to three endpoints of weight 1, in turn.
const fn to(endpoints: &'static [Kind]) -> Setup {
    const WEIGHTS: &[u32] = &[1, 1, 1];
    Setup {
        endpoints,
        weights: WEIGHTS.split_at(endpoints.len()).0,
        listeners: 1,
        policy: Policy::RoundRobin,
        settings: SETTINGS,
        sessions_max: 64,
        pipes: 64,
    }
}
