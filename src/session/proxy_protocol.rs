//! The PROXY protocol, versions 1 and 2: the header that says whom a connection is made for.
//!
//! Pure: [`parse`] is given the bytes that have come so far and [`encode`] writes to a vector.
//! Neither guesses whether there is a header at all, nor decides who may send one.
//!
//! ```text
//!  version 1, a line of at most 107 bytes
//!    PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n
//!    PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n
//!    PROXY UNKNOWN[ anything]\r\n
//!
//!  version 2
//!    0             12     13     14      16            16 + addresses     16 + length
//!    +-------------+------+------+-------+-------------+------------------+
//!    | signature   | 2, c | f, t | length| addresses   | type, length,    |
//!    |             |      |      | (16)  | 0, 12, 36,  | value, ...       |
//!    +-------------+------+------+-------+- or 216 ----+------------------+
//!    c command: 0 local, 1 proxy            f family: 0 none, 1 IPv4, 2 IPv6, 3 Unix
//!                                           t transport: 0 none, 1 stream, 2 datagrams
//! ```
//!
//! Source: proxy-protocol.txt of HAProxy, sections 2.1 and 2.2.
#![forbid(unsafe_code)]

mod checksum;
mod encode;
mod line;
mod parse;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use encode::{Outgoing, encode};
pub use parse::parse;

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The first bytes of version 1.
const WORD: &[u8] = b"PROXY ";

/// The bytes of version 2 before its addresses.
const HEAD_BYTES: usize = 16;

/// The bytes of a field's type and length.
const TLV_HEAD_BYTES: usize = 3;

/// The longest line of version 1, its end included.
pub const LINE_BYTES_MAX: usize = 107;

/// The longest value of [`Tlv::UNIQUE_ID`].
pub const UNIQUE_ID_BYTES_MAX: usize = 128;

/// The bytes of a Unix socket's address, filled up with zeros.
pub const UNIX_PATH_BYTES: usize = 108;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse<'a> {
    /// The beginning of a header; nothing is wrong with it yet.
    Incomplete,
    /// A header.
    Complete {
        /// What it says.
        header: Header<'a>,
        /// How many of the bytes it is; those behind belong to the client's conversation.
        length: usize,
    },
    /// No header, whatever may follow.
    Invalid(Violation),
}

/// A header that was received. It borrows from the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The form that it came in.
    pub version: Version,
    /// On whose behalf the connection is made.
    pub command: Command,
    /// Whose addresses count for this connection.
    pub addresses: Addresses<'a>,
    tlvs: Tlvs<'a>,
}

impl<'a> Header<'a> {
    /// Its further fields in their order, checksums and padding included.
    pub fn tlvs(&self) -> Tlvs<'a> {
        self.tlvs
    }
}

/// The two forms of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// On whose behalf a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The sender's own, to see if somebody is there. Addresses and fields are not given.
    Local,
    /// Somebody else's.
    Proxy,
}

/// Whose addresses count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses<'a> {
    /// Those of the connection itself.
    Unspecified,
    /// TCP.
    Inet {
        /// The client's.
        source: SocketAddr,
        /// The one that the client connected to.
        destination: SocketAddr,
    },
    /// Unix stream sockets.
    Unix {
        /// The client's, often all zeros.
        source: &'a [u8; UNIX_PATH_BYTES],
        /// The one that the client connected to.
        destination: &'a [u8; UNIX_PATH_BYTES],
    },
}

/// A further field of a header in version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// What it is.
    pub kind: u8,
    /// Its bytes, not looked into.
    pub value: &'a [u8],
}

impl Tlv<'_> {
    /// The protocol above TCP, as TLS negotiated it.
    pub const ALPN: u8 = 0x01;
    /// The name of the host that the client asked for.
    pub const AUTHORITY: u8 = 0x02;
    /// A CRC32C of the whole header.
    pub const CRC32C: u8 = 0x03;
    /// Padding.
    pub const NOOP: u8 = 0x04;
    /// An identity of the connection.
    pub const UNIQUE_ID: u8 = 0x05;
    /// What is known of the client's TLS.
    pub const SSL: u8 = 0x20;
    /// The network namespace.
    pub const NETNS: u8 = 0x30;

    /// The bytes that it takes in a header.
    fn bytes(&self) -> usize {
        TLV_HEAD_BYTES + self.value.len()
    }
}

/// Fields of a header, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tlvs<'a> {
    /// Whole fields.
    bytes: &'a [u8],
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let (&[kind, high, low], rest) = self.bytes.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        self.bytes = rest;
        Some(Tlv { kind, value })
    }
}

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// What is wrong with bytes that are no header: a closed list, for logs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Violation {
            $($(#[$doc])* $name,)*
        }

        impl Violation {
            /// Every violation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The violation as one word.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

violations! {
    /// It begins like neither version.
    Signature = "signature";
    /// Version 1: the word after PROXY is not TCP4, TCP6 or UNKNOWN.
    Protocol = "protocol";
    /// Version 1: not an address of the family that was announced.
    Address = "address";
    /// Version 1: not a port in plain decimal.
    Port = "port";
    /// Version 1: the line does not end by CR and LF where it should.
    LineEnd = "line_end";
    /// It is longer than allowed.
    TooLong = "too_long";
    /// Version 2: it is of another version by its number.
    Version = "version";
    /// Version 2: an unknown command.
    Command = "command";
    /// Version 2: an unknown family of addresses.
    Family = "family";
    /// Version 2: an unknown transport.
    Transport = "transport";
    /// Version 2: it speaks of datagrams, and this is a connection.
    Datagram = "datagram";
    /// Version 2: it is shorter than addresses of its family are.
    ShortAddresses = "short_addresses";
    /// Version 2: a field does not end where the header does.
    FieldLength = "field_length";
    /// Version 2: an identity of more than 128 bytes.
    UniqueId = "unique_id";
    /// Version 2: the checksum is wrong, not of four bytes, or there are two.
    Checksum = "checksum";
}
