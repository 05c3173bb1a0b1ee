//! Bulk: flows that go over to a pipe, and what may happen to them there.
//!
//! Every row waits for the worker's own count of directions that went over. With [`FLOOD`] stuck
//! the socket and the pipe behind it are full; how much came by then depends on the world.
#![forbid(unsafe_code)]

use std::time::Duration;

use ringlane::error::CloseReason::{ClientReset, Drained, EndpointReset, Finished};
use ringlane::session::Settings;

use super::super::script::Step::*;
use super::super::script::{C1, C2, E1, E2, Row, Setup, Step};
use super::{FLOOD, MIB, ONE, SETTINGS, UNIX, row};

/// No pipe.
const NONE: Setup = Setup { pipes: 0, ..ONE };
/// A single pipe.
const SINGLE: Setup = Setup { pipes: 1, ..ONE };

const SHORT_HALF_CLOSE: Setup = Setup {
    settings: Settings {
        half_close_timeout: Duration::from_millis(500),
        ..SETTINGS
    },
    ..ONE
};

/// A long flow to the endpoint, its FIN behind it, then a long one back.
const TURNS: [Step; 10] = [
    Connect(C1),
    Meet(E1, 0),
    Send(C1, 8 * MIB),
    Finish(C1),
    Fin(E1),
    Bulks(1),
    Send(E1, 8 * MIB),
    Finish(E1),
    Fin(C1),
    Bulks(2),
];

/// Long flows both ways at the same time.
const CROSS: [Step; 12] = [
    Connect(C1),
    Meet(E1, 0),
    Send(C1, 8 * MIB),
    Send(E1, 8 * MIB),
    Get(E1, 3 * MIB),
    Get(C1, 3 * MIB),
    Get(E1, 5 * MIB),
    Bulks(2),
    Finish(E1),
    Fin(C1),
    Finish(C1),
    Fin(E1),
];

/// A flow to the endpoint that stops being read, in bulk, with all on its way full.
const STUCK_UP: [Step; 6] = [
    Connect(C1),
    Meet(E1, 0),
    Send(C1, FLOOD),
    Get(E1, 2 * MIB),
    Bulks(1),
    Stuck(C1),
];

/// The same to the client.
const STUCK_DOWN: [Step; 6] = [
    Connect(C1),
    Meet(E1, 0),
    Send(E1, FLOOD),
    Get(C1, 2 * MIB),
    Bulks(1),
    Stuck(E1),
];

/// A beginning and what comes then.
const fn then<const N: usize, const M: usize, const ALL: usize>(
    first: [Step; N],
    rest: [Step; M],
) -> [Step; ALL] {
    assert!(N + M == ALL);
    let mut all = [Ended; ALL];
    let mut place = 0;
    while place < ALL {
        all[place] = if place < N {
            first[place]
        } else {
            rest[place - N]
        };
        place += 1;
    }
    all
}

