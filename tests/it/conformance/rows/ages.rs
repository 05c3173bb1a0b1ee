//! The greatest age of sessions, in every phase.
#![forbid(unsafe_code)]

use std::time::Duration;

use ringlane::error::CloseReason::{Finished, MaxAge};
use ringlane::session::Settings;

use super::super::script::Step::*;
use super::super::script::{C1, E1, Kind, Row, Setup};
use super::{FLOOD, MIB, ONE, SETTINGS, row, to};

const fn aging(setup: Setup, age: Duration, jitter: Duration) -> Setup {
    Setup {
        settings: Settings {
            max_age: Some((age, jitter)),
            ..SETTINGS
        },
        ..setup
    }
}

const YOUNG: Setup = aging(ONE, Duration::from_millis(300), Duration::ZERO);
/// Old enough for something to happen before.
const OLDER: Setup = aging(ONE, Duration::from_millis(1500), Duration::ZERO);

pub(super) const ROWS: &[Row] = &[
    row(
        "an idle session is too old",
        YOUNG,
        &[Connect(C1), RstAfter(C1, 0)],
        &[(MaxAge, 1)],
    ),
    row(
        "a session with an age at random is too old",
        aging(ONE, Duration::from_millis(600), Duration::from_millis(300)),
        &[Connect(C1), RstAfter(C1, 0)],
        &[(MaxAge, 1)],
    ),
    row(
        "bytes, then the greatest age",
        OLDER,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 10),
            Get(E1, 10),
            Send(E1, 20),
            RstAfter(C1, 20),
            RstAfter(E1, 0),
        ],
        &[(MaxAge, 1)],
    ),
    row(
        "too old with one side finished",
        OLDER,
        &[
            Connect(C1),
            Meet(E1, 0),
            Finish(C1),
            Fin(E1),
            Rst(C1),
            Broken(E1),
        ],
        &[(MaxAge, 1)],
    ),
    row(
        "too old in the middle of a flow",
        OLDER,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, FLOOD),
            Bulks(1),
            Rst(C1),
            Rst(E1),
        ],
        &[(MaxAge, 1)],
    ),
    row(
        "too old before an endpoint answers",
        aging(
            to(&[Kind::Silent]),
            Duration::from_millis(300),
            Duration::ZERO,
        ),
        &[Connect(C1), RstAfter(C1, 0)],
        &[(MaxAge, 1)],
    ),
    row(
        "done long before the greatest age",
        aging(ONE, Duration::from_secs(60), Duration::from_secs(10)),
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, MIB),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
];
