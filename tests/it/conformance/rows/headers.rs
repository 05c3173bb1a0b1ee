//! The PROXY protocol header that clients send first: the endpoint gets what is behind it.
#![forbid(unsafe_code)]

use std::time::Duration;

use ringlane::error::CloseReason::{
    ClientReset, ConnectTimeout, Drained, Finished, MaxAge, ProxyHeader, ProxyHeaderTimeout,
};
use ringlane::session::Settings;

use super::super::script::Step::*;
use super::super::script::{C1, C2, E1, E2, Kind, Row, Setup};
use super::{FLOOD, MIB, ONE, SETTINGS, UNIX, row, to};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n";
const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
/// Version 2: TCP over IPv4, and a field of no meaning with three bytes.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12\
    \xc0\0\x02\x01\xc0\0\x02\x02\x12\x67\x01\xbb\x04\0\x03abc";
/// Version 2: the sender speaks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
/// Version 3, which there is not.
const FUTURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0";
/// Longer than any line may be.
const ENDLESS: &[u8] = &[b'a'; 120];
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// Clients of `setup` send a header, for which they have so long.
const fn headed(setup: Setup, time: Duration) -> Setup {
    Setup {
        settings: Settings {
            header_timeout: Some(time),
            ..setup.settings
        },
        ..setup
    }
}

const PATIENT: Duration = Duration::from_secs(15);
const HEADED: Setup = headed(ONE, PATIENT);
const HASTY: Setup = headed(ONE, Duration::from_millis(300));
/// Its endpoint does not answer, so the client is received from before there is one.
const SILENT: Setup = headed(to(&[Kind::Silent]), PATIENT);
const SILENT_THEN_NOT: Setup = headed(
    Setup {
        settings: Settings {
            connect_timeout: Duration::from_millis(200),
            ..SETTINGS
        },
        ..to(&[Kind::Tcp, Kind::Silent])
    },
    PATIENT,
);
const AGING: Setup = headed(
    Setup {
        settings: Settings {
            max_age: Some((Duration::from_millis(300), Duration::ZERO)),
            ..SETTINGS
        },
        ..ONE
    },
    PATIENT,
);
const ONE_SESSION: Setup = Setup {
    sessions_max: 1,
    ..HEADED
};

