//! Headers of the PROXY protocol that endpoints get: what they say, and that they come first.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ringlane::plan::place::{Bind, Place};
use ringlane::plan::proxy::{AcceptProxy, ProxyVersion, SendProxy};
use ringlane::plan::{EndpointPlan, Plan};
use ringlane::session::proxy_protocol::{
    Addresses, Command, Header, Outgoing, Parse, Tlv, Version, encode, parse,
};

use crate::support::endpoint::{Endpoint, Mute, refusing};
use crate::support::folder::Folder;
use crate::support::{Balancer, PATIENCE, finish, plan, read_to_end, wait_until};

/// An endpoint that hands over all the bytes of each connection.
fn collecting() -> (Endpoint, Receiver<Vec<u8>>) {
    let (sender, received) = channel();
    let sender = Mutex::new(sender);
    let endpoint = Endpoint::serve(move |mut stream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let _test_is_over = sender.lock().map(|sender| sender.send(bytes));
        Ok(())
    });
    (endpoint, received)
}

fn sending(endpoints: &[SocketAddr], send: SendProxy) -> Plan {
    let mut plan = plan(endpoints);
    plan.clusters[0].send_proxy = Some(send);
    plan
}

/// Sends bytes as a client and ends. Returns the client's address.
fn send(balancer: &Balancer, bytes: &[u8]) -> SocketAddr {
    let mut client = balancer.connect();
    let own = client.local_addr().expect("an address");
    client.write_all(bytes).expect("the balancer takes it");
    finish(&client);
    read_to_end(&mut client);
    own
}

/// Takes the header off what an endpoint got, and looks at it.
fn split(bytes: &[u8]) -> (Header<'_>, &[u8]) {
    match parse(bytes) {
        Parse::Complete { header, length } => (header, &bytes[length..]),
        other => panic!("{other:?}"),
    }
}

fn received(from: &Receiver<Vec<u8>>) -> Vec<u8> {
    from.recv_timeout(PATIENCE)
        .expect("the endpoint is sent to")
}

#[test]
fn both_versions_tell_the_addresses() {
    for (plan_version, version) in [
        (ProxyVersion::V1, Version::V1),
        (ProxyVersion::V2, Version::V2),
    ] {
        let (endpoint, bytes) = collecting();
        let mut plan = sending(&[endpoint.addr], SendProxy::new(plan_version));
        let any6 = SocketAddr::from(([0u16; 8], 0));
        plan.listeners[0].binds.push(Bind::Tcp(any6));
        plan.listeners[0].options.ipv6_only = false;
        let balancer = Balancer::start(&plan);
        let port6 = balancer.addrs()[1].port();
        let hosts: [(&str, SocketAddr); 3] = [
            ("127.0.0.1", balancer.addr()),
            ("::1", SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port6))),
            ("127.0.0.1", SocketAddr::from(([127, 0, 0, 1], port6))),
        ];
        for (host, to) in hosts {
            let mut client = crate::support::connect(to);
            let source = client.local_addr().expect("an address");
            client.write_all(b"hello").expect("the balancer takes it");
            finish(&client);
            read_to_end(&mut client);
            let bytes = received(&bytes);
            let (header, rest) = split(&bytes);
            assert_eq!((header.version, header.command), (version, Command::Proxy));
            let expected = Addresses::Inet {
                source,
                destination: to,
            };
            assert_eq!(header.addresses, expected, "{host}");
            assert_eq!(header.tlvs().count(), 0);
            assert_eq!(rest, b"hello");
        }
    }
}

#[test]
fn a_client_of_a_unix_listener_has_no_address() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let folder = Folder::new();
        let path = folder.join("in.sock");
        let (endpoint, bytes) = collecting();
        let mut plan = sending(&[endpoint.addr], SendProxy::new(version));
        plan.listeners[0].binds = vec![Bind::Unix(path.clone())];
        let _balancer = Balancer::start(&plan);
        let mut client = UnixStream::connect(&path).expect("it listens");
        client.write_all(b"hello").expect("the balancer takes it");
        drop(client);
        let bytes = received(&bytes);
        let (header, rest) = split(&bytes);
        assert_eq!(header.addresses, Addresses::Unspecified);
        assert_eq!(rest, b"hello");
    }
}

#[test]
fn fields_are_told_as_configured() {
    let (endpoint, bytes) = collecting();
    let mut proxy = SendProxy::new(ProxyVersion::V2);
    proxy.authority = Some("web.example".to_string());
    proxy.unique_id = true;
    proxy.checksum = true;
    proxy.custom = vec![(0xE0, b"text".to_vec()), (0xE1, vec![0, 255])];
    let balancer = Balancer::start(&sending(&[endpoint.addr], proxy));
    let mut identities = BTreeSet::new();
    for _ in 0..20 {
        send(&balancer, b"hello");
        let bytes = received(&bytes);
        // A wrong checksum would be no header.
        let (header, rest) = split(&bytes);
        let value = |kind| {
            let mut found = header.tlvs().filter(move |field| field.kind == kind);
            let value = found.next().expect("the field is there").value;
            assert!(found.next().is_none(), "{kind} is there twice");
            value
        };
        assert_eq!(value(Tlv::AUTHORITY), b"web.example");
        assert_eq!(value(0xE0), b"text");
        assert_eq!(value(0xE1), [0, 255]);
        assert_eq!(value(Tlv::CRC32C).len(), 4);
        identities.insert(value(Tlv::UNIQUE_ID).to_vec());
        assert_eq!(header.tlvs().count(), 5);
        assert_eq!(rest, b"hello");
    }
    assert_eq!(identities.len(), 20, "an identity came twice");
}

