//! Headers and what is none, byte by byte.
#![forbid(unsafe_code)]

mod writing;

use super::checksum::Crc32c;
use super::*;
use crate::bounds::PROXY_HEADER_BYTES_MAX;

const TCP4: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
const IPV4_BLOCK: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb];

/// A header of version 2 with these two bytes and this block.
fn binary(command: u8, shape: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("a short block");
    let mut header = SIGNATURE.to_vec();
    header.extend([command, shape]);
    header.extend(length.to_be_bytes());
    header.extend(block);
    header
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("a short value");
    [&[kind], &length.to_be_bytes()[..], value].concat()
}

/// A header for IPv4 with these fields.
fn with_fields(fields: &[Vec<u8>]) -> Vec<u8> {
    binary(0x21, 0x11, &[IPV4_BLOCK, &fields.concat()].concat())
}

/// The same with a checksum behind them, which is changed by so much.
fn with_checksum(fields: &[Vec<u8>], change: u32) -> Vec<u8> {
    let fields = [fields, &[tlv(Tlv::CRC32C, &[0; 4])]].concat();
    let mut header = with_fields(&fields);
    let crc = Crc32c::new().with(&header).value() ^ change;
    let at = header.len() - 4;
    header[at..].copy_from_slice(&crc.to_be_bytes());
    header
}

fn inet(source: &str, destination: &str) -> Addresses<'static> {
    Addresses::Inet {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    }
}

/// Whether exactly the last byte makes it wrong.
fn check_invalid(bytes: &[u8], expected: Violation) {
    let seen = parse(bytes);
    assert_eq!(seen, Parse::Invalid(expected), "{}", bytes.escape_ascii());
}

/// The same of several lines.
fn check_lines(expected: Violation, lines: &[&[u8]]) {
    for line in lines {
        check_invalid(line, expected);
    }
}

/// Whether it is one header from the first byte to the last, whatever follows, and none before.
fn check_complete(bytes: &[u8], command: Command, addresses: Addresses<'_>, fields: &[Tlv<'_>]) {
    for length in 0..bytes.len() {
        assert_eq!(parse(&bytes[..length]), Parse::Incomplete, "{length}");
    }
    for more in [&b""[..], b"\0", b"\r\n", b"PROXY ", &[0xff; 9000]] {
        let all = [bytes, more].concat();
        let Parse::Complete { header, length } = parse(&all) else {
            panic!("{:?} of {}", parse(&all), bytes.escape_ascii());
        };
        assert_eq!(length, bytes.len());
        assert_eq!((header.command, header.addresses), (command, addresses));
        assert_eq!(header.tlvs().collect::<Vec<_>>(), fields);
    }
}

fn check_line(line: &str, addresses: Addresses<'_>) {
    check_complete(line.as_bytes(), Command::Proxy, addresses, &[]);
}

#[test]
fn lines_are_read() {
    check_line(
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
        inet("192.0.2.1:56324", "192.0.2.2:443"),
    );
    check_line(
        "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        inet("255.255.255.255:65535", "255.255.255.255:65535"),
    );
    check_line(
        "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
        inet("0.0.0.0:0", "0.0.0.0:0"),
    );
    check_line(
        "PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 1 2\r\n",
        inet("[2001:db8::1]:1", "[2001:db8::2]:2"),
    );
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    check_line(
        &format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n"),
        inet(&format!("[{longest}]:65535"), &format!("[{longest}]:65535")),
    );
    check_line(
        "PROXY TCP6 ::ffff:192.0.2.1 :: 1 2\r\n",
        inet("[::ffff:c000:201]:1", "[::]:2"),
    );
}

#[test]
fn unknown_lines_are_read() {
    let unspecified = Addresses::Unspecified;
    check_line("PROXY UNKNOWN\r\n", unspecified);
    check_line("PROXY UNKNOWN \r\n", unspecified);
    check_line("PROXY UNKNOWN a\rb\nc  \r\r\n", unspecified);
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let line = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
    assert_eq!(line.len(), LINE_BYTES_MAX);
    check_line(&line, unspecified);
    check_complete(
        b"PROXY UNKNOWN \xff\0\r\n",
        Command::Proxy,
        unspecified,
        &[],
    );
}

#[test]
fn what_begins_otherwise_is_told_by_the_first_wrong_byte() {
    check_lines(
        Violation::Signature,
        &[
            b"\0",
            b"G",
            b"proxy",
            b"p",
            b" PROXY",
            b"\n",
            b"Q",
            b"\x16\x03\x01",
            b"PROXY\t",
            b"PROXY\r",
            b"PROXY\0",
            b"PROXZ",
            b"POST / HTTP/1.1\r\n",
            b"PP",
            b"\r\r",
            b"\r\n\r\n\r",
            b"\r\n\r\n\x01",
            b"\r\n\r\n\0\r\nQUIT\r",
            b"\r\n\r\n\0\r\nquit",
        ],
    );
    for (length, byte) in (0..).zip(SIGNATURE) {
        let mut wrong = SIGNATURE[..=length].to_vec();
        wrong[length] = byte.wrapping_add(1);
        check_invalid(&wrong, Violation::Signature);
    }
}

