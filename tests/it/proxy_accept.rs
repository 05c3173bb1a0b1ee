//! Headers of the PROXY protocol that clients send: however they come, and what is no header.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringlane::error::CloseReason;
use ringlane::plan::Plan;
use ringlane::plan::place::Bind;
use ringlane::plan::proxy::{AcceptProxy, ProxyVersion, SendProxy};
use ringlane::session::proxy_protocol::{Addresses, Command, Outgoing, Version, encode};

use crate::support::endpoint::Endpoint;
use crate::support::folder::Folder;
use crate::support::{Balancer, End, finish, plan, prepare, read_to_end, reset, wait_until};

/// Clients of these networks send a header first; the endpoint answers with all that it gets.
fn plan_from(networks: &[&str], endpoint: &Endpoint) -> Plan {
    let networks = networks.iter().map(|text| text.parse());
    let networks: Result<_, _> = networks.collect();
    let mut accept = AcceptProxy::from(networks.expect("networks"));
    accept.timeout = Duration::from_millis(200);
    let mut plan = plan(&[endpoint.addr]);
    plan.listeners[0].accept_proxy = Some(accept);
    plan
}

/// A plan whose endpoint is told by a line of text who the client is.
fn telling_plan(networks: &[&str], endpoint: &Endpoint) -> Plan {
    let mut plan = plan_from(networks, endpoint);
    plan.clusters[0].send_proxy = Some(SendProxy::new(ProxyVersion::V1));
    plan
}

fn binary(command: Command, source: &str, destination: &str) -> Vec<u8> {
    let parse = |text: &str| -> SocketAddr { text.parse().expect("an address") };
    let addresses = Addresses::Inet {
        source: parse(source),
        destination: parse(destination),
    };
    let mut bytes = Vec::new();
    encode(&Outgoing::new(Version::V2, command, addresses), &mut bytes);
    bytes
}

/// Headers of every kind and the line that says the same.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    let line4 = "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
    let line6 = "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n";
    vec![
        (line4.into(), line4),
        (line6.into(), line6),
        (
            binary(Command::Proxy, "192.0.2.1:56324", "192.0.2.2:443"),
            line4,
        ),
        (
            binary(Command::Proxy, "[2001:db8::1]:56324", "[2001:db8::2]:443"),
            line6,
        ),
    ]
}

/// What the endpoint gets if a client sends these pieces, each for itself, and `hello`.
fn told(balancer: &Balancer, pieces: &[&[u8]]) -> String {
    let mut client = balancer.connect();
    for piece in pieces {
        client.write_all(piece).expect("the balancer takes it");
    }
    client.write_all(b"hello").expect("the balancer takes it");
    finish(&client);
    let (answer, end) = read_to_end(&mut client);
    assert_eq!(end, End::Fin);
    String::from_utf8(answer).expect("a line")
}

#[test]
fn a_header_says_who_the_client_is_and_does_not_reach_the_endpoint() {
    let echo = Endpoint::echo();
    let telling = Balancer::start(&telling_plan(&["127.0.0.0/8"], &echo));
    let silent = Balancer::start(&plan_from(&["127.0.0.0/8"], &echo));
    for (header, line) in headers() {
        let together = [&header[..], b"and "].concat();
        assert_eq!(told(&telling, &[&together]), format!("{line}and hello"));
        assert_eq!(told(&silent, &[&together]), "and hello");
        let bytes: Vec<&[u8]> = header.chunks(1).collect();
        assert_eq!(told(&telling, &bytes), format!("{line}hello"));
        assert_eq!(told(&silent, &bytes), "hello");
    }
}

#[test]
fn a_large_first_message_comes_after_its_header() {
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&plan_from(&["127.0.0.0/8"], &echo));
    let bytes = crate::support::pattern(3, 1 << 20);
    for (header, _) in headers() {
        let mut client = balancer.connect();
        let writing = client.try_clone().expect("a second handle");
        let all = [&header[..], &bytes].concat();
        let writer = std::thread::spawn(move || {
            (&writing).write_all(&all).expect("the balancer takes it");
            finish(&writing);
        });
        let (answer, end) = read_to_end(&mut client);
        assert!(answer == bytes, "{} bytes came back", answer.len());
        assert_eq!(end, End::Fin);
        assert!(writer.join().is_ok());
    }
}

#[test]
fn a_local_connection_is_the_sender_s_own() {
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&telling_plan(&["127.0.0.0/8"], &echo));
    let local = binary(Command::Local, "192.0.2.1:1", "192.0.2.2:2");
    for header in [&local[..], b"PROXY UNKNOWN\r\n"] {
        let mut client = balancer.connect();
        let own = client.local_addr().expect("an address").port();
        client.write_all(header).expect("the balancer takes it");
        finish(&client);
        let (answer, _) = read_to_end(&mut client);
        let to = balancer.addr().port();
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {to}\r\n");
        assert_eq!(String::from_utf8_lossy(&answer), expected);
    }
}