/// What an endpoint gets if the client's own header has these fields.
fn passed(proxy: SendProxy, custom: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let (endpoint, bytes) = collecting();
    let mut plan = sending(&[endpoint.addr], proxy);
    let network = "127.0.0.1".parse().expect("a network");
    plan.listeners[0].accept_proxy = Some(AcceptProxy::from(vec![network]));
    let balancer = Balancer::start(&plan);
    let addresses = Addresses::Inet {
        source: SocketAddr::from(([192, 0, 2, 1], 56324)),
        destination: SocketAddr::from(([192, 0, 2, 2], 443)),
    };
    let mut outgoing = Outgoing::new(Version::V2, Command::Proxy, addresses);
    outgoing.authority = Some(b"client.example");
    outgoing.custom = custom;
    outgoing.checksum = true;
    let mut all = Vec::new();
    encode(&outgoing, &mut all);
    all.extend_from_slice(b"hello");
    send(&balancer, &all);
    let bytes = received(&bytes);
    let (header, rest) = split(&bytes);
    assert_eq!((header.addresses, rest), (addresses, &b"hello"[..]));
    bytes
}

#[test]
fn fields_of_the_client_go_on_if_that_is_wanted() {
    let custom = [(0xE2, b"theirs".to_vec()), (0xE3, b"too".to_vec())];
    let mut proxy = SendProxy::new(ProxyVersion::V2);
    proxy.custom = vec![(0xE2, b"ours".to_vec())];
    let bytes = passed(proxy.clone(), &custom);
    let fields: Vec<Tlv<'_>> = split(&bytes).0.tlvs().collect();
    assert_eq!(fields.len(), 1, "{fields:?}");
    proxy.pass_on = true;
    let bytes = passed(proxy, &custom);
    let fields: BTreeSet<(u8, &[u8])> = split(&bytes)
        .0
        .tlvs()
        .map(|field| (field.kind, field.value))
        .collect();
    let expected: BTreeSet<(u8, &[u8])> = [
        (0xE2, &b"ours"[..]),
        (0xE3, b"too"),
        (Tlv::AUTHORITY, b"client.example"),
    ]
    .into();
    assert_eq!(fields, expected);
    // The text has no room for fields.
    let bytes = passed(SendProxy::new(ProxyVersion::V1), &custom);
    assert!(bytes.starts_with(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\nhello"));
}

#[test]
fn an_endpoint_that_speaks_first_gets_the_header_all_the_same() {
    let endpoint = Endpoint::serve(|mut stream| {
        stream.write_all(b"banner")?;
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes)?;
        stream.write_all(&bytes)
    });
    let balancer = Balancer::start(&sending(&[endpoint.addr], SendProxy::new(ProxyVersion::V1)));
    // The client says nothing.
    let (answer, _) = read_to_end(&mut balancer.connect());
    assert_eq!(answer, b"bannerPROXY TC");
}

#[test]
fn a_unix_endpoint_gets_the_header_too() {
    let folder = Folder::new();
    let path = folder.join("out.sock");
    let listener = UnixListener::bind(&path).expect("a path of our own");
    let mut plan = sending(&[], SendProxy::new(ProxyVersion::V2));
    plan.clusters[0].endpoints = vec![EndpointPlan::at(Place::Unix(path))];
    let balancer = Balancer::start(&plan);
    let endpoint = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the balancer connects");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the bytes come");
        bytes
    });
    let source = send(&balancer, b"hello");
    let bytes = endpoint.join().expect("the endpoint has read");
    let (header, rest) = split(&bytes);
    let destination = balancer.addr();
    assert_eq!(
        header.addresses,
        Addresses::Inet {
            source,
            destination
        }
    );
    assert_eq!(rest, b"hello");
}

#[test]
fn after_a_retry_the_header_comes_once() {
    let mute = Mute::start();
    let (endpoint, bytes) = collecting();
    let proxy = SendProxy::new(ProxyVersion::V1);
    let mut plan = sending(&[refusing(), mute.addr, endpoint.addr], proxy);
    let network = "127.0.0.1".parse().expect("a network");
    plan.listeners[0].accept_proxy = Some(AcceptProxy::from(vec![network]));
    plan.clusters[0].connect_timeout = Duration::from_millis(100);
    plan.workers.count = Some(1);
    let balancer = Balancer::start(&plan);
    let line = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
    for _ in 0..6 {
        let mut client: TcpStream = balancer.connect();
        client
            .write_all(line.as_bytes())
            .expect("the balancer takes it");
        client.write_all(b"hello").expect("the balancer takes it");
        finish(&client);
        read_to_end(&mut client);
        let bytes = received(&bytes);
        assert_eq!(String::from_utf8_lossy(&bytes), format!("{line}hello"));
    }
    let retries = || {
        let counters = balancer.running().counters().iter();
        let retries: u64 = counters.map(|worker| worker.retries.value()).sum();
        retries
    };
    wait_until("endpoints were retried", || retries() >= 6);
    assert_eq!(endpoint.accepted(), 6);
}
