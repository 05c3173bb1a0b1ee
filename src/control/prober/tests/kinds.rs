//! Each kind of check against endpoints of each kind.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;

use super::site::{Site, await_end, next, nobody, read_head};
use super::*;
use crate::session::proxy_protocol::{Addresses, Command, Parse, Version, parse};

fn probe(site: &Site, check: Check) -> Outcome {
    outcome(target(1, site.address(), plan(check)))
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_connection_is_enough_for_tcp() {
    let site = Site::start(drop);
    assert_eq!(probe(&site, Check::Tcp), success("connected"));
    let holding = Site::start(|mut stream| drop(await_end(&mut stream)));
    assert_eq!(probe(&holding, Check::Tcp), success("connected"));
}

#[test]
fn a_refused_connection_is_a_failure_of_any_kind() {
    for check in [Check::Tcp, http(|_| {}), send_expect("", "x")] {
        let outcome = outcome(target(1, nobody(), plan(check)));
        assert_eq!(outcome, failure("connection refused"));
    }
}

#[test]
fn an_endpoint_that_does_not_take_connections_times_out() {
    // Its backlog is full: SYNs are dropped.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("a free port");
    listener.listen(0).expect("it is bound");
    let addr = listener.local_addr().expect("it is bound").as_socket();
    let addr = addr.expect("of TCP");
    let mut waiting = Vec::new();
    while let Ok(one) = TcpStream::connect_timeout(&addr, Duration::from_millis(50)) {
        waiting.push(one);
    }
    let outcome = outcome(target(1, Address::Tcp(addr), plan(Check::Tcp)));
    assert_eq!(outcome, failure("timed out after 200ms connecting"));
}

#[test]
fn http_answers_are_judged_by_status() {
    let check = |answer: &str, expected: Outcome| {
        let site = Site::answering(answer);
        assert_eq!(probe(&site, http(|_| {})), expected, "{answer}");
    };
    check(OK, success("HTTP 200"));
    check("HTTP/1.0 302 Found\r\n\r\n", success("HTTP 302"));
    check("HTTP/1.1 503 No\r\n\r\n", failure("status 503"));
    check("HTTP/1.1 404 Not Found\r\n\r\n", failure("status 404"));
    let site = Site::answering("HTTP/1.1 503 No\r\n\r\n");
    let allowed = http(|check| check.status = vec![200..=204, 503..=503]);
    assert_eq!(probe(&site, allowed), success("HTTP 503"));
}

#[test]
fn an_http_request_says_what_it_should() {
    let (tell, told) = bounded(64);
    let site = Site::start(move |mut stream| {
        let head = String::from_utf8_lossy(&read_head(&mut stream)).into_owned();
        let _first_of_all = tell.try_send(head);
        let _reset_by_now = stream.write_all(OK.as_bytes());
    });
    assert_eq!(probe(&site, http(|_| {})), success("HTTP 200"));
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nUser-Agent: ringlane/{version}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        site.addr
    );
    assert_eq!(next(&told), expected);
    let named = http(|check| {
        check.host = Some("example.org".to_string());
        check.path = "/live?x=1".to_string();
        check.method = "HEAD".to_string();
    });
    while told.try_recv().is_ok() {}
    assert_eq!(probe(&site, named), success("HTTP 200"));
    let head = told.iter().find(|head| head.starts_with("HEAD"));
    let head = head.expect("such a request");
    assert!(
        head.starts_with("HEAD /live?x=1 HTTP/1.1\r\nHost: example.org\r\n"),
        "{head}"
    );
}

#[test]
fn http_bodies_are_searched() {
    let wanting = |needle: &str| http(|check| check.body = Some(needle.to_string()));
    let check = |answer: &str, needle: &str, expected: Outcome| {
        let site = Site::answering(answer);
        assert_eq!(probe(&site, wanting(needle)), expected, "{answer}");
    };
    check(OK, "ell", success("HTTP 200"));
    let missing = failure("HTTP 200, but the body is not as expected");
    check(OK, "elp", missing.clone());
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\n{\"s\r\n9;x=y\r\ntatus\":\"u\r\n2\r\np\"\r\n1\r\n}\r\n0\r\n\r\n";
    check(chunked, "\"status\":\"up\"}", success("HTTP 200"));
    check(chunked, "down", missing.clone());
    check(
        "HTTP/1.1 200 OK\r\n\r\nto the end",
        "the end",
        success("HTTP 200"),
    );
    check("HTTP/1.1 200 OK\r\n\r\nto the end", "THE END", missing);
}

#[test]
fn what_is_no_http_is_a_failure() {
    let check = |answer: &str, expected: &'static str| {
        let site = Site::answering(answer);
        assert_eq!(probe(&site, http(|_| {})), failure(expected), "{answer}");
    };
    check("SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP/1");
    check("\0\u{1}\u{2}", "the answer is not HTTP/1");
    check("HTTP/2.0 200 OK\r\n\r\n", "the answer is not HTTP/1");
    check("", "closed without an answer");
    check(
        "HTTP/1.1 200 OK\r\nContent-",
        "closed in the middle of the head",
    );
}

