//! What a client sends before its stream where a PROXY protocol header is wanted.
#![forbid(unsafe_code)]

/// A header, or what comes in place of one.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    bytes: &'static [u8],
    sent: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// The stream comes next.
    #[default]
    Right,
    /// Nothing comes next, and no session comes of it.
    Wrong,
}

const RIGHT: [&[u8]; 4] = [
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12\xc0\0\x02\x01\xc0\0\x02\x02\x12\x67\x01\xbb\x04\0\x03abc",
];

const WRONG: [&[u8]; 6] = [
    b"",
    b"PROXY TCP4 192.0.2.1 192",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12\xc0\0\x02",
    b"GET / HTTP/1.1\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443 \r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
];

impl Opening {
    /// One at random, mostly a right one.
    pub(crate) fn random(rng: &mut fastrand::Rng) -> Self {
        let (choices, kind) = match rng.u8(..5) {
            0 => (&WRONG[..], Kind::Wrong),
            _ => (&RIGHT[..], Kind::Right),
        };
        Self {
            bytes: rng.choice(choices).copied().unwrap_or_default(),
            sent: 0,
            kind,
        }
    }

    /// How many of its bytes were sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Whether the stream comes next.
    pub(crate) fn is_right(&self) -> bool {
        self.kind == Kind::Right
    }

    /// The next piece: often all that is left, often a single byte.
    pub(crate) fn piece(&self, rng: &mut fastrand::Rng) -> &'static [u8] {
        let left = &self.bytes[self.sent..];
        let most = match rng.u8(..3) {
            0 => left.len(),
            1 => 1,
            _ => rng.usize(1..=left.len()),
        };
        &left[..most]
    }

    /// Takes note of what was sent; `true` if that is a part of it.
    pub(crate) fn advance(&mut self, bytes: usize) -> bool {
        self.sent += bytes;
        bytes > 0 && bytes < self.bytes.len()
    }
}
