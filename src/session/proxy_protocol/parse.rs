//! Reading a header: telling the versions apart, and version 2.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::checksum::Crc32c;
use super::{
    Addresses, Command, HEAD_BYTES, Header, Parse, SIGNATURE, TLV_HEAD_BYTES, Tlv, Tlvs,
    UNIQUE_ID_BYTES_MAX, UNIX_PATH_BYTES, Version, Violation, WORD, line,
};
use crate::bounds::PROXY_HEADER_BYTES_MAX;

/// Says what the bytes are that a connection began with, as early as they allow it.
///
/// `bytes` are all that have come so far; they may go on with the client's own. To be called again
/// with more as long as it says [`Parse::Incomplete`], which it never does of
/// [`PROXY_HEADER_BYTES_MAX`] bytes.
///
/// Cost: linear in the header's length.
pub fn parse(bytes: &[u8]) -> Parse<'_> {
    let parsed = if begins(bytes, WORD) {
        if bytes.len() < WORD.len() {
            Err(Stop::Incomplete)
        } else {
            line::parse(bytes)
        }
    } else if begins(bytes, &SIGNATURE) {
        parse_binary(bytes)
    } else {
        Err(Violation::Signature.into())
    };
    match parsed {
        Ok((header, length)) => Parse::Complete { header, length },
        Err(Stop::Incomplete) => Parse::Incomplete,
        Err(Stop::Invalid(violation)) => Parse::Invalid(violation),
    }
}

/// Why reading does not go on.
pub(super) enum Stop {
    /// For want of bytes.
    Incomplete,
    /// Something is wrong.
    Invalid(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Invalid(violation)
    }
}

/// Whether bytes begin like this, as far as there are any.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

/// Reads version 2, of whose signature nothing is wrong.
fn parse_binary(bytes: &[u8]) -> Result<(Header<'_>, usize), Stop> {
    let byte = |position: usize| bytes.get(position).copied().ok_or(Stop::Incomplete);
    let command = command(byte(12)?)?;
    let shape = byte(13)?;
    let (family, transport) = match command {
        // Not looked at.
        Command::Local => (Family::Unspecified, Transport::Unspecified),
        Command::Proxy => (family(shape >> 4)?, transport(shape & 15)?),
    };
    let high = byte(14)?;
    if HEAD_BYTES + (usize::from(high) << 8) > PROXY_HEADER_BYTES_MAX {
        return Err(Violation::TooLong.into());
    }
    let length = HEAD_BYTES + usize::from(u16::from_be_bytes([high, byte(15)?]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(Violation::TooLong.into());
    }
    let fields_at = HEAD_BYTES + family.bytes();
    if fields_at > length {
        return Err(Violation::ShortAddresses.into());
    }
    if command == Command::Proxy {
        check_fields(bytes, fields_at, length)?;
    }
    let header = bytes.get(..length).ok_or(Stop::Incomplete)?;
    let (addresses, fields) = match (command, transport) {
        (Command::Local, _) => (Addresses::Unspecified, &[][..]),
        (_, Transport::Unspecified) => (Addresses::Unspecified, &header[fields_at..]),
        (_, Transport::Stream) => (
            family.addresses(&header[HEAD_BYTES..fields_at]),
            &header[fields_at..],
        ),
    };
    let header = Header {
        version: Version::V2,
        command,
        addresses,
        tlvs: Tlvs { bytes: fields },
    };
    Ok((header, length))
}

fn command(byte: u8) -> Result<Command, Violation> {
    match (byte >> 4, byte & 15) {
        (2, 0) => Ok(Command::Local),
        (2, 1) => Ok(Command::Proxy),
        (2, _) => Err(Violation::Command),
        _ => Err(Violation::Version),
    }
}

/// What kind of addresses a header has.
#[derive(Clone, Copy)]
enum Family {
    Unspecified,
    Inet,
    Inet6,
    Unix,
}

fn family(nibble: u8) -> Result<Family, Violation> {
    match nibble {
        0 => Ok(Family::Unspecified),
        1 => Ok(Family::Inet),
        2 => Ok(Family::Inet6),
        3 => Ok(Family::Unix),
        _ => Err(Violation::Family),
    }
}

impl Family {
    /// The bytes of its addresses and ports.
    fn bytes(self) -> usize {
        match self {
            Self::Unspecified => 0,
            Self::Inet => 2 * (4 + 2),
            Self::Inet6 => 2 * (16 + 2),
            Self::Unix => 2 * UNIX_PATH_BYTES,
        }
    }

    /// Reads the addresses from as many bytes as there are of its kind.
    fn addresses(self, bytes: &[u8]) -> Addresses<'_> {
        let read = match self {
            Self::Unspecified => None,
            Self::Inet => inet::<4>(bytes, |octets, port| (Ipv4Addr::from(octets), port).into()),
            Self::Inet6 => inet::<16>(bytes, |octets, port| (Ipv6Addr::from(octets), port).into()),
            Self::Unix => unix(bytes),
        };
        read.unwrap_or(Addresses::Unspecified)
    }
}

