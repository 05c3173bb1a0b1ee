//! What holds of any bytes that are taken for a PROXY protocol header. The fuzz target asserts it
//! too.
#![forbid(unsafe_code)]

use ringlane::bounds::PROXY_HEADER_BYTES_MAX;
use ringlane::session::proxy_protocol::{Command, Header, Outgoing, Parse, Tlv, encode, parse};

/// Reads a header and, if it is one, writes it and reads it again.
///
/// Panics: if a prefix is decided otherwise than the whole, or what was written is not read back
/// equal.
pub(crate) fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    for length in 0..bytes.len().min(PROXY_HEADER_BYTES_MAX) {
        let part = parse(&bytes[..length]);
        assert!(
            part == Parse::Incomplete || part == whole,
            "{length} bytes are {part:?}, all are {whole:?}"
        );
    }
    let Parse::Complete { header, length } = whole else {
        let is_decided = whole != Parse::Incomplete || bytes.len() < PROXY_HEADER_BYTES_MAX;
        assert!(is_decided, "more bytes are wanted than a header has");
        return;
    };
    assert!(length <= bytes.len().min(PROXY_HEADER_BYTES_MAX));
    if header.command == Command::Proxy {
        check_header(&header);
    }
}

fn check_header(header: &Header<'_>) {
    let outgoing = Outgoing {
        passed_on: header.tlvs(),
        checksum: header.tlvs().any(|field| field.kind == Tlv::CRC32C),
        ..Outgoing::new(header.version, header.command, header.addresses)
    };
    let mut written = Vec::new();
    let dropped = encode(&outgoing, &mut written);
    assert_eq!(dropped, 0, "what was read fits");
    let Parse::Complete {
        header: again,
        length,
    } = parse(&written)
    else {
        panic!("{} is no header", written.escape_ascii());
    };
    assert_eq!(length, written.len());
    assert_eq!(
        (again.version, again.command, again.addresses),
        (header.version, header.command, header.addresses)
    );
    assert!(lasting(&again).eq(lasting(header)), "other fields");
}

/// The fields of a header that are passed on.
fn lasting<'a>(header: &Header<'a>) -> impl Iterator<Item = Tlv<'a>> {
    header
        .tlvs()
        .filter(|field| !matches!(field.kind, Tlv::CRC32C | Tlv::NOOP))
}