#[test]
fn clients_of_a_unix_listener_send_headers_too() {
    let folder = Folder::new();
    let path = folder.join("in.sock");
    let echo = Endpoint::echo();
    let mut plan = telling_plan(&["unix"], &echo);
    plan.listeners[0].binds.push(Bind::Unix(path.clone()));
    let balancer = Balancer::start(&plan);
    for (header, line) in headers() {
        let mut client = UnixStream::connect(&path).expect("it listens");
        client.write_all(&header).expect("the balancer takes it");
        client.write_all(b"hello").expect("the balancer takes it");
        let mut answer = vec![0; line.len() + 5];
        client.read_exact(&mut answer).expect("the echo comes");
        assert_eq!(String::from_utf8_lossy(&answer), format!("{line}hello"));
    }
    // The same listener's TCP clients are not of the network `unix`.
    if let Ok(client) = TcpStream::connect(balancer.addr()) {
        prepare(&client);
        assert_reset(client, b"");
    }
    balancer.await_closed(CloseReason::ProxyUntrusted, 1);
}

/// Sends bytes on a connection that is reset, or will be.
fn assert_reset(mut client: TcpStream, bytes: &[u8]) {
    match client.write_all(bytes) {
        Ok(()) => assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset)),
        // Said once: a read would find an end.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Whether clients that send these, the rest after the first part, are reset, and why.
fn check_refused(pieces: &[(&[u8], &[u8])], reason: CloseReason) {
    let echo = Endpoint::echo();
    // One for all: rings that were given up count as locked memory for a while.
    let balancer = Balancer::start(&plan_from(&["127.0.0.0/8"], &echo));
    for (count, (first, then)) in (1..).zip(pieces) {
        let mut client = balancer.connect();
        client.write_all(first).expect("the balancer takes it");
        assert_reset(client, then);
        balancer.await_closed(reason, count);
        assert_eq!(balancer.closed_total(), count);
    }
    assert_eq!(echo.accepted(), 0, "an endpoint was bothered");
}

#[test]
fn what_is_no_header_is_refused_at_once() {
    let started = Instant::now();
    let mut pieces = Vec::new();
    let mut wrong_sum = binary(Command::Proxy, "192.0.2.1:1", "192.0.2.2:2");
    wrong_sum[15] += 7;
    wrong_sum.extend([3, 0, 4, 1, 2, 3, 4]);
    let long_line = [b"PROXY UNKNOWN ", &[b'x'; 100][..], b"\r\n"].concat();
    let mut too_long = binary(Command::Proxy, "192.0.2.1:1", "192.0.2.2:2");
    too_long[14] = 0xff;
    for wrong in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 2001:db8::1 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        &[0; 64],
        &wrong_sum,
        &long_line,
        &too_long,
    ] {
        pieces.push((wrong, &b""[..]));
        pieces.push(wrong.split_at(1));
    }
    check_refused(&pieces, CloseReason::ProxyHeader);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_client_that_does_not_say_all_in_time_is_reset() {
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    let binary = binary(Command::Proxy, "192.0.2.1:1", "192.0.2.2:2");
    for part in [&b""[..], &line[..1], &line[..line.len() - 1], &binary[..27]] {
        let started = Instant::now();
        check_refused(&[(part, b"")], CloseReason::ProxyHeaderTimeout);
        assert!(started.elapsed() >= Duration::from_millis(200));
    }
}

#[test]
fn nobody_else_may_send_one() {
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&plan_from(&["10.0.0.0/8", "unix", "::1"], &echo));
    for bytes in [
        &b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..],
        b"hello",
        b"",
    ] {
        // The reset may come before connect(2) has returned.
        if let Ok(client) = TcpStream::connect(balancer.addr()) {
            prepare(&client);
            assert_reset(client, bytes);
        }
    }
    balancer.await_closed(CloseReason::ProxyUntrusted, 3);
    assert_eq!((balancer.closed_total(), echo.accepted()), (3, 0));
}

#[test]
fn a_client_that_ends_before_its_header_does_is_refused() {
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&plan_from(&["127.0.0.0/8"], &echo));
    for part in [&b""[..], b"PROXY TCP4 192.0.2.1"] {
        let mut client: TcpStream = balancer.connect();
        client.write_all(part).expect("the balancer takes it");
        finish(&client);
        assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
    }
    balancer.await_closed(CloseReason::ProxyHeader, 2);
    assert_eq!((balancer.closed_total(), echo.accepted()), (2, 0));
}

#[test]
fn a_client_that_resets_before_its_header_is_told_as_such() {
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&plan_from(&["127.0.0.0/8"], &echo));
    // Some have gone before they are accepted, and then the kernel does not say who they were.
    for _ in 0..50 {
        reset(balancer.connect());
    }
    wait_until("the sessions are over", || balancer.closed_total() == 50);
    assert_eq!(balancer.closed(CloseReason::ClientReset), 50);
    assert_eq!(echo.accepted(), 0);
}