fn inet<const N: usize>(
    bytes: &[u8],
    addr: impl Fn([u8; N], u16) -> SocketAddr,
) -> Option<Addresses<'_>> {
    let (source, rest) = bytes.split_first_chunk()?;
    let (destination, rest) = rest.split_first_chunk()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    Some(Addresses::Inet {
        source: addr(*source, u16::from_be_bytes(*source_port)),
        destination: addr(*destination, u16::from_be_bytes(*destination_port)),
    })
}

fn unix(bytes: &[u8]) -> Option<Addresses<'_>> {
    let (source, rest) = bytes.split_first_chunk()?;
    let (destination, _) = rest.split_first_chunk()?;
    Some(Addresses::Unix {
        source,
        destination,
    })
}

/// What the header says that its client speaks.
#[derive(Clone, Copy)]
enum Transport {
    Unspecified,
    Stream,
}

fn transport(nibble: u8) -> Result<Transport, Violation> {
    match nibble {
        0 => Ok(Transport::Unspecified),
        1 => Ok(Transport::Stream),
        2 => Err(Violation::Datagram),
        _ => Err(Violation::Transport),
    }
}

/// Goes over the fields of a header of `length` bytes as far as they have come, and compares the
/// checksum if they have come to the end.
fn check_fields(bytes: &[u8], fields_at: usize, length: usize) -> Result<(), Violation> {
    let mut position = fields_at;
    let mut checksum_at = None;
    while position < length {
        let value_at = position + TLV_HEAD_BYTES;
        if value_at > length {
            return Err(Violation::FieldLength);
        }
        let Some(&[kind, high, low]) = bytes.get(position..value_at) else {
            return Ok(());
        };
        let value_bytes = usize::from(u16::from_be_bytes([high, low]));
        position = value_at + value_bytes;
        if position > length {
            return Err(Violation::FieldLength);
        }
        match kind {
            Tlv::UNIQUE_ID if value_bytes > UNIQUE_ID_BYTES_MAX => {
                return Err(Violation::UniqueId);
            }
            Tlv::CRC32C if value_bytes != size_of::<u32>() || checksum_at.is_some() => {
                return Err(Violation::Checksum);
            }
            Tlv::CRC32C => checksum_at = Some(value_at),
            _ => {}
        }
    }
    match (bytes.get(..length), checksum_at) {
        (Some(header), Some(at)) if !has_checksum(header, at) => Err(Violation::Checksum),
        _ => Ok(()),
    }
}

/// Whether the checksum at this place is that of the header with zeros there.
fn has_checksum(header: &[u8], at: usize) -> bool {
    let (before, rest) = header.split_at(at);
    let Some((said, after)) = rest.split_first_chunk() else {
        return false;
    };
    let crc = Crc32c::new().with(before).with(&[0; 4]).with(after);
    crc.value() == u32::from_be_bytes(*said)
}