pub(super) const ROWS: &[Row] = &[
    row(
        "a header, then bytes",
        HEADED,
        &[
            Connect(C1),
            Say(C1, LINE),
            Meet(E1, 0),
            Send(C1, 1000),
            Get(E1, 1000),
            Send(E1, 5000),
            Get(C1, 5000),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header with bytes behind it",
        HEADED,
        &[
            Connect(C1),
            SayBefore(C1, LINE, 5000),
            Meet(E1, 0),
            Get(E1, 5000),
            Send(C1, 10),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header with more than a buffer behind it",
        HEADED,
        &[
            Connect(C1),
            SayBefore(C1, UNKNOWN, 40_000),
            Finish(C1),
            Meet(E1, 0),
            Fin(E1),
            Send(E1, 1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header byte by byte",
        HEADED,
        &[
            Connect(C1),
            Spell(C1, LINE),
            Meet(E1, 0),
            Send(E1, 10),
            Get(C1, 10),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header in two parts, bytes behind the second",
        HEADED,
        &[
            Connect(C1),
            Say(C1, b"PROXY TCP6 2001:db8::1 2001:db8"),
            Heard(31),
            Unmet(0),
            SayBefore(C1, b"::2 1 2\r\n", 3000),
            Meet(E1, 0),
            Get(E1, 3000),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a binary header with a field",
        HEADED,
        &[
            Connect(C1),
            SayBefore(C1, BINARY, 100),
            Meet(E1, 0),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a binary header byte by byte",
        HEADED,
        &[
            Connect(C1),
            Spell(C1, BINARY),
            Meet(E1, 0),
            Send(C1, 7),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header of one who speaks for itself",
        HEADED,
        &[
            Connect(C1),
            Say(C1, LOCAL),
            Meet(E1, 0),
            Finish(E1),
            Fin(C1),
            Finish(C1),
            Fin(E1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header, then nothing",
        HEADED,
        &[
            Connect(C1),
            Say(C1, LINE),
            Finish(C1),
            Meet(E1, 0),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header, for a Unix endpoint",
        headed(UNIX, PATIENT),
        &[
            Connect(C1),
            SayBefore(C1, LINE, 100),
            Meet(E1, 0),
            Send(C1, MIB),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header, then bulk",
        HEADED,
        &[
            Connect(C1),
            SayBefore(C1, LINE, 20_000),
            Send(C1, 6 * MIB),
            Meet(E1, 0),
            Finish(C1),
            Fin(E1),
            Bulks(1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "two headers: the second is the endpoint's",
        HEADED,
        &[
            Connect(C1),
            Say(C1, LINE),
            Meet(E1, 0),
            Spell(C1, LINE),
            Pending(E1, LINE.len()),
            Reset(C1),
            Closed(1),
        ],
        &[(ClientReset, 1)],
    ),
    row(
        "a header, then an endpoint that is silent",
        SILENT_THEN_NOT,
        &[
            Connect(C1),
            SayBefore(C1, LINE, 100),
            Send(C1, 2 * MIB),
            Finish(C1),
            Meet(E1, 0),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 1)],
    ),
    row(
        "a header, then only silence",
        Setup {
            settings: Settings {
                connect_timeout: Duration::from_millis(200),
                ..SILENT.settings
            },
            ..SILENT
        },
        &[Connect(C1), Say(C1, LINE), Rst(C1)],
        &[(ConnectTimeout, 1)],
    ),
    row(
        "a request in place of a header",
        HEADED,
        &[Connect(C1), Say(C1, REQUEST), RstAfter(C1, 0), Unmet(0)],
        &[(ProxyHeader, 1)],
    ),
    row(
        "bytes in place of a header",
        HEADED,
        &[Connect(C1), Send(C1, FLOOD), RstAfter(C1, 0), Unmet(0)],
        &[(ProxyHeader, 1)],
    ),
    row(
        "a header that turns wrong",
        HEADED,
        &[
            Connect(C1),
            Say(C1, b"PROXY TCP4 192.0.2.1 "),
            Heard(21),
            Say(C1, b"192.0.2.256 1 2\r\n"),
            RstAfter(C1, 0),
            Unmet(0),
        ],
        &[(ProxyHeader, 1)],
    ),
    row(
        "a header of a version that there is not",
        HEADED,
        &[Connect(C1), Say(C1, FUTURE), RstAfter(C1, 0), Unmet(0)],
        &[(ProxyHeader, 1)],
    ),
    row(
        "a header without an end",
        HEADED,
        &[
            Connect(C1),
            Say(C1, b"PROXY UNKNOWN "),
            Heard(14),
            Say(C1, ENDLESS),
            RstAfter(C1, 0),
            Unmet(0),
        ],
        &[(ProxyHeader, 1)],
    ),
    row(
        "no header in time",
        HASTY,
        &[Connect(C1), RstAfter(C1, 0), Unmet(0)],
        &[(ProxyHeaderTimeout, 1)],
    ),
    row(
        "half a header in time",
        HASTY,
        &[
            Connect(C1),
            Say(C1, b"PROXY TCP4 192"),
            RstAfter(C1, 0),
            Unmet(0),
        ],
        &[(ProxyHeaderTimeout, 1)],
    ),
    row(
        "the client leaves before its header",
        HEADED,
        &[Connect(C1), Finish(C1), RstAfter(C1, 0), Unmet(0)],
        &[(ProxyHeader, 1)],
    ),
    row(
        "the client leaves within its header",
        HEADED,
        &[
            Connect(C1),
            Say(C1, b"PROXY"),
            Close(C1),
            Closed(1),
            Unmet(0),
        ],
        &[(ProxyHeader, 1)],
    ),
    row(
        "the client resets before its header",
        HEADED,
        &[Connect(C1), Accepted(1), Reset(C1), Closed(1), Unmet(0)],
        &[(ClientReset, 1)],
    ),
    row(
        "the client resets within its header",
        HEADED,
        &[
            Connect(C1),
            Say(C1, b"PROXY"),
            Heard(5),
            Reset(C1),
            Closed(1),
            Unmet(0),
        ],
        &[(ClientReset, 1)],
    ),
    row(
        "the client resets behind its header",
        SILENT,
        &[
            Connect(C1),
            SayBefore(C1, LINE, 100),
            Heard(100),
            Reset(C1),
            Closed(1),
        ],
        &[(ClientReset, 1)],
    ),
    row(
        "who waits for a header counts",
        Setup {
            settings: Settings {
                header_timeout: Some(Duration::from_millis(300)),
                ..SETTINGS
            },
            ..ONE_SESSION
        },
        &[
            Connect(C1),
            Accepted(1),
            Connect(C2),
            Say(C2, LINE),
            RstAfter(C1, 0),
            Meet(E2, 0),
            Finish(C2),
            Fin(E2),
            Finish(E2),
            Fin(C2),
        ],
        &[(Finished, 1), (ProxyHeaderTimeout, 1)],
    ),
    row(
        "too old before its header has come",
        AGING,
        &[Connect(C1), Say(C1, b"PROXY "), RstAfter(C1, 0)],
        &[(MaxAge, 1)],
    ),
    row(
        "the drain's deadline before the header",
        HEADED,
        &[
            Connect(C1),
            Say(C1, b"PROXY "),
            Heard(6),
            Drain(150),
            RstAfter(C1, 0),
            Ended,
        ],
        &[(Drained, 1)],
    ),
    row(
        "draining lets a header come",
        HEADED,
        &[
            Connect(C1),
            Say(C1, b"PROXY "),
            Heard(6),
            Drain(15_000),
            Say(C1, b"UNKNOWN\r\n"),
            Meet(E1, 0),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
            Ended,
        ],
        &[(Finished, 1)],
    ),
    row(
        "stopping before the header",
        HEADED,
        &[
            Connect(C1),
            Say(C1, b"PROXY "),
            Heard(6),
            Stop,
            RstAfter(C1, 0),
            Ended,
        ],
        &[(Drained, 1)],
    ),
    row(
        "one with a header, one without",
        HEADED,
        &[
            Connect(C1),
            Connect(C2),
            SayBefore(C2, BINARY, 10),
            Meet(E2, 0),
            Get(E2, 10),
            Spell(C1, UNKNOWN),
            Meet(E1, 0),
            Send(C1, 9),
            Get(E1, 9),
            Finish(C2),
            Fin(E2),
            Finish(E2),
            Fin(C2),
            Finish(C1),
            Fin(E1),
            Finish(E1),
            Fin(C1),
        ],
        &[(Finished, 2)],
    ),
];
