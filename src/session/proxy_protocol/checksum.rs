//! CRC32C, the checksum of a header in version 2.
//!
//! A header is short and there is one per connection: a table of bytes is fast enough (about 2 ns
//! a byte) and asks nothing of the processor.
#![forbid(unsafe_code)]

/// A checksum under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc32c(u32);

impl Crc32c {
    /// The checksum of nothing.
    pub(super) fn new() -> Self {
        Self(!0)
    }

    /// Goes on with these bytes.
    #[must_use]
    pub(super) fn with(self, bytes: &[u8]) -> Self {
        let step = |crc: u32, byte: &u8| {
            let index = (crc as u8) ^ byte;
            (crc >> 8) ^ TABLE[usize::from(index)]
        };
        Self(bytes.iter().fold(self.0, step))
    }

    /// The checksum of all bytes so far.
    pub(super) fn value(self) -> u32 {
        !self.0
    }
}

/// The polynomial of Castagnoli, its bits mirrored.
///
/// Source: RFC 4960, appendix B.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What a byte does to the checksum.
static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums() {
        let check = |bytes: &[u8], expected| {
            assert_eq!(Crc32c::new().with(bytes).value(), expected, "{bytes:?}");
        };
        // RFC 3720, appendix B.4, and the usual check value.
        check(b"", 0);
        check(b"123456789", 0xe306_9283);
        check(&[0; 32], 0x8a91_36aa);
        check(&[0xff; 32], 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        check(&rising, 0x46dd_794e);
        let falling: Vec<u8> = (0..32).rev().collect();
        check(&falling, 0x113f_db5c);
    }

    #[test]
    fn pieces_make_the_whole() {
        let whole = Crc32c::new().with(b"123456789");
        let pieces = Crc32c::new().with(b"1234").with(b"").with(b"56789");
        assert_eq!(whole.value(), pieces.value());
    }
}
