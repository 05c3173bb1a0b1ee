//! Reading version 1: a line of text, field by field, as far as it has come.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Command, Header, LINE_BYTES_MAX, Tlvs, Version, Violation, WORD};
use crate::session::proxy_protocol::parse::Stop;

/// Reads a line that begins with [`WORD`]. Returns the header and the length of the line.
///
/// A field is looked at as soon as the byte behind it is there, so that a wrong one is told at once;
/// nothing is taken from the line before its end has come.
pub(super) fn parse(bytes: &[u8]) -> Result<(Header<'static>, usize), Stop> {
    // What stands behind the longest line has no say in what is wrong with it.
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match read(line) {
        Err(Stop::Incomplete) if line.len() == LINE_BYTES_MAX => Err(Violation::TooLong.into()),
        other => other,
    }
}

fn read(bytes: &[u8]) -> Result<(Header<'static>, usize), Stop> {
    let mut line = Line {
        bytes,
        position: WORD.len(),
    };
    let addresses = match line.protocol()? {
        Protocol::Tcp4 => line.addresses::<Ipv4Addr>()?,
        Protocol::Tcp6 => line.addresses::<Ipv6Addr>()?,
        Protocol::Unknown => line.anything()?,
    };
    let header = Header {
        version: Version::V1,
        command: Command::Proxy,
        addresses,
        tlvs: Tlvs::default(),
    };
    Ok((header, line.position))
}

#[derive(Clone, Copy)]
enum Protocol {
    Tcp4,
    Tcp6,
    Unknown,
}

/// The words of the protocols, and what each means.
const PROTOCOLS: [(&[u8], Protocol); 3] = [
    (b"TCP4 ", Protocol::Tcp4),
    (b"TCP6 ", Protocol::Tcp6),
    (b"UNKNOWN", Protocol::Unknown),
];

/// What a field may be made of.
struct Field {
    is_allowed: fn(u8) -> bool,
    bytes_max: usize,
    violation: Violation,
}

/// Addresses of one family, as text.
trait Family: std::str::FromStr + Into<IpAddr> {
    const FIELD: Field;
}

impl Family for Ipv4Addr {
    const FIELD: Field = Field {
        is_allowed: |byte| byte.is_ascii_digit() || byte == b'.',
        bytes_max: "255.255.255.255".len(),
        violation: Violation::Address,
    };
}

impl Family for Ipv6Addr {
    // The last 32 bits may be written like an IPv4 address: inet_ntop(3) does so.
    const FIELD: Field = Field {
        is_allowed: |byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.',
        bytes_max: "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len(),
        violation: Violation::Address,
    };
}

const PORT: Field = Field {
    is_allowed: |byte| byte.is_ascii_digit(),
    bytes_max: "65535".len(),
    violation: Violation::Port,
};

/// A line as far as it has come, and how far it was read.
struct Line<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Line<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    fn protocol(&mut self) -> Result<Protocol, Stop> {
        let rest = self.rest();
        for (word, protocol) in PROTOCOLS {
            if rest.starts_with(word) {
                self.position += word.len();
                return Ok(protocol);
            }
            if word.starts_with(rest) {
                return Err(Stop::Incomplete);
            }
        }
        Err(Violation::Protocol.into())
    }

    /// Two addresses, two ports and the end of the line.
    fn addresses<F: Family>(&mut self) -> Result<Addresses<'static>, Stop> {
        let source = self.address::<F>()?;
        let destination = self.address::<F>()?;
        let source_port = self.port(b' ')?;
        let destination_port = self.port(b'\r')?;
        match self.rest().first() {
            Some(b'\n') => self.position += 1,
            Some(_) => return Err(Violation::LineEnd.into()),
            None => return Err(Stop::Incomplete),
        }
        Ok(Addresses::Inet {
            source: SocketAddr::new(source, source_port),
            destination: SocketAddr::new(destination, destination_port),
        })
    }

    fn address<F: Family>(&mut self) -> Result<IpAddr, Stop> {
        let text = self.field(&F::FIELD, b' ')?;
        match text.parse::<F>() {
            Ok(address) => Ok(address.into()),
            Err(_) => Err(Violation::Address.into()),
        }
    }

    fn port(&mut self, end: u8) -> Result<u16, Stop> {
        let text = self.field(&PORT, end)?;
        let is_plain = text == "0" || !text.starts_with('0');
        match text.parse() {
            Ok(port) if is_plain => Ok(port),
            _ => Err(Violation::Port.into()),
        }
    }

    /// A field and the byte that ends it.
    fn field(&mut self, field: &Field, end: u8) -> Result<&'a str, Stop> {
        let rest = self.rest();
        let allowed = rest.iter().take_while(|byte| (field.is_allowed)(**byte));
        let length = allowed.count();
        if length > field.bytes_max {
            return Err(field.violation.into());
        }
        match rest.get(length) {
            None => return Err(Stop::Incomplete),
            Some(byte) if *byte == end && length > 0 => {}
            // A line that ends too early, or goes on after the last field.
            Some(b'\r' | b'\n') => return Err(Violation::LineEnd.into()),
            Some(b' ') if end == b'\r' && length > 0 => return Err(Violation::LineEnd.into()),
            Some(_) => return Err(field.violation.into()),
        }
        self.position += length + 1;
        std::str::from_utf8(&rest[..length]).map_err(|_| field.violation.into())
    }

    /// What follows UNKNOWN: nothing, or a blank and whatever comes before the end of the line.
    fn anything(&mut self) -> Result<Addresses<'static>, Stop> {
        let rest = self.rest();
        match rest {
            [] | [b'\r'] => return Err(Stop::Incomplete),
            [b' ', ..] | [b'\r', b'\n', ..] => {}
            [b'\r' | b'\n', ..] => return Err(Violation::LineEnd.into()),
            _ => return Err(Violation::Protocol.into()),
        }
        match rest.windows(2).position(|pair| pair == b"\r\n") {
            Some(end) => {
                self.position += end + 2;
                Ok(Addresses::Unspecified)
            }
            None => Err(Stop::Incomplete),
        }
    }
}