#[test]
fn endless_answers_end() {
    let flood = |first: &'static str| {
        Site::start(move |mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(first.as_bytes());
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        })
    };
    let head = flood("HTTP/1.1 200 OK\r\nX: ");
    assert_eq!(
        probe(&head, http(|_| {})),
        failure("a head of more than 16 KiB")
    );
    let body = flood("HTTP/1.1 200 OK\r\n\r\n");
    let wanting = http(|check| check.body = Some("y".to_string()));
    assert_eq!(
        probe(&body, wanting),
        failure("HTTP 200, but the first 64 KiB of the body are not as expected")
    );
    let bytes = flood("");
    assert_eq!(
        probe(&bytes, send_expect("hello\r\n\r\n", "y")),
        failure("the expected bytes are not in the first 16 KiB")
    );
}

#[test]
fn who_is_silent_or_slow_times_out() {
    let timed_out = failure("timed out after 200ms waiting for the answer");
    let silent = Site::start(|mut stream| drop(await_end(&mut stream)));
    assert_eq!(probe(&silent, http(|_| {})), timed_out);
    assert_eq!(probe(&silent, send_expect("", "x")), timed_out);
    let letters = || OK.bytes().map(|byte| vec![byte]).collect();
    let slow = Site::dripping(letters(), Duration::from_millis(50));
    assert_eq!(probe(&slow, http(|_| {})), timed_out);
    // Byte by byte is well if it is in time.
    let brisk = Site::dripping(letters(), Duration::from_micros(100));
    let mut patient = plan(http(|_| {}));
    patient.timeout = PATIENCE;
    let outcome = outcome(target(1, brisk.address(), patient));
    assert_eq!(outcome, success("HTTP 200"));
}

#[test]
fn who_takes_nothing_times_out_as_well() {
    let silent = Site::start(|stream| {
        // Reads nothing until the prober has gone.
        let mut byte = [0];
        while stream.peek(&mut byte).is_ok_and(|there| there > 0) {
            let _time = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(10));
            if stream.take_error().is_ok_and(|error| error.is_some()) {
                break;
            }
        }
    });
    let huge = send_expect(&"x".repeat(16 * 1024 * 1024), "y");
    assert_eq!(
        probe(&silent, huge),
        failure("timed out after 200ms sending")
    );
}

#[test]
fn bytes_are_expected_anywhere() {
    let redis = Site::start(|mut stream| {
        let mut request = [0; 6];
        if stream.read_exact(&mut request).is_ok() && &request == b"PING\r\n" {
            let _ = stream.write_all(b"+PO");
            let _ = stream.write_all(b"NG\r\n");
        }
        drop(await_end(&mut stream));
    });
    assert_eq!(
        probe(&redis, send_expect("PING\r\n", "+PONG")),
        success("answered as expected")
    );
    let smtp = Site::start(|mut stream| {
        let _ = stream.write_all(b"220 mail ESMTP\r\n");
        drop(await_end(&mut stream));
    });
    let greeting = send_expect("", "220 ");
    assert_eq!(probe(&smtp, greeting), success("answered as expected"));
    let other = Site::start(|mut stream| drop(stream.write_all(b"no")));
    assert_eq!(
        probe(&other, send_expect("", "220 ")),
        failure("closed without the expected bytes")
    );
}

#[test]
fn a_reset_instead_of_an_answer_is_a_failure() {
    let site = Site::start(|mut stream| {
        read_head(&mut stream);
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    });
    assert_eq!(
        probe(&site, http(|_| {})),
        failure("connection reset by peer while waiting for the answer")
    );
}

#[test]
fn another_place_is_probed_if_the_plan_says_so() {
    let site = Site::start(drop);
    let port = site.addr.port();
    let mut of_cluster = plan(Check::Tcp);
    of_cluster.port = Some(port);
    assert_eq!(
        outcome(target(1, nobody(), of_cluster.clone())),
        success("connected")
    );
    // The endpoint's own goes before the cluster's.
    let Address::Tcp(refusing) = nobody() else {
        unreachable!("it is an address of TCP");
    };
    of_cluster.port = Some(refusing.port());
    let mut own = target(1, nobody(), of_cluster.clone());
    own.place.port = Some(port);
    assert_eq!(outcome(own), success("connected"));
    let elsewhere = Site::on("127.0.0.9:0", drop);
    let mut own = target(1, nobody(), plan(Check::Tcp));
    own.place.address = Some(elsewhere.addr.ip());
    own.place.port = Some(elsewhere.addr.port());
    assert_eq!(outcome(own), success("connected"));
}