#[test]
fn malformed_lines_are_refused() {
    check_lines(
        Violation::Protocol,
        &[
            b"PROXY  ",
            b"PROXY tcp4",
            b"PROXY TCP5",
            b"PROXY TCP44",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP\n",
            b"PROXY \r\n",
            b"PROXY UNKNOWNS",
            b"PROXY UNKNOWN\t\r\n",
            b"PROXY UNIX",
        ],
    );
    check_lines(
        Violation::Address,
        &[
            b"PROXY TCP4  ",
            b"PROXY TCP4 256.0.0.1 ",
            b"PROXY TCP4 01.0.0.1 ",
            b"PROXY TCP4 1.2.3 ",
            b"PROXY TCP4 1.2.3.4.5 ",
            b"PROXY TCP4 1.2.3.4. ",
            b"PROXY TCP4 .1.2.3 ",
            b"PROXY TCP4 1..2.3 ",
            b"PROXY TCP4 0x1",
            b"PROXY TCP4 :",
            b"PROXY TCP4 +",
            b"PROXY TCP4 localhost",
            b"PROXY TCP4 1.2.3.4\t",
            b"PROXY TCP4 1.2.3.4  ",
            b"PROXY TCP4 1.2.3.4 ::",
            b"PROXY TCP4 1.2.3.4 5.6.7 ",
            b"PROXY TCP4 255.255.255.2550",
            b"PROXY TCP4 1.2.3.4,",
            b"PROXY TCP4 1.2.3.\xb2",
            b"PROXY TCP6 1.2.3.4 ",
            b"PROXY TCP6 ::1 1.2.3.4 ",
            b"PROXY TCP6 ::1::2 ",
            b"PROXY TCP6 ::: ",
            b"PROXY TCP6 1:2:3:4:5:6:7 ",
            b"PROXY TCP6 1:2:3:4:5:6:7:8:9 ",
            b"PROXY TCP6 1:2:3:4::5:6:7:8 ",
            b"PROXY TCP6 00001::1 ",
            b"PROXY TCP6 g",
            b"PROXY TCP6 fe80::1%",
            b"PROXY TCP6 [",
            b"PROXY TCP6 ::/",
            b"PROXY TCP6 ::ffff:1.2.3 ",
            b"PROXY TCP6 ::ffff:1.2.3.04 ",
            b"PROXY TCP6 1.2.3.4::1 ",
            b"PROXY TCP6 0000000000000000000000000000000000000000000000",
        ],
    );
}

#[test]
fn malformed_ports_and_ends_are_refused() {
    check_lines(
        Violation::Port,
        &[
            b"PROXY TCP4 1.2.3.4 5.6.7.8  ",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 ",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 123456",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 01 ",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 00 ",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 +",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 -",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 http",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 02\r",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\0",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1  ",
            b"PROXY TCP6 ::1 ::2 1 0x",
        ],
    );
    check_lines(
        Violation::LineEnd,
        &[
            b"PROXY TCP4 \r",
            b"PROXY TCP4 1.2.3.4\r",
            b"PROXY TCP4 1.2.3.4 5.6.7.8\r",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 \r",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ",
            b"PROXY TCP6 ::1 ::2 1 2\n",
            b"PROXY UNKNOWN\n",
            b"PROXY UNKNOWN\r\r",
            b"PROXY UNKNOWN\rX",
        ],
    );
}

#[test]
fn long_lines_are_refused() {
    let unknown = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    assert_eq!(parse(&unknown[..LINE_BYTES_MAX - 1]), Parse::Incomplete);
    check_invalid(&unknown[..LINE_BYTES_MAX], Violation::TooLong);
    check_invalid(&unknown, Violation::TooLong);
    let mut ended = unknown;
    ended[LINE_BYTES_MAX - 1..=LINE_BYTES_MAX].copy_from_slice(b"\r\n");
    check_invalid(&ended, Violation::TooLong);
    // Each field of this one is allowed, all together are not.
    let address = "1111:1111:1111:1111:1111:1111:111.111.111.111";
    let long = format!("PROXY TCP6 {address} {address} 11111 11111\r\n");
    let (long, before) = (long.as_bytes(), LINE_BYTES_MAX - 1);
    assert_eq!(parse(&long[..before]), Parse::Incomplete);
    check_invalid(&long[..LINE_BYTES_MAX], Violation::TooLong);
    check_invalid(long, Violation::TooLong);
}

