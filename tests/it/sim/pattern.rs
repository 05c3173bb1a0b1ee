//! Bytes whose place in a stream can be told from their value.
//!
//! The first byte of a stream is its number, so whoever receives it knows what must follow; the
//! others come from a random table whose length is a prime, so that no multiple of a buffer's size
//! looks like another.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

const PERIOD: usize = 65_521;

/// The table, twice and a bit, so that any piece is one slice.
fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut rng = fastrand::Rng::with_seed(0x7a61);
        let once: Vec<u8> = (0..PERIOD).map(|_| rng.u8(..)).collect();
        [&once[..], &once[..]].concat()
    })
}

/// The longest piece that can be asked for at once.
pub(crate) const PIECE_MAX: usize = PERIOD;

/// The `len` bytes of a stream from `start` on, at most [`PIECE_MAX`].
pub(crate) fn bytes(stream: u8, start: u64, len: usize) -> Vec<u8> {
    let mut bytes = piece(stream, start, len).to_vec();
    if start == 0
        && let Some(first) = bytes.first_mut()
    {
        *first = stream;
    }
    bytes
}

/// Where `bytes` differ from the stream's from `start` on, if they do.
pub(crate) fn mismatch(stream: u8, start: u64, bytes: &[u8]) -> Option<u64> {
    let mut position = start;
    for part in bytes.chunks(PIECE_MAX) {
        let expected = self::bytes(stream, position, part.len());
        if part != expected {
            let place = part
                .iter()
                .zip(&expected)
                .position(|(got, wanted)| got != wanted);
            return Some(position + place.unwrap_or(0) as u64);
        }
        position += part.len() as u64;
    }
    None
}

fn piece(stream: u8, start: u64, len: usize) -> &'static [u8] {
    let place = (start + u64::from(stream) * 257) % PERIOD as u64;
    &table()[place as usize..][..len]
}
