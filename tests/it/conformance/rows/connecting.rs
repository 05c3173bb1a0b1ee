//! Connecting to endpoints: refusals, retries, silence, and clients that do not wait.
#![forbid(unsafe_code)]

use std::time::Duration;

use ringlane::balance::Policy;
use ringlane::error::CloseReason::{
    ClientReset, ConnectRefused, ConnectTimeout, Finished, NoEndpoint,
};
use ringlane::session::Settings;

use super::super::script::Step::*;
use super::super::script::{C1, C2, E1, E2, Kind, Row, Setup};
use super::{FLOOD, MIB, SETTINGS, row, to};

/// A setup in which connecting to a silent endpoint takes a moment only.
const fn hasty(setup: Setup) -> Setup {
    Setup {
        settings: Settings {
            connect_timeout: Duration::from_millis(200),
            ..SETTINGS
        },
        ..setup
    }
}

const fn weighing(setup: Setup, weights: &'static [u32]) -> Setup {
    Setup { weights, ..setup }
}

const ONE_TRY: Setup = Setup {
    settings: Settings {
        tries: 1,
        ..SETTINGS
    },
    ..to(&[Kind::Tcp, Kind::Refusing])
};

const LEAST_CONN: Setup = Setup {
    policy: Policy::LeastConn,
    ..to(&[Kind::Tcp, Kind::Tcp])
};

// A single worker's round robin starts with the second of two endpoints.
pub(super) const ROWS: &[Row] = &[
    row(
        "the only endpoint refuses",
        to(&[Kind::Refusing]),
        &[Connect(C1), RstAfter(C1, 0)],
        &[(ConnectRefused, 1)],
    ),
    row(
        "the first endpoint refuses",
        to(&[Kind::Tcp, Kind::Refusing]),
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 100),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "two endpoints refuse, the third does not",
        to(&[Kind::Refusing, Kind::Refusing, Kind::Tcp]),
        &[
            Connect(C1),
            Meet(E1, 2),
            Send(E1, 100),
            Finish(E1),
            Fin(C1),
            Finish(C1),
            Fin(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "all endpoints refuse",
        to(&[Kind::Refusing, Kind::Refusing, Kind::Refusing]),
        &[Connect(C1), Send(C1, 10), Rst(C1)],
        &[(ConnectRefused, 1)],
    ),
    row(
        "one try only",
        ONE_TRY,
        &[Connect(C1), RstAfter(C1, 0), Closed(1)],
        &[(ConnectRefused, 1)],
    ),
    row(
        "no endpoint",
        to(&[]),
        &[Connect(C1), RstAfter(C1, 0)],
        &[(NoEndpoint, 1)],
    ),
    row(
        "no endpoint with a weight",
        weighing(to(&[Kind::Tcp]), &[0]),
        &[Connect(C1), RstAfter(C1, 0)],
        &[(NoEndpoint, 1)],
    ),
    row(
        "an endpoint of weight 0 is never picked",
        weighing(to(&[Kind::Tcp, Kind::Tcp]), &[0, 1]),
        &[
            Connect(C1),
            Meet(E1, 1),
            Connect(C2),
            Meet(E2, 1),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
            Finish(C2),
            Fin(E2),
            Finish(E2),
            Fin(C2),
        ],
        &[(Finished, 2)],
    ),
    row(
        "an endpoint of weight 0 is no second try",
        weighing(to(&[Kind::Refusing, Kind::Tcp]), &[1, 0]),
        &[Connect(C1), RstAfter(C1, 0)],
        &[(ConnectRefused, 1)],
    ),
    row(
        "least connections go to the other endpoint",
        LEAST_CONN,
        &[
            Connect(C1),
            Meet(E1, 1),
            Connect(C2),
            Meet(E2, 0),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
            Closed(1),
            Reset(C2),
            Rst(E2),
        ],
        &[(Finished, 1), (ClientReset, 1)],
    ),
    row(
        "the only endpoint is silent",
        hasty(to(&[Kind::Silent])),
        &[Connect(C1), Send(C1, 10), Rst(C1)],
        &[(ConnectTimeout, 1)],
    ),
    row(
        "the first endpoint is silent",
        hasty(to(&[Kind::Tcp, Kind::Silent])),
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(E1, 7),
            Finish(E1),
            Fin(C1),
            Finish(C1),
            Fin(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "silent, then refusing",
        hasty(to(&[Kind::Refusing, Kind::Silent])),
        &[Connect(C1), RstAfter(C1, 0)],
        &[(ConnectRefused, 1)],
    ),
    row(
        "a Unix endpoint that is not there",
        to(&[Kind::Missing]),
        &[Connect(C1), RstAfter(C1, 0)],
        &[(ConnectRefused, 1)],
    ),
    row(
        "a Unix endpoint that is not there, and one that is",
        to(&[Kind::Unix, Kind::Missing]),
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 9),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "the client resets while its endpoint is silent",
        to(&[Kind::Silent]),
        &[Connect(C1), Reset(C1), Closed(1)],
        &[(ClientReset, 1)],
    ),
    row(
        "the client speaks, then resets, while its endpoint is silent",
        to(&[Kind::Silent]),
        &[Connect(C1), Send(C1, 100), Sent(C1), Reset(C1), Closed(1)],
        &[(ClientReset, 1)],
    ),
    row(
        "the client finishes, then resets, while its endpoint is silent",
        to(&[Kind::Silent]),
        &[
            Connect(C1),
            Send(C1, 100),
            Finish(C1),
            Sent(C1),
            Reset(C1),
            Closed(1),
        ],
        &[(ClientReset, 1)],
    ),
    row(
        "the client floods, then resets, while its endpoint is silent",
        to(&[Kind::Silent]),
        &[
            Connect(C1),
            Send(C1, FLOOD),
            Stuck(C1),
            Reset(C1),
            Closed(1),
        ],
        &[(ClientReset, 1)],
    ),
    row(
        "the client finishes while its endpoint is silent",
        hasty(to(&[Kind::Tcp, Kind::Silent])),
        &[
            Connect(C1),
            Send(C1, 10),
            Finish(C1),
            Meet(E1, 0),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "the client sends windows while its endpoint is silent",
        hasty(to(&[Kind::Tcp, Kind::Silent])),
        &[
            Connect(C1),
            Send(C1, 2 * MIB),
            Finish(C1),
            Meet(E1, 0),
            Fin(E1),
            Send(E1, MIB),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
];