#[test]
fn binary_headers_are_read() {
    let addresses = inet("192.0.2.1:56324", "192.0.2.2:443");
    check_complete(&with_fields(&[]), Command::Proxy, addresses, &[]);
    let mut block = vec![0; 36];
    (block[15], block[31], block[33], block[35]) = (1, 2, 3, 4);
    check_complete(
        &binary(0x21, 0x21, &block),
        Command::Proxy,
        inet("[::1]:3", "[::2]:4"),
        &[],
    );
    let (mut source, destination) = ([0; UNIX_PATH_BYTES], [b'd'; UNIX_PATH_BYTES]);
    source[..5].copy_from_slice(b"/path");
    let addresses = Addresses::Unix {
        source: &source,
        destination: &destination,
    };
    let block = [source, destination].concat();
    check_complete(&binary(0x21, 0x31, &block), Command::Proxy, addresses, &[]);
}

#[test]
fn headers_without_addresses_are_read() {
    let none = Addresses::Unspecified;
    check_complete(&binary(0x21, 0x00, b""), Command::Proxy, none, &[]);
    check_complete(&binary(0x21, 0x01, b""), Command::Proxy, none, &[]);
    let name = Tlv {
        kind: Tlv::AUTHORITY,
        value: b"a",
    };
    let field = tlv(Tlv::AUTHORITY, b"a");
    check_complete(&binary(0x21, 0x00, &field), Command::Proxy, none, &[name]);
    let block = [IPV4_BLOCK, &field].concat();
    check_complete(&binary(0x21, 0x10, &block), Command::Proxy, none, &[name]);
    // What a local header has is skipped, whatever it is.
    check_complete(&binary(0x20, 0x00, b""), Command::Local, none, &[]);
    check_complete(&binary(0x20, 0x11, IPV4_BLOCK), Command::Local, none, &[]);
    check_complete(&binary(0x20, 0xff, &[0xff; 7]), Command::Local, none, &[]);
    let longest = vec![0; PROXY_HEADER_BYTES_MAX - HEAD_BYTES];
    check_complete(&binary(0x20, 0x12, &longest), Command::Local, none, &[]);
}

#[test]
fn fields_are_read() {
    let unique = [7; UNIQUE_ID_BYTES_MAX];
    let values: [(u8, &[u8]); 9] = [
        (Tlv::ALPN, b"h2"),
        (Tlv::AUTHORITY, b"example.org"),
        (Tlv::NOOP, b""),
        (Tlv::UNIQUE_ID, &unique),
        (Tlv::SSL, b"\x01\0\0\0\0\x21\0\x07TLSv1.3"),
        (Tlv::NETNS, b"blue"),
        (0xe0, b"ours"),
        (0xe0, b"again"),
        (0xff, &[1; 300]),
    ];
    let fields: Vec<Vec<u8>> = values
        .iter()
        .map(|(kind, value)| tlv(*kind, value))
        .collect();
    let expected: Vec<Tlv<'_>> = values
        .iter()
        .map(|(kind, value)| Tlv { kind: *kind, value })
        .collect();
    let addresses = inet("192.0.2.1:56324", "192.0.2.2:443");
    check_complete(&with_fields(&fields), Command::Proxy, addresses, &expected);
    // With a checksum, which may stand anywhere.
    let summed = with_checksum(&fields, 0);
    let value = &summed[summed.len() - 4..];
    let checksum = Tlv {
        kind: Tlv::CRC32C,
        value,
    };
    let expected = [&expected[..], &[checksum]].concat();
    check_complete(&summed, Command::Proxy, addresses, &expected);
    let mut first = with_fields(&[tlv(Tlv::CRC32C, &[0; 4]), tlv(Tlv::NOOP, b"xyz")]);
    let crc = Crc32c::new().with(&first).value().to_be_bytes();
    first[31..35].copy_from_slice(&crc);
    let is_complete = matches!(parse(&first), Parse::Complete { length, .. } if length == 41);
    assert!(is_complete);
}