pub(in super::super) const ROWS: &[Row] = &[
    row("bulk up, then down", ONE, &TURNS, &[(Finished, 1)]),
    row("bulk both ways", ONE, &CROSS, &[(Finished, 1)]),
    row(
        "bulk up, then down, with a Unix endpoint",
        UNIX,
        &TURNS,
        &[(Finished, 1)],
    ),
    row(
        "bulk both ways, with a Unix endpoint",
        UNIX,
        &CROSS,
        &[(Finished, 1)],
    ),
    row(
        "bulk up, then down, without a pipe",
        NONE,
        &TURNS,
        &[(Finished, 1)],
    ),
    row(
        "bulk both ways without a pipe",
        NONE,
        &CROSS,
        &[(Finished, 1)],
    ),
    row(
        "bulk both ways with a single pipe",
        SINGLE,
        &CROSS,
        &[(Finished, 1)],
    ),
    row(
        "the client finishes behind a full pipe",
        ONE,
        &then::<6, 7, 13>(
            STUCK_UP,
            [
                Hold(C1),
                Finish(C1),
                Send(E1, 1000),
                Get(C1, 1000),
                Fin(E1),
                Finish(E1),
                Fin(C1),
            ],
        ),
        &[(Finished, 1)],
    ),
    row(
        "the endpoint finishes behind a full pipe",
        ONE,
        &then::<6, 7, 13>(
            STUCK_DOWN,
            [
                Hold(E1),
                Finish(E1),
                Send(C1, 1000),
                Get(E1, 1000),
                Fin(C1),
                Finish(C1),
                Fin(E1),
            ],
        ),
        &[(Finished, 1)],
    ),
    row(
        "the endpoint finishes against a full pipe",
        ONE,
        &then::<6, 5, 11>(
            STUCK_UP,
            [Hold(C1), Finish(E1), Fin(C1), Finish(C1), Fin(E1)],
        ),
        &[(Finished, 1)],
    ),
    row(
        "the client finishes against a full pipe",
        ONE,
        &then::<6, 5, 11>(
            STUCK_DOWN,
            [Hold(E1), Finish(C1), Fin(E1), Finish(E1), Fin(C1)],
        ),
        &[(Finished, 1)],
    ),
    row(
        "the client finishes behind full memory",
        NONE,
        &then::<6, 5, 11>(
            STUCK_UP,
            [Hold(C1), Finish(C1), Fin(E1), Finish(E1), Fin(C1)],
        ),
        &[(Finished, 1)],
    ),
    row(
        "the client finishes behind a full pipe to a Unix endpoint",
        UNIX,
        &then::<6, 5, 11>(
            STUCK_UP,
            [Hold(C1), Finish(C1), Fin(E1), Finish(E1), Fin(C1)],
        ),
        &[(Finished, 1)],
    ),
    row(
        "a Unix endpoint finishes behind a full pipe",
        UNIX,
        &then::<6, 5, 11>(
            STUCK_DOWN,
            [Hold(E1), Finish(E1), Fin(C1), Finish(C1), Fin(E1)],
        ),
        &[(Finished, 1)],
    ),
    row(
        "full pipes both ways",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, FLOOD),
            Send(E1, FLOOD),
            Get(E1, 2 * MIB),
            Get(C1, 2 * MIB),
            Bulks(2),
            Stuck(C1),
            Stuck(E1),
            Hold(C1),
            Hold(E1),
            Finish(C1),
            Finish(E1),
            Fin(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "bulk that stops and goes on",
        ONE,
        &then::<6, 10, 16>(
            STUCK_UP,
            [
                Get(E1, 6 * MIB),
                Stuck(C1),
                Get(E1, 6 * MIB),
                Stuck(C1),
                Get(E1, 6 * MIB),
                Hold(C1),
                Finish(C1),
                Fin(E1),
                Finish(E1),
                Fin(C1),
            ],
        ),
        &[(Finished, 1)],
    ),
    row(
        "bulk, small messages, bulk",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 6 * MIB),
            Get(E1, 6 * MIB),
            Bulks(1),
            Chat(C1, E1, 100, 40),
            Send(C1, 6 * MIB),
            Get(E1, 6 * MIB),
            Bulks(1),
            Chat(C1, E1, 100, 40),
            Send(E1, 6 * MIB),
            Get(C1, 6 * MIB),
            Bulks(1),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "bulk one way, small messages the other",
        ONE,
        &then::<6, 9, 15>(
            STUCK_DOWN,
            [
                Chat(C1, E1, 10, 20),
                Get(C1, 6 * MIB),
                Chat(C1, E1, 10, 20),
                Get(C1, 6 * MIB),
                Hold(E1),
                Finish(E1),
                Fin(C1),
                Finish(C1),
                Fin(E1),
            ],
        ),
        &[(Finished, 1)],
    ),
    row(
        "bulk, then the client's reset",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, 5 * MIB),
            Get(E1, 4 * MIB + MIB / 2),
            Bulks(1),
            Sent(C1),
            Reset(C1),
            RstAfter(E1, MIB / 2),
        ],
        &[(ClientReset, 1)],
    ),
    row(
        "bulk, then the endpoint's reset",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(E1, 5 * MIB),
            Get(C1, 4 * MIB + MIB / 2),
            Bulks(1),
            Sent(E1),
            Reset(E1),
            RstAfter(C1, MIB / 2),
        ],
        &[(EndpointReset, 1)],
    ),
    row(
        "the client resets behind a full pipe",
        ONE,
        &then::<6, 2, 8>(STUCK_UP, [Reset(C1), Rst(E1)]),
        &[(ClientReset, 1)],
    ),
    row(
        "the endpoint resets behind a full pipe",
        ONE,
        &then::<6, 2, 8>(STUCK_DOWN, [Reset(E1), Rst(C1)]),
        &[(EndpointReset, 1)],
    ),
    row(
        "the client resets behind a pipe that stays full",
        ONE,
        &then::<6, 3, 9>(STUCK_UP, [Reset(C1), Closed(1), Rst(E1)]),
        &[(ClientReset, 1)],
    ),
    row(
        "the endpoint resets behind a pipe that stays full",
        ONE,
        &then::<6, 3, 9>(STUCK_DOWN, [Reset(E1), Closed(1), Rst(C1)]),
        &[(EndpointReset, 1)],
    ),
    row(
        "the client resets behind memory that stays full",
        NONE,
        &then::<6, 3, 9>(STUCK_UP, [Reset(C1), Closed(1), Rst(E1)]),
        &[(ClientReset, 1)],
    ),
    row(
        "the client resets against a full pipe",
        ONE,
        &then::<6, 2, 8>(STUCK_DOWN, [Reset(C1), Rst(E1)]),
        &[(ClientReset, 1)],
    ),
    row(
        "the endpoint resets against a full pipe",
        ONE,
        &then::<6, 2, 8>(STUCK_UP, [Reset(E1), Rst(C1)]),
        &[(EndpointReset, 1)],
    ),
    row(
        "the client resets in the middle of bulk to it",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(E1, FLOOD),
            Get(C1, 6 * MIB),
            Bulks(1),
            Reset(C1),
            Rst(E1),
        ],
        &[(ClientReset, 1)],
    ),
    row(
        "the endpoint resets in the middle of bulk to it",
        ONE,
        &[
            Connect(C1),
            Meet(E1, 0),
            Send(C1, FLOOD),
            Get(E1, 6 * MIB),
            Bulks(1),
            Reset(E1),
            Rst(C1),
        ],
        &[(EndpointReset, 1)],
    ),
    row(
        "the client resets behind a full pipe to a Unix endpoint",
        UNIX,
        &then::<6, 2, 8>(STUCK_UP, [Reset(C1), Over(E1)]),
        &[(ClientReset, 1)],
    ),
    row(
        "a Unix endpoint goes away from a full pipe",
        UNIX,
        &then::<6, 2, 8>(STUCK_UP, [Close(E1), Rst(C1)]),
        &[(EndpointReset, 1)],
    ),
    row(
        "what one session left in its pipe does not come to another",
        SINGLE,
        &then::<6, 13, 19>(
            STUCK_UP,
            [
                Reset(E1),
                Rst(C1),
                Closed(1),
                Connect(C2),
                Meet(E2, 0),
                Send(C2, 6 * MIB),
                Get(E2, 6 * MIB),
                Bulks(2),
                Finish(C2),
                Fin(E2),
                Send(E2, 100),
                Finish(E2),
                Fin(C2),
            ],
        ),
        &[(Finished, 1), (EndpointReset, 1)],
    ),
    row(
        "a full pipe does not hold another session",
        SINGLE,
        &then::<6, 12, 18>(
            STUCK_UP,
            [
                Connect(C2),
                Meet(E2, 0),
                Send(C2, 6 * MIB),
                Get(E2, 6 * MIB),
                Bulks(2),
                Finish(C2),
                Fin(E2),
                Finish(E2),
                Fin(C2),
                Hold(C1),
                Reset(C1),
                Rst(E1),
            ],
        ),
        &[(Finished, 1), (ClientReset, 1)],
    ),
    row(
        "draining lets bulk end",
        ONE,
        &then::<6, 7, 13>(
            STUCK_UP,
            [
                Drain(15_000),
                Hold(C1),
                Finish(C1),
                Fin(E1),
                Finish(E1),
                Fin(C1),
                Ended,
            ],
        ),
        &[(Finished, 1)],
    ),
    row(
        "the drain's deadline in the middle of bulk",
        ONE,
        &then::<6, 4, 10>(STUCK_DOWN, [Drain(150), Rst(C1), Rst(E1), Ended]),
        &[(Drained, 1)],
    ),
    row(
        "stopping in the middle of bulk",
        ONE,
        &then::<6, 4, 10>(STUCK_UP, [Stop, Rst(C1), Rst(E1), Ended]),
        &[(Drained, 1)],
    ),
    row(
        "stopping in the middle of bulk to a Unix endpoint",
        UNIX,
        &then::<6, 4, 10>(STUCK_UP, [Stop, Rst(C1), Over(E1), Ended]),
        &[(Drained, 1)],
    ),
    row(
        "a slow reader of bulk after the endpoint's FIN",
        SHORT_HALF_CLOSE,
        &then::<6, 6, 12>(
            STUCK_DOWN,
            [
                Hold(E1),
                Finish(E1),
                Dawdle(C1, 50_000, 20),
                Fin(C1),
                Finish(C1),
                Fin(E1),
            ],
        ),
        &[(Finished, 1)],
    ),
];

/// A reader that takes less in a timeout than a pipe holds, so slowly that a kernel would not tell.
pub(in super::super) const SLOW: Row = row(
    "a slow reader of what is left in a pipe",
    SHORT_HALF_CLOSE,
    &[
        Connect(C1),
        Meet(E1, 0),
        Send(C1, 6 * MIB + 300_000),
        Get(E1, 2 * MIB),
        Bulks(1),
        Sent(C1),
        Finish(E1),
        Fin(C1),
        Dawdle(E1, 4_000, 40),
        Finish(C1),
        Fin(E1),
    ],
    &[(Finished, 1)],
);