#[test]
fn unix_endpoints_are_probed_on_their_path() {
    let folder = std::env::temp_dir().join(format!("ringlane-prober-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of ours");
    let path = folder.join("endpoint.sock");
    let listener = UnixListener::bind(&path).expect("a path of ours");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a probe");
        let mut line = [0; 15];
        stream.read_exact(&mut line).expect("a header");
        let _ = stream.write_all(b"ready");
        line
    });
    let mut one = target(
        1,
        Address::Unix(path.clone()),
        plan(send_expect("", "ready")),
    );
    one.send_proxy = Some(ProxyVersion::V1);
    assert_eq!(outcome(one.clone()), success("answered as expected"));
    let line = thread.join().expect("it has seen a probe");
    assert_eq!(&line, b"PROXY UNKNOWN\r\n");
    assert_eq!(outcome(one.clone()), failure("connection refused"));
    std::fs::remove_dir_all(&folder).expect("a folder of ours");
    assert_eq!(outcome(one.clone()), failure("no such file or directory"));
    let site = Site::start(drop);
    one.place.address = Some(site.addr.ip());
    one.place.port = Some(site.addr.port());
    one.plan = Arc::new(plan(Check::Tcp));
    assert_eq!(outcome(one), success("connected"));
}

#[test]
fn a_proxy_header_goes_first() {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let (tell, told) = bounded(64);
        let site = Site::start(move |mut stream| {
            // In version 2 the signature has an empty line in it.
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"close\r\n\r\n") {
                let mut byte = [0];
                if !stream.read(&mut byte).is_ok_and(|read| read > 0) {
                    break;
                }
                bytes.extend_from_slice(&byte);
            }
            let from = stream.peer_addr().ok();
            let _first_of_all = tell.try_send((bytes, from));
            let _ = stream.write_all(OK.as_bytes());
        });
        let mut one = target(1, site.address(), plan(http(|_| {})));
        one.send_proxy = Some(version);
        assert_eq!(outcome(one), success("HTTP 200"));
        let (bytes, from) = next(&told);
        let Parse::Complete { header, length } = parse(&bytes) else {
            panic!("no header: {bytes:?}");
        };
        match version {
            ProxyVersion::V1 => {
                assert_eq!(header.version, Version::V1);
                let expected = Addresses::Inet {
                    source: from.expect("a connection"),
                    destination: site.addr,
                };
                assert_eq!(header.addresses, expected);
            }
            ProxyVersion::V2 => {
                assert_eq!(header.version, Version::V2);
                assert_eq!(header.command, Command::Local);
            }
        }
        assert!(bytes[length..].starts_with(b"GET / HTTP/1.1\r\n"));
    }
}

#[test]
fn probes_leave_from_where_sessions_leave() {
    let (tell, told) = bounded(64);
    let site = Site::start(move |mut stream| {
        if let Ok(from) = stream.peer_addr() {
            let _first_of_all = tell.try_send(from.ip());
        }
        let _ = stream.write_all(b"x");
    });
    let mut one = target(1, site.address(), plan(send_expect("", "x")));
    let source = ["127.0.0.7", "::1", "127.0.0.8"];
    let source: Vec<IpAddr> = source.map(|ip| ip.parse().expect("an address")).into();
    one.connect = Arc::new(ConnectOptions {
        source: source.clone(),
        fast_open: true,
        ..ConnectOptions::default()
    });
    let scene = Scene::watching(vec![one.clone()]);
    let seen: Vec<IpAddr> = (0..4).map(|_| next(&told)).collect();
    assert_eq!(seen, [source[0], source[2], source[0], source[2]]);
    scene.prober.stop();
    // With fast open a connect that is put off would hide that nobody is there.
    one.address = nobody();
    assert_eq!(outcome(one), failure("connection refused"));
}

#[test]
fn what_this_host_lacks_is_no_failure() {
    let site = Site::start(drop);
    let mut one = target(1, site.address(), plan(Check::Tcp));
    one.connect = Arc::new(ConnectOptions {
        source: vec!["192.0.2.1".parse().expect("an address")],
        ..ConnectOptions::default()
    });
    let scene = Scene::watching(vec![one]);
    for _ in 0..5 {
        let report = scene.next();
        let expected = Outcome::Late("cannot assign requested address".into());
        assert_eq!(report.outcome, expected);
        assert_eq!(report.state, HealthState::Unknown);
        assert!(!report.changed && !report.is_first);
    }
    assert!(scene.prober.counters().late.value() >= 5);
    assert_eq!(scene.prober.counters().failures.value(), 0);
    scene.prober.stop();
}
