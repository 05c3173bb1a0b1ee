//! Half-closed sessions, each way, and the time that they may last.
#![forbid(unsafe_code)]

use std::time::Duration;

use ringlane::error::CloseReason::{Finished, HalfCloseTimeout, IdleTimeout};
use ringlane::session::Settings;

use super::super::script::Step::*;
use super::super::script::{C1, E1, Row, Setup};
use super::{FLOOD, MIB, ONE, SETTINGS, UNIX, row};

const SHORT_HALF_CLOSE: Setup = Setup {
    settings: Settings {
        half_close_timeout: Duration::from_millis(500),
        ..SETTINGS
    },
    ..ONE
};

const SHORT_IDLE: Setup = Setup {
    settings: Settings {
        idle_timeout: Duration::from_millis(500),
        ..SETTINGS
    },
    ..ONE
};

pub(super) const ROWS: &[Row] = &[
    row(
        "a FIN, then a long answer",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 300),
            Finish(C1),
            Fin(E1),
            Send(E1, 3 * MIB),
            Get(C1, MIB),
            Get(C1, 2 * MIB),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a FIN, then an answer in pieces",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Finish(C1),
            Fin(E1),
            Send(E1, 1),
            Get(C1, 1),
            Send(E1, 70_000),
            Get(C1, 70_000),
            Send(E1, 1),
            Get(C1, 1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "the endpoint's FIN, then a long request",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Finish(E1),
            Fin(C1),
            Send(C1, 3 * MIB),
            Get(E1, 3 * MIB),
            Finish(C1),
            Fin(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a Unix endpoint's FIN, then a long request",
        UNIX,
        &[
            Connect(C1),
            Meet(E1, 0),
            Finish(E1),
            Fin(C1),
            Send(C1, MIB),
            Get(E1, MIB),
            Finish(C1),
            Fin(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a FIN to a Unix endpoint, then a long answer",
        UNIX,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 10),
            Finish(C1),
            Fin(E1),
            Send(E1, MIB),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "both FINs at once",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Finish(C1),
            Finish(E1),
            Fin(C1),
            Fin(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a FIN behind bytes that cannot leave",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, FLOOD),
            Stuck(C1),
            Hold(C1),
            Finish(E1),
            Fin(C1),
            Finish(C1),
            Fin(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "the endpoint closes at once, the client finishes later",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(E1, 5000),
            Sent(E1),
            Close(E1),
            Fin(C1),
            Finish(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "the client closes at once, the endpoint finishes later",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 5000),
            Sent(C1),
            Close(C1),
            Fin(E1),
            Finish(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a slow reader after the endpoint's FIN",
        SHORT_HALF_CLOSE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(E1, 2 * MIB),
            Finish(E1),
            Dawdle(C1, 50_000, 20),
            Fin(C1),
            Finish(C1),
            Fin(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a slow reader after the client's FIN",
        SHORT_HALF_CLOSE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 2 * MIB),
            Finish(C1),
            Dawdle(E1, 50_000, 20),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a reader that has gone to sleep after the endpoint's FIN",
        SHORT_HALF_CLOSE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(E1, 2 * MIB),
            Sent(E1),
            Finish(E1),
            Closed(1),
            Rst(C1),
        ],
        &[(HalfCloseTimeout, 1)],
    ),
    row(
        "silence after the client's FIN",
        SHORT_HALF_CLOSE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Finish(C1),
            Fin(E1),
            Rst(C1),
            Broken(E1),
        ],
        &[(HalfCloseTimeout, 1)],
    ),
    row(
        "silence after the endpoint's FIN",
        SHORT_HALF_CLOSE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(E1, 10),
            Finish(E1),
            Fin(C1),
            Rst(E1),
            Broken(C1),
        ],
        &[(HalfCloseTimeout, 1)],
    ),
    row(
        "silence from the beginning",
        SHORT_IDLE,
        &[Connect(C1), Meet(E1, 0), Rst(C1), Rst(E1)],
        &[(IdleTimeout, 1)],
    ),
    row(
        "silence after some bytes",
        SHORT_IDLE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 10),
            Get(E1, 10),
            Send(E1, 20),
            RstAfter(C1, 20),
            RstAfter(E1, 0),
        ],
        &[(IdleTimeout, 1)],
    ),
];
