//! Headers as they are written, and read again.
#![forbid(unsafe_code)]

use super::*;

/// Writes a header and reads it again.
fn encoded(outgoing: &Outgoing<'_>) -> (Vec<u8>, usize) {
    let mut out = b"before".to_vec();
    let dropped = encode(outgoing, &mut out);
    assert_eq!(&out[..6], b"before");
    let bytes = out.split_off(6);
    assert!(bytes.len() <= PROXY_HEADER_BYTES_MAX);
    let Parse::Complete { header, length } = parse(&bytes) else {
        panic!("{:?} of {}", parse(&bytes), bytes.escape_ascii());
    };
    assert_eq!(length, bytes.len());
    assert_eq!(header.version, outgoing.version);
    (bytes, dropped)
}

#[test]
fn lines_are_written() {
    let check = |command, addresses, expected: &str| {
        let (bytes, dropped) = encoded(&Outgoing::new(Version::V1, command, addresses));
        assert_eq!(bytes.escape_ascii().to_string(), expected);
        assert_eq!(dropped, 0);
    };
    let check_inet = |source, destination, expected| {
        check(Command::Proxy, inet(source, destination), expected);
    };
    check_inet(
        "192.0.2.1:1",
        "192.0.2.2:65535",
        r"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n",
    );
    check_inet(
        "[2001:db8::1]:1",
        "[::]:0",
        r"PROXY TCP6 2001:db8::1 :: 1 0\r\n",
    );
    check_inet(
        "192.0.2.1:1",
        "[::1]:2",
        r"PROXY TCP6 ::ffff:c000:201 ::1 1 2\r\n",
    );
    check_inet(
        "[::1]:2",
        "192.0.2.1:1",
        r"PROXY TCP6 ::1 ::ffff:c000:201 2 1\r\n",
    );
    let unknown = r"PROXY UNKNOWN\r\n";
    check(Command::Proxy, Addresses::Unspecified, unknown);
    check(Command::Local, inet("1.2.3.4:5", "1.2.3.4:5"), unknown);
    let path = [1; UNIX_PATH_BYTES];
    let unix = Addresses::Unix {
        source: &path,
        destination: &path,
    };
    check(Command::Proxy, unix, unknown);
}

#[test]
fn binary_headers_are_written() {
    let check = |command, addresses, expected: &[u8]| {
        let (bytes, dropped) = encoded(&Outgoing::new(Version::V2, command, addresses));
        assert_eq!(bytes, expected, "{}", bytes.escape_ascii());
        assert_eq!(dropped, 0);
    };
    let ipv4 = inet("192.0.2.1:56324", "192.0.2.2:443");
    check(Command::Proxy, ipv4, &with_fields(&[]));
    check(Command::Local, ipv4, &binary(0x20, 0, b""));
    let none = Addresses::Unspecified;
    check(Command::Proxy, none, &binary(0x21, 0, b""));
    let mixed = inet("192.0.2.1:1", "[::1]:2");
    let mut block = vec![0; 36];
    block[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    (block[31], block[33], block[35]) = (1, 1, 2);
    check(Command::Proxy, mixed, &binary(0x21, 0x21, &block));
    let (source, destination) = ([1; UNIX_PATH_BYTES], [2; UNIX_PATH_BYTES]);
    let unix = Addresses::Unix {
        source: &source,
        destination: &destination,
    };
    let block = [source, destination].concat();
    check(Command::Proxy, unix, &binary(0x21, 0x31, &block));
}

/// A header of a client with these fields, as it is read.
fn received(bytes: &[u8]) -> Header<'_> {
    match parse(bytes) {
        Parse::Complete { header, .. } => header,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fields_are_written_and_passed_on() {
    let client = with_checksum(
        &[
            tlv(Tlv::AUTHORITY, b"of the client"),
            tlv(Tlv::NOOP, b"..."),
            tlv(Tlv::UNIQUE_ID, b"of the client"),
            tlv(Tlv::ALPN, b"h2"),
            tlv(0xe1, b"of the client"),
            tlv(0xe2, b"1"),
            tlv(0xe2, b"2"),
        ],
        0,
    );
    let client = received(&client);
    let custom = [(0xe1, b"own".to_vec()), (0xe0, Vec::new())];
    let outgoing = Outgoing {
        unique_id: Some(b"own"),
        custom: &custom,
        passed_on: client.tlvs(),
        checksum: true,
        ..Outgoing::new(Version::V2, Command::Proxy, client.addresses)
    };
    let (bytes, dropped) = encoded(&outgoing);
    let expected = with_checksum(
        &[
            tlv(Tlv::UNIQUE_ID, b"own"),
            tlv(0xe1, b"own"),
            tlv(0xe0, b""),
            tlv(Tlv::AUTHORITY, b"of the client"),
            tlv(Tlv::ALPN, b"h2"),
            tlv(0xe2, b"1"),
            tlv(0xe2, b"2"),
        ],
        0,
    );
    assert_eq!(bytes, expected, "{}", bytes.escape_ascii());
    assert_eq!(dropped, 0);
    let local = Outgoing {
        command: Command::Local,
        ..outgoing
    };
    assert_eq!(encoded(&local).0, binary(0x20, 0, b""));
}

#[test]
fn what_does_not_fit_is_left_out_as_a_whole() {
    let room = PROXY_HEADER_BYTES_MAX - HEAD_BYTES - IPV4_BLOCK.len();
    let client = with_fields(&[
        tlv(0xe1, &vec![1; room / 2]),
        tlv(0xe2, &vec![2; room / 2 - 20]),
        tlv(0xe3, b"short"),
    ]);
    let client = received(&client);
    let custom = [(0xe0, vec![0; room / 2 - 20])];
    let outgoing = Outgoing {
        authority: Some(b"example.org"),
        custom: &custom,
        passed_on: client.tlvs(),
        checksum: true,
        ..Outgoing::new(Version::V2, Command::Proxy, client.addresses)
    };
    let (bytes, dropped) = encoded(&outgoing);
    let kinds: Vec<u8> = received(&bytes).tlvs().map(|field| field.kind).collect();
    assert_eq!(kinds, [Tlv::AUTHORITY, 0xe0, 0xe2, 0xe3, Tlv::CRC32C]);
    assert_eq!(dropped, 1);
    // To the last byte, and one more.
    for (bytes, expected) in [(room - 10, 0), (room - 9, 1)] {
        let custom = [(0xe0, vec![0; bytes])];
        let outgoing = Outgoing {
            custom: &custom,
            checksum: true,
            ..Outgoing::new(Version::V2, Command::Proxy, client.addresses)
        };
        assert_eq!(encoded(&outgoing).1, expected);
    }
}

#[test]
fn what_no_receiver_takes_is_not_written() {
    let custom = [(Tlv::CRC32C, vec![0; 4]), (0xe0, vec![0; 70_000])];
    let outgoing = Outgoing {
        unique_id: Some(&[0; UNIQUE_ID_BYTES_MAX + 1]),
        custom: &custom,
        ..Outgoing::new(Version::V2, Command::Proxy, Addresses::Unspecified)
    };
    assert_eq!(encoded(&outgoing), (binary(0x21, 0, b""), 3));
}
