//! Writing a header.
#![forbid(unsafe_code)]

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::checksum::Crc32c;
use super::{
    Addresses, Command, HEAD_BYTES, SIGNATURE, TLV_HEAD_BYTES, Tlv, Tlvs, UNIQUE_ID_BYTES_MAX,
    Version,
};
use crate::bounds::PROXY_HEADER_BYTES_MAX;

/// A header to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// In which form. Version 1 has no fields and takes none of those below.
    pub version: Version,
    /// On whose behalf. [`Command::Local`] has neither addresses nor fields.
    pub command: Command,
    /// Whose addresses. Of an IPv4 and an IPv6 address the former is written as the latter
    /// (`::ffff:0:0/96`).
    pub addresses: Addresses<'a>,
    /// The field [`Tlv::AUTHORITY`].
    pub authority: Option<&'a [u8]>,
    /// The field [`Tlv::UNIQUE_ID`], at most 128 bytes.
    pub unique_id: Option<&'a [u8]>,
    /// Further fields of our own, by type.
    pub custom: &'a [(u8, Vec<u8>)],
    /// The client's fields: those of a type that the header does not have already.
    pub passed_on: Tlvs<'a>,
    /// Whether the last field is a checksum.
    pub checksum: bool,
}

impl<'a> Outgoing<'a> {
    /// A header without further fields.
    pub fn new(version: Version, command: Command, addresses: Addresses<'a>) -> Self {
        Self {
            version,
            command,
            addresses,
            authority: None,
            unique_id: None,
            custom: &[],
            passed_on: Tlvs::default(),
            checksum: false,
        }
    }

    /// Its own fields but the checksum.
    fn own(&self) -> impl Iterator<Item = Tlv<'a>> {
        let field = |kind| move |value| Tlv { kind, value };
        let unique_id = self.unique_id.map(field(Tlv::UNIQUE_ID));
        let authority = self.authority.map(field(Tlv::AUTHORITY));
        let custom = self.custom.iter();
        let custom = custom.map(|(kind, value)| Tlv { kind: *kind, value });
        unique_id.into_iter().chain(authority).chain(custom)
    }

    /// Whether a field of the client's is for others than us and not replaced.
    fn passes_on(&self, field: &Tlv<'_>) -> bool {
        !matches!(field.kind, Tlv::CRC32C | Tlv::NOOP)
            && self.own().all(|own| own.kind != field.kind)
    }
}

/// Appends a header to `out`, of at most [`PROXY_HEADER_BYTES_MAX`] bytes. Returns how many fields
/// were left out, each as a whole, because they did not fit or make a header invalid. The client's
/// get the room that our own leave.
///
/// Cost: linear in the header's length; for each field passed on, a look at each of our own. No
/// allocation if `out` has room.
pub fn encode(outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> usize {
    match outgoing.version {
        Version::V1 => {
            encode_line(outgoing, out);
            0
        }
        Version::V2 => encode_binary(outgoing, out),
    }
}

fn encode_line(outgoing: &Outgoing<'_>, out: &mut Vec<u8>) {
    let before = out.len();
    let written = match (outgoing.command, outgoing.addresses) {
        (
            Command::Proxy,
            Addresses::Inet {
                source,
                destination,
            },
        ) => {
            let (source, destination) = of_one_family(source, destination);
            let word = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            write!(
                out,
                "PROXY {word} {} {} {} {}\r\n",
                Plain(source.ip()),
                Plain(destination.ip()),
                source.port(),
                destination.port()
            )
        }
        _ => out.write_all(b"PROXY UNKNOWN\r\n"),
    };
    if written.is_err() {
        // A vector takes everything.
        out.truncate(before);
    }
}

/// An address in the notation of version 1, which has no dots in an IPv6 address.
struct Plain(IpAddr);

impl fmt::Display for Plain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
                let [.., high, low] = address.segments();
                write!(formatter, "::ffff:{high:x}:{low:x}")
            }
            address => address.fmt(formatter),
        }
    }
}

fn encode_binary(outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&SIGNATURE);
    // The command, the shape and the length stand here when all else does.
    out.extend_from_slice(&[0; HEAD_BYTES - SIGNATURE.len()]);
    let (command, shape, dropped) = match outgoing.command {
        Command::Local => (0x20, 0x00, 0),
        Command::Proxy => {
            let shape = put_addresses(outgoing.addresses, out);
            (0x21, shape, put_fields(outgoing, start, out))
        }
    };
    let length = out.len() - start - HEAD_BYTES;
    let [high, low] = (length as u16).to_be_bytes();
    out[start + SIGNATURE.len()..start + HEAD_BYTES].copy_from_slice(&[command, shape, high, low]);
    if outgoing.checksum && outgoing.command == Command::Proxy {
        let crc = Crc32c::new().with(&out[start..]).value();
        let at = out.len() - size_of::<u32>();
        out[at..].copy_from_slice(&crc.to_be_bytes());
    }
    dropped
}

/// Writes the addresses; returns what says of which kind they are.
fn put_addresses(addresses: Addresses<'_>, out: &mut Vec<u8>) -> u8 {
    match addresses {
        Addresses::Unspecified => 0x00,
        Addresses::Inet {
            source,
            destination,
        } => {
            let (source, destination) = of_one_family(source, destination);
            for addr in [source, destination] {
                match addr.ip() {
                    IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                    IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
                }
            }
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
            if source.is_ipv4() { 0x11 } else { 0x21 }
        }
        Addresses::Unix {
            source,
            destination,
        } => {
            out.extend_from_slice(source);
            out.extend_from_slice(destination);
            0x31
        }
    }
}

/// Makes both addresses IPv6 if one of them is.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    (mapped(source), mapped(destination))
}

fn mapped(addr: SocketAddr) -> SocketAddr {
    let address: Ipv6Addr = match addr.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    SocketAddrV6::new(address, addr.port(), 0, 0).into()
}

/// Writes the fields of a header that began at `start`, the checksum as zeros. Returns how many
/// were left out.
fn put_fields(outgoing: &Outgoing<'_>, start: usize, out: &mut Vec<u8>) -> usize {
    let checksum = Tlv {
        kind: Tlv::CRC32C,
        value: &[0; 4],
    };
    let kept = if outgoing.checksum {
        checksum.bytes()
    } else {
        0
    };
    let end = start + PROXY_HEADER_BYTES_MAX - kept;
    let passed_on = outgoing.passed_on;
    let passed_on = passed_on.filter(|field| outgoing.passes_on(field));
    let mut dropped = 0;
    for field in outgoing.own().chain(passed_on) {
        if may_stand(&field) && out.len() + field.bytes() <= end {
            put_field(&field, out);
        } else {
            dropped += 1;
        }
    }
    if outgoing.checksum {
        put_field(&checksum, out);
    }
    dropped
}

/// Whether a receiver would take a header with this field in it.
fn may_stand(field: &Tlv<'_>) -> bool {
    match field.kind {
        Tlv::CRC32C => false,
        Tlv::UNIQUE_ID => field.value.len() <= UNIQUE_ID_BYTES_MAX,
        _ => true,
    }
}

fn put_field(field: &Tlv<'_>, out: &mut Vec<u8>) {
    let [high, low] = (field.value.len() as u16).to_be_bytes();
    out.extend_from_slice(&[field.kind, high, low]);
    out.extend_from_slice(field.value);
}

const _: () = assert!(
    PROXY_HEADER_BYTES_MAX - HEAD_BYTES - TLV_HEAD_BYTES <= u16::MAX as usize,
    "a field that fits the header has a length of 16 bits"
);
