//! The messages of the benches: what a request looks like, and which answer it must get, byte for byte.
//!
//! A request has 64 bytes: a tag, the length of the wanted answer, an identity, and a filler that depends on the
//! identity. An answer has the identity first, then a slice of one fixed pattern that starts at a place which
//! depends on the identity too: so an answer to another request never passes, and neither side generates bytes.

use std::sync::OnceLock;

/// The size of a request.
pub(crate) const REQUEST_BYTES: usize = 64;
/// The smallest answer.
pub(crate) const ANSWER_BYTES_MIN: u32 = HEAD_BYTES as u32;
/// The largest answer.
pub(crate) const ANSWER_BYTES_MAX: u32 = 1 << 20;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// Connection and sequence number.
    pub(crate) id: u64,
    /// How long the answer shall be.
    pub(crate) answer_bytes: u32,
}

impl Request {
    /// The bytes of this request.
    pub(crate) fn encode(self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(TAG);
        bytes[4..8].copy_from_slice(&self.answer_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.id.to_le_bytes());
        let phase = phase(self.id);
        bytes[16..].copy_from_slice(&pattern()[phase..phase + REQUEST_BYTES - 16]);
        bytes
    }

    /// The request that these bytes are; none if a single one is wrong.
    pub(crate) fn decode(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<4>()?;
        let (answer_bytes, rest) = rest.split_first_chunk::<4>()?;
        let (id, _) = rest.split_first_chunk::<8>()?;
        let request = Self {
            id: u64::from_le_bytes(*id),
            answer_bytes: u32::from_le_bytes(*answer_bytes),
        };
        let sizes = ANSWER_BYTES_MIN..=ANSWER_BYTES_MAX;
        (sizes.contains(&request.answer_bytes) && request.encode() == *bytes).then_some(request)
    }

    /// The answer to this request.
    pub(crate) fn answer(self) -> Answer {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&self.id.to_be_bytes());
        head[8..].copy_from_slice(&u64::from(self.answer_bytes).to_be_bytes());
        Answer {
            head,
            phase: phase(self.id),
            bytes: self.answer_bytes as usize,
            at: 0,
        }
    }
}

/// An answer that is being sent or checked, and how far that has come.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    head: [u8; HEAD_BYTES],
    phase: usize,
    bytes: usize,
    at: usize,
}

impl Answer {
    /// What is left, in two pieces.
    pub(crate) fn rest(&self) -> [&[u8]; 2] {
        let body = &pattern()[self.phase..self.phase + self.bytes - HEAD_BYTES];
        match self.at.checked_sub(HEAD_BYTES) {
            None => [&self.head[self.at..], body],
            Some(at) => [&[], &body[at..]],
        }
    }

    /// Moves on by as many bytes as were sent.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.bytes);
    }

    /// How many bytes were sent or checked.
    pub(crate) fn done(&self) -> usize {
        self.at
    }

    /// How many are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes - self.at
    }

    /// True at the end.
    pub(crate) fn is_complete(&self) -> bool {
        self.at == self.bytes
    }

    /// Compares received bytes with what is left and moves on; says how many belong to this answer, or none if
    /// they differ.
    pub(crate) fn check(&mut self, received: &[u8]) -> Option<usize> {
        let mut count = 0;
        for piece in self.rest() {
            let taken = piece.len().min(received.len() - count);
            if received[count..count + taken] != piece[..taken] {
                return None;
            }
            count += taken;
        }
        self.advance(count);
        Some(count)
    }
}

fn phase(id: u64) -> usize {
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % PHASES
}

fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut random = fastrand::Rng::with_seed(1);
        (0..ANSWER_BYTES_MAX as usize + PHASES)
            .map(|_| random.u8(..))
            .collect()
    })
}

const TAG: &[u8; 4] = b"ask:";
const HEAD_BYTES: usize = 16;
const PHASES: usize = 4096;