#[test]
fn malformed_binary_headers_are_refused() {
    let head = |rest: &[u8]| [&SIGNATURE, rest].concat();
    let check = |rest: &[u8], expected| check_invalid(&head(rest), expected);
    for version in [0x01, 0x11, 0x31, 0xf0, 0x00, b'P'] {
        check(&[version], Violation::Version);
    }
    for command in [0x22, 0x2f] {
        check(&[command], Violation::Command);
    }
    for family in [0x41, 0x51, 0xf1, 0x40] {
        check(&[0x21, family], Violation::Family);
    }
    for transport in [0x13, 0x1f, 0x03, 0x3e] {
        check(&[0x21, transport], Violation::Transport);
    }
    for datagram in [0x02, 0x12, 0x22, 0x32] {
        check(&[0x21, datagram], Violation::Datagram);
    }
    for command in [0x20, 0x21] {
        check(&[command, 0x11, 0x10], Violation::TooLong);
        check(&[command, 0x11, 0xff], Violation::TooLong);
        check(&[command, 0x11, 0x0f, 0xf1], Violation::TooLong);
    }
    check(&[0x21, 0x11, 0, 0], Violation::ShortAddresses);
    check(&[0x21, 0x11, 0, 11], Violation::ShortAddresses);
    check(&[0x21, 0x10, 0, 11], Violation::ShortAddresses);
    check(&[0x21, 0x21, 0, 12], Violation::ShortAddresses);
    check(&[0x21, 0x21, 0, 35], Violation::ShortAddresses);
    check(&[0x21, 0x31, 0, 36], Violation::ShortAddresses);
    check(&[0x21, 0x31, 0, 215], Violation::ShortAddresses);
    check(&[0x21, 0x11, 0, 13], Violation::FieldLength);
    check(&[0x21, 0x11, 0, 14], Violation::FieldLength);
    check(&[0x21, 0x00, 0, 1], Violation::FieldLength);
    check(&[0x21, 0x21, 0, 38], Violation::FieldLength);
}

#[test]
fn malformed_fields_are_refused() {
    let check = |fields: &[&[u8]], expected| {
        let fields: Vec<Vec<u8>> = fields.iter().map(|field| field.to_vec()).collect();
        check_invalid(&with_fields(&fields), expected);
    };
    let host = tlv(Tlv::AUTHORITY, b"example.org");
    check(&[&host, b"\x04"], Violation::FieldLength);
    check(&[&host, b"\x04\0"], Violation::FieldLength);
    check(&[b"\x04\0\x01"], Violation::FieldLength);
    check(&[b"\x04\xff\xff", &[0; 100]], Violation::FieldLength);
    check(&[b"\x04\0\x05abcd"], Violation::FieldLength);
    check(&[&host, b"\x04\0\x01", &host], Violation::FieldLength);
    check(&[&tlv(Tlv::UNIQUE_ID, &[1; 129])], Violation::UniqueId);
    check(&[&tlv(Tlv::CRC32C, b"")], Violation::Checksum);
    check(&[&tlv(Tlv::CRC32C, &[0; 3])], Violation::Checksum);
    check(&[&tlv(Tlv::CRC32C, &[0; 5])], Violation::Checksum);
    check(&[&tlv(Tlv::CRC32C, &[0; 4])], Violation::Checksum);
    let two = tlv(Tlv::CRC32C, &[0; 4]);
    check(&[&two, &two], Violation::Checksum);
    check_invalid(&with_checksum(&[host], 1), Violation::Checksum);
    check_invalid(&with_checksum(&[], 1 << 31), Violation::Checksum);
    // As soon as its head is there, the value is not waited for.
    let long = with_fields(&[tlv(Tlv::UNIQUE_ID, &[1; 129])]);
    let at = HEAD_BYTES + IPV4_BLOCK.len();
    assert_eq!(parse(&long[..at + 2]), Parse::Incomplete);
    check_invalid(&long[..at + 3], Violation::UniqueId);
}

#[test]
fn any_changed_bit_of_a_summed_header_is_noticed() {
    let header = with_checksum(&[tlv(Tlv::AUTHORITY, b"example.org")], 0);
    for bit in 0..header.len() * 8 {
        let mut changed = header.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let is_accepted = matches!(
            parse(&changed),
            Parse::Complete { header, .. } if header.command == Command::Proxy
        );
        // One bit makes the checksum's own field a field of another type.
        let type_at = header.len() - 7;
        assert_eq!(is_accepted, bit / 8 == type_at, "bit {bit}");
    }
}

#[test]
fn arbitrary_bytes_break_nothing() {
    let mut rng = fastrand::Rng::with_seed(1);
    let summed = with_checksum(&[tlv(Tlv::UNIQUE_ID, b"id"), tlv(Tlv::NOOP, b"")], 0);
    for _ in 0..20_000 {
        let of = if rng.bool() { TCP4 } else { &summed };
        let mut bytes = of.to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let mut decided = Parse::Incomplete;
        for length in 0..=bytes.len() {
            let now = parse(&bytes[..length]);
            assert!(
                decided == Parse::Incomplete || decided == now,
                "decided otherwise at {length}: {}",
                bytes.escape_ascii()
            );
            decided = now;
        }
    }
}

#[test]
fn violations_have_a_word_each() {
    let words: std::collections::HashSet<_> = Violation::ALL.iter().map(|one| one.word()).collect();
    assert_eq!(words.len(), Violation::ALL.len());
}
